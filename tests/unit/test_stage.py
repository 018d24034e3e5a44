"""A stage's folder: up to date, or written whole, or not there."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import Field

from zhllm import manifest
from zhllm.config import Config, InputPath
from zhllm.errors import ConfigError, DataError, StageError
from zhllm.stage import Metrics, Stage, execute


class CopyConfig(Config):
    source: InputPath = Field(description="A file.")
    times: int = Field(1, description="How often.")


def _copy(config: CopyConfig, out: Path) -> dict[str, int]:
    (out / "copy.txt").write_text(config.source.read_text() * config.times)
    if config.times == 13:
        raise StageError("thirteen")
    return {"times": config.times}


COPY = Stage("copy", 1, CopyConfig, _copy)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.txt"
    path.write_text("文")
    return path


def test_a_second_run_is_up_to_date_and_a_changed_input_is_not(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    assert not execute(COPY, CopyConfig(source=source), out).was_up_to_date
    assert execute(COPY, CopyConfig(source=source), out).was_up_to_date
    source.write_text("字")
    assert not execute(COPY, CopyConfig(source=source), out).was_up_to_date
    assert (out / "copy.txt").read_text() == "字"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "source.txt"]


def test_the_same_input_under_another_name_is_up_to_date(tmp_path: Path, source: Path) -> None:
    execute(COPY, CopyConfig(source=source), tmp_path / "out")
    moved = source.rename(tmp_path / "moved.txt")
    assert execute(COPY, CopyConfig(source=moved), tmp_path / "out").was_up_to_date


def test_a_failing_stage_leaves_only_its_partial_folder(tmp_path: Path, source: Path) -> None:
    with pytest.raises(StageError, match="thirteen"):
        execute(COPY, CopyConfig(source=source, times=13), tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.partial", "source.txt"]


def test_a_stage_that_refuses_its_input_leaves_nothing(tmp_path: Path, source: Path) -> None:
    def refuse(config: CopyConfig, out: Path) -> Metrics:
        (out / "chats").mkdir()
        (out / "chats" / "rejected.jsonl").touch()
        raise DataError("not this")

    with pytest.raises(DataError, match="not this"):
        execute(replace(COPY, run=refuse, resumable=True), CopyConfig(source=source), tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source.txt"]


def test_a_full_disk_is_one_line_also_where_the_manifest_is_written(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "manifest.json")

    monkeypatch.setattr("zhllm.manifest.finish", full)
    with pytest.raises(StageError, match=r"the disk is full \(manifest.json\)\. Nothing was finished\. Free some"):
        execute(COPY, CopyConfig(source=source), tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.partial", "source.txt"]


def test_a_failing_rerun_keeps_the_folder_that_was_there(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    execute(COPY, CopyConfig(source=source), out)
    with pytest.raises(StageError):
        execute(COPY, CopyConfig(source=source, times=13), out)
    assert (out / "copy.txt").read_text() == "文"
    assert execute(COPY, CopyConfig(source=source), out).was_up_to_date


def test_foreign_folders_are_never_replaced(tmp_path: Path, source: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="was not written by zhllm"):
        execute(COPY, CopyConfig(source=source), precious)
    execute(COPY, CopyConfig(source=source), tmp_path / "out")
    other = Stage("other", 1, CopyConfig, _copy)
    with pytest.raises(ConfigError, match="output of copy, not of other"):
        execute(other, CopyConfig(source=source), tmp_path / "out")


def test_a_folder_changed_behind_our_back_is_noticed(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    execute(COPY, CopyConfig(source=source), out)
    (out / "copy.txt").write_text("something longer")
    with pytest.raises(DataError, match=r"copy\.txt changed after the stage wrote it"):
        manifest.digest(out)
    assert not execute(COPY, CopyConfig(source=source), out).was_up_to_date


def test_a_missing_input_is_named_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--source .*nowhere: there is no such file or folder"):
        execute(COPY, CopyConfig(source=tmp_path / "nowhere"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_says_what_was_written_and_from_what(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    execute(COPY, CopyConfig(source=source, times=2), out)
    content = json.loads((out / "manifest.json").read_text())
    assert content["key"] == {
        "stage": "copy",
        "version": 1,
        "config": {"times": 2},
        "inputs": {"source": [manifest.digest_file(source)]},
    }
    assert content["files"] == {"copy.txt": manifest.digest_file(out / "copy.txt")}
    assert content["metrics"] == {"times": 2}


def test_an_output_inside_its_input_is_refused(tmp_path: Path, source: Path) -> None:
    with pytest.raises(ConfigError, match=r"lies inside --source"):
        execute(COPY, CopyConfig(source=tmp_path), tmp_path / "out")


def test_a_folder_being_written_is_locked(tmp_path: Path, source: Path) -> None:
    out = tmp_path / "out"
    with manifest.locked(out), pytest.raises(ConfigError, match="another zhllm is writing it now"):
        execute(COPY, CopyConfig(source=source), out)
    assert not execute(COPY, CopyConfig(source=source), out).was_up_to_date


def test_a_partial_folder_that_is_not_ours_is_never_deleted(tmp_path: Path, source: Path) -> None:
    precious = tmp_path / "out.partial"
    precious.mkdir()
    (precious / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match="was not written by zhllm"):
        execute(COPY, CopyConfig(source=source), tmp_path / "out")
    assert (precious / "thesis.txt").read_text() == "x"
