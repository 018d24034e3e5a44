"""Make vocab/zh_general, and compare what a Llama-2 extended by it does to held-out text.

    python tests/bench/zh_general.py            the table: characters per token on held-out text
    python tests/bench/zh_general.py --make     learn the pieces anew first (vocab/zh_general/pieces.tsv)

Every twentieth document of each source is held out; all others train. Sources under a permissive licence
train; the others (CC BY-SA) are only measured, whole documents never seen.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zhllm.stages.extend_vocab import read_pieces
from zhllm.text.standard import common_characters
from zhllm.vocab.bases import open_base
from zhllm.vocab.extend import SentencePieceBase
from zhllm.vocab.measure import compression
from zhllm.vocab.sentencepiece_model import read_proto

ROOT = Path(__file__).parents[2]
PIECES = ROOT / "vocab" / "zh_general"
SIZE, MIN_COUNT, MOST = 17300, 5, 17316

# How often each text counts: the two small sources of everyday Chinese stand against ten times as much law.
TRAINED = {
    "corpus/laws_zh.jsonl.gz": 1,  # statutes
    "corpus/paddle_docs_zh.jsonl.gz": 1,  # Apache-2.0
    "corpus/rust_book_zh.jsonl.gz": 1,  # MIT / Apache-2.0
    "corpus/poetry_zh.jsonl.gz": 1,  # MIT
    "instruct/alpaca_zh_1000.json": 3,  # Apache-2.0
    "preference/dpo_zh_conversations_500.jsonl": 3,  # Apache-2.0
    "preference/dpo_zh_sharegpt_300.json": 3,  # Apache-2.0
}
ONLY_MEASURED = ("corpus/oiwiki_zh.jsonl.gz", "corpus/tidb_docs_zh.jsonl.gz", "squad/cmrc2018_trial.json")


def documents(path: Path) -> list[str]:
    """The texts of a JSON array, of SQuAD's paragraphs or of JSON lines; a record's texts are one document."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    if path.name.endswith(".json"):
        records = json.loads(text)
        if isinstance(records, dict):
            return [p["context"] for record in records["data"] for p in record["paragraphs"]]
    else:
        records = [json.loads(row) for row in text.split("\n") if row]
    return ["\n".join(strings(record)) for record in records]


def strings(value: Any, key: str = "") -> Iterator[str]:
    """Every text inside a record, roles and ids aside."""
    if isinstance(value, str) and key not in ("id", "from", "role", "source"):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from strings(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, key)


def make(data: Path) -> None:
    """Learn the pieces by `zhllm train-vocab`, as the README of vocab/zh_general gives it."""
    with tempfile.TemporaryDirectory() as name:
        corpus: list[str] = []
        for source, times in TRAINED.items():
            path = Path(name) / (Path(source).name.split(".")[0] + ".jsonl")
            kept = [text for index, text in enumerate(documents(data / source)) if index % 20]
            path.write_text("".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in kept), encoding="utf-8")
            corpus += [str(path)] * times
        terms = Path(name) / "common.txt"  # the 3,500 common characters are pieces, also where this text lacks them
        terms.write_text("\n".join(common_characters()), encoding="utf-8")
        options = [
            "--terms",
            str(terms),
            "--size",
            str(SIZE),
            "--min-count",
            str(MIN_COUNT),
            "-o",
            str(Path(name) / "pieces"),
        ]
        subprocess.run([sys.executable, "-m", "zhllm", "train-vocab", "--corpus", *corpus, *options], check=True)
        PIECES.mkdir(exist_ok=True)
        shutil.copyfile(Path(name) / "pieces" / "pieces.tsv", PIECES / "pieces.tsv")


def table(data: Path) -> None:
    """Characters per token on the held-out documents of every source, three tokenizers side by side."""
    base = open_base(data / "tokenizers" / "llama2.model")
    other = SentencePieceBase(read_proto(data / "tokenizers" / "chinese_llama2_55296.model"))
    ours = base.extend(read_pieces(PIECES), None, max_pieces=MOST)
    tokenizers = [base, other, SentencePieceBase(ours.model)]  # type: ignore[union-attr]
    print(f"added pieces: Chinese-LLaMA-2 {other.size - base.size:,}, zh_general {len(ours.added):,}")
    print(f"{'held-out text':28}{'characters':>12}{'Llama-2':>10}{'C-LLaMA-2':>11}{'zh_general':>12}{'':>8}")
    chars, tokens = 0, [0, 0, 0]
    for source in (*TRAINED, *ONLY_MEASURED):
        texts = documents(data / source)[:: 20 if source in TRAINED or source.startswith("corpus") else 1]
        found = [compression(tokenizer, texts) for tokenizer in tokenizers]
        show(Path(source).name.split(".")[0], found[0].chars, [f.chars_per_token for f in found])
        chars, tokens = chars + found[0].chars, [t + f.tokens for t, f in zip(tokens, found, strict=True)]
    show("all", chars, [chars / count for count in tokens])


def show(name: str, chars: int, rates: list[float]) -> None:
    """One line of the table; the last column is ours against Chinese-LLaMA-2."""
    print(f"{name:28}{chars:12,}{rates[0]:10.3f}{rates[1]:11.3f}{rates[2]:12.3f}{rates[2] / rates[1] - 1:+8.1%}")


def main() -> None:
    """Parse the flags and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("ZHLLM_TEST_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default), help="folder of the real data")
    parser.add_argument("--make", action="store_true", help="learn the pieces anew first")
    args = parser.parse_args()
    if args.make:
        make(args.data)
    table(args.data)


if __name__ == "__main__":
    main()
