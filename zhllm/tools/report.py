"""report: one page of a whole build, for people who were not there."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--lang", type=click.Choice(["zh", "en"]), help="Language of the page.  [default: the recipe's, or en]")
@click.option("--out", type=click.Path(path_type=Path), help="File to write.  [default: RUN_DIR/index.html]")
@click.option("--verify", is_flag=True, help="Read every file and compare its digest, also of inputs from outside.")
@click.option(
    "--cards/--no-cards", default=True, help="Write the scores into the cards of merged models.  [default: on]"
)
def command(run_dir: Path, lang: str | None, out: Path | None, verify: bool, cards: bool) -> None:
    """Write the build report of RUN_DIR: one self-contained page, readable offline, on a phone and on paper.

    It shows the line with times, sizes and digests, the corpus, the vocabulary, training curves, scores before and
    after with intervals, answers side by side, export quality, lineage and versions, and names what is not up to
    date or damaged. A run may be unfinished; a folder of stages' folders without a recipe is a run as well.
    README.md of each merged model gets the scores of that model; it is no part of the model's digest.

    \b
    zhllm report runs/demo
    zhllm report runs/demo --lang zh --out report.html
    """
    from zhllm.progress import say
    from zhllm.tools._report_card import write_cards
    from zhllm.tools._report_page import write_report
    from zhllm.tools._report_run import read_run

    run = read_run(run_dir, verify)
    path = write_report(run, lang, out)
    for card in write_cards(run) if cards else ():
        say(f"{card}: scores written")
    bad = [step.name for step in run.steps if step.state == "damaged"]
    if bad:
        say(f"damaged: {', '.join(bad)}")
    click.echo(str(path))
