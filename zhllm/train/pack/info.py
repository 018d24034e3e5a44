"""pack.json: what a folder of token sets says of itself. No torch, so that packing starts quickly.

A set is three files: `{set}.tokens.bin`, ids of all documents one after the other; `{set}.starts.bin`, int64,
where in it each document starts; `{set}.sources.bin`, uint16, the place of each document's source in `sources`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.vocab.tokenizer import read_json

META = "pack.json"
FORMAT = 2
STARTS_DTYPE, SOURCES_DTYPE = "<i8", "<u2"
MAX_SOURCES = 1 << 16


@dataclass(frozen=True)
class Counts:
    """Documents, tokens with BOS and end, characters and UTF-8 bytes of text."""

    docs: int = 0
    tokens: int = 0
    chars: int = 0
    bytes: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(a + b for a, b in zip(self.values(), other.values(), strict=True)))

    def __sub__(self, other: Counts) -> Counts:
        return Counts(*(a - b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[int, int, int, int]:
        """The four numbers in the order of the fields."""
        return self.docs, self.tokens, self.chars, self.bytes


@dataclass(frozen=True)
class SetInfo(Counts):
    """Counts of one set, and of each source in it."""

    sources: Mapping[str, Counts] = field(default_factory=dict)


@dataclass(frozen=True)
class PackInfo:
    """What a packed folder says of itself.

    `tokenizer` is the digest of what decides the ids, `texts` that of all texts of each source. `sources` are
    the names that `{set}.sources.bin` numbers.
    """

    tokenizer: str
    vocab_size: int
    seq_len: int
    dtype: str
    pad_id: int
    sets: Mapping[str, SetInfo]
    sources: tuple[str, ...] = ("corpus",)
    texts: Mapping[str, str] = field(default_factory=dict)
    bos_id: int | None = None
    eos_id: int | None = None
    format: int = FORMAT


def dtype_for(vocab_size: int) -> str:
    """uint16 while ids fit, else uint32."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def rows_of(tokens: int, seq_len: int) -> int:
    """Rows that so many tokens make: each but the first is predicted once, the last row may be part padding."""
    return max(0, -(-(tokens - 1) // seq_len))


def efficiency(counts: Counts, seq_len: int) -> float:
    """Learnt labels as a share of the places in all rows: what BOS tokens and the last row's padding leave."""
    return (counts.tokens - counts.docs) / max(rows_of(counts.tokens, seq_len) * seq_len, 1)


def write_info(folder: Path, info: PackInfo) -> None:
    """Write pack.json."""
    (folder / META).write_text(json.dumps(asdict(info), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_info(folder: Path) -> PackInfo:
    """Read pack.json; DataError where the folder was not made by pack, or by a pack that wrote other files."""
    path = folder / META
    if not path.is_file():
        raise DataError(f"{folder}: has no {META}; give a folder that zhllm pack wrote.")
    content: dict[str, Any] = read_json(path)
    found = content.get("format", 1)
    if found != FORMAT:
        raise DataError(
            f"{path}: was written by another version of zhllm (format {found}, this one reads {FORMAT}). "
            "Run zhllm pack again."
        )
    try:
        sets = {name: _set_info(counts) for name, counts in content.pop("sets").items()}
        return PackInfo(sets=sets, sources=tuple(content.pop("sources")), **content)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is damaged ({error}). Run zhllm pack again.") from error


def _set_info(counts: dict[str, Any]) -> SetInfo:
    sources = {name: Counts(**one) for name, one in counts.pop("sources").items()}
    return SetInfo(**counts, sources=sources)
