"""What a stage wrote and from what: the only hand-over between stages.

`manifest.json` = `key` {stage, version, config, inputs}, `files` {name: sha256}, `bytes`
{name: size}, `metrics`, `made_by`. A folder is up to date exactly when its key is equal and its
files are still there; it is written last, in `<out>.partial`, which then takes the name `<out>`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from zhllm.errors import ConfigError, DataError

NAME = "manifest.json"
LOGS = "logs"  # times and traces of a run, never the same twice: in the folder, not in the manifest
CARD = "README.md"  # a model's card, which people edit and `zhllm report` writes scores into: not in the manifest
MARK = ".zhllm"  # stands in a partial folder from its first moment: the folder is ours to delete


@dataclass(frozen=True)
class Manifest:
    """The content of one `manifest.json`."""

    key: dict[str, Any]
    files: dict[str, str]
    bytes: dict[str, int]
    metrics: dict[str, Any]
    made_by: dict[str, Any]


def read(folder: Path) -> Manifest | None:
    """The manifest of a folder, or None where there is none; raises DataError when it is broken."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        return Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path}: is not a manifest that zhllm wrote. Choose another folder, or make this one again."
        ) from error


def changed_files(folder: Path, manifest: Manifest) -> list[str]:
    """Names in the manifest whose file is gone or has another size now."""
    return [
        name
        for name, size in manifest.bytes.items()
        if not (folder / name).is_file() or (folder / name).stat().st_size != size
    ]


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; a file that has not changed is read once a process."""
    version = _version_of(path)
    if version not in _digests:
        with path.open("rb") as file:
            _digests[version] = hashlib.file_digest(file, "sha256").hexdigest()
    return _digests[version]


def remember_digest(path: Path, digest: str) -> None:
    """Spare `digest_file` a file, as long as it does not change: its writer has read the bytes back and hashed them."""
    _digests[_version_of(path)] = digest


_digests: dict[tuple[Path, int, int, int], str] = {}


def _version_of(path: Path) -> tuple[Path, int, int, int]:
    stat = path.stat()
    return path.resolve(), stat.st_size, stat.st_mtime_ns, stat.st_ino


def _digest_map(files: Mapping[str, str]) -> str:
    text = json.dumps(dict(sorted(files.items())), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()  # names may be no UTF-8


def _digest_if_readable(path: Path) -> str:
    """The digest of a file in a folder; of one that may not be read, its size, so that the stage can list it."""
    try:
        return digest_file(path)
    except OSError:
        return f"unreadable, {path.stat().st_size} bytes"


def digest(path: Path) -> str:
    """Digest of an input: a file's bytes, or a folder's map of names to file digests.

    A folder that a stage wrote is not read again: its manifest holds the map. Raises DataError
    when such a folder no longer holds what its manifest says.
    """
    if path.is_file():
        return digest_file(path)
    manifest = read(path)
    if manifest is None:
        names = sorted(p for p in path.rglob("*") if p.is_file())
        return _digest_map({p.relative_to(path).as_posix(): _digest_if_readable(p) for p in names})
    changed = changed_files(path, manifest)
    if changed:
        raise DataError(
            f"{path}: {', '.join(changed[:3])} changed after the stage wrote it "
            f"({len(changed)} of {len(manifest.files)} files). Delete the folder and make it again."
        )
    return _digest_map(manifest.files)


def look_for(was: str, wanted: str, *beside: Path) -> tuple[Path | None, dict[Path, str]]:
    """The stage's folder that a manifest names by a path and a digest, also after the whole run was moved or copied.

    Looked for where it stood (`was`), then by its name beside each of the folders `beside`. Returns the first with that
    digest, or None, and what is wrong with each place that was looked at before.
    """
    looked: dict[Path, str] = {}
    name, seen = Path(was).name, set()
    for place in [Path(was), *(_parent_of(folder) / name for folder in beside)] if name else []:
        if place.resolve() in seen:
            continue
        seen.add(place.resolve())
        wrong = _differs(place, wanted)
        if not wrong:
            return place, looked
        looked[place] = wrong
    return None, looked


NOT_COMPARED = "not compared: no stage wrote it"


def _differs(place: Path, wanted: str) -> str:
    """Why a place does not hold the stage's folder of that digest; "" where it does."""
    try:
        if not place.exists():
            return "not there"
        if not (place / NAME).is_file():
            return NOT_COMPARED
        return "" if digest(place) == wanted else "another digest"
    except DataError:
        return "changed after the stage wrote it"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _parent_of(folder: Path) -> Path:
    return folder.parent if folder.name not in ("", "..") else folder.resolve().parent


def check_trained_on(
    adapter: Path, base: Path, given: str | None = None, is_merge: Callable[[Path], bool] | None = None
) -> None:
    """DataError where an adapter's manifest names another model than `base` as the one it was trained on.

    An adapter without a manifest is another tool's. `given` is the digest of `base`; without it, a base without a
    manifest that stands where that model stood is not read whole to compare. Of adapters that are merged one after
    the other, `is_merge` says whether a folder is the merge of `base` and those before this one: that will do too.
    """
    made = read(adapter) if adapter.is_dir() else None
    trained_on = made.key.get("inputs", {}).get("model") if made is not None else None
    if made is None or not trained_on:
        return
    was = (made.made_by.get("input_paths", {}).get("model") or [""])[0]
    if given is None and was and Path(was).resolve() == base.resolve() and read(base) is None:
        return
    given = given or digest(base)
    if given == trained_on[0]:
        return
    place, looked = look_for(was, trained_on[0], adapter, base)
    if place is not None and is_merge is not None and is_merge(place):
        return
    raise DataError(
        f"{adapter}: was trained on another model ({was or '?'}, digest {trained_on[0][:12]}) than {base} "
        f"(digest {given[:12]}). {_advice(adapter, base, place, looked, is_merge is not None)}"
    )


def _advice(adapter: Path, base: Path, place: Path | None, looked: Mapping[Path, str], is_stacked: bool) -> str:
    merge = f"the merge of {base} and the adapters before this one"
    if place is not None:
        return f"{f'{place} is not {merge}. ' if is_stacked else ''}Give the model it was trained on: {place}."
    places = ", ".join(f"{at} ({wrong})" for at, wrong in looked.items()) or "its manifest has no path"
    return (
        f"That model was looked for and is not at hand: {places}. "
        + (f"Without it nobody can tell whether it is {merge}. " if is_stacked else "")
        + f"Put it beside {adapter}, or give the model it was trained on."
    )


def partial_of(out: Path) -> Path:
    """Where a stage writes before its folder gets its name."""
    return out.with_name(out.name + ".partial")


def start_partial(out: Path) -> Path:
    """An empty partial folder for `out`, marked as ours; ConfigError where it cannot be or is not ours."""
    partial = partial_of(out)
    if partial.exists() and not (partial / MARK).is_file() and (partial.is_file() or any(partial.iterdir())):
        raise ConfigError(f"{partial}: exists and was not written by zhllm. Move it away, or choose another -o.")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / MARK).touch()
    except OSError as error:
        raise ConfigError(f"-o {out}: cannot be written ({error.strerror}). Choose another folder.") from error
    return partial


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep every other process from writing `out` meanwhile; ConfigError when one does.

    The system drops the lock when its process ends, however it ends.
    """
    path = out.with_name(out.name + ".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise ConfigError(f"-o {out}: cannot be written ({error.strerror}). Choose another folder.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"{out}: another zhllm is writing it now. Wait for it, or choose another -o.") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def checkpoints_of(out: Path) -> Path:
    """Where a long stage keeps what it needs to continue; `out` may be the partial folder."""
    return out.with_name(out.name.removesuffix(".partial") + ".checkpoints")


def check_replaceable(out: Path, stage: str) -> None:
    """Raise ConfigError when `out` holds something this stage did not write."""
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"{out}: is a file; give a folder that zhllm may write.")
    manifest = read(out)
    if manifest is None and any(out.iterdir()):
        raise ConfigError(f"{out}: exists and was not written by zhllm. Choose another folder.")
    if manifest is not None and manifest.key.get("stage") != stage:
        raise ConfigError(
            f"{out}: holds the output of {manifest.key.get('stage')}, not of {stage}. Choose another folder."
        )


def finish(partial: Path, out: Path, key: dict[str, Any], metrics: dict[str, Any], made_by: dict[str, Any]) -> Manifest:
    """Hash what stands in `partial`, write its manifest, and give the folder its name.

    An older folder of that name is replaced only after the new one is complete.
    """
    (partial / MARK).unlink(missing_ok=True)
    paths = sorted(
        p for p in partial.rglob("*") if p.is_file() and p != partial / CARD and partial / LOGS not in p.parents
    )
    names = {p.relative_to(partial).as_posix(): p for p in paths}
    manifest = Manifest(
        key=key,
        files={name: digest_file(path) for name, path in names.items()},
        bytes={name: path.stat().st_size for name, path in names.items()},
        metrics=metrics,
        made_by=made_by,
    )
    text = json.dumps(asdict(manifest), ensure_ascii=False, indent=1, allow_nan=False)
    # A path that is not UTF-8 holds lone surrogates: as JSON writes them.
    (partial / NAME).write_bytes((text + "\n").encode("utf-8", "backslashreplace"))
    old = out.with_name(out.name + ".replaced")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)
    return manifest
