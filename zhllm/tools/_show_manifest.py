"""Manifests and other JSON for people: a stage's settings, inputs, files and metrics, and where the inputs are from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from zhllm import manifest
from zhllm.errors import DataError
from zhllm.manifest import Manifest
from zhllm.tools._show_view import Block, Cell, Facts, Heading, Table, Words

DIGITS = 12  # of a digest: enough to tell two apart
# Lines of one JSON object; the file itself has the rest.
_MAX_LINES = 300


def manifest_blocks(folder: Path) -> Iterator[Block]:
    """The manifest of a folder; DataError where there is none or it is broken."""
    found = manifest.read(folder)
    if found is None:
        raise DataError(f"{folder}: has no {manifest.NAME}: no stage of zhllm wrote it.")
    yield Heading(f"{folder / manifest.NAME}")
    try:
        yield from _parts(folder, found)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{folder / manifest.NAME}: is damaged ({type(error).__name__}: {error}).") from error


def _parts(folder: Path, found: Manifest) -> Iterator[Block]:
    made = {**found.made_by}
    paths, versions = made.pop("input_paths", {}), made.pop("versions", {})
    stage = f"{found.key['stage']} (version {found.key.get('version')})"
    yield Facts([("stage", stage), *flattened(made), ("versions", ", ".join(f"{k} {v}" for k, v in versions.items()))])
    yield Facts(flattened(found.key.get("config", {})), "settings")
    yield from _inputs(folder, found, paths)
    changed = set(manifest.changed_files(folder, found))
    rows = [
        (name, f"{found.bytes.get(name, 0):,} bytes", digest[:DIGITS], "gone or changed" if name in changed else "")
        for name, digest in found.files.items()
    ]
    yield Table(["file", "size", "sha256", ""], rows, "files")
    if changed:
        yield Words(f"{len(changed)} of {len(rows)} files are gone or changed since: make the folder again", True)
    yield Facts(flattened(found.metrics), "metrics")


def _inputs(folder: Path, found: Manifest, paths: Mapping[str, list[str]]) -> Iterator[Block]:
    rows = list(_lineage(folder, found, paths, 0, set()))
    if rows:
        yield Table(["input", "path", "made by", "digest", ""], rows, "made from")


def _lineage(
    folder: Path, found: Manifest, paths: Mapping[str, list[str]], depth: int, seen: set[str]
) -> Iterator[tuple[Cell, ...]]:
    """A row for each input, those that it was made from below it; what was shown once is not opened again."""
    for name, digests in found.key.get("inputs", {}).items():
        given = paths.get(name, [])
        for place, digest in enumerate(digests):
            path = given[place] if place < len(given) else "?"
            source, stage, state = _upstream(folder, path, digest)
            repeated = digest in seen
            yield ("\u3000" * depth + name, path, stage, digest[:DIGITS], "see above" if repeated else state)
            seen.add(digest)
            upstream = None if source is None or repeated else manifest.read(source)
            if source is not None and upstream is not None:
                yield from _lineage(source, upstream, upstream.made_by.get("input_paths", {}), depth + 1, seen)


def _upstream(folder: Path, path: str, digest: str) -> tuple[Path | None, str, str]:
    """(folder of a stage, stage, remark) of an input; found by its path, or beside `folder` by its name."""
    remark = ""
    for candidate in dict.fromkeys((Path(path), folder.parent / Path(path).name)):
        if not candidate.exists():
            continue
        found = manifest.read(candidate) if candidate.is_dir() else None
        if found is None:
            remark = remark or "no stage's folder: not compared"
            continue
        if not manifest.changed_files(candidate, found) and manifest.digest(candidate) == digest:
            return candidate, str(found.key.get("stage")), "as it was read"
        remark = "changed since it was read"
    return None, "", remark or "not here"


def flattened(values: Any, name: str = "") -> list[tuple[str, Cell]]:
    """A JSON value as dotted names and values; lists of plain values on one line."""
    if isinstance(values, dict) and values:
        return [row for key, value in values.items() for row in flattened(value, f"{name}.{key}" if name else str(key))]
    if isinstance(values, list) and any(isinstance(value, dict | list) for value in values):
        return [row for i, value in enumerate(values) for row in flattened(value, f"{name}[{i}]")]
    if isinstance(values, list | dict):
        return [(name, ", ".join(map(str, values)) or "none")]
    if values is None or isinstance(values, bool):
        return [(name, {None: "–", True: "yes", False: "no"}[values])]
    return [(name, values)]


def json_blocks(path: Path) -> Iterator[Block]:
    """A JSON object (a report, scores, a config) as names and values."""
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}).") from error
    rows = flattened(values)
    yield Facts(rows[:_MAX_LINES])
    if len(rows) > _MAX_LINES:
        yield Words(f"… {len(rows) - _MAX_LINES:,} more values in {path}")
