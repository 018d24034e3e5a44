"""The scores of a merged model in its card: a marked part of README.md in the model's folder.

A card stands in the folder but not in its manifest (`manifest.CARD`), because evaluations come after the merge and
because people edit cards: what is outside the marks stays as it is, and no digest changes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from zhllm import manifest
from zhllm.page import number, percent
from zhllm.tools._report_files import Faults, finite, json_of
from zhllm.tools._report_run import Run, Step
from zhllm.tools._report_scores import Group, groups_of, main_groups
from zhllm.tools._report_words import TEXTS, Words

BEGIN, END = "<!-- zhllm report: begin -->", "<!-- zhllm report: end -->"
_PART = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}\n?", re.DOTALL)


def write_cards(run: Run) -> list[Path]:
    """Put the scores of each merged model of a run into its card; the cards that changed.

    A card that an older merge listed in its manifest is left alone, and so is one in a damaged folder.
    """
    written = []
    for step in run.of("merge", "blend"):
        card = step.folder / manifest.CARD
        is_counted = step.made is None or manifest.CARD in step.made.files
        part = part_of(run, step)
        if step.state == "damaged" or is_counted or not part or not os.access(step.folder, os.W_OK):
            continue
        before = card.read_text(encoding="utf-8", errors="surrogateescape") if card.is_file() else ""
        after = placed(before, part)
        if after != before:
            partial = card.with_name(f".{card.name}.{os.getpid()}.partial")
            partial.write_text(after, encoding="utf-8", errors="surrogateescape")
            partial.replace(card)
            written.append(card)
    return written


def placed(card: str, part: str) -> str:
    """A card with the part in the place of the one it has, else at its end."""
    if _PART.search(card):
        return _PART.sub(lambda _: part, card, count=1)
    return f"{card.rstrip()}\n\n{part}" if card.strip() else part


def part_of(run: Run, step: Step) -> str:
    """The marked part for a merged model: its scores, those of its files, and what the files lose; "" for none."""
    exports = {s.name for s in run.of("export") if any(x.setting == "model" and x.step == step.name for x in s.sources)}
    own = [
        s.name
        for s in run.of("evaluate")
        if any(x.setting == "model" and x.step in {step.name, *exports} for x in s.sources)
    ]
    groups = [g for g in main_groups(groups_of(run)[0]) if any(row.step in own for row in g.rows)]
    words = Words("en")
    lines = [*_scores(groups, words), *_files(run, sorted(exports))]
    if not lines:
        return ""
    about = f"Written by `zhllm report` from the run `{run.folder.resolve().name}`; intervals are of 95 %."
    return "\n".join([BEGIN, "## Scores", "", about, "", *lines, END, ""])


def _scores(groups: list[Group], words: Words) -> Iterator[str]:
    from zhllm.tools._report_results import interval, written

    if not groups:
        return
    yield "| measure | data | model | score | 95 % interval | items | |"
    yield "|---|---|---|---:|---|---:|---|"
    for group in groups:
        for row in group.rows:
            score, near = row.score, TEXTS[row.score.mark][0] if row.score.mark else ""
            cells = [
                words.metric(group.metric), group.data, row.model, written(score, score.value), interval(score),
                number(score.n), near,
            ]  # fmt: skip
            yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def _files(run: Run, exports: list[str]) -> Iterator[str]:
    from zhllm.tools._report_training import types_of
    from zhllm.tools._report_words import size

    for name in exports:
        step = run.named(name)
        types = types_of(json_of(step, "report.json", Faults())) if step is not None else {}
        if types:
            yield "| file type | size | mean KL, nats a token | same likeliest token |"
            yield "|---|---:|---:|---:|"
        for kind, row in types.items():
            kl, top = finite(row, "kl_mean"), finite(row, "top1_agreement")
            share = "\u2013" if top is None else percent(top)
            yield f"| {kind} | {size(row['bytes'])} | {number(kl)} | {share} |"
        if types:
            yield ""
