"""The bytes of a file, decompressed where its first bytes say so, and never more than is safe.

gzip, bzip2, xz and zstd are read as streams with bounded windows; what expands beyond measure is refused
while it is read, so a bomb costs neither memory nor time.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import zstandard

from zhllm.text.document import UnreadableError

# What is read as a whole is held in memory several times over: a text of 32 MB (11 million Chinese
# characters, ten long books) took up to 400 MB in every reader when this was set.
MAX_WHOLE_BYTES = 32_000_000
# Text shrinks 3- to 10-fold, logs and tables up to 50-fold; deflate's limit is 1,032, zstd's far beyond.
MAX_RATIO = 200
# Small files may repeat themselves as they like.
RATIO_FROM_BYTES = 16_000_000
_WINDOW_BYTES = 128 << 20  # xz -9 needs 65 MB; libzstd's own limit for a stream is 128 MB
_CHUNK_BYTES = 1 << 18
_ZSTD_STEP_BYTES = 1024  # four bytes may make 128 KB, and a step's output comes at once
HEAD_BYTES = 65_536
_MAGIC = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")


class TooLargeError(UnreadableError):
    """A file larger, once decompressed, than what is read as a whole, or that looks like a bomb."""


class DamagedError(UnreadableError):
    """Compressed data that is cut off or changed; `detail` is what the codec says."""

    def __init__(self, codec: str, detail: str) -> None:
        super().__init__(f"its {codec} data is damaged ({detail})")
        self.codec, self.detail = codec, detail


class Source(Protocol):
    """What can be read and closed; every codec's file is one."""

    def read1(self, size: int, /) -> bytes:
        """Up to `size` bytes, by one step of the codec; empty at the end only."""

    def close(self) -> None:
        """Let go of the file."""


def codec_of(head: bytes) -> str | None:
    """The compression that a file beginning so has, or None."""
    return next((codec for magic, codec in _MAGIC if head.startswith(magic)), None)


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of a file, decompressed where it is compressed (by its first bytes, not its name).

    Reading raises DamagedError and, where it expands more than MAX_RATIO-fold, TooLargeError.
    """
    raw = path.open("rb")
    codec = codec_of(raw.read(6))
    raw.seek(0)
    if codec is None:
        return raw
    guarded = Guarded(_decompressed(codec, raw), codec, raw.tell, raw)
    return cast(BinaryIO, io.BufferedReader(guarded, _CHUNK_BYTES))


def read_head(file: BinaryIO) -> bytes:
    """The first bytes of an open file, up to HEAD_BYTES; fewer where it is damaged further on."""
    head = b""
    while len(head) < HEAD_BYTES:
        try:
            part = cast(io.BufferedReader, file).read1(HEAD_BYTES - len(head))
        except UnreadableError:
            break
        if not part:
            break
        head += part
    return head


def read_whole(file: BinaryIO, max_bytes: int | None = None) -> bytes:
    """All bytes of an open file; raises TooLargeError above `max_bytes` (MAX_WHOLE_BYTES)."""
    limit = MAX_WHOLE_BYTES if max_bytes is None else max_bytes
    data = file.read(limit + 1)
    if len(data) > limit:
        raise TooLargeError(f"is larger than {limit:,} bytes; split it, or give it as JSON lines")
    return data


def _decompressed(codec: str, raw: BinaryIO) -> Source:
    if codec == "gzip":
        return gzip.GzipFile(fileobj=raw)
    if codec == "bzip2":
        return bz2.BZ2File(raw)
    if codec == "xz":
        return _XzFile(raw)
    return _ZstdFile(raw)


class _ZstdFile:
    """Frames of zstd one after the other; zstandard's own reader takes a file that is cut off for whole."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._context = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
        self._frame = self._context.decompressobj()
        self._ready = memoryview(b"")

    def read1(self, size: int, /) -> bytes:
        """Up to `size` bytes; raises EOFError where the file is cut off."""
        while not self._ready:
            data = b""
            if self._frame.eof:
                data = self._frame.unused_data or self._raw.read(_ZSTD_STEP_BYTES)
                if not data:
                    return b""
                self._frame = self._context.decompressobj()
            elif not (data := self._raw.read(_ZSTD_STEP_BYTES)):
                raise EOFError("the file is cut off")
            self._ready = memoryview(self._frame.decompress(data))
        out, self._ready = bytes(self._ready[:size]), self._ready[size:]
        return out

    def close(self) -> None:
        """Nothing is held here but the raw file, which the guard closes."""


class _XzFile:
    """As lzma.LZMAFile, with a limit on the window, which the library's class does not take."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, _WINDOW_BYTES)

    def read1(self, size: int, /) -> bytes:
        """Up to `size` bytes; raises EOFError where the file is cut off."""
        while True:
            data = b""
            if self._stream.eof:
                # Streams may follow each other, with zeros between.
                data = self._stream.unused_data.lstrip(b"\0") or self._raw.read(_CHUNK_BYTES).lstrip(b"\0")
                if not data:
                    return b""
                self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, _WINDOW_BYTES)
            elif self._stream.needs_input:
                data = self._raw.read(_CHUNK_BYTES)
                if not data:
                    raise EOFError("the file is cut off")
            if out := self._stream.decompress(data, size):
                return out

    def close(self) -> None:
        """Nothing is held here but the raw file, which the guard closes."""


class Guarded(io.RawIOBase):
    """A decompressed stream that stops a bomb and names damage; `consumed` tells the bytes taken in."""

    def __init__(self, source: Source, codec: str, consumed: Callable[[], int], *held: Source) -> None:
        self._source, self._codec, self._held = source, codec, held
        self._consumed = consumed
        self._given = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer; raises DamagedError or TooLargeError."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        try:
            # Not `read`: where the data is damaged later on, that would lose what came before.
            data = self._source.read1(len(view))
        except (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, zipfile.BadZipFile) as error:
            raise DamagedError(self._codec, str(error)) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise DamagedError(self._codec, str(error)) from error
        view[: len(data)] = data
        self._given += len(data)
        self._check_ratio()
        return len(data)

    def consumed(self) -> int:
        """Bytes of the compressed file taken in so far."""
        return self._consumed()

    def close(self) -> None:
        """Close the codec's file and those held open for it."""
        if not self.closed:
            for file in (self._source, *self._held):
                file.close()
        super().close()

    def _check_ratio(self) -> None:
        check_ratio(self._codec, self._consumed(), self._given)


def check_ratio(codec: str, packed_bytes: int, unpacked_bytes: int) -> None:
    """Raise TooLargeError where so many bytes come of so few that it must be a bomb."""
    if unpacked_bytes > RATIO_FROM_BYTES and unpacked_bytes > MAX_RATIO * packed_bytes:
        raise TooLargeError(
            f"its {codec} data expands more than {MAX_RATIO}-fold ({packed_bytes:,} bytes to {unpacked_bytes:,} "
            "or more), like a bomb; decompress it first if it is meant so"
        )
