"""Tensors of a file that torch.save wrote, found without torch and without running what the file says.

The file is a zip archive: a pickle that names the tensors, and every storage uncompressed, so that a tensor
is a place in the file. Only the few names that tensors are pickled with are known here; anything else
is refused, since a pickle may run code. Format: torch/serialization.py and torch/_utils.py.
"""

from __future__ import annotations

import collections
import math
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zhllm.errors import DataError

DTYPES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ByteStorage": "U8", "BoolStorage": "BOOL",
}  # fmt: skip
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
LOCAL_HEADER = struct.Struct("<4s22xHH")  # signature, ..., lengths of the name and of the extra field


@dataclass(frozen=True)
class Place:
    """A tensor as a part of a file: dtype in safetensors' spelling, shape, strides in values, first byte."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @property
    def is_contiguous(self) -> bool:
        """Whether the values lie one behind the other, as safetensors has them."""
        step = 1
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size != 1 and stride != step:
                return math.prod(self.shape) == 0
            step *= size
        return True


@dataclass(frozen=True)
class _Storage:
    dtype: str
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild(storage: _Storage, first: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, first, tuple(shape), tuple(strides))


def _parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    return tensor


KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    **{("torch", name): dtype for name, dtype in DTYPES.items()},
}


class _Reader(pickle.Unpickler):
    """An unpickler that makes places instead of tensors, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no plain table of tensors needs")
        return KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, str):
            raise pickle.UnpicklingError(f"it names a {kind}")
        return _Storage(dtype, str(key), int(count))


def read_places(path: Path) -> Iterator[Place]:
    """Where each tensor of a torch file lies; DataError for a damaged file, or one that holds anything else."""
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            pickled = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
            with archive.open(pickled) as table:
                found = _Reader(table).load()
            prefix = pickled.removesuffix("data.pkl")
            if f"{prefix}byteorder" in archive.namelist() and archive.read(f"{prefix}byteorder") != b"little":
                raise ValueError("it was written on a big-endian machine")
            starts = {info.filename: (_data_start(file, info), info) for info in archive.infolist()}
    except (StopIteration, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: is cut off, or is not a file that torch.save wrote since version 1.6 ({error or 'no data.pkl'})."
        ) from error
    except (pickle.UnpicklingError, ValueError, TypeError, KeyError, EOFError, IndexError, OSError) as error:
        raise DataError(f"{path}: is not a table of tensors that can be read safely: {error}.") from error
    for name, tensor in _tensors(path, found):
        yield _place(path, name, tensor, f"{prefix}data/", starts)


def _data_start(file: Any, info: zipfile.ZipInfo) -> int:
    file.seek(info.header_offset)
    signature, name_bytes, extra_bytes = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    if signature != b"PK\x03\x04" or info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} is compressed or has no header")
    return int(info.header_offset + LOCAL_HEADER.size + name_bytes + extra_bytes)


def _tensors(path: Path, found: Any) -> Iterator[tuple[str, _Tensor]]:
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping):
        raise DataError(f"{path}: holds a {type(found).__name__}, not a table of tensors by name.")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise DataError(f"{path}: {name!r} is a {type(value).__name__}, not a tensor.")
        yield name, value


def _place(
    path: Path, name: str, tensor: _Tensor, prefix: str, starts: Mapping[str, tuple[int, zipfile.ZipInfo]]
) -> Place:
    storage, item = tensor.storage, ITEM_BYTES[tensor.storage.dtype]
    if prefix + storage.key not in starts:
        raise DataError(f"{path}: the values of {name} (storage {storage.key}) are not in the file.")
    start, info = starts[prefix + storage.key]
    last = tensor.first + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if math.prod(tensor.shape) and not 0 <= last < info.file_size // item:
        raise DataError(
            f"{path}: {name} needs {last + 1} values, its storage {storage.key} has {info.file_size // item}."
        )
    return Place(name, storage.dtype, tensor.shape, tensor.strides, start + tensor.first * item)
