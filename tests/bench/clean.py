"""Times `zhllm clean`, all rules on, as a whole process, and other tools beside it on the same file.

    python tests/bench/clean.py --megabytes 60 240 -- --workers 1          (flags behind -- go to clean)
    python tests/bench/clean.py --megabytes 60 --dedup "--only duplicates"      (near duplicates alone, too)
    python tests/bench/clean.py --megabytes 60 --peer-python peers/bin/python --peer-megabytes 17

Megabytes are 10^6 bytes of UTF-8 text; CPU is user and system time of the process and its children. The
texts are the dirty documents of the test data, copied until the size is reached, in two ways:

- `repeated`: the same texts with new ids. From the second copy on every document is an exact duplicate.
- `distinct`: each further copy exchanges Han characters for others of about the same frequency and the same
  script (Traditional only, Simplified only, both), and Latin vowels and consonants for others, by a seeded
  permutation of the whole copy. So lengths, lines, punctuation, digits (personal data, valid as they were),
  frequencies and the share of duplicates inside a copy stay, while no line with letters, no shingle and no
  document of one copy is like one of another. What is lost: words of lexica and stop lists, hence a few rules
  find less in the copies than in the originals.

Compiled bytecode is kept between the runs, as after any installation; the first one makes it, the best counts.

A peer's time is also given without what it takes on 20 documents; the ratio is against that.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from random import Random

import opencc
import polars as pl

ROOT = Path(__file__).resolve().parent.parent.parent
PEERS = {"datatrove": "datatrove", "data-juicer": "data_juicer"}
BAND = 20  # ranks by frequency that are exchanged with each other
KEPT_AS_IT_IS = re.compile(r"(https?://|www\.|\.(?:com|cn|org|io|md|html)\b|\[/?[a-z]+\])")
HAN = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")
SAMPLE_S = 0.02
Records = list[dict[str, str]]


@dataclass(frozen=True)
class Input:
    """A file to clean."""

    path: Path
    variant: str
    megabytes: float
    docs: int


@dataclass(frozen=True)
class Cost:
    """What a command took: peak is that of its largest process, sum that of all together."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    sum_mb: float
    stdout: str


def read_dirty(data: Path) -> Records:
    """The dirty documents of the test data."""
    path = data / "corpus" / "dirty_zh.jsonl.gz"
    if not path.is_file():
        raise SystemExit(f"{path} is missing: give --data, or set ZHLLM_TEST_DATA.")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def exchanges(records: Records) -> Callable[[int], dict[int, str]]:
    """A function from the number of a copy to its table of characters for `str.translate`."""
    frequency = Counter(char for record in records for char in HAN.findall(record["text"]))
    to_simplified, to_traditional = opencc.OpenCC("t2s").convert, opencc.OpenCC("s2t").convert
    classes: dict[tuple[bool, bool], list[str]] = {}
    for char, _ in frequency.most_common():
        script = (to_simplified(char) == char, to_traditional(char) == char)
        classes.setdefault(script, []).append(char)
    bands = [chars[i : i + BAND] for chars in classes.values() for i in range(0, len(chars), BAND)]
    bands += [list("aeiou"), list("bcdfghjklmnpqrstvwxyz")]

    def table(copy: int) -> dict[int, str]:
        chance, others_of = Random(copy), dict[str, str]()
        for band in bands:
            others = chance.sample(band, len(band))
            others_of.update(zip(band, others, strict=True))
            others_of.update(zip(map(str.upper, band), map(str.upper, others), strict=True))
        return {ord(char): other for char, other in others_of.items()}

    return table


def exchanged(text: str, table: dict[int, str]) -> str:
    """The text with its characters exchanged, but for the marks of addresses; mojibake stays such."""
    with contextlib.suppress(UnicodeError):
        if not text.isascii():
            return exchanged(text.encode("latin-1").decode(), table).encode().decode("latin-1")
    parts = KEPT_AS_IT_IS.split(text)
    parts[::2] = [part.translate(table) for part in parts[::2]]
    return "".join(parts)


def copies(records: Records, variant: str) -> Iterator[dict[str, str]]:
    """The records and copies of them without end, each with an id of its own."""
    table_of = exchanges(records) if variant == "distinct" else None
    for copy in count():
        table = table_of(copy) if table_of and copy else None
        for record in records:
            text = exchanged(record["text"], table) if table else record["text"]
            yield {**record, "id": f"{copy}-{record['id']}", "text": text}


def make_input(folder: Path, records: Records, variant: str, megabytes: float) -> Input:
    """Write the first so many megabytes of copies to a file."""
    path, size, docs = folder / f"{variant}-{megabytes:g}.jsonl", 0, 0
    with path.open("w", encoding="utf-8") as file:
        for record in copies(records, variant):
            if size >= megabytes * 1e6:
                break
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            size, docs = size + len(record["text"].encode()), docs + 1
    return Input(path, variant, size / 1e6, docs)


class Watch(threading.Thread):
    """Samples the memory of a process and all that descend from it."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak_kb, self.sum_kb, self.over = pid, 0, 0, threading.Event()

    def run(self) -> None:
        """Sample until told that it is over."""
        while not self.over.wait(SAMPLE_S):
            sizes = [resident_kb(pid) for pid in family(self.pid)]
            self.peak_kb, self.sum_kb = max(self.peak_kb, *sizes), max(self.sum_kb, sum(sizes))


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def resident_kb(pid: int) -> int:
    """Memory a process holds now, shared pages included; 0 when it is gone."""
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    return 0


def environment() -> dict[str, str]:
    """The variables a command is run with: Python keeps bytecode, though not in the checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {"PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "zhllm-bench-bytecode"), **kept}


def measured(command: list[str | Path]) -> Cost | str:
    """The cost of a command, or the last of what it said when it failed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        words = [str(word) for word in command]
        process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=out, stderr=err)
        watch = Watch(process.pid)
        watch.start()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.over.set()
        watch.join()
        out.seek(0)
        err.seek(0)
        if process.returncode:
            return f"ended with {process.returncode}: {err.read()[-600:].strip()}"
        return Cost(wall, used.ru_utime + used.ru_stime, watch.peak_kb / 1024, watch.sum_kb / 1024, out.read())


def best(made: Callable[[Path], list[str | Path]], folder: Path, repeat: int) -> Cost | str:
    """The run with the least CPU time of some; each writes a folder of its own."""
    costs: list[Cost] = []
    for _ in range(repeat):
        with tempfile.TemporaryDirectory(dir=folder) as out:
            cost = measured(made(Path(out) / "out"))
            if isinstance(cost, str):
                return cost
            costs.append(cost)
    return min(costs, key=lambda cost: cost.cpu_s)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    input: Input
    cost: Cost
    start_s: float = 0.0

    @property
    def mb_per_cpu_s(self) -> float:
        """Text per CPU second, the start of a peer not counted."""
        return self.input.megabytes / (self.cost.cpu_s - self.start_s)

    def show(self, against: Row | None = None) -> None:
        """Print it; the ratio tells how many times faster `against` is."""
        cost, size = self.cost, f"{self.input.variant} {self.input.megabytes:.0f}"
        figures = (cost.wall_s, cost.cpu_s, self.mb_per_cpu_s, cost.peak_mb, cost.sum_mb)
        row = f"{self.name:30} {size:>13}" + "".join(f"{figure:10.2f}" for figure in figures)
        print(row + (f"{against.mb_per_cpu_s / self.mb_per_cpu_s:9.1f}x" if against else ""), flush=True)


class Bench:
    """Runs and prints one command after the other, and remembers the rows."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args, self.folder, self.rows = args, folder, list[Row]()

    def zhllm(self, name: str, given: Input, flags: list[str]) -> Row | None:
        """Time clean on one file."""

        def command(out: Path) -> list[str | Path]:
            words = [sys.executable, "-m", "zhllm", "clean", "--documents", given.path, "--profile", "document"]
            return [*words, *self.args.flags, *flags, "-o", out]

        cost = best(command, self.folder, self.args.repeat)
        if isinstance(cost, str):
            print(f"{name:30} failed: {cost}")
            return None
        return self._took(Row(name, given, cost))

    def peer(self, name: str, given: Input, few: Input, against: Row | None) -> None:
        """Time another tool on one file, and on one of few documents."""
        python, script = self.args.peer_python, Path(__file__).with_name("peers.py")
        if not python or subprocess.run([python, "-c", f"import {PEERS[name]}"], capture_output=True).returncode:
            print(f"{name:30} not installed (--peer-python)")
            return

        def command(source: Path) -> Callable[[Path], list[str | Path]]:
            return lambda out: [python, script, name, source, out]

        start = best(command(few.path), self.folder, 1)
        cost = best(command(given.path), self.folder, 1)
        if isinstance(start, str) or isinstance(cost, str):
            print(f"{name:30} failed: {start if isinstance(start, str) else cost}")
            return
        self._took(Row(name, given, cost, start.cpu_s), against)
        print(f"{'':30} start {start.cpu_s:.1f} CPU s; kept {cost.stdout.strip()} of {given.docs} documents")

    def _took(self, row: Row, against: Row | None = None) -> Row:
        row.show(against)
        self.rows.append(row)
        return row


def distinct_share(given: Input) -> str:
    """How many of the lines with a letter in a file stand in it once; says whether it is as planned."""
    lines = pl.read_ndjson(given.path)["text"].str.split("\n").explode()
    lines = lines.filter(lines.str.contains(r"\p{L}"))
    return f"{lines.n_unique() / len(lines):.0%} of its lines are distinct"


def arguments() -> argparse.Namespace:
    """The command line."""
    default = Path(os.environ.get("ZHLLM_TEST_DATA", ROOT.parent / "shared" / "data"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=default, help="folder with corpus/dirty_zh.jsonl.gz")
    parser.add_argument("--megabytes", type=float, nargs="+", default=[60.0], help="sizes to clean")
    parser.add_argument("--variants", nargs="+", default=["repeated", "distinct"], choices=["repeated", "distinct"])
    parser.add_argument("--workers", type=int, nargs="+", default=[1], help="numbers of processes to clean with")
    parser.add_argument("--repeat", type=int, default=3, help="runs of clean; the best counts")
    parser.add_argument("--dedup", metavar="FLAGS", help='also with these flags, as one word: "--only duplicates"')
    parser.add_argument("--peers", nargs="*", default=[*PEERS], choices=[*PEERS], help="other tools to run")
    parser.add_argument("--peer-python", type=Path, metavar="PATH", help="an interpreter that has them (peers.py)")
    parser.add_argument("--peer-megabytes", type=float, default=16, help="size for them, and clean beside them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("flags", nargs="*", help="more flags of clean, behind --")
    return parser.parse_args()


def compare(bench: Bench, records: Records) -> None:
    """Clean and the peers on one smaller file."""
    given = make_input(bench.folder, records, "distinct", bench.args.peer_megabytes)
    few = make_input(bench.folder, records, "repeated", sum(len(r["text"].encode()) for r in records[:20]) / 1e6)
    ours = bench.zhllm("zhllm clean", given, ["--workers", "1"])
    for name in bench.args.peers:
        bench.peer(name, given, few, ours)


def main() -> None:
    """Make the files, run the commands, print the table."""
    args = arguments()
    records = read_dirty(args.data)
    columns = ("wall, s", "CPU, s", "MB/CPU s", "peak MB", "sum MB")
    print(f"{'':30} {'text, MB':>13}" + "".join(f"{column:>10}" for column in columns) + f"{'faster':>10}")
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(args, Path(name))
        for megabytes in args.megabytes:
            for variant in args.variants:
                given = make_input(bench.folder, records, variant, megabytes)
                print(f"{variant}: {given.docs} documents, {distinct_share(given)}")
                for workers in args.workers:
                    bench.zhllm(f"zhllm clean --workers {workers}", given, ["--workers", str(workers)])
                if args.dedup:
                    bench.zhllm(f"zhllm clean {args.dedup}", given, shlex.split(args.dedup))
                given.path.unlink()
        if args.peers:
            compare(bench, records)
    if args.json:
        rows = [{"mb_per_cpu_s": row.mb_per_cpu_s, **asdict(row)} for row in bench.rows]
        args.json.write_text(json.dumps(rows, default=str, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
