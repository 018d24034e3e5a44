"""convert: instruction data of many shapes becomes canonical chats and canonical preferences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from pydantic import Field

from zhllm.config import Config, InputPaths
from zhllm.errors import DataError, ProofError
from zhllm.progress import bar, say
from zhllm.stage import Metrics, Stage

if TYPE_CHECKING:
    from zhllm.text.chats import Chat, Preference
    from zhllm.text.read.sources import SourceFile
    from zhllm.text.shapes.record import Unit

SHOWN = 5
CHATS, PREFERENCES, REJECTED = "chats-00000.jsonl", "preferences-00000.jsonl", "rejected.jsonl"


class ConvertConfig(Config):
    """What to convert."""

    source: InputPaths = Field(description="JSON, JSON lines (also .gz) or folders of them.", min_length=1)
    format: Literal[
        "auto", "alpaca", "oasst", "oasst-messages", "sharegpt", "messages", "moss", "squad", "qa", "table",
        "preference", "kto",
    ] = Field("auto", description="Shape of the records; auto looks at each record's keys.")  # fmt: skip
    language: str | None = Field(
        None, description="Keep only this language (zh takes zh-CN too); records that name none are kept."
    )
    max_rejected_share: float = Field(
        0.05, ge=0, le=1, description="Fail when a larger share of the records is rejected."
    )


@dataclass
class Tally:
    """What became of the records, and the rejected ones themselves."""

    counts: Counter[str] = field(default_factory=Counter)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    said: Counter[str] = field(default_factory=Counter)  # messages and characters of the chats


@dataclass
class Outputs:
    """The files written; the one for preferences is opened when there is a first one."""

    folder: Path
    stack: ExitStack
    files: dict[str, BinaryIO] = field(default_factory=dict)

    def write(self, name: str, line: bytes) -> None:
        """Append a line to a file of the folder."""
        if name not in self.files:
            self.files[name] = self.stack.enter_context((self.folder / name).open("wb"))
        self.files[name].write(line)


def run(config: ConvertConfig, out: Path) -> Metrics:
    """Read Alpaca records (list or lines) and OASST trees, recognised by content.

    Writes chats-00000.jsonl {"id", "messages", "source"}, preferences-00000.jsonl {"id", "prompt",
    "chosen", "rejected", "source"} where answers were ranked, and rejected.jsonl {"file", "line",
    "field", "reason"}. Of a tree the best-ranked path becomes the chat. Equal chats are kept once.
    Proves that every record has one outcome and the files read back as counted.

    \b
    zhllm convert --source company-alpaca.json company-oasst.jsonl --language zh -o runs/chats
    """
    tally = Tally()
    files = _files(config.source)
    with ExitStack() as stack, bar("convert", len(files), "files") as shown:
        outputs = Outputs(out, stack)
        for file in files:
            _convert_file(file, config, outputs, tally)
            shown.advance()
        for entry in tally.rejected:
            outputs.write(REJECTED, _line(entry))
    for name in (CHATS, REJECTED):
        (out / name).touch()
    _check_share(config, tally, out)
    _prove(out, tally)
    return _metrics(tally)


def _line(entry: dict[str, Any]) -> bytes:
    import orjson

    return orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)


def _files(sources: Sequence[Path]) -> list[SourceFile]:
    """The files of the sources; what a folder holds besides JSON is marked as skipped."""
    from dataclasses import replace

    from zhllm.text.read.sources import kind_of, walk
    from zhllm.text.shapes.tables import BOOK_KINDS, TABLE_KINDS

    files = []
    for source in sources:
        for file in walk(source):
            kind = kind_of(file.name)
            is_data = not source.is_dir() or kind in (".json", ".jsonl", ".ndjson", *TABLE_KINDS, *BOOK_KINDS)
            skip = None if is_data else file.skip or f"is neither JSON nor a table ({kind or 'no extension'})"
            files.append(replace(file, skip=skip))
    return files


def _convert_file(file: SourceFile, config: ConvertConfig, outputs: Outputs, tally: Tally) -> None:
    from zhllm.text.document import Rejected
    from zhllm.text.shapes.reading import read_units
    from zhllm.text.shapes.record import Options

    if file.skip is not None:
        tally.counts["files_skipped"] += 1
        tally.rejected.append({"file": file.name, "line": None, "field": "", "reason": file.skip})
        return
    tally.counts["files_read"] += 1
    for unit in read_units(file, config.format, Options()):
        tally.counts["records_in"] += 1
        if isinstance(unit, Rejected):
            _reject(tally, file, unit.line, unit.field, unit.reason)
        else:
            _convert(unit, file, config, outputs, tally)


def _reject(tally: Tally, file: SourceFile, line: int | None, where: str, reason: str) -> None:
    tally.counts["rejected_records"] += 1
    tally.rejected.append({"file": file.name, "line": line, "field": where, "reason": reason})


def _convert(unit: Unit, file: SourceFile, config: ConvertConfig, outputs: Outputs, tally: Tally) -> None:
    """Write what one unit gives, or reject it; counts it exactly once."""
    from zhllm.text.shapes.converting import converted
    from zhllm.text.shapes.record import FieldError, Options, identity_of, language_matches

    if config.language and not language_matches(unit.value, config.language):
        tally.counts["other_language"] += 1
        return
    try:
        made = converted(unit, identity_of(unit.value, f"{file.name}#{unit.line}"), file.name, Options())
    except FieldError as error:
        _reject(tally, file, unit.line, error.field, error.reason)
        return
    tally.counts["converted_records"] += 1
    tally.counts[f"{unit.shape.partition('-')[0]}_records"] += 1
    tally.counts.update(made.repairs)
    tally.counts.update(made.facts)
    for preference in made.preferences:
        kept = _is_new(preference, tally)
        tally.counts["preferences" if kept else "duplicate_preferences"] += 1
        if kept:
            outputs.write(PREFERENCES, preference.to_json())
    for chat in made.chats:
        kept = _is_new(chat, tally)
        tally.counts["chats" if kept else "duplicate_chats"] += 1
        if kept:
            outputs.write(CHATS, chat.to_json())
            tally.said["messages"] += len(chat.messages)
            tally.said["chars"] += sum(len(message["content"]) for message in chat.messages)


def _is_new(item: Chat | Preference, tally: Tally) -> bool:
    digest = item.digest()
    new = digest not in tally.seen
    tally.seen.add(digest)
    return new


def _check_share(config: ConvertConfig, tally: Tally, out: Path) -> None:
    """Raise DataError when too many records were rejected, or none gave a chat."""
    counts = tally.counts
    lost, of = counts["rejected_records"], counts["records_in"]
    first = "".join(
        f"\n  {entry['file']}:{entry['line'] or '-'}: {entry['field'] + ' ' if entry['field'] else ''}{entry['reason']}"
        for entry in tally.rejected[:SHOWN]
    )
    names = ", ".join(map(str, config.source))
    if lost > config.max_rejected_share * of:
        raise DataError(
            f"{names}: {lost} of {of} records rejected ({lost / of:.1%}, allowed "
            f"{config.max_rejected_share:.1%}):{first}\nAll of them: {out / REJECTED}. Mend them, or allow "
            "more with --max-rejected-share."
        )
    if not counts["chats"] and not counts["preferences"]:
        hint = f" None is of language {config.language}." if counts["other_language"] else ""
        raise DataError(f"{names}: no chats in {counts['files_read']} files, {of} records.{hint}{first}")
    if tally.rejected:
        say(f"rejected {lost} of {of} records, skipped {counts['files_skipped']} files:{first}")


def _prove(out: Path, tally: Tally) -> None:
    """Raise ProofError unless every record has one outcome and the files read back as they were counted."""
    from zhllm.text.chats import read_chats, read_preferences

    counts = tally.counts
    outcomes = ("converted_records", "other_language", "rejected_records")
    total = sum(counts[name] for name in outcomes)
    if total != counts["records_in"]:
        raise ProofError(f"convert: {counts['records_in']} records came in, {total} have an outcome.")
    chats = {chat.digest() for chat in read_chats([out / CHATS])}
    path = out / PREFERENCES
    preferences = {p.digest() for p in read_preferences([path])} if path.exists() else set()
    for name, found in (("chats", chats), ("preferences", preferences)):
        if len(found) != counts[name]:
            raise ProofError(f"convert: {counts[name]} {name} were counted, {len(found)} are in the file.")


def _metrics(tally: Tally) -> Metrics:
    names = (
        "files_read",
        "files_skipped",
        "records_in",
        "converted_records",
        "chats",
        "preferences",
        "duplicate_chats",
        "duplicate_preferences",
        "other_language",
        "rejected_records",
    )
    always = {name: tally.counts[name] for name in (*names, "alpaca_records", "oasst_records")}
    return always | {name: count for name, count in sorted(tally.counts.items()) if count} | dict(tally.said)


STAGE = Stage("convert", 2, ConvertConfig, run)
