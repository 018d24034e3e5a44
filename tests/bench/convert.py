"""Times `zhllm convert` on a large file of Alpaca records, as a whole process.

    python tests/bench/convert.py --megabytes 1000 -- --workers 1          (flags behind -- go to convert)
    python tests/bench/convert.py --megabytes 200 --profile

Megabytes are 10^6 bytes of JSON lines; CPU is user and system time of the process and its children; the peak is the
memory of its largest process. The records are the real ones of the test data (Alpaca, Chinese and English, as many
of each), copied until the size is reached. In each further copy the sentences of an answer begin at another place,
and instruction and answer hold a sentence of another record and a number of their own: no record, no prompt and no
answer of one copy is that of another, while lengths, scripts, punctuation and the duplicates inside a copy stay.
`--repeated 0.2` says a fifth of the records a second time, every other of them with another answer; `--list` writes one
JSON list instead of lines. A loop of Python is timed before and after: it tells how busy the machine was.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = Path(os.environ.get("ZHLLM_TEST_DATA", ROOT.parent / "shared" / "data"))
SENTENCE = re.compile(r"(?<=[。！？\n])|(?<=[.!?] )")


def records(data: Path) -> list[dict[str, str]]:
    """The real records, Chinese and English in turn."""
    found = [
        json.loads((data / "instruct" / name).read_bytes()) for name in ("alpaca_zh_1000.json", "alpaca_en_999.json")
    ]
    return [record for pair in zip(*found, strict=False) for record in pair]


def varied(real: list[dict[str, str]]) -> Iterator[dict[str, str]]:
    """The records, then copies of them without end, each different from all before."""
    sentences = [[part for part in SENTENCE.split(record["output"]) if part] for record in real]
    for copy in count():
        chance = Random(copy)
        for number, record in enumerate(real):
            if not copy:
                yield record
                continue
            own = sentences[number] or [""]
            # Of the same language: Chinese and English records take turns.
            at, other = copy % len(own), sentences[chance.randrange(number % 2, len(real), 2)] or [""]
            said = chance.choice(other).strip()
            yield record | {
                "instruction": f"{record['instruction']}\n{said} {copy}",
                "output": "".join((*own[at:], *own[:at])) + f"\n{said}（{copy}.{number}）",
            }


def repeating(records: Iterator[dict[str, str]], share: float) -> Iterator[dict[str, str]]:
    """The records, and this share of them again a thousand records later; every other one answered otherwise."""
    waiting: deque[dict[str, str]] = deque()
    due, again = 0.0, 0
    for record in records:
        yield record
        due += share
        if due >= 1:
            due, again = due - 1, again + 1
            waiting.append(record | {"output": f"{record['output']} {again}。"} if again % 2 else record)
        if len(waiting) > 1000:
            yield waiting.popleft()


def write(path: Path, megabytes: float, data: Path, repeated: float = 0, as_list: bool = False) -> int:
    """Write so many megabytes; how many records."""
    size, written = 0, 0
    with path.open("wb") as file:
        for record in repeating(varied(records(data)), repeated):
            line = json.dumps(record, ensure_ascii=False).encode()
            before = (b",\n" if written else b"[\n") if as_list else b""
            size, written = size + file.write(before + line + (b"" if as_list else b"\n")), written + 1
            if size >= megabytes * 1e6:
                break
        file.write(b"\n]\n" if as_list else b"")
    return written


def loop_s() -> float:
    """CPU seconds of a loop of Python, the best of many: more of them on a busy machine."""
    best = 9.0
    for _ in range(20):
        start = time.process_time()
        for number in range(30_000):
            str(number).encode()
        best = min(best, 10 * (time.process_time() - start))
    return best


def measure(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and the megabytes of the largest process of a command."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit((folder / "log").read_text()[-3000:])
    return time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6


def main() -> None:
    """Make the file, convert it, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=1000)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--repeated", type=float, default=0, help="share of the records to say again")
    parser.add_argument("--list", action="store_true", help="one JSON list, not lines")
    parser.add_argument("--profile", action="store_true", help="also print where the time goes")
    parser.add_argument("flags", nargs="*", help="of convert, behind --")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / ("alpaca.json" if asked.list else "alpaca.jsonl")
        made = write(source, asked.megabytes, asked.data, asked.repeated, asked.list)
        size = source.stat().st_size / 1e6
        print(f"{made:,} records, {size:,.0f} MB; a loop of Python takes {loop_s():.3f} s")
        profiled = ["-m", "cProfile", "-o", str(folder / "profile")] if asked.profile else []
        for run in range(asked.runs):
            out = folder / f"out{run}"
            command = [sys.executable, *profiled, "-m", "zhllm", "convert", "--source", str(source), "-o", str(out)]
            wall, cpu, peak = measure([*command, *asked.flags], folder)
            metrics = json.loads((out / "manifest.json").read_bytes())["metrics"]
            print(
                f"{wall:.1f} s, {cpu:.1f} CPU s, {size / cpu:.1f} MB per CPU s, peak {peak:.0f} MB; "
                f"{metrics['chats']:,} chats, {metrics['duplicate_chats']:,} duplicates, "
                f"{metrics['contradictions_chats']:,} contradictions; the loop {loop_s():.3f} s"
            )
        if asked.profile:
            import pstats

            stats = pstats.Stats(str(folder / "profile"))
            stats.sort_stats("cumtime").print_stats("zhllm", 45)
            stats.sort_stats("tottime").print_stats(35)


if __name__ == "__main__":
    main()
