"""The first pass of `convert`: a portion is parsed, converted and linted block by block, and becomes a part."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson

from zhllm.stages._convert_files import Plain, Portion
from zhllm.stages._convert_items import (
    CASE_CHARS,
    CHATS,
    KINDS,
    PREFERENCES,
    Item,
    id_digest,
    keys_of,
    sample_of_item,
    some,
    texts_of,
    written,
)
from zhllm.stages._convert_lengths import Lengths, LengthSettings
from zhllm.stages._convert_parts import CASES, ROW, Rows, Summary, lines_at, rejected_at, rows_at, summary_at
from zhllm.text.chats import Chat
from zhllm.text.document import Rejected
from zhllm.text.lint.findings import Finding
from zhllm.text.lint.identity_chats import identity_chats
from zhllm.text.lint.linter import Linted, LintSettings, lint
from zhllm.text.lint.turns import Records
from zhllm.text.shapes.converting import converted
from zhllm.text.shapes.record import FieldError, Format, Options, Unit, identity_of, language_matches

# What is linted at a time.
BLOCK_ITEMS = 20_000
BLOCK_CHARS = 8_000_000


@dataclass(frozen=True)
class Settings:
    """How every portion is worked off."""

    format: Format
    options: Options
    language: str | None
    lint: LintSettings
    lengths: LengthSettings | None = None


@dataclass(frozen=True)
class Work:
    """A portion to convert; `settings` is a file, for some of them are large and all portions share them."""

    portion: Portion
    settings: Path
    folder: Path


def convert_portion(work: Work) -> float:
    """Bring the part of a portion into the folder; the megabytes of input that were taken in for it.

    Python looks for cycles of garbage seldom meanwhile: thousands of records are held at a time, none is in a cycle.
    """
    gc.set_threshold(200_000, *gc.get_threshold()[1:])
    settings = _settings_at(work.settings)
    with _PartWriter(work.folder / work.portion.key, settings) as part:
        for name, item in work.portion.items(settings.format, settings.options):
            if isinstance(item, Plain):
                part.take_plain(item, name)
            elif isinstance(item, Rejected):
                part.refuse(item)
            else:
                part.take(item, name)
        part.finish()
    return work.portion.bytes_on_disk / 1e6


@lru_cache(maxsize=1)
def _settings_at(path: Path) -> Settings:
    import pickle

    settings: Settings = pickle.loads(path.read_bytes())  # written by this very run
    return settings


def _with_lengths(settings: LintSettings, lengths: Lengths | None) -> LintSettings:
    return settings if lengths is None else replace(settings, lengths=lengths.of_conversations)


def write_identity(folder: Path, settings: Settings, count: int) -> str:
    """Write chats about who the assistant is as a part of their own, the last one; its name."""
    key = "9999999-0000000"
    with _PartWriter(folder / key, settings) as part:
        part.add(identity_chats(settings.lint.identity or "", settings.lint.creator, count))
        part.finish()
    return key


class _PartWriter:
    """Takes units in order, lints what they give block by block, and writes it with a row each."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path, self._settings = path, settings
        self.summary = Summary()
        self._lengths = None if settings.lengths is None else Lengths.of(settings.lengths)
        self._lint = _with_lengths(settings.lint, self._lengths)
        self._blocks, self._chars = _blocks(), 0
        self._files: dict[Path, BinaryIO] = {}
        self._rows: dict[str, list[Rows]] = {kind: [] for kind in KINDS}
        self._numbers: dict[str, int] = {}
        self._place, self._in_line = "", 0  # of the last record, and its number there
        self._counts: dict[tuple[str, str], int] = {}  # by file, and outcome or the shape that was converted

    def __enter__(self) -> _PartWriter:
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files.values():
            file.close()

    def refuse(self, item: Rejected, count: int = 1) -> None:
        """List input that became nothing; what was no record does not count as one."""
        entry = {"file": item.file, "line": item.line, "field": item.field, "reason": item.reason}
        if count > 1:
            entry["records"] = count
        self._write(rejected_at(self._path), orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
        if item.kind in ("skipped", "left out"):
            self._count(item.file, "skipped" if item.kind == "skipped" else "left_out")
            return
        self._count(item.file, "rejected", count)
        self.summary.reasons[item.reason if len(item.reason) < 60 else item.reason[:60] + "…"] += count
        if item.kind == "file":
            self._count(item.file, "damaged")
        if len(self.summary.rejected) < CASES:
            self.summary.rejected.append(entry)

    def _count(self, file: str, outcome: str, count: int = 1) -> None:
        key = (file, outcome)
        self._counts[key] = self._counts.get(key, 0) + count

    def take(self, unit: Unit, name: str) -> None:
        """Convert a unit; it has exactly one outcome."""
        settings = self._settings
        if settings.language is not None and not language_matches(unit.value, settings.language):
            self._count(name, "other_language", unit.count)
            return
        try:
            sheet = unit.at if unit.at.endswith("!") else ""
            identity = identity_of(unit.value, self._identity(f"{name}#{sheet}{unit.line}"))
            found = converted(unit, identity, name, settings.options)
            if not found.chats and not found.preferences:
                raise FieldError(unit.at, "gives neither a chat nor a preference")
        except FieldError as error:
            self.refuse(Rejected(name, "record", error.reason, None, unit.line, field=error.field), unit.count)
            return
        self._count(name, unit.shape, unit.count)
        if found.repairs:
            self._repaired(found.repairs, name, unit)
        if found.facts:
            self.summary.facts.update(found.facts)
        for kind, items in ((CHATS, found.chats), (PREFERENCES, found.preferences)):
            for item in items:
                self._add(kind, item, name, unit.line)
        self._flush_full()

    def _identity(self, place: str) -> str:
        """The id of a record that has none: file and line, and the number in it of all but the first of a line."""
        self._in_line = self._in_line + 1 if place == self._place else 1
        self._place = place
        return place if self._in_line == 1 else f"{place}.{self._in_line}"

    def take_plain(self, plain: Plain, name: str) -> None:
        """Take records of which only the names of their chats are missing: no two of them share a line."""
        if not plain.asked:
            return
        lines = range(plain.line, plain.line + len(plain.asked))
        self._count(name, "alpaca", len(lines))
        ids = [f"{name}#{line}" for line in lines]
        block = self._blocks[CHATS]
        block.records.add_pairs(ids, name, plain.asked, plain.answers)
        block.files += [name] * len(lines)
        block.lines += lines
        self._chars += sum(map(len, plain.asked)) + sum(map(len, plain.answers))
        self._flush_full()

    def _add(self, kind: str, item: Item, file: str, line: int) -> None:
        block = self._blocks[kind]
        block.records.add(item)
        block.files.append(file)
        block.lines.append(line)
        self._chars += sum(map(len, texts_of(item)))

    def add(self, chats: Sequence[Chat]) -> None:
        """Take chats that are of no record."""
        self.summary.items["identity_chats"] += len(chats)
        for number, chat in enumerate(chats, 1):
            self._add(CHATS, chat, chat.source, number)

    def _repaired(self, repairs: Mapping[str, int], name: str, unit: Unit) -> None:
        self.summary.repairs.update(repairs)
        for repair in repairs:
            self._case(f"repair {repair}", name, unit.line, "", str(unit.value)[:CASE_CHARS])

    def _case(self, what: str, file: str, line: int, detail: str, text: str) -> None:
        cases = self.summary.cases.setdefault(what, [])
        if len(cases) < CASES:
            cases.append([file, line, detail, text])

    def _flush_full(self) -> None:
        if self._chars >= BLOCK_CHARS or sum(len(block.lines) for block in self._blocks.values()) >= BLOCK_ITEMS:
            self._flush()

    def _flush(self) -> None:
        blocks, self._blocks, self._chars = self._blocks, _blocks(), 0
        for kind, block in blocks.items():
            if block.lines:
                linted = lint(block.records, self._lint)
                self.summary.lint.update(linted.counts)
                self._write_items(kind, linted, block)

    def _write_items(self, kind: str, linted: Linted, block: _Block) -> None:
        """Write what no finding drops; all findings are counted."""
        records = linted.records
        for number, found in sorted(linted.findings.items()):
            self._found(kind, records[number], found, block.files[number], block.lines[number])
        kept: Sequence[int] = range(len(records))
        self.summary.items[f"{kind}_made"] += len(records)
        if linted.dropped:
            kept = [number for number in range(len(records)) if number not in linted.dropped]
            gone = Counter(linted.dropped.values())
            self.summary.items[f"{kind}_dropped"] += gone.total()
            self.summary.dropped.setdefault(kind, Counter()).update(gone)
        if not kept:
            return
        self.summary.items[kind] += len(kept)
        lines, sizes, digests = written(records, kept)
        self._write(lines_at(self._path, kind), lines)
        rows = _rows_of(linted, kept)
        rows["digest"] = np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
        rows["size"] = sizes
        rows["id"] = list(map(id_digest, some(records.ids, kept)))
        files = {name: self._number(name) for name in dict.fromkeys(some(block.files, kept))}
        rows["file"] = [files[name] for name in some(block.files, kept)] if len(files) > 1 else self._number(*files)
        rows["line"] = some(block.lines, kept)
        if self._lengths is not None and kind == CHATS:
            chats = (records[number] for number in kept)
            rows["tokens"] = self._lengths.of_conversations([c.messages for c in chats if isinstance(c, Chat)])
        self._rows[kind].append(rows)

    def _number(self, name: str) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self.summary.names)
            self.summary.names.append(name)
        return number

    def _found(self, kind: str, item: Item, found: Sequence[Finding], file: str, line: int) -> None:
        """Count the findings of an item, each name once, and remember the first cases."""
        self.summary.findings.setdefault(kind, Counter()).update({name for name, _ in found})
        for name, detail in found:
            if len(self.summary.cases.get(name, ())) < CASES:
                self._case(name, file, line, detail, sample_of_item(item))

    def _write(self, path: Path, data: bytes) -> None:
        file = self._files.get(path)
        if file is None:
            file = self._files[path] = path.open("wb")
        file.write(data)

    def finish(self) -> None:
        """Write the rows and, when all else is on disk, the summary."""
        self._flush()
        for (name, outcome), count in self._counts.items():
            self.summary.count(name, outcome, count)
        for path, file in self._files.items():
            file.close()
            self.summary.sizes[path.name] = path.stat().st_size
        for kind, rows in self._rows.items():
            if rows:
                path = rows_at(self._path, kind)
                np.save(path, np.concatenate(rows))
                self.summary.sizes[path.name] = path.stat().st_size
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        partial.write_bytes(self.summary.to_json())
        partial.rename(summary_at(self._path))


@dataclass
class _Block:
    """Records that are to be linted together, and the file and the line of each."""

    records: Records = field(default_factory=Records)
    files: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def _blocks() -> dict[str, _Block]:
    return {kind: _Block() for kind in KINDS}


def _rows_of(linted: Linted, chosen: Sequence[int]) -> Rows:
    """The rows of some records, but for their lines and places."""
    records, starts = linted.records, np.array(linted.records.starts)
    rows = np.zeros(len(chosen), ROW)
    rows["key"] = np.frombuffer(b"".join(keys_of(records, chosen)), "<u8").reshape(-1, 2)
    rows["chars"] = np.add.reduceat(linted.chars, starts[:-1])[chosen]
    rows["turns"] = np.minimum(np.diff(starts)[chosen], 65535)
    rows["tokens"] = -1
    rows["language"] = linted.language_codes[chosen]
    return rows
