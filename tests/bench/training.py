"""zhllm's training loop on a CPU beside transformers' Trainer (group_texts) and TRL's SFTTrainer (packing).

    python tests/bench/training.py --peer-python peers/bin/python --precision fp32 bf16

The same fresh Llama of about --millions parameters at a vocabulary of 55,296 rows, the same rows of real text in
the same order, the same AdamW, linear schedule and clipping; each trainer in a process of its own with --threads
threads, --repeat rounds of all in turn. Speed is input tokens for each CPU second (user and system time) of the
fastest step behind the first: what a busy machine disturbs least. Memory is the process's peak RSS, packages and
model included. The peers' environment: python -m venv peers && peers/bin/pip install torch transformers
accelerate datasets trl.

Their rows let documents see each other and learn the first token of a document; zhllm's do not. Held-out loss is
one function for the weights of all.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece

from zhllm.model.llama import Size, config_of, parameter_count, tensor_plan, write_fresh

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER, END_ID = "chinese_llama2_55296.model", 2
CORPORA = ("laws_zh", "oiwiki_zh", "paddle_docs_zh", "poetry_zh", "rust_book_zh", "tidb_docs_zh")
HELD_OUT_ROWS = 8
# Millions of parameters -> shape; embedding and head at 55,296 rows are most of them.
SHAPES = {
    "60": Size(384, 1024, 10, 6, 6, 1024),
    "20": Size(160, 448, 6, 5, 5, 1024),
    "1": Size(8, 16, 2, 2, 2, 1024),  # to try the script itself
}
# Name -> (trainer, gradient checkpointing). SFTTrainer checkpoints by default, Trainer and zhllm do not. "mixed" has
# the peers' objective: rows are one document each, whose last label is not seen.
TRAINERS = {
    "zhllm": ("zhllm", False),
    "zhllm, documents mixed": ("mixed", False),
    "Trainer, group_texts": ("trainer", False),
    "SFTTrainer, packing": ("trl", True),
    "SFTTrainer, no checkpointing": ("trl", False),
}


@dataclass(frozen=True)
class Result:
    """What one trainer took: its fastest step of all runs, the least memory, the last run's losses."""

    name: str
    millions: str
    precision: str
    tokens_per_cpu_s: float
    peak_mb: float
    losses: list[float] = field(repr=False)
    held_out: float


def documents(data: Path) -> Iterator[str]:
    """Chinese documents of the test data in a seeded order."""
    texts = []
    for name in CORPORA:
        with gzip.open(data / "corpus" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            texts += [json.loads(line)["text"] for line in file]
    random.Random(0).shuffle(texts)
    yield from texts


def write_tokens(folder: Path, data: Path, tokens: int, seq_len: int) -> None:
    """tokens.npy and starts.npy: documents with an end token each, one behind the other; held_out.npy: rows."""
    encoder = sentencepiece.SentencePieceProcessor(model_file=str(data / "tokenizers" / TOKENIZER))
    ids, starts, wanted = list[int](), list[int](), tokens + 1 + HELD_OUT_ROWS * seq_len
    for text in documents(data):
        starts.append(len(ids))
        ids += [*encoder.encode(text), END_ID]
        if len(ids) >= wanted:
            break
    np.save(folder / "tokens.npy", np.array(ids[: tokens + 1], np.uint16))
    np.save(folder / "starts.npy", np.array([start for start in starts if start <= tokens]))
    np.save(folder / "held_out.npy", np.array(ids[wanted - HELD_OUT_ROWS * seq_len : wanted]).reshape(-1, seq_len))


def write_model(folder: Path, millions: str, data: Path) -> int:
    """A fresh model directory; its number of parameters."""
    encoder = sentencepiece.SentencePieceProcessor(model_file=str(data / "tokenizers" / TOKENIZER))
    size, rows = SHAPES[millions], encoder.get_piece_size()
    folder.mkdir()
    config = config_of(size, rows, {"bos": encoder.bos_id(), "eos": encoder.eos_id()})
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write_fresh(folder, size, rows, seed=0)
    return parameter_count(tensor_plan(size, rows))


class Bench:
    """Runs one trainer after the other and remembers their best."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder

    def results(self, millions: str, precision: str) -> list[Result]:
        """Every trainer's, zhllm's first; without those that fail."""
        found: dict[str, list[dict[str, Any]]] = {}
        for _ in range(self.args.repeat):
            for name in self.args.trainers:
                if figures := self._run(name, millions, precision):
                    found.setdefault(name, []).append(figures)
        tokens = self.args.rows_per_step * self.args.seq_len
        return [
            Result(
                name,
                millions,
                precision,
                tokens / min(min(run["step_cpu_s"][1:]) for run in runs),
                min(run["peak_mb"] for run in runs),
                runs[-1]["losses"],
                runs[-1]["held_out"],
            )
            for name, runs in found.items()
        ]

    def _run(self, name: str, millions: str, precision: str) -> dict[str, Any] | None:
        """One run's figures; None where it failed, with the last it said."""
        trainer, checkpointing = TRAINERS[name]
        job = {
            "model": str(self.folder / millions), "out": str(self.folder / "out"), "precision": precision,
            "gradient_checkpointing": checkpointing, "steps": self.args.steps, "seq_len": self.args.seq_len,
            "rows_per_step": self.args.rows_per_step, "learning_rate": self.args.learning_rate,
        }  # fmt: skip
        job |= {part: str(self.folder / f"{part}.npy") for part in ("tokens", "starts", "held_out")}
        path = self.folder / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        python = self.args.peer_python if trainer == "trl" else sys.executable
        threads = {"OMP_NUM_THREADS": str(self.args.threads), "TOKENIZERS_PARALLELISM": "false"}
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(self.folder / "cache")}
        done = subprocess.run(
            [python, str(Path(__file__).with_name("trainers.py")), trainer, str(path)],
            env={**os.environ, **threads, **offline}, cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            print(f"{name} ended with {done.returncode}: {done.stderr[-600:].strip()}", flush=True)
            return None
        figures: dict[str, Any] = json.loads(done.stdout)
        return figures


HEAD = """
| M params | precision | trainer | tokens/CPU s | zhllm is | peak MB | zhllm needs | held-out loss |
|---:|---|---|---:|---:|---:|---:|---:|"""


def show(result: Result, ours: Result) -> None:
    """Print a line of the table."""
    faster, needs = ours.tokens_per_cpu_s / result.tokens_per_cpu_s, ours.peak_mb / result.peak_mb - 1
    ratios = ("", "") if result is ours else (f"{faster:.2f}x", f"{needs:+.0%}")
    print(
        f"| {result.millions} | {result.precision} | {result.name} | {result.tokens_per_cpu_s:.0f} | {ratios[0]} "
        f"| {result.peak_mb:.0f} | {ratios[1]} | {result.held_out:.4f} |",
        flush=True,
    )


def show_curves(results: list[Result]) -> None:
    """Print the loss of some steps, and how far each trainer is from zhllm's at the most and on average."""
    steps = sorted({*range(0, len(results[0].losses), max(1, len(results[0].losses) // 5)), len(results[0].losses) - 1})
    print("\n| loss at step | " + " | ".join(str(step + 1) for step in steps) + " | largest distance | mean |")
    print("|---|" + "---:|" * (len(steps) + 2))
    ours = np.array(results[0].losses)
    for result in results:
        away = np.abs(np.array(result.losses) - ours)
        row = " | ".join(f"{result.losses[step]:.3f}" for step in steps)
        print(
            f"| {result.millions} M {result.precision} {result.name} | {row} | {away.max():.3f} | {away.mean():.3f} |"
        )


def arguments() -> argparse.Namespace:
    """The command line."""
    default = Path(os.environ.get("ZHLLM_TEST_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default, help="folder with corpus/ and tokenizers/")
    parser.add_argument("--millions", nargs="+", default=["60", "20"], choices=[*SHAPES], help="sizes of the model")
    parser.add_argument("--precision", nargs="+", default=["fp32"], choices=["fp32", "bf16"], help="bf16: autocast")
    parser.add_argument("--trainers", nargs="+", default=[*TRAINERS], choices=[*TRAINERS], help="zhllm comes first")
    parser.add_argument("--peer-python", metavar="PATH", default=sys.executable, help="an interpreter that has TRL")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rows-per-step", type=int, default=4)
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=1, help="OMP_NUM_THREADS of every trainer")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; the best counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    return parser.parse_args()


def main() -> None:
    """Make rows and models, run the trainers, print the tables."""
    args = arguments()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(args, Path(name))
        write_tokens(bench.folder, args.data, args.steps * args.rows_per_step * args.seq_len, args.seq_len)
        for millions in args.millions:
            count = write_model(bench.folder / millions, millions, args.data)
            print(f"{millions}: {count / 1e6:.1f} M parameters, {SHAPES[millions]}", flush=True)
        print(HEAD, flush=True)
        for millions in args.millions:
            for precision in args.precision:
                made = bench.results(millions, precision)
                results += made
                for result in made:
                    show(result, made[0])
    for millions in args.millions:
        for precision in args.precision:
            show_curves([r for r in results if (r.millions, r.precision) == (millions, precision)])
    if args.json:
        args.json.write_text(json.dumps([vars(result) for result in results], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
