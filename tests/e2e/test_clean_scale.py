"""clean gives the same bytes however the work is shared out, interrupted or starved, and in bounded memory."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dirt
import polars as pl
import pytest
from toys import write_jsonl

from zhllm import manifest, stage
from zhllm.errors import ConfigError, StageError
from zhllm.stages import clean
from zhllm.text.clean import first_pass, last_pass, parts
from zhllm.text.parallel import map_in_order

PORTION_BYTES, SHARD_CHARS = 20_000, 12_000


@dataclass(frozen=True)
class Corpus:
    """An input of some forty portions, the settings, and what an undisturbed run makes of it."""

    root: Path
    settings: dict[str, Any]
    files: dict[str, bytes]
    metrics: dict[str, Any]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many portions and shards of little input; workers are told what to do and need no patch."""
    small(monkeypatch.setattr)


def small(set_value: Callable[[str, int], None]) -> None:
    set_value("zhllm.text.read.cut.PIECE_BYTES", PORTION_BYTES)
    set_value("zhllm.text.clean.portions.PIECE_BYTES", PORTION_BYTES)
    set_value("zhllm.text.read.cut.READ_BYTES", 5_000)
    set_value("zhllm.text.clean.portions.PORTION_FILES", 3)
    set_value("zhllm.text.clean.last_pass.SHARD_CHARS", SHARD_CHARS)


def write_corpus(folder: Path) -> None:
    """Records, packed ones, tables, texts and rubbish; copies and near copies of documents in other files."""
    rng = random.Random(1)
    folder.mkdir(parents=True)
    for number in range(3):
        made = dirt.make(number)
        records = [{"id": f"{number}-{i}", "text": text} for i, text in made.texts.items()]
        write_jsonl(folder / f"{number}.jsonl", records)
        copies = [dirt.edited(rng, text, 0.004) for text in list(made.texts.values())[::6]]
        data = "".join(json.dumps({"text": text}) + "\n" for text in [*copies, *list(made.texts.values())[:5]])
        (folder / f"{number}.ndjson.gz").write_bytes(gzip.compress(data.encode(), mtime=0))
    table = "".join(f'"{dirt.document(rng)}",甲\n' for _ in range(20))
    (folder / "表.csv").write_bytes(f"text,作者\n{table}\n,乙\n".encode("gb18030"))
    for number in range(8):
        (folder / f"篇{number}.txt").write_text(dirt.document(rng) + f"\n{dirt.document(rng)}", encoding="utf-8")
    (folder / "坏.jsonl").write_bytes(b'{"text": 5}\n{"text": "\xff\xff"}\n' * 9)
    (folder / "图.png").write_bytes(b"x")


def files_of(out: Path) -> dict[str, bytes]:
    """All that was written but the manifest, which tells the seconds."""
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.name != manifest.NAME}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    root = tmp_path_factory.mktemp("scale")
    write_corpus(root / "in")
    (root / "exam.txt").write_text("\n".join(dirt.QUESTIONS), encoding="utf-8")
    settings: dict[str, Any] = {
        "documents": (root / "in",), "profile": "web", "traditional": "simplify", "punctuation": "chinese",
        "against": (root / "exam.txt",), "valid_share": 0.2,
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        small(patched.setattr)
        metrics = run(settings, root / "undisturbed")
    yield Corpus(root, settings, files_of(root / "undisturbed"), metrics)


def run(settings: dict[str, Any], out: Path, **more: Any) -> dict[str, Any]:
    return stage.execute(clean.STAGE, clean.CleanConfig(**{**settings, **more}), out).manifest.metrics


def test_the_input_is_worth_the_test(corpus: Corpus) -> None:
    """Many shards, and everything that can become of a document."""
    assert len([name for name in corpus.files if name.startswith("train-")]) > 2
    assert {"report.html", "report.json", "valid-00000.parquet", "rejected-00000.parquet"} <= set(corpus.files)
    wanted = {
        "duplicate",
        "near_duplicate",
        "contaminated",
        "unreadable",
        "not_a_document",
        "too_short",
        "low_han_share",
    }
    assert wanted <= set(corpus.metrics["rejected"])
    assert corpus.metrics["valid_docs"] > 5 and corpus.metrics["simplified_docs"] > 5


@pytest.mark.parametrize("workers", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_any_number_of_workers_writes_the_same_bytes(corpus: Corpus, tmp_path: Path, workers: int) -> None:
    assert run(corpus.settings, tmp_path / "out", workers=workers) == corpus.metrics
    assert files_of(tmp_path / "out") == corpus.files


SCRIPT = """
import json, sys, time
from pathlib import Path
sys.path[:0] = [{tests!r}, {here!r}]
import test_clean_scale as scale
from zhllm.text.clean import first_pass, last_pass, parts

def patch(name, value):
    module, _, attribute = name.rpartition(".")
    setattr(sys.modules[module], attribute, value)

def slowly(function):
    def slow(*args):
        result = function(*args)
        time.sleep(0.05)
        return result
    return slow

if __name__ == "__main__":
    import zhllm.text.clean.portions
    scale.small(patch)
    first_pass.write_part = slowly(first_pass.write_part)
    last_pass._read_back = slowly(last_pass._read_back)
    settings = json.loads(sys.argv[2])
    paths = {{key: tuple(map(Path, settings[key])) for key in ("documents", "against")}}
    scale.run({{**settings, **paths}}, Path(sys.argv[1]))
    print("done")
"""


def started(corpus: Corpus, out: Path, **more: Any) -> subprocess.Popen[str]:
    """The same run in a process of its own, which takes its time."""
    here = Path(__file__).parent
    script = out.with_suffix(".py")
    script.write_text(SCRIPT.format(tests=str(here.parent), here=str(here)), encoding="utf-8")
    settings = json.dumps({**corpus.settings, **more}, default=str)
    words = [sys.executable, str(script), str(out), settings]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here.parent.parent)


def kill_when(running: subprocess.Popen[str], folder: Path, pattern: str, count: int) -> None:
    """SIGKILL the process as soon as so many such files stand in the folder."""
    while len(list(folder.glob(pattern))) < count:
        assert running.poll() is None, running.stderr and running.stderr.read()
        time.sleep(0.002)
    running.kill()
    running.communicate()
    assert running.returncode == -signal.SIGKILL


def ready(out: Path, where: str) -> tuple[Path, str, int]:
    """Folder, pattern and number of files that tell how far a run is."""
    checkpoints = manifest.checkpoints_of(out)
    return {
        "at the start": (checkpoints, "key.json", 1),
        "in the first pass": (checkpoints / clean.PARTS, f"*{parts.SUFFIX}", 6),
        "in the last pass": (manifest.partial_of(out), "train-*.parquet", 2),
    }[where]


@pytest.mark.slow
@pytest.mark.parametrize("where", ["at the start", "in the first pass", "in the last pass"])
def test_killed_and_run_again_it_writes_the_same_bytes(
    corpus: Corpus, tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    kill_when(started(corpus, out), *ready(out, where))
    assert not out.exists()
    assert run(corpus.settings, out) == corpus.metrics
    assert files_of(out) == corpus.files
    assert f"continuing from {manifest.checkpoints_of(out)}" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".py") == ["out"], "nothing else is left"


def test_stopped_after_every_portion_and_run_again_it_writes_the_same_bytes(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As after a kill at any moment of the first pass, but quick: each run does five portions."""
    write, out, runs = parts.write_part, tmp_path / "out", 0
    for _ in range(20):
        runs += 1
        done = []

        def write_five(*args: Any, done: list[int] = done) -> None:
            if len(done) == 5:
                raise KeyboardInterrupt
            write(*args)
            done.append(1)

        with monkeypatch.context() as patched, suppress(KeyboardInterrupt):
            patched.setattr(first_pass, "write_part", write_five)
            assert run(corpus.settings, out) == corpus.metrics
            break
    assert 3 <= runs < 20, "as many as the portions need"
    assert files_of(out) == corpus.files
    assert "portions were cleaned before" in capsys.readouterr().err


@pytest.mark.parametrize("left", [0, 3, 3000])
def test_a_part_that_a_power_failure_cut_off_is_made_again(corpus: Corpus, tmp_path: Path, left: int) -> None:
    out = tmp_path / "out"
    run(corpus.settings, out, rank=0, of=2)
    folder = manifest.checkpoints_of(out) / clean.PARTS
    for part in sorted(folder.glob(f"*{parts.SUFFIX}"))[:3]:
        part.write_bytes(part.read_bytes()[:left])
    assert run(corpus.settings, out) == corpus.metrics
    assert files_of(out) == corpus.files


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    return [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc to see processes")
def test_workers_end_with_the_run_that_is_killed(corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "out"
    running = started(corpus, out, workers=2)
    folder, pattern, _ = ready(out, "in the first pass")
    while not list(folder.glob(pattern)):
        assert running.poll() is None, running.stderr and running.stderr.read()
        time.sleep(0.002)
    workers = children(running.pid)
    assert len(workers) >= 2
    running.kill()
    running.wait()
    end = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
    assert run(corpus.settings, out) == corpus.metrics
    assert files_of(out) == corpus.files


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0)])
def test_ranks_and_the_run_that_joins_them_write_the_same_bytes(
    corpus: Corpus, tmp_path: Path, order: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where a rank was forgotten or failed: the last run does what is missing."""
    out = tmp_path / "out"
    shares = [run(corpus.settings, out, rank=rank, of=3) for rank in order]
    assert not out.exists() and not manifest.partial_of(out).exists()
    done = len(list((manifest.checkpoints_of(out) / clean.PARTS).glob(f"*{parts.SUFFIX}")))
    assert done == sum(share["portions"] for share in shares) > 6
    assert "run the same command without --rank" in capsys.readouterr().err
    assert run(corpus.settings, out) == corpus.metrics
    said = capsys.readouterr().err
    assert f"{done} of " in said and "portions were cleaned before" in said
    assert files_of(out) == corpus.files
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_a_rank_twice_does_nothing_twice(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    once = run(corpus.settings, out, rank=1, of=3)
    monkeypatch.setattr("zhllm.text.clean.first_pass.clean_portion", lambda work: pytest.fail("was done before"))
    assert run(corpus.settings, out, rank=1, of=3) == once


@pytest.mark.parametrize("other", [{"seed": 7}, {"profile": "document"}, {"keep_pii": ("email",)}, {"against": ()}])
def test_a_rank_with_other_settings_is_refused(corpus: Corpus, tmp_path: Path, other: dict[str, Any]) -> None:
    out = tmp_path / "out"
    run(corpus.settings, out, rank=0, of=30)
    with pytest.raises(ConfigError, match="out.checkpoints: holds work on other settings or inputs. Delete it"):
        run(corpus.settings, out, **other, rank=1, of=30)
    run(corpus.settings, out, rank=1, of=30)


def test_a_rank_beyond_the_last_is_refused(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--rank 3 --of 3: ranks count from 0 to 2"):
        run(corpus.settings, tmp_path / "out", rank=3, of=3)


@pytest.mark.slow
def test_ray_writes_the_same_bytes(corpus: Corpus, tmp_path: Path) -> None:
    """In a process of its own, as Ray leaves threads behind; its tasks find the package as workers do."""
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'zhllm[cluster]')")
    running = started(corpus, tmp_path / "out", workers=2, engine="ray")
    said = running.communicate(timeout=300)
    assert running.returncode == 0 and "done" in said[0], said[1][-3000:]
    assert files_of(tmp_path / "out") == corpus.files


@pytest.mark.slow
def test_an_error_in_a_task_of_ray_is_the_error_itself() -> None:
    pytest.importorskip("ray", reason="Ray is not installed (pip install 'zhllm[cluster]')")
    code = (
        "import json\nfrom zhllm.text.parallel import map_in_order\n"
        "assert list(map_in_order(json.loads, ['1', '2', '3'], 2, 'ray')) == [1, 2, 3]\n"
        "try:\n    list(map_in_order(json.loads, ['1', '甲'], 1, 'ray'))\n"
        "except ValueError as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == "JSONDecodeError Expecting value: line 1 column 1 (char 0)"


def test_the_order_of_results_is_that_of_the_items() -> None:
    assert list(map_in_order(abs, range(-20, 20), 2)) == [abs(n) for n in range(-20, 20)]


def test_a_worker_that_is_killed_is_told_in_one_line() -> None:
    with pytest.raises(StageError, match="a worker process was killed, .*fewer --workers") as failed:
        list(map_in_order(os._exit, [9, 9, 9], 2))
    assert "\n" not in str(failed.value)


class FullDisk:
    """Writes of pyarrow fail from the n-th on; what is called on it otherwise is the real thing's."""

    def __init__(self, real: Any, left: int) -> None:
        self.real, self.left = real, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def __enter__(self) -> FullDisk:
        self.real.__enter__()
        return self

    def __exit__(self, *args: Any) -> Any:
        return self.real.__exit__(*args)

    def write_table(self, *args: Any) -> None:
        if not self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.left -= 1
        self.real.write_table(*args)

    write_batch = write_table


def fail_on_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the fifth part on, when half of it stands on the disk."""
    real, opened = parts.pa.ipc.new_file, []

    def new_file(*args: Any) -> Any:
        opened.append(args)
        return FullDisk(real(*args), 0) if len(opened) > 4 else real(*args)

    monkeypatch.setattr(parts.pa.ipc, "new_file", new_file)


def fail_on_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    real = last_pass.parquet_writer
    monkeypatch.setattr(last_pass, "parquet_writer", lambda *args: FullDisk(real(*args), 1))


def fail_on_sketches(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)


def fail_on_report(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **settings: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("zhllm.stages._clean_report.write_report", full)


@pytest.mark.parametrize(
    ("fail", "named"),
    [
        (fail_on_parts, ".arrow"), (fail_on_sketches, "sketches"), (fail_on_shards, "out.partial"),
        (fail_on_report, "out.partial"),
    ],
)  # fmt: skip
def test_on_a_full_disk_it_says_so_in_a_line_and_goes_on_later(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    fail: Callable[[pytest.MonkeyPatch], None], named: str,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    with monkeypatch.context() as patched, pytest.raises(StageError, match="cannot be written .*No space") as failed:
        fail(patched)
        run(corpus.settings, out)
    message = str(failed.value)
    assert "\n" not in message and named in message and "run the same command again" in message
    assert not out.exists()
    assert not list(manifest.checkpoints_of(out).rglob("*.partial")), "half a part is not left"
    capsys.readouterr()
    assert run(corpus.settings, out) == corpus.metrics
    assert "portions were cleaned before" in capsys.readouterr().err
    assert files_of(out) == corpus.files


LIMITED = """
import resource, signal, sys
from zhllm.cli import main
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({bytes}, resource.RLIM_INFINITY))
main(sys.argv[1:])
"""


@pytest.mark.slow
def test_a_disk_that_is_really_full_gives_one_line(tmp_path: Path) -> None:
    """The system itself refuses to write more bytes into a file."""
    rng = random.Random(1)
    source = write_jsonl(tmp_path / "a.jsonl", [{"text": dirt.document(rng)} for _ in range(100)])
    words = [sys.executable, "-c", LIMITED.format(bytes=20_000), "clean", "--documents", str(source)]
    done = subprocess.run([*words, "-o", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "cannot be written (" in done.stderr and not (tmp_path / "out").exists()


# VmHWM and not ru_maxrss, which begins with the memory of the process that started this one.
PEAK = """
import re, resource, sys
from pathlib import Path
from zhllm import stage
from zhllm.stages import clean
if __name__ == "__main__":
    config = clean.CleanConfig(documents=(Path(sys.argv[1]),), language="any", workers=int(sys.argv[3]), valid_share=0)
    stage.execute(clean.STAGE, config, Path(sys.argv[2]))
    own = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())
    print(int(own[1]) // 1024, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
MAX_PEAK_MB = 600


def sparse_line(path: Path) -> None:
    """300 MB in one line, mostly a hole in the file."""
    with path.open("wb") as file:
        file.write(b'{"text": "')
        file.truncate(300_000_000)
        file.seek(0, 2)
        file.write(b'"}\n')


def long_line(path: Path) -> None:
    """300 MB of Chinese in one line."""
    some = ("第一条　印章由行政部统一保管，外借须登记。" * 100).encode()
    with path.open("wb") as file:
        file.write(b'{"text": "')
        for _ in range(300_000_000 // len(some)):
            file.write(some)
        file.write(b'"}\n')


def bomb(path: Path) -> None:
    """1 GB of zeros in 1 MB."""
    zeros = bytes(1_000_000)
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(1000):
            file.write(zeros)


def bomb_of_lines(path: Path) -> None:
    """1 GB of records in 1 MB."""
    some = b'{"text": "' + b"a" * 999_000 + b'"}\n'
    with gzip.open(path, "wb") as file:
        for _ in range(1000):
            file.write(some)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc to see memory")
@pytest.mark.parametrize(
    ("make", "name", "workers", "message"),
    [
        (sparse_line, "a.jsonl", 1, "the line has 300,000,"), (long_line, "a.jsonl", 2, "the line has 29"),
        (long_line, "a.json", 1, "the line has 29"), (bomb, "a.jsonl.gz", 1, "expands more than 200-fold"),
        (bomb, "a.txt.gz", 2, "200-fold"), (bomb_of_lines, "a.jsonl.gz", 1, "expands more than 200-fold"),
    ],
)  # fmt: skip
def test_memory_is_bounded_whatever_the_size(
    tmp_path: Path, make: Callable[[Path], None], name: str, workers: int, message: str
) -> None:
    folder, rng = tmp_path / "in", random.Random(1)
    folder.mkdir()
    make(folder / name)
    write_jsonl(folder / "z.jsonl", [{"text": dirt.document(rng)} for _ in range(5)])
    (tmp_path / "peak.py").write_text(PEAK, encoding="utf-8")
    words = [sys.executable, str(tmp_path / "peak.py"), str(folder), str(tmp_path / "out"), str(workers)]
    start = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - start < 60
    assert all(int(used) <= MAX_PEAK_MB for used in done.stdout.split()), done.stdout
    found = pl.read_parquet(tmp_path / "out" / "rejected-*.parquet")
    assert [row["reason"] for row in found.to_dicts() if message in row["detail"]] == ["unreadable"]
    assert pl.read_parquet(tmp_path / "out" / "train-*.parquet").filter(pl.col("source") == "z.jsonl").height == 5
