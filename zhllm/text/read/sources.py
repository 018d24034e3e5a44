"""Files and folders to documents: every file is read, rejected with a reason, or named as skipped.

A few bad lines of a long text (see `decode`) are rejected by themselves; the others are its document.
A format's own module is imported by the first file of that format: all together take a tenth of a second.
"""

from __future__ import annotations

import codecs
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import orjson

from zhllm.text.document import Document, Item, Parsed, Rejected, UnreadableError, json_of, meta_of, sample_of
from zhllm.text.read.archives import is_zip, members, office_kind, open_member
from zhllm.text.read.decode import BadLine, DecodeError, decode, decode_lines, readable_name
from zhllm.text.read.json_values import kind_of_value
from zhllm.text.read.parquet import read_parquet
from zhllm.text.read.records import Record, read_records
from zhllm.text.read.streams import COMPRESSED, ZIP_MAGIC, codec_of, open_bytes, read_whole

# Files that may hold any number of documents.
RECORD_KINDS = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv", ".xml", ".xlsx", ".xlsm")
# Files that are one text.
TEXT_KINDS = (".txt", ".md", ".markdown")
# What a worker may read of these at once.
MAX_AHEAD_BYTES = 4_000_000
# What names itself in its first bytes is read as that, whatever its name is: people rename files.
_OFFICE_KINDS = (".docx", ".xlsx", ".xlsm")
_MAGIC_KINDS = ((b"PAR1", ".parquet"), (b"%PDF-", ".pdf"))


@dataclass(frozen=True, slots=True)
class Keys:
    """Where a record keeps its text and its id."""

    text: str = "text"
    id: str = "id"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file and its name below the source it was found in; `skip` says why it is no document.

    `is_lost` is set where that is a failure: a folder that cannot be read, and nobody knows what is in it.
    A file in a zip archive has the archive's path and its own place there in `member`.
    """

    path: Path
    name: str
    skip: str | None = None
    member: int | None = None
    is_lost: bool = False

    def open(self) -> BinaryIO:
        """Its bytes, decompressed; opening and reading raise OSError or UnreadableError."""
        return open_bytes(self.path) if self.member is None else open_member(self.path, self.member)

    def at_random(self) -> Path | BinaryIO:
        """A way to read it in any order: its path, or its bytes where it is packed."""
        if self.member is None:
            with self.path.open("rb") as file:
                if codec_of(file.read(6)) is None:
                    return self.path
        with self.open() as file:
            return io.BytesIO(read_whole(file))


def walk(source: Path) -> Iterator[SourceFile]:
    """The files of a source in sorted order, hidden ones left out; a file is its own only one.

    Links to folders are not followed (so a loop is harmless) but named as skipped. A zip archive stands
    for the files in it, named `archive.zip/member.txt`.
    """
    if not source.is_dir():
        yield from _expanded(source, readable_name(source.name))
        return
    closed: list[OSError] = []
    for folder, folders, names in os.walk(source, onerror=closed.append):
        yield from _closed_folders(source, closed)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted(linked + [name for name in names if not _is_hidden(name)]):
            path = Path(folder) / name
            shown = readable_name(path.relative_to(source).as_posix())
            if name in linked:
                yield SourceFile(path, shown, "is a link to a folder; give that folder itself")
            else:
                yield from _expanded(path, shown)
    yield from _closed_folders(source, closed)


def _closed_folders(source: Path, errors: list[OSError]) -> Iterator[SourceFile]:
    """The folders that could not be listed since the last call."""
    while errors:
        error = errors.pop(0)
        path = Path(os.fsdecode(error.filename)) if error.filename else source
        shown = source.name if path == source else readable_name(path.relative_to(source).as_posix())
        yield SourceFile(path, shown, f"cannot be read ({error.strerror or error})", is_lost=True)


def _expanded(path: Path, name: str) -> Iterator[SourceFile]:
    """A file, or the files in it where it is a zip archive that is not itself a document."""
    skip = _skip_reason(path)
    if kind_in(SourceFile(path, name)) in _OFFICE_KINDS:
        pass
    elif skip is None and path.is_file() and is_zip(path):
        try:
            found = members(path)
        except (OSError, UnreadableError):
            found = []  # reading the archive itself then says what is wrong with it
        shown = [member for member in found if not any(map(_is_hidden, member.name.split("/")))]
        for member in shown:
            inside = f"{name}/{member.name}"
            yield SourceFile(path, inside, _unknown_kind(inside), member.index)
        if shown:
            return
    yield SourceFile(path, name, skip)


def _is_hidden(name: str) -> bool:
    # "~$name.docx" is the lock that Word leaves beside an open file; "__MACOSX" holds macOS's own data.
    return name.startswith((".", "~$", "__MACOSX"))


def kind_of(name: str) -> str:
    """The extension that decides the reader, in lower case and without that of a compression."""
    name = name.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return Path(name).suffix


def kind_in(file: SourceFile) -> str:
    """The kind that a file's first bytes tell, of workbooks, Word documents, parquet and PDF; else that of its name."""
    named = kind_of(file.name)
    if file.member is None and not file.path.is_file():
        return named
    try:
        with file.open() as opened:
            head = opened.read(5)
        if head.startswith(ZIP_MAGIC):
            return named if named in _OFFICE_KINDS else office_kind(file.at_random()) or named
    except (OSError, UnreadableError):
        return named
    return next((kind for magic, kind in _MAGIC_KINDS if head.startswith(magic)), named)


def _unknown_kind(name: str) -> str | None:
    if kind_of(name) in READERS:
        return None
    return f"is not a kind of document zhllm reads ({Path(name).suffix or 'no extension'})"


def _skip_reason(path: Path) -> str | None:
    if path.exists() and not path.is_file():
        return "is not a regular file"
    if not kind_of(path.name) and kind_in(SourceFile(path, path.name)):
        return None
    return _unknown_kind(path.name)


def read_file(file: SourceFile, keys: Keys) -> Iterator[Item]:
    """Every document of one file, and what of it could not be read, in order."""
    if file.skip is not None:
        yield Rejected(file.name, "file" if file.is_lost else "skipped", file.skip)
        return
    try:
        yield from READERS[kind_in(file)](file, keys)
    except OSError as error:
        yield Rejected(file.name, "file", f"cannot be read ({error.strerror or error})")
    except UnreadableError as error:
        yield Rejected(file.name, "file", str(error))


def read_ahead(task: tuple[SourceFile, Keys]) -> list[Item] | None:
    """All of a file at once, for a worker; None where it may hold more than is to be held."""
    file, keys = task
    return None if _is_streamed(file) else list(read_file(file, keys))


def _is_streamed(file: SourceFile) -> bool:
    """Whether a file may hold many documents: one of records, and large or of unknown size unpacked."""
    if file.skip is not None or kind_in(file) not in RECORD_KINDS:
        return False
    try:
        with file.path.open("rb") as opened:
            is_packed = file.member is not None or codec_of(opened.read(6)) is not None
            return is_packed or opened.seek(0, io.SEEK_END) > MAX_AHEAD_BYTES
    except OSError:
        return False


def _one_document(file: SourceFile, parsed: Parsed) -> Item:
    if not parsed.text.strip():
        with file.open() as opened:
            if not opened.read(1):
                return Rejected(file.name, "skipped", "is empty")
        return Rejected(file.name, "file", "holds no text (pictures only?)")
    return Document(file.name, parsed.text, file.name, json_of(parsed.meta))


def _whole(file: SourceFile) -> bytes:
    with file.open() as opened:
        return read_whole(opened)


def _encoding(name: str) -> str | None:
    """What is told about the encoding: nothing of the usual one."""
    return None if name == "utf-8" else name


def _read_text(file: SourceFile, keys: Keys) -> Iterator[Item]:
    from zhllm.text.read.markdown import headings_of

    data = _whole(file)
    try:
        text, encoding = decode(data)
        bad: list[BadLine] = []
    except DecodeError as error:
        salvaged = decode_lines(data)
        if salvaged is None:
            yield _undecodable(file, data, error)
            return
        text, encoding, bad = salvaged
    del data
    headings = None if kind_of(file.name) == ".txt" else headings_of(text)
    yield _one_document(file, Parsed(text, meta_of(headings, encoding=_encoding(encoding))))
    for line in bad:
        yield Rejected(file.name, "record", line.reason, line.offset, line.number, sample_of(line.text))


def _undecodable(file: SourceFile, data: bytes, error: DecodeError) -> Rejected:
    around = data[max(0, error.offset - 20) : error.offset + 100]
    line = data.count(b"\n", 0, error.offset) + 1
    return Rejected(file.name, "file", str(error), error.offset, line, sample_of(around))


def _read_html(file: SourceFile, keys: Keys) -> Iterator[Item]:
    from zhllm.text.read.html import declared_charset, read_html

    data = _whole(file)
    try:
        html, encoding = decode(data)
    except DecodeError as error:
        declared = _decode_declared(data, declared_charset(data))
        if declared is None:
            yield _undecodable(file, data, error)
            return
        html, encoding = declared
    parsed = read_html(html)
    yield _one_document(file, Parsed(parsed.text, parsed.meta | meta_of(encoding=_encoding(encoding))))


def _decode_declared(data: bytes, charset: str | None) -> tuple[str, str] | None:
    """The text in the character set the page itself names (Big5, Shift-JIS), if every byte is in it."""
    # What calls itself GB2312 is judged by `decode`; a Latin-1 codec would take any bytes.
    if charset is None or charset.startswith(("gb", "utf", "iso-8859-1", "latin", "windows-1252")):
        return None
    try:
        return data.decode(codecs.lookup(charset).name), charset
    except (LookupError, UnicodeDecodeError):
        return None


def _read_docx(file: SourceFile, keys: Keys) -> Iterator[Item]:
    from zhllm.text.read.docx import read_docx

    yield _one_document(file, read_docx(file.at_random()))


def _read_pdf(file: SourceFile, keys: Keys) -> Iterator[Item]:
    from zhllm.text.read.pdf import read_pdf

    parsed = read_pdf(file.at_random())
    yield _one_document(file, parsed)
    pages, without = parsed.meta.get("pages"), parsed.meta.get("pages_without_text")
    if without and isinstance(pages, list):
        have = "has" if without == 1 else "have"
        need = "needs" if without == 1 else "need"
        yield Rejected(file.name, "left out", f"{without} of {len(pages)} pages {have} no text layer and {need} OCR")


def _read_parquet(file: SourceFile, keys: Keys) -> Iterator[Item]:
    yield from read_parquet(file.at_random(), file.name, keys.text, keys.id)


def _read_csv(file: SourceFile, keys: Keys) -> Iterator[Item]:
    from zhllm.text.read.tables import Table, read_csv, table_items

    table = Table(file.name, file.name, f"{file.name}#")
    rows = read_csv(file.open, file.name, is_tsv=kind_of(file.name) == ".tsv")
    yield from or_empty(file, table_items(rows, table, keys.text, keys.id))


def _read_xlsx(file: SourceFile, keys: Keys) -> Iterator[Item]:
    yield from or_empty(file, _sheet_items(file, keys))


def _sheet_items(file: SourceFile, keys: Keys) -> Iterator[Item]:
    from zhllm.text.read.tables import Table, table_items
    from zhllm.text.read.xlsx import read_sheets

    for sheet in read_sheets(file.at_random()):
        identity = f"{file.name}#{sheet.name}"
        table = Table(file.name, identity, f"{identity}!", sheet.name)
        yield from table_items(sheet.rows, table, keys.text, keys.id)


def or_empty(file: SourceFile, items: Iterable[Item]) -> Iterator[Item]:
    """What is in a file, or that there is nothing in it."""
    nothing = True
    for item in items:
        nothing = False
        yield item
    if nothing:
        yield Rejected(file.name, "skipped", "is empty")


def _read_wiki(file: SourceFile, keys: Keys) -> Iterator[Item]:
    from zhllm.text.read.wiki import read_dump

    with file.open() as opened:
        yield from read_dump(opened, file.name)


def _read_zip(file: SourceFile, keys: Keys) -> Iterator[Item]:
    """An archive that `walk` found no files in: damaged, too large, inside another one, or empty."""
    file.open().close()
    if file.member is None and is_zip(file.path):
        members(file.path)
        yield Rejected(file.name, "skipped", "is an archive without documents")
    else:
        yield Rejected(file.name, "file", "is not a zip archive")


def _read_json(file: SourceFile, keys: Keys) -> Iterator[Item]:
    nothing = True
    for record in read_records(file.open, file.name):
        nothing = False
        yield record if isinstance(record, Rejected) else document_of(record, file.name, keys)
    if nothing:
        yield Rejected(file.name, "skipped", "is empty")


def document_of(record: Record, file_name: str, keys: Keys) -> Item:
    """The document of a JSON record, or why it is none; other keys go into its meta."""
    value = record.value
    text = value.get(keys.text)
    rejected = partial(Rejected, file_name, "record", offset=record.offset, line=record.line)
    if not isinstance(text, str):
        found = f"is {kind_of_value(text)}, not text" if keys.text in value else "is missing"
        reason = f'"{keys.text}" {found} (keys: {", ".join(list(value)[:20]) or "none"})'
        return rejected(reason, sample=sample_of(str(value)[:1000]))
    identity = value.get(keys.id)
    meta = {k: v for k, v in value.items() if k not in (keys.text, keys.id)}
    try:
        document = Document(
            id=f"{file_name}#{record.line}"
            if identity in (None, "") or isinstance(identity, dict | list)
            else str(identity),
            text=text,
            source=file_name,
            meta=orjson.dumps(meta).decode() if meta else "{}",
        )
        document.text.encode()
        document.id.encode()
    except (UnicodeEncodeError, TypeError) as error:
        return rejected(f"holds a lone surrogate or a number out of range ({error})"[:200], sample=sample_of(text))
    return document


Reader = Callable[[SourceFile, Keys], Iterator[Item]]
READERS: dict[str, Reader] = {
    ".txt": _read_text,
    ".md": _read_text,
    ".markdown": _read_text,
    ".html": _read_html,
    ".htm": _read_html,
    ".docx": _read_docx,
    ".pdf": _read_pdf,
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".xlsx": _read_xlsx,
    ".xlsm": _read_xlsx,
    ".jsonl": _read_json,
    ".ndjson": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
    ".xml": _read_wiki,
    ".zip": _read_zip,
}
