"""What `pack` keeps of a stretch of its input: the ids of some documents in one Arrow file, mapped when read.

D documents, N tokens.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from zhllm.errors import ProofError
from zhllm.text.arrow_files import write_whole
from zhllm.text.read.shards import Split
from zhllm.train.pack.info import Counts

Lengths = NDArray[np.int32]


@dataclass(frozen=True)
class PartStats:
    """Of all documents of a part: the digest of their texts, how many were empty and left out, unknown tokens."""

    texts: str
    empty_docs: int
    unknown_tokens: int


def write_part(
    path: Path, ids: NDArray[Any], lengths: Lengths, chars: Lengths, sizes: Lengths, stats: PartStats
) -> None:
    """Write a part whole: (N,) ids, and (D,) tokens, characters and UTF-8 bytes of each document."""
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    columns = [pa.ListArray.from_arrays(pa.array(offsets), pa.array(ids)), pa.array(chars), pa.array(sizes)]
    schema = pa.schema(
        [("ids", columns[0].type), ("chars", pa.int32()), ("bytes", pa.int32())], {"stats": orjson.dumps(asdict(stats))}
    )
    write_whole(path, columns, schema)


class Part:
    """A part that was written, mapped from disk."""

    def __init__(self, path: Path) -> None:
        with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
            batch, stats = reader.get_batch(0), reader.schema.metadata[b"stats"]
        self.stats = PartStats(**orjson.loads(stats))
        column = batch.column("ids")
        self.ids: NDArray[Any] = column.values.to_numpy()
        self.lengths: Lengths = np.diff(column.offsets.to_numpy())
        self.chars: Lengths = batch.column("chars").to_numpy()
        self.sizes: Lengths = batch.column("bytes").to_numpy()

    def counts(self, chosen: NDArray[np.bool_] | None = None) -> Counts:
        """Documents, tokens, characters and bytes of all, or of the chosen documents, (D,)."""
        columns = (self.lengths, self.chars, self.sizes)
        kept = columns if chosen is None else tuple(column[chosen] for column in columns)
        return Counts(len(kept[0]), *(int(column.sum(dtype=np.int64)) for column in kept))


@dataclass
class GroupParts:
    """The parts of one group by split, and how many documents were read for them and for the empty ones."""

    train: list[Path] = field(default_factory=list)
    valid: list[Path] = field(default_factory=list)
    docs: int = 0

    def add(self, split: Split, part: Path, docs: int) -> None:
        """Note a part that is to be made from so many documents."""
        (self.train if split == "train" else self.valid).append(part)
        self.docs += docs

    @property
    def paths(self) -> list[Path]:
        """All parts in order."""
        return [*self.train, *self.valid]

    def available(self, split: Split = "train") -> Counts:
        """What the parts of a split hold together."""
        return sum((Part(path).counts() for path in (self.train if split == "train" else self.valid)), Counts())

    @cached_property
    def stats(self) -> list[PartStats]:
        """The stats of all parts in order."""
        return [Part(path).stats for path in self.paths]

    @property
    def empty_docs(self) -> int:
        """Documents without any text; they are left out."""
        return sum(one.empty_docs for one in self.stats)

    @property
    def unknown_tokens(self) -> int:
        """Tokens for text that the tokenizer cannot hold."""
        return sum(one.unknown_tokens for one in self.stats)

    def digest(self) -> str:
        """SHA-256 of the digests of all texts."""
        return hashlib.sha256("".join(one.texts for one in self.stats).encode()).hexdigest()

    def prove(self, name: str) -> None:
        """ProofError unless every document that was read is in a part or was empty."""
        held = self.available("train").docs + self.available("valid").docs
        if held + self.empty_docs != self.docs:
            raise ProofError(
                f"{name}: {self.docs:,} documents were read; {held:,} have tokens and {self.empty_docs:,} are empty."
            )
