"""safetensors shards that many threads fill at once: every tensor has its place in a file from the start.

The space is reserved before the first tensor is written, so that a disk that is too small says so at once.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from zhllm.errors import StageError
from zhllm.model.tensors import Spec, header_of, shard_name, split, write_index
from zhllm.model.torch_bin import Place

COPY_BYTES = 64 << 20
HASH_BYTES = 1 << 20


class Shards:
    """The files of a planned model, open for writing at any place; a context manager.

    `wait` lets a reader follow the writers, and `sha256` is one that does. Leaving it normally with tensors missing
    is an error.
    """

    def __init__(self, folder: Path, plan: Sequence[Spec], max_shard_bytes: int) -> None:
        self.folder = folder
        self._shards = split(plan, max_shard_bytes)
        self.names = [shard_name(number, len(self._shards)) for number in range(len(self._shards))]
        self._places: dict[str, tuple[int, Place]] = {}
        self._done: set[str] = set()
        self._changed = threading.Condition()
        self._failed = False
        self._files: list[int] = []

    def __enter__(self) -> Shards:
        for number, shard in enumerate(self._shards):
            path, header = self.folder / self.names[number], header_of(shard)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
            self._files.append(file)
            offset = len(header)
            for spec in shard:
                strides = tuple(math.prod(spec.shape[n + 1 :]) for n in range(len(spec.shape)))
                self._places[spec.name] = number, Place(spec.name, spec.dtype, spec.shape, strides, offset)
                offset += spec.size_bytes
            _reserve(file, path, offset)
            write_all(file, header, 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.fail()
        for file in self._files:
            os.close(file)
        if kind is None:
            left = len(self._places) - len(self._done)
            assert not left, f"{left} planned tensors were not written"
            write_index(self.folder, self._shards)

    def where(self, name: str) -> tuple[Path, Place]:
        """The file that will hold a tensor, and its place there."""
        number, place = self._places[name]
        return self.folder / self.names[number], place

    def write(self, name: str, start: int, data: memoryview | bytes) -> None:
        """Write bytes of a tensor from its byte `start` on."""
        number, place = self._places[name]
        write_all(self._files[number], data, place.offset + start)

    def copy(self, name: str, source: int, offset: int, count: int) -> None:
        """Fill a tensor with `count` bytes of an open file from `offset` on, inside the kernel where it can."""
        number, place = self._places[name]
        done = 0
        while done < count:
            size = min(COPY_BYTES, count - done)
            try:
                moved = os.copy_file_range(source, self._files[number], size, offset + done, place.offset + done)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
                    raise
                moved = 0
            if not moved:
                data = os.pread(source, min(size, 4 << 20), offset + done)
                assert data, f"{name}: its file became shorter while it was read"
                write_all(self._files[number], data, place.offset + done)
                moved = len(data)
            done += moved

    def finish(self, name: str) -> None:
        """Say that all of a tensor is written; whoever waits for it goes on."""
        with self._changed:
            self._done.add(name)
            self._changed.notify_all()

    def fail(self) -> None:
        """Wake everyone who waits: there will be no more tensors."""
        with self._changed:
            self._failed = True
            self._changed.notify_all()

    def wait(self, name: str) -> None:
        """Return when all of a tensor is written; StageError when that will not happen."""
        with self._changed:
            self._changed.wait_for(lambda: self._failed or name in self._done)
            if name not in self._done:
                raise StageError(f"{self.folder}: {name} was not written.")

    def sha256(self, number: int) -> str:
        """SHA-256 of a shard's file in hex, read back tensor by tensor as they are finished; raises as `wait`."""
        found, block, done = hashlib.sha256(), memoryview(bytearray(HASH_BYTES)), 0
        with (self.folder / self.names[number]).open("rb", buffering=0) as file:
            for spec in self._shards[number]:
                self.wait(spec.name)
                end = self._places[spec.name][1].offset + spec.size_bytes
                while done < end:
                    count = file.readinto(block[: end - done])
                    assert count, f"{file.name}: became shorter while it was read"
                    found.update(block[:count])
                    done += count
        return found.hexdigest()


def _reserve(file: int, path: Path, size: int) -> None:
    """Give a file its size and, where the file system can, its space."""
    try:
        os.posix_fallocate(file, 0, size)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(errno.ENOSPC, f"{size} bytes are needed", str(path)) from error
        os.ftruncate(file, size)  # a file system that cannot reserve


def write_all(file: int, data: memoryview | bytes, offset: int) -> None:
    """Write all bytes at a place of a file."""
    view = memoryview(data).cast("B")
    while view:
        count = os.pwrite(file, view, offset)
        view, offset = view[count:], offset + count
