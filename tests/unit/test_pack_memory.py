"""What pack holds in memory does not grow with what it reads."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from toys import Toy, chinese, write_jsonl

PEAK = r"""
import re, sys
from pathlib import Path
from zhllm import stage
from zhllm.stages import pack
from zhllm.train.pack import tasks, writer
tasks.STRETCH_BYTES = 1_000_000
writer.PROOF_TOKENS = 1 << 18
corpus, tokenizer, out = sys.argv[1:]
stage.execute(pack.STAGE, pack.PackConfig(corpus=(Path(corpus),), tokenizer=Path(tokenizer)), Path(out))
# Not ru_maxrss: that begins with what the process that started this one held.
print(int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""
TEXT = chinese(random.Random(0), 60)


def peak_mb(corpus: Path, toy: Toy) -> float:
    """Runs pack in a process of its own and tells the most memory it had."""
    out = corpus.with_name(corpus.name + ".out")
    command = [sys.executable, "-c", PEAK, str(corpus), str(toy.extended), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_eight_times_the_text_takes_no_more_memory(toy: Toy, tmp_path: Path, kind: str) -> None:
    """The larger one holds 24 MB of text and 13 MB of tokens."""
    docs, peaks = 3_000_000 // len(TEXT.encode()), []
    for times in (1, 8):
        texts, path = [f"{n}{TEXT}" for n in range(times * docs)], tmp_path / f"{times}.{kind}"
        if kind == "parquet":
            pq.write_table(pa.table({"text": texts}), path, row_group_size=docs // 6)
        else:
            write_jsonl(path, [{"text": text} for text in texts])
        peaks.append(peak_mb(path, toy))
    assert peaks[1] - peaks[0] < 8, peaks
