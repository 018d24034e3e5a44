"""gguf-py's writer, with the long lists of a vocabulary packed at once instead of item by item.

A vocabulary of 145,000 tokens and 310,000 merges is 600,000 calls of gguf-py's packing; the bytes are
the same. Source: the GGUF specification (ggml/docs/gguf.md), "gguf_metadata_value_t".
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import gguf
import numpy as np
from gguf import GGUFEndian, GGUFValueType
from gguf.gguf_writer import WriterState
from numpy.typing import NDArray

_NUMBERS = {GGUFValueType.INT32: "<i4", GGUFValueType.UINT32: "<u4", GGUFValueType.FLOAT32: "<f4"}


class GGUFWriter(gguf.GGUFWriter):  # type: ignore[misc]
    """Writes the bytes that `gguf.GGUFWriter` writes."""

    state: WriterState
    _written = 0  # bytes of the tensor being written

    def _pack_val(self, val: Any, vtype: Any, add_vtype: bool, sub_type: Any = None) -> bytes:
        if vtype == GGUFValueType.ARRAY and self.endianess == GGUFEndian.LITTLE and isinstance(val, list) and val:
            kind = sub_type if sub_type is not None else GGUFValueType.get_type(val[0])
            if (packed := _packed(val, kind)) is not None:
                head = struct.pack("<I", vtype) if add_vtype else b""
                return head + struct.pack("<IQ", kind, len(val)) + packed
        return super()._pack_val(val, vtype, add_vtype, sub_type)  # type: ignore[no-any-return]

    def write_block(self, name: str, data: NDArray[Any], is_last: bool) -> None:
        """Append some of the next tensor's bytes, after its last ones what aligns the next tensor.

        `numpy.tofile`, which gguf-py takes, says of a full disk only how many items it wrote.
        """
        (file,) = self.fout
        first = next(iter(self.tensors[0]))
        assert name == first, f"{first} comes next, not {name}"
        if self.state is WriterState.TI_DATA:
            self.write_padding(file, file.tell())
            self.state = WriterState.WEIGHTS
        self._written += file.write(data.data)
        if is_last:
            size = self.tensors[0].pop(name).nbytes
            assert self._written == size, f"{name}: {self._written} bytes for {size}"
            self.write_padding(file, size)
            self._written = 0


def _packed(items: Sequence[Any], kind: Any) -> bytes | None:
    """The items one behind the other; None for a kind or a mixture that is left to gguf-py."""
    types = set(map(type, items))
    if kind == GGUFValueType.STRING and types <= {str, bytes}:
        texts = [item.encode() if isinstance(item, str) else item for item in items]
        return b"".join(part for text in texts for part in (struct.pack("<Q", len(text)), text))
    if kind in _NUMBERS and len(types) == 1 and types <= {int, float}:
        return np.array(items, _NUMBERS[kind]).tobytes()
    return None
