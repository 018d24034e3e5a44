"""Token shards: one flat memory-mapped file of ids per set, with the places where documents start.

T tokens a row. A row's labels are the ids one further on, so every token of a document but its
first is predicted once, also across a row's end.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zhllm.errors import DataError
from zhllm.train.batch import IGNORED, Batch, Ids, positions_of, stack
from zhllm.vocab.tokenizer import Tokenizer, read_json

META = "pack.json"
BLOCK_DOCS = 512


@dataclass(frozen=True)
class SetInfo:
    """Counts of one set: documents, tokens with BOS and end, characters and UTF-8 bytes of text."""

    docs: int
    tokens: int
    chars: int
    bytes: int


@dataclass(frozen=True)
class PackInfo:
    """What a packed folder says of itself."""

    tokenizer: str
    vocab_size: int
    seq_len: int
    dtype: str
    pad_id: int
    sets: dict[str, SetInfo]


def write_set(folder: Path, name: str, texts: Iterable[str], tokenizer: Tokenizer) -> SetInfo:
    """Append every text as BOS (where the tokenizer has one), its ids, one end token.

    Memory stays at one block of documents and the list of document starts.
    """
    bos, eos, dtype = tokenizer.special_id("bos"), tokenizer.eos_id, dtype_for(tokenizer.vocab_size)
    starts, tokens, chars, size = array("q"), 0, 0, 0
    with (folder / f"{name}.tokens.bin").open("wb") as file:
        for block in _blocks(texts):
            for text, ids in zip(block, tokenizer.encode_plain(block), strict=True):
                full = [*([] if bos is None else [bos]), *ids, eos]
                starts.append(tokens)
                tokens += len(full)
                chars += len(text)
                size += len(text.encode())
                file.write(np.asarray(full, dtype).tobytes())
    (folder / f"{name}.starts.bin").write_bytes(starts.tobytes())
    return SetInfo(len(starts), tokens, chars, size)


def dtype_for(vocab_size: int) -> str:
    """uint16 while ids fit, else uint32."""
    return "uint16" if vocab_size <= 1 << 16 else "uint32"


def _blocks(texts: Iterable[str]) -> Iterable[list[str]]:
    block: list[str] = []
    for text in texts:
        block.append(text)
        if len(block) == BLOCK_DOCS:
            yield block
            block = []
    if block:
        yield block


def write_info(folder: Path, info: PackInfo) -> None:
    """Write pack.json."""
    (folder / META).write_text(json.dumps(asdict(info), indent=1) + "\n", encoding="utf-8")


def read_info(folder: Path) -> PackInfo:
    """Read pack.json; DataError where the folder was not made by pack."""
    if not (folder / META).is_file():
        raise DataError(f"{folder}: has no {META}; give a folder that zhllm pack wrote.")
    content: dict[str, Any] = read_json(folder / META)
    sets = {name: SetInfo(**counts) for name, counts in content.pop("sets").items()}
    return PackInfo(sets=sets, **content)


class TokenSet:
    """One packed set, read row by row."""

    def __init__(self, folder: Path, name: str, info: PackInfo) -> None:
        self.info, self.seq_len, self.pad_id = info.sets[name], info.seq_len, info.pad_id
        path = folder / f"{name}.tokens.bin"
        self._tokens: NDArray[Any] = np.memmap(path, info.dtype, "r") if self.info.tokens else np.zeros(0, info.dtype)
        self._starts: Ids = np.fromfile(folder / f"{name}.starts.bin", np.int64)
        if len(self._tokens) != self.info.tokens or len(self._starts) != self.info.docs:
            raise DataError(f"{path}: holds {len(self._tokens)} tokens, {META} says {self.info.tokens}. Pack again.")

    def __len__(self) -> int:
        """Rows; the last may be partly padding, nothing is dropped."""
        return max(0, -(-(self.info.tokens - 1) // self.seq_len))

    def row(self, index: int) -> tuple[Ids, Ids, Ids]:
        """(input_ids, labels, position_ids) of one row, each (T,)."""
        first = index * self.seq_len
        seen = self._tokens[first : first + self.seq_len + 1].astype(np.int64)
        count = len(seen) - 1
        inputs = np.full(self.seq_len, self.pad_id, np.int64)
        labels = np.full(self.seq_len, IGNORED, np.int64)
        inputs[:count], labels[:count] = seen[:-1], seen[1:]
        begin, end = np.searchsorted(self._starts, (first + 1, first + count + 1))
        # A document's first token does not follow from the one before.
        labels[self._starts[begin:end] - first - 1] = IGNORED
        positions = positions_of(self._starts, first, self.seq_len)
        positions[count:] = 0  # each padding token is a document of its own
        return inputs, labels, positions

    def batch(self, rows: Sequence[int]) -> Batch:
        """The given rows as one batch."""
        return stack([self.row(i) for i in rows])


def rows_at(step: int, rows_per_step: int, total_rows: int, seed: int) -> list[int]:
    """The rows of one step: a pure function of (seed, step), so a run can continue anywhere.

    Epochs follow each other without a gap, each a permutation of its own.
    """
    chosen = []
    for number in range(step * rows_per_step, (step + 1) * rows_per_step):
        epoch, place = divmod(number, total_rows)
        chosen.append(int(_permutation(seed, epoch, total_rows)[place]))
    return chosen


_PERMUTATIONS: dict[tuple[int, int, int], NDArray[np.int64]] = {}


def _permutation(seed: int, epoch: int, total: int) -> NDArray[np.int64]:
    key = (seed, epoch, total)
    if key not in _PERMUTATIONS:
        if len(_PERMUTATIONS) > 1:  # a step spans at most two epochs
            _PERMUTATIONS.pop(next(iter(_PERMUTATIONS)))
        _PERMUTATIONS[key] = np.random.default_rng((seed, epoch)).permutation(total)
    return _PERMUTATIONS[key]
