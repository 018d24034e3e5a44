"""What a stage is, and the one way a stage is executed: up to date, or written whole, or not at all."""

from __future__ import annotations

import errno
import importlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from zhllm import __version__, manifest, ranks
from zhllm.config import Config, Role, input_paths, named_input_paths, nearest, role_of
from zhllm.errors import ConfigError, StageError
from zhllm.progress import say

Metrics = dict[str, Any]
KEY_FILE = "key.json"


@dataclass(frozen=True)
class Stage:
    """One command that writes a folder.

    `run(config, out)` writes into the existing empty folder `out` and returns the metrics that
    the manifest keeps. Raise `version` whenever the same config and inputs give other bytes. A
    `resumable` stage keeps checkpoints in `manifest.checkpoints_of(out)`. `share` does the part of one
    rank (a config's `rank` of `of`) of a stage that many machines work on: it writes checkpoints only,
    which `run` then finds. A `parallel` stage may run in several processes of one launcher at once; its
    `run` writes in the main one only. `table` gives what to print of a finished folder instead of its metrics.
    """

    name: str
    version: int
    config: type[Config]
    run: Callable[[Any, Path], Metrics]
    resumable: bool = False
    share: Callable[[Any, Path], Metrics] | None = None
    parallel: bool = False
    table: Callable[[Path], list[str]] | None = None


@dataclass(frozen=True)
class Result:
    """What `execute` did: the folder's manifest, and whether it was already up to date."""

    manifest: manifest.Manifest
    was_up_to_date: bool


def load(name: str) -> Stage:
    """The `STAGE` of a command by its name, e.g. "extend-vocab"."""
    from zhllm.commands import STAGES

    if name not in STAGES:
        raise ConfigError(f'"{name}" is not a stage.{nearest(name, list(STAGES))}')
    stage: Stage = importlib.import_module(f"zhllm.stages.{name.replace('-', '_')}").STAGE
    return stage


def check_inputs(config: Config) -> None:
    """Raise ConfigError when a path the config names as input does not exist."""
    for field, path in input_paths(config):
        if not path.exists():
            raise ConfigError(f"--{field.replace('_', '-')} {path}: there is no such file or folder.")


def check_apart(config: Config, out: Path) -> None:
    """Raise ConfigError when the output would lie inside an input, which it would then change."""
    for field, path in input_paths(config):
        if out.resolve().is_relative_to(path.resolve()):
            raise ConfigError(f"-o {out}: lies inside --{field.replace('_', '-')} {path}. Choose a folder outside it.")


def settings_of(config: Config) -> dict[str, Any]:
    """What of a config the key holds as it is: neither paths nor what only changes the speed."""
    return {
        name: value
        for name, value in config.model_dump(mode="json").items()
        if role_of(type(config), name) not in (Role.INPUT, Role.RUNTIME)
    }


def key_of(stage: Stage, config: Config) -> dict[str, Any]:
    """The manifest key: stage, version, settings, and the digest of every input."""
    inputs: dict[str, list[str]] = {}
    for field, name, path in named_input_paths(config):
        inputs.setdefault(field, []).append(f"{name}={manifest.digest(path)}" if name else manifest.digest(path))
    return {"stage": stage.name, "version": stage.version, "config": settings_of(config), "inputs": inputs}


def up_to_date(out: Path, key: dict[str, Any]) -> manifest.Manifest | None:
    """The manifest of `out` when it was made with this key and its files are still there."""
    found = manifest.read(out)
    if found is None or found.key != key or manifest.changed_files(out, found):
        return None
    return found


def execute(stage: Stage, config: Config, out: Path) -> Result:
    """Bring `out` up to date: nothing to do, or the stage's whole output, or an exception.

    While it runs the output stands in `<out>.partial`; a failed stage leaves only that.
    """
    check_inputs(config)
    check_apart(config, out)
    manifest.check_replaceable(out, stage.name)
    key = key_of(stage, config)
    found = up_to_date(out, key)
    if found is not None:
        return Result(found, was_up_to_date=True)
    if ranks.count() > 1 and not stage.parallel:
        raise ConfigError(f"{stage.name} works in one process; start it without torchrun or accelerate launch.")
    if not ranks.is_main():
        return _follow(stage, config, out, key)
    if stage.share is not None and getattr(config, "rank", None) is not None:
        return _make_share(stage.share, config, out, key)
    with manifest.locked(out):
        return _make(stage, config, out, key)


def _follow(stage: Stage, config: Config, out: Path, key: dict[str, Any]) -> Result:
    """Do another process's part of a stage whose folder the main process writes."""
    metrics = stage.run(config, manifest.partial_of(out))
    return Result(manifest.Manifest(key, {}, {}, metrics, _made_by(config, 0.0)), was_up_to_date=False)


def _make_share(share: Callable[[Any, Path], Metrics], config: Config, out: Path, key: dict[str, Any]) -> Result:
    """Do one rank's part beside the others: several may write checkpoints of one key at a time."""
    _join_checkpoints(key, manifest.checkpoints_of(out))
    start = time.perf_counter()
    metrics = share(config, out)
    seconds = round(time.perf_counter() - start, 3)
    return Result(manifest.Manifest(key, {}, {}, metrics, _made_by(config, seconds)), was_up_to_date=False)


def _join_checkpoints(key: dict[str, Any], folder: Path) -> None:
    """Be the first in a folder of checkpoints, or find that it has the same key; else ConfigError."""
    path = folder / KEY_FILE
    text = json.dumps(key, ensure_ascii=False, sort_keys=True)
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / f"{KEY_FILE}.{platform.node()}.{os.getpid()}"
    own.write_text(text, encoding="utf-8")
    try:
        path.hardlink_to(own)  # one of several ranks succeeds, and the file is whole at once
    except FileExistsError:
        if path.read_text(encoding="utf-8") != text:
            raise ConfigError(
                f"{folder}: holds work on other settings or inputs. Delete it, or choose another -o."
            ) from None
    finally:
        own.unlink()


def _make(stage: Stage, config: Config, out: Path, key: dict[str, Any]) -> Result:
    """Run the stage into the partial folder and give it its name."""
    _report_change(out, key)
    partial = manifest.start_partial(out)
    start = time.perf_counter()
    try:
        if stage.resumable:
            _claim_checkpoints(key, manifest.checkpoints_of(out))
        metrics = stage.run(config, partial)
        seconds = round(time.perf_counter() - start, 3)
        made = manifest.finish(partial, out, key, metrics, _made_by(config, seconds))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StageError(
            f"-o {out}: the disk is full ({error.filename or error.strerror}). Nothing was finished. Free some "
            "space, or choose another disk, and run the same command again."
        ) from error
    finally:
        _drop_empty(partial, manifest.MARK)
        _drop_empty(manifest.checkpoints_of(out), KEY_FILE)
    shutil.rmtree(manifest.checkpoints_of(out), ignore_errors=True)
    aside = _aside_of(manifest.checkpoints_of(out))
    for left in (aside, aside.with_name(aside.name + ".swap")):
        shutil.rmtree(left, ignore_errors=True)
    return Result(made, was_up_to_date=False)


def _drop_empty(folder: Path, mark: str) -> None:
    """Delete a folder of ours that a failed stage left with nothing in it but our mark, and files that are empty."""
    if not (folder / mark).is_file():
        return
    if all(path.stat().st_size == 0 for path in folder.rglob("*") if path.is_file() and path != folder / mark):
        shutil.rmtree(folder, ignore_errors=True)


def _report_change(out: Path, key: dict[str, Any]) -> None:
    """Say so when a folder is made again only because its files are not what the stage wrote."""
    found = manifest.read(out)
    changed = manifest.changed_files(out, found) if found is not None and found.key == key else []
    if changed:
        say(f"{out}: {', '.join(changed[:3])} changed after the stage wrote it; making the folder again")


def _claim_checkpoints(key: dict[str, Any], folder: Path) -> None:
    """Keep checkpoints of the same key, also those set aside; set those of another config, input or version aside."""
    text = json.dumps(key, ensure_ascii=False, sort_keys=True)
    if _is_of(folder, text):
        say(f"continuing from {folder}")
        return
    aside = _aside_of(folder)
    has_work = folder.is_dir() and any(path.name != KEY_FILE for path in folder.iterdir())
    if _is_of(aside, text):
        _swap(folder, aside, has_work)
        say(f"continuing from {folder}, which was set aside for other settings")
        return
    if has_work:
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        say(
            f"{folder}: made with other settings or inputs; starting anew. They are kept in {aside} until this is "
            "finished: until then the same command as before continues them."
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / KEY_FILE).write_text(text, encoding="utf-8")


def _is_of(folder: Path, key: str) -> bool:
    """Whether checkpoints are of this key."""
    path = folder / KEY_FILE
    return path.is_file() and path.read_text(encoding="utf-8") == key


def _aside_of(folder: Path) -> Path:
    """Where checkpoints of other settings wait until the folder is finished: somebody may want them yet."""
    return folder.with_name(folder.name + ".old")


def _swap(folder: Path, aside: Path, has_work: bool) -> None:
    """Put back what was set aside, and set the present work aside, if there is any."""
    between = aside.with_name(aside.name + ".swap")
    shutil.rmtree(between, ignore_errors=True)
    if has_work:
        folder.rename(between)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    if has_work:
        between.rename(aside)


VERSIONS_OF = ("numpy", "polars", "sentencepiece", "tokenizers", "torch", "transformers", "peft", "gguf")


def _made_by(config: Config, seconds: float) -> dict[str, Any]:
    versions = {"zhllm": __version__, "python": platform.python_version()}
    for name in VERSIONS_OF:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    inputs: dict[str, list[str]] = {}
    for field, path in input_paths(config):
        inputs.setdefault(field, []).append(str(path))
    return {
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}",
        "input_paths": inputs,
        "seconds": seconds,
    }
