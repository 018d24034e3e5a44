"""Times `zhllm pack` beside datasets.map + group_texts, as the Chinese-LLaMA scripts pack, on the same files.

    python tests/bench/packing.py --megabytes 40 160 --peer-python peers/bin/python
    python tests/bench/packing.py --text tidb_docs_zh oiwiki_zh -- --workers 2      (flags behind -- go to pack)

`peers` is an environment with datasets and transformers; without --peer-python pack runs alone.

The tokenizer is Llama-2's with the pieces of vocab/zh_general (made here first, not counted). Megabytes are
10^6 bytes of UTF-8 text: corpora of the test data, again and again until the size is reached (nothing here
remembers a text), in parquet shards as `clean` writes them. Laws and poetry are Chinese throughout; the other
corpora are documentation, half of whose characters are code and English: each of those costs as much time, and
is one byte, not three. CPU is user and system time of a process and its children, memory the peak of its
largest process. Each is also run on 50 kB: that is its start, and the speed is given without it.

The other way does less: it puts no end token behind a document, lets documents attend to each other, and drops the
rest of each batch of 1,000 documents that fills no row; how much is said.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from clean import Cost, measured

from vocab import ROOT
from zhllm.stage import execute, load
from zhllm.text.document import Document
from zhllm.text.read.shards import write_documents
from zhllm.vocab.hf_files import write_tokenizer
from zhllm.vocab.sentencepiece_model import load as load_sentencepiece

SEQ_LEN = 1024
TEXT = ("laws_zh", "poetry_zh")
# run_clm_pt_with_peft.py of Chinese-LLaMA-Alpaca-2, its two maps with its defaults (batches of 1,000).
GROUP_TEXTS = """
import sys
from itertools import chain
from datasets import load_dataset
from transformers import PreTrainedTokenizerFast

files, folder, out, length = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)

def tokenize(examples):
    return tokenizer(examples["text"])

def group_texts(examples):
    joined = {k: list(chain(*examples[k])) for k in examples.keys()}
    total = len(joined[list(examples.keys())[0]])
    if total >= length:
        total = (total // length) * length
    result = {k: [t[i : i + length] for i in range(0, total, length)] for k, t in joined.items()}
    result["labels"] = result["input_ids"].copy()
    return result

raw = load_dataset("parquet", data_files=files, cache_dir=out + "/cache", split="train")
ids = raw.map(tokenize, batched=True, remove_columns=raw.column_names, keep_in_memory=False)
rows = ids.map(group_texts, batched=True, keep_in_memory=False)
print(len(rows) * length)
"""


@dataclass(frozen=True)
class Input:
    """A folder of documents."""

    folder: Path
    megabytes: float


Way = Callable[[Input, Path], list[str | Path]]


def make_input(folder: Path, made: list[str]) -> Input:
    """Write texts as the shards that `clean` would."""
    folder.mkdir()
    write_documents(folder, "documents", (Document(str(i), text, "bench") for i, text in enumerate(made)))
    return Input(folder, sum(len(text.encode()) for text in made) / 1e6)


def extended_tokenizer(data: Path, folder: Path) -> Path:
    """Llama-2's tokenizer with the general Chinese pieces."""
    base = folder / "llama2"
    base.mkdir()
    write_tokenizer(base, load_sentencepiece(data / "tokenizers" / "llama2.model"))
    extend = load("extend-vocab")
    settings = {"base": base, "pieces": [ROOT / "vocab" / "zh_general"]}
    execute(extend, extend.config.model_validate(settings), folder / "extended")
    return folder / "extended"


def texts(data: Path, names: list[str], megabytes: float) -> list[str]:
    """The texts of some corpora, again and again up to a size."""
    found = []
    for name in names:
        with gzip.open(data / "corpus" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            found += [json.loads(line)["text"] for line in file]
    chosen, size = [], 0.0
    for text in cycle(found):
        if size >= megabytes * 1e6:
            break
        chosen.append(text)
        size += len(text.encode())
    return chosen


class Bench:
    """Runs and prints both ways on each input."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder = args, folder
        self.tokenizer = extended_tokenizer(args.data.resolve(), folder)

    def pack(self, given: Input, out: Path) -> list[str | Path]:
        """The command of zhllm."""
        words: list[str | Path] = [sys.executable, "-m", "zhllm", "pack", "--corpus", given.folder]
        words += ["--tokenizer", self.tokenizer, "--seq-len", str(SEQ_LEN), "--json"]
        return [*words, *self.args.flags, "-o", out]

    def group_texts(self, given: Input, out: Path) -> list[str | Path]:
        """The command of the other way."""
        shards = f"{given.folder}/*.parquet"
        return [self.args.peer_python, "-c", GROUP_TEXTS, shards, self.tokenizer, out, str(SEQ_LEN)]

    def compare(self, few: Input, given: Input) -> None:
        """Both ways on one input."""
        ours = self.row("zhllm pack", self.pack, few, given)
        metrics = json.loads(ours.stdout)
        print(
            f"{'':32} {metrics['train_tokens']:,} tokens of {metrics['train_docs']:,} documents; "
            f"{metrics['packing_efficiency']:.2%} of all places are learnt"
        )
        if not self.args.peer_python:
            return
        peer = self.row("datasets.map + group_texts", self.group_texts, few, given)
        held, wanted = (
            int(peer.stdout.split()[-1]),
            metrics["train_tokens"] - metrics["train_docs"],
        )  # has no end tokens
        print(f"{'':32} {wanted - held:,} of {wanted:,} tokens dropped; {peer.cpu_s / ours.cpu_s:.1f} times the CPU")

    def row(self, name: str, command: Way, few: Input, given: Input) -> Cost:
        """Run a way on few documents and on all, print a line, and give the cost of all."""
        start, cost = self.best(command, few, 1), self.best(command, given, self.args.repeat)
        speed = (given.megabytes - few.megabytes) / (cost.cpu_s - start.cpu_s)
        figures = (given.megabytes, cost.wall_s, cost.cpu_s, start.cpu_s, speed, cost.peak_mb, start.peak_mb)
        print(f"{name:32}" + "".join(f"{figure:11.2f}" for figure in figures), flush=True)
        return cost

    def best(self, command: Way, given: Input, repeat: int) -> Cost:
        """The run with the least CPU time of some; SystemExit where one fails."""
        costs = []
        for _ in range(repeat):
            with tempfile.TemporaryDirectory(dir=self.folder) as name:
                cost = measured(command(given, Path(name) / "out"))
            if isinstance(cost, str):
                raise SystemExit(cost)
            costs.append(cost)
        return min(costs, key=lambda cost: cost.cpu_s)


def arguments() -> argparse.Namespace:
    """The command line."""
    default = Path(os.environ.get("ZHLLM_TEST_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default, help="folder with corpus/ and tokenizers/")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[40.0, 160.0], help="sizes to pack")
    parser.add_argument("--text", nargs="+", metavar="NAME", default=list(TEXT), help="corpora of the test data")
    parser.add_argument("--repeat", type=int, default=2, help="runs of each; the best counts")
    parser.add_argument("--peer-python", type=Path, metavar="PATH", help="an interpreter with datasets, transformers")
    parser.add_argument("flags", nargs="*", help="more flags of pack, behind --")
    return parser.parse_args()


def main() -> None:
    """Make the files, run the commands, print the table."""
    args = arguments()
    columns = ("text, MB", "wall, s", "CPU, s", "start, CPU", "MB/CPU s", "peak, MB", "start, MB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(args, folder)
        few = make_input(folder / "few", texts(args.data, args.text, 0.05))
        print(f"{'':32}" + "".join(f"{column:>11}" for column in columns))
        for megabytes in args.megabytes:
            bench.compare(few, make_input(folder / f"{megabytes:g}", texts(args.data, args.text, megabytes)))


if __name__ == "__main__":
    main()
