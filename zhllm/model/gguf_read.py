"""Reading a GGUF file: its metadata as plain Python values, its tensors as views into the file.

gguf-py's reader makes a numpy array of every token: 2 s for 35,000 of them, where this takes 0.05 s.
Source: the GGUF specification (ggml/docs/gguf.md).
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

from zhllm.errors import DataError
from zhllm.model.gguf_blocks import dequantize
from zhllm.model.tensors import F32, Array

# The specification's gguf_metadata_value_type, in its order; 8 is a string, 9 an array.
NUMBERS = dict(enumerate(("<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<f4", "?"))) | {10: "<u8", 11: "<i8", 12: "<f8"}
STRING, ARRAY = 8, 9


@dataclass(frozen=True)
class Tensor:
    """One tensor: type, shape (rows first, as torch has it), bytes (rows, bytes of a row), place in the file."""

    type: GGMLQuantizationType
    shape: tuple[int, ...]
    data: Array
    offset: int = 0

    def f32(self) -> F32:
        """The values as float32."""
        return dequantize(self.data, self.type).reshape(self.shape)


class GgufFile:
    """The metadata and tensors of a GGUF file; DataError when it is not one or is cut off."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if self._bytes[:4] != b"GGUF":
                raise DataError(f"{path}: is not a GGUF file.")
            self._at = 4
            version, tensors, pairs = self._unpack("<IQQ")
            if version not in (2, 3):
                raise DataError(f"{path}: is of GGUF version {version}; 2 and 3 are read.")
            self.metadata: dict[str, Any] = {}
            for _ in range(pairs):
                key = self._string()
                self.metadata[key] = self._value(self._unpack("<I")[0])
            self.tensors: dict[str, Tensor] = dict(self._tensors(tensors))
        except (struct.error, ValueError, KeyError) as error:
            raise DataError(f"{path}: is not a whole GGUF file ({error}).") from error

    @property
    def template_tokens(self) -> dict[str, str]:
        """The "bos_token" and "eos_token" that the chat template may name."""
        spelt: list[str] = self.metadata.get("tokenizer.ggml.tokens", [])
        ids = {f"{role}_token": self.metadata.get(f"tokenizer.ggml.{role}_token_id") for role in ("bos", "eos")}
        return {name: str(spelt[i]) for name, i in ids.items() if i is not None and i < len(spelt)}

    def _unpack(self, layout: str) -> tuple[int, ...]:
        found = struct.unpack_from(layout, self._bytes, self._at)
        self._at += struct.calcsize(layout)
        return found

    def _string(self) -> str:
        (length,) = self._unpack("<Q")
        text = self._bytes[self._at : self._at + length]
        self._at += length
        return text.decode("utf-8")

    def _value(self, kind: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind != ARRAY:
            return self._numbers(kind, 1)[0]
        kind, count = self._unpack("<IQ")
        return self._strings(count) if kind == STRING else self._numbers(kind, count)

    def _strings(self, count: int) -> list[str]:
        """`_string` many times, for a vocabulary has hundreds of thousands."""
        held, at, length = self._bytes, self._at, struct.Struct("<Q").unpack_from
        found = []
        for _ in range(count):
            start = at + 8
            at = start + length(held, at)[0]
            found.append(str(held[start:at], "utf-8"))
        self._at = at
        return found

    def _numbers(self, kind: int, count: int) -> list[Any]:
        found = np.frombuffer(self._bytes, NUMBERS[kind], count, self._at)
        self._at += found.nbytes
        return list(found.tolist())

    def _tensors(self, count: int) -> list[tuple[str, Tensor]]:
        heads = []
        for _ in range(count):
            name, (dimensions,) = self._string(), self._unpack("<I")
            *shape, kind, offset = self._unpack(f"<{dimensions}QIQ")
            heads.append((name, tuple(reversed(shape)), GGMLQuantizationType(kind), offset))
        alignment = self.metadata.get("general.alignment", 32)
        start = -(-self._at // alignment) * alignment
        return [(name, self._tensor(shape, kind, start + offset)) for name, shape, kind, offset in heads]

    def _tensor(self, shape: tuple[int, ...], kind: GGMLQuantizationType, at: int) -> Tensor:
        block, block_bytes = GGML_QUANT_SIZES[kind]
        rows, row_bytes = math.prod(shape[:-1]), shape[-1] // block * block_bytes
        data = np.frombuffer(self._bytes, np.uint8, rows * row_bytes, at)
        return Tensor(kind, shape, data.reshape(rows, row_bytes), at)
