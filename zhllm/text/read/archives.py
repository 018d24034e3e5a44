"""Zip archives, as folders of documents and as the wrapping of Word and Excel files; bombs are refused."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

from zhllm.text.document import UnreadableError
from zhllm.text.read.streams import (
    COMPRESSED,
    MAX_RATIO,
    ZIP_MAGIC,
    Guarded,
    Source,
    TooLargeError,
    check_ratio,
    codec_of,
)

# An entry of the directory is 47 bytes or more in the file and about 600 in memory.
MAX_DIRECTORY_BYTES = 16_000_000
# Below this, members may share their bytes or repeat themselves as they like.
MAX_UNCHECKED_BYTES = 1_000_000_000
ARCHIVES = (".zip", ".tar", ".tgz", ".7z", ".rar", *COMPRESSED)
_OFFICE_PARTS = (("xl/workbook.xml", ".xlsx"), ("word/document.xml", ".docx"))
_END_BYTES = 22 + 65_535
_UTF8_NAME = 0x800
_ENCRYPTED = 0x1


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its place in the directory and its name."""

    index: int
    name: str


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive by its first bytes; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4) in ZIP_MAGIC
    except OSError:
        return False


def office_kind(file: Path | BinaryIO) -> str | None:
    """.xlsx or .docx where a zip archive is a workbook or a document of Word, whatever its name is."""
    try:
        with open_zip(file) as archive:
            names = {name.lower() for name in archive.namelist()}
    except (OSError, UnreadableError):
        return None
    return next((kind for part, kind in _OFFICE_PARTS if part in names), None)


def members(path: Path) -> list[Member]:
    """The files of an archive, sorted by name; raises UnreadableError for a damaged one or a bomb."""
    infos = _opened(path).infolist()
    total, size = sum(info.file_size for info in infos), path.stat().st_size
    if total > MAX_UNCHECKED_BYTES and total > MAX_RATIO * size:
        raise TooLargeError(f"expands more than {MAX_RATIO}-fold ({size:,} bytes to {total:,}), like a bomb; unpack it")
    found = [Member(i, _name(info)) for i, info in enumerate(infos) if not info.is_dir()]
    return sorted(found, key=lambda member: (member.name.split("/"), member.index))


def open_member(path: Path, index: int) -> BinaryIO:
    """The bytes of one file in an archive; raises UnreadableError where it is itself packed."""
    archive = _opened(path)
    info = archive.infolist()[index]
    name = _name(info).lower()
    if name.endswith(ARCHIVES):
        raise UnreadableError("is an archive inside an archive; unpack the outer one")
    file = open_zipped(archive, info)
    head = cast(io.BufferedReader, file).peek(6)[:6]
    packed_text = head.startswith(ZIP_MAGIC) and not name.endswith((".docx", ".xlsx"))
    if codec_of(head) or packed_text:
        file.close()
        raise UnreadableError("is an archive inside an archive (by its first bytes); unpack the outer one")
    return file


def open_zip(file: Path | BinaryIO) -> zipfile.ZipFile:
    """An archive's directory; raises UnreadableError where it has none or one beyond measure."""
    try:
        _check_directory(file)
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise UnreadableError(f"is not a readable zip archive ({error})") from error
    except UnreadableError:
        raise
    except (NotImplementedError, ValueError) as error:
        raise UnreadableError(f"is a zip archive of a kind zhllm does not read ({error})") from error


def open_zipped(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> BinaryIO:
    """The bytes of a member; reading raises DamagedError, and TooLargeError for a bomb."""
    if info.flag_bits & _ENCRYPTED:
        raise UnreadableError("is encrypted; unpack it with its password")
    check_ratio("zip", info.compress_size, info.file_size)
    try:
        file = archive.open(info)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise UnreadableError(f"cannot be unpacked ({error})") from error
    return cast(BinaryIO, io.BufferedReader(Guarded(cast(Source, file), "zip", lambda: info.compress_size), 1 << 18))


# Members are opened one after the other; reading the directory anew for each would be quadratic.
@lru_cache(maxsize=1)
def _archive(path: Path, size: int, changed_ns: int) -> zipfile.ZipFile:
    return open_zip(path)


def _opened(path: Path) -> zipfile.ZipFile:
    stat = path.stat()
    return _archive(path, stat.st_size, stat.st_mtime_ns)


def _check_directory(file: Path | BinaryIO) -> None:
    """Raise UnreadableError for a directory too large to hold, before zipfile reads it."""
    opened = file.open("rb") if isinstance(file, Path) else file
    try:
        opened.seek(max(0, opened.seek(0, io.SEEK_END) - _END_BYTES))
        tail = opened.read()
    finally:
        if opened is not file:
            opened.close()
    place = tail.rfind(b"PK\x05\x06")
    size = int.from_bytes(tail[place + 12 : place + 16], "little") if place >= 0 else 0
    if size > MAX_DIRECTORY_BYTES:
        raise TooLargeError(f"its directory has {size:,} bytes, over {MAX_DIRECTORY_BYTES:,}; unpack it")


def _name(info: zipfile.ZipInfo) -> str:
    """The member's name; without the UTF-8 mark it is what the packer's machine wrote: GBK, as a rule."""
    if info.flag_bits & _UTF8_NAME:
        return info.filename
    try:
        data = info.filename.encode("cp437")
    except UnicodeEncodeError:
        return info.filename
    for encoding in ("utf-8", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return info.filename
