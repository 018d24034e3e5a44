"""How new rows start, compared: every `resize --init` on one base, before and after the same training.

A toy base learns English and, in bytes, Chinese law; its tokenizer then gets 2,000 Chinese pieces, and each
method continues with the same steps of `pretrain` (new rows and LoRA). Prints bits per character of held-out
text as a Markdown table. Folders that are up to date are not made again.

    OMP_NUM_THREADS=2 python tests/bench/init_methods.py --out runs/init-methods
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zhllm import manifest
from zhllm.manifest import Manifest
from zhllm.stage import execute, load

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("subtoken-mean", "mean", "zero", "normal", "distill")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    data = os.environ.get("ZHLLM_TEST_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(data), help="folder with corpus/laws_zh.jsonl.gz")
    parser.add_argument("--out", type=Path, required=True, help="folder for what the stages write")
    parser.add_argument("--base-steps", type=int, default=200, help="steps of the base's training")
    parser.add_argument("--steps", type=int, default=30, help="steps after each resize")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each method")
    parser.add_argument("--size", default="tiny", help="shape of the base (init-model --size)")
    parser.add_argument("--pieces", type=int, default=2000, help="pieces to add")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--distill-layers", type=int, nargs="*", default=[], help="distill behind these layers too")
    return parser.parse_args()


def made(stage: str, out: Path, **settings: Any) -> Path:
    """Bring one stage's folder up to date."""
    found = load(stage)
    execute(found, found.config.model_validate(settings), out)
    return out


def manifest_of(folder: Path) -> Manifest:
    """What the stage says of its folder."""
    found = manifest.read(folder)
    assert found is not None
    return found


@dataclass(frozen=True)
class Line:
    """The folders that every method shares."""

    out: Path
    base: Path
    extended: Path
    zh: Path
    packed: Path


def shared_line(given: argparse.Namespace) -> Line:
    """A base that knows English and Chinese bytes, its extended tokenizer, and the text to continue with."""
    out, corpus = given.out, given.data / "corpus"
    english = [ROOT / "corpora" / "english", corpus / "en_c4_300.jsonl"]
    en = made("clean", out / "clean-en", documents=english, language="en", valid_share=0.02)
    zh = made("clean", out / "clean-zh", documents=[corpus / "laws_zh.jsonl.gz"], valid_share=0.01)
    tokenizer = made("train-tokenizer", out / "tokenizer", corpus=[en], size=2000)
    fresh = made("init-model", out / "fresh", tokenizer=tokenizer, size=given.size)
    both = {"corpus": [en], "replay": [zh], "replay_share": 0.5}
    packed = made("pack", out / "pack-base", **both, tokenizer=tokenizer, seq_len=256)
    learning = {"trainable": "all", "optimizer": "muon", "learning_rate": 0.003, "steps": given.base_steps}
    base = made("pretrain", out / "base", model=fresh, data=packed, **learning)
    characters = given.pieces * 2 // 3
    pieces = made("train-vocab", out / "pieces", corpus=[zh], size=given.pieces, characters=characters)
    extended = made("extend-vocab", out / "extended", base=tokenizer, pieces=[pieces])
    packed = made("pack", out / "pack", corpus=[zh], replay=[en], tokenizer=extended, seq_len=256)
    return Line(out, base, extended, zh, packed)


@dataclass(frozen=True)
class Row:
    """Bits per character of Chinese and English at step 0 and after the budget, and what `resize` took."""

    zh_start: float
    en_start: float
    zh_end: float
    en_end: float
    resize_s: float


def run(line: Line, init: str, layers: int | None, seed: int, steps: int) -> Row:
    """One method with one seed."""
    name = f"{init}-{layers or 'default'}-{seed}"
    settings = {"init": init, "seed": seed, "distill_layers": layers, "text": [line.zh] if init == "distill" else []}
    model = made("resize", line.out / f"resize-{name}", model=line.base, tokenizer=line.extended, **settings)
    learning = {"steps": steps, "rows_per_step": 8, "learning_rate": 0.002, "seed": seed}
    trained = made("pretrain", line.out / f"pretrain-{name}", model=model, data=line.packed, **learning)
    found, seconds = manifest_of(trained).metrics, manifest_of(model).made_by["seconds"]
    zh, en = "bits_per_char_valid", "bits_per_char_valid_replay"
    return Row(found[f"{zh}_before"], found[f"{en}_before"], found[zh], found[en], seconds)


def table(given: argparse.Namespace, line: Line) -> Iterator[str]:
    """The lines of the table, each as soon as it is known."""
    base = manifest_of(line.base).metrics
    yield f"| --init | zh, step 0 | en, step 0 | zh, step {given.steps} | en, step {given.steps} | resize, s |"
    yield "| --- | --- | --- | --- | --- | --- |"
    zh, en = base["bits_per_char_valid_replay"], base["bits_per_char_valid"]
    yield f"| (the base, its own tokens) | {zh:.3f} | {en:.3f} | | | |"
    variants = [(init, None) for init in given.methods] + [("distill", layers) for layers in given.distill_layers]
    for init, layers in variants:
        rows = [run(line, init, layers, seed, given.steps) for seed in range(given.seeds)]
        cells = [_cell([getattr(row, name) for row in rows]) for name in ("zh_start", "en_start", "zh_end", "en_end")]
        label = f"`{init}`" if layers is None else f"`{init}`, {layers} layers"
        yield f"| {label} | {' | '.join(cells)} | {statistics.mean(row.resize_s for row in rows):.0f} |"


def _cell(values: list[float]) -> str:
    """The mean of the seeds, and how far the furthest is from it."""
    mean = statistics.mean(values)
    off = max(abs(value - mean) for value in values)
    return f"{mean:.3f}" + (f" ± {off:.3f}" if off >= 0.0005 else "")


def main() -> None:
    """Make what is missing and print the table."""
    given, start = arguments(), time.perf_counter()
    for text in table(given, shared_line(given)):
        print(text, flush=True)
    print(f"\n{given.seeds} seeds, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
