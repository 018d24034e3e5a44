"""Files and folders to documents: every file is read, rejected with a reason, or named as skipped."""

from __future__ import annotations

import codecs
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from zhllm.text.decode import DecodeError, decode
from zhllm.text.document import Document, Item, Rejected, sample_of
from zhllm.text.docx import DocxError, docx_to_text
from zhllm.text.html import declared_charset, html_to_text
from zhllm.text.parquet import read_parquet
from zhllm.text.records import Record, TooLargeError, read_records, read_whole

# A whole text is held in memory several times over; a book of a million characters is 3 MB.
MAX_TEXT_BYTES = 256_000_000


@dataclass(frozen=True, slots=True)
class Keys:
    """Where a record keeps its text and its id."""

    text: str = "text"
    id: str = "id"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file and its name below the source it was found in; `skip` says why it is no document."""

    path: Path
    name: str
    skip: str | None = None


def walk(source: Path) -> Iterator[SourceFile]:
    """The files of a source in sorted order, hidden ones left out; a file is its own only one.

    Links to folders are not followed (so a loop is harmless) but named as skipped.
    """
    if not source.is_dir():
        yield SourceFile(source, source.name, _skip_reason(source))
        return
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        linked = [name for name in folders if (Path(folder) / name).is_symlink()]
        for name in sorted(linked + [name for name in names if not _is_hidden(name)]):
            path = Path(folder) / name
            skip = "is a link to a folder; give that folder itself" if name in linked else _skip_reason(path)
            yield SourceFile(path, path.relative_to(source).as_posix(), skip)


def _is_hidden(name: str) -> bool:
    # "~$name.docx" is the lock that Word leaves beside an open file.
    return name.startswith((".", "~$"))


def _kind(path: Path) -> str:
    """The extension that decides the reader, in lower case and without .gz."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _skip_reason(path: Path) -> str | None:
    if _kind(path) not in READERS:
        return f"is not a kind of document zhllm reads ({path.suffix or 'no extension'})"
    if path.exists() and not path.is_file():
        return "is not a regular file"
    return None


def read_file(file: SourceFile, keys: Keys) -> Iterator[Item]:
    """Every document of one file, and what of it could not be read, in order."""
    if file.skip is not None:
        yield Rejected(file.name, "skipped", file.skip)
        return
    try:
        yield from READERS[_kind(file.path)](file, keys)
    except OSError as error:
        yield Rejected(file.name, "file", f"cannot be read ({error.strerror or error})")
    except (EOFError, zlib.error) as error:
        yield Rejected(file.name, "file", f"its gzip data is damaged ({error})")
    except (TooLargeError, DocxError) as error:
        yield Rejected(file.name, "file", str(error))


def _one_document(file: SourceFile, text: str, meta: dict[str, str]) -> Item:
    if not text.strip():
        if file.path.stat().st_size == 0:
            return Rejected(file.name, "skipped", "is empty")
        return Rejected(file.name, "file", "holds no text (pictures only?)")
    return Document(file.name, text, file.name, orjson.dumps(meta).decode())


def _read_text(file: SourceFile, keys: Keys) -> Iterator[Item]:
    data = read_whole(file.path, MAX_TEXT_BYTES)
    try:
        text, encoding = decode(data)
    except DecodeError as error:
        yield _undecodable(file, data, error)
        return
    yield _one_document(file, text, {} if encoding == "utf-8" else {"encoding": encoding})


def _undecodable(file: SourceFile, data: bytes, error: DecodeError) -> Rejected:
    around = data[max(0, error.offset - 20) : error.offset + 100]
    line = data.count(b"\n", 0, error.offset) + 1
    return Rejected(file.name, "file", str(error), error.offset, line, sample_of(around))


def _read_html(file: SourceFile, keys: Keys) -> Iterator[Item]:
    data = read_whole(file.path, MAX_TEXT_BYTES)
    try:
        html, encoding = decode(data)
    except DecodeError as error:
        declared = _decode_declared(data)
        if declared is None:
            yield _undecodable(file, data, error)
            return
        html, encoding = declared
    text, title = html_to_text(html)
    meta = {"title": title} if title else {}
    yield _one_document(file, text, meta if encoding == "utf-8" else meta | {"encoding": encoding})


def _decode_declared(data: bytes) -> tuple[str, str] | None:
    """The text in the character set the page itself names (Big5, Shift-JIS), if every byte is in it."""
    charset = declared_charset(data)
    # What calls itself GB2312 is judged by `decode`; a Latin-1 codec would take any bytes.
    if charset is None or charset.startswith(("gb", "utf", "iso-8859-1", "latin", "windows-1252")):
        return None
    try:
        return data.decode(codecs.lookup(charset).name), charset
    except (LookupError, UnicodeDecodeError):
        return None


def _read_docx(file: SourceFile, keys: Keys) -> Iterator[Item]:
    yield _one_document(file, docx_to_text(file.path), {})


def _read_parquet(file: SourceFile, keys: Keys) -> Iterator[Item]:
    yield from read_parquet(file.path, file.name, keys.text, keys.id)


def _read_json(file: SourceFile, keys: Keys) -> Iterator[Item]:
    for record in read_records(file.path, file.name):
        yield record if isinstance(record, Rejected) else _record_document(file, record, keys)


def _record_document(file: SourceFile, record: Record, keys: Keys) -> Item:
    value = record.value
    text = value.get(keys.text)
    if not isinstance(text, str):
        found = f"is {type(text).__name__}, not text" if keys.text in value else "is missing"
        reason = f'"{keys.text}" {found} (keys: {", ".join(value) or "none"})'
        return Rejected(file.name, "record", reason, line=record.line, sample=sample_of(str(value)))
    identity = value.get(keys.id)
    meta = {k: v for k, v in value.items() if k not in (keys.text, keys.id)}
    try:
        document = Document(
            id=f"{file.name}#{record.line}" if identity in (None, "") else str(identity),
            text=text,
            source=file.name,
            meta=orjson.dumps(meta).decode() if meta else "{}",
        )
        (document.text + document.id).encode()
    except (UnicodeEncodeError, TypeError) as error:
        reason = f"holds a lone surrogate or a number out of range ({error})"
        return Rejected(file.name, "record", reason, line=record.line, sample=sample_of(text))
    return document


Reader = Callable[[SourceFile, Keys], Iterator[Item]]
READERS: dict[str, Reader] = {
    ".txt": _read_text,
    ".md": _read_text,
    ".markdown": _read_text,
    ".html": _read_html,
    ".htm": _read_html,
    ".docx": _read_docx,
    ".jsonl": _read_json,
    ".ndjson": _read_json,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
