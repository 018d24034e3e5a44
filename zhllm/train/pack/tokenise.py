"""One stretch of documents to ids, in whatever process: what `pack` shares out among its workers.

Every document becomes BOS (where the tokenizer has one), its ids and one end token.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zhllm.errors import DataError, ProofError
from zhllm.train.pack.info import dtype_for
from zhllm.train.pack.parts import PartStats, write_part
from zhllm.vocab.tokenizer import Tokenizer

# Text encoded at once: its ids as separate arrays are what costs memory.
BLOCK_CHARS = 500_000
# Of the first document of each block, so many tokens are decoded again.
PROVED_TOKENS = 2048
# A cut before a combining character changes no more.
PREFIX_CHARS = 8


@dataclass(frozen=True)
class Task:
    """Texts to tokenise into `part`: some row groups of a parquet file, or texts that were read already.

    `megabytes` of the input are done with it: on disk where that is known, else of text.
    """

    part: Path
    tokenizer: Path
    texts: tuple[str, ...] = ()
    file: Path | None = None
    first_group: int = 0
    end_group: int = 0
    megabytes: float = 0.0

    def read(self) -> Sequence[str]:
        """The texts."""
        return self.texts if self.file is None else _row_groups(self.file, range(self.first_group, self.end_group))


def tokenise(task: Task) -> float:
    """Write the part of a task; its megabytes. ProofError where ids or texts are not what they must be."""
    if multiprocessing.parent_process() is not None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    tokenizer = tokenizer_at(task.tokenizer)
    texts = task.read()
    kept = [text for text in texts if text]
    ids, lengths = _encoded(tokenizer, kept)
    digest = hashlib.sha256()
    sizes = np.zeros(len(kept), np.int32)
    for i, text in enumerate(kept):
        data = text.encode()
        sizes[i] = len(data)
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    unknown = tokenizer.special_id("unk")
    stats = PartStats(
        digest.hexdigest(), len(texts) - len(kept), 0 if unknown is None else int(np.count_nonzero(ids == unknown))
    )
    write_part(task.part, ids, lengths, np.array([len(text) for text in kept], np.int32), sizes, stats)
    return task.megabytes


@lru_cache(maxsize=1)
def tokenizer_at(folder: Path) -> Tokenizer:
    """The tokenizer of a folder, read once."""
    return Tokenizer(folder)


def _row_groups(path: Path, groups: Sequence[int]) -> list[str]:
    """The texts of some row groups; where one is not a text, the error that reading the file as documents gives."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from zhllm.text.read.shards import read_documents

    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            found: list[Any] = [text for group in groups for text in _column(file, group)]
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        found = [None]
    if all(type(text) is str for text in found):
        return found
    for _ in read_documents([path]):
        pass
    raise DataError(f"{path}: could not be read, and then could. Run the same command again.")


def _column(file: Any, group: int) -> list[Any]:
    texts: list[Any] = file.read_row_group(group, columns=["text"]).column("text").to_pylist()
    return texts


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """(N,) ids of all texts, and (D,) how many each has, BOS and end token included."""
    dtype = dtype_for(tokenizer.vocab_size)
    flat, lengths = [np.zeros(0, dtype)], [np.zeros(0, np.int32)]
    for block in _blocks(texts):
        ids, counts = with_ends(tokenizer, tokenizer.encode_bulk(block))
        prove_ids(tokenizer, ids, len(block))
        prove_text(tokenizer, block[0], ids[: counts[0]])
        flat.append(ids.astype(dtype))
        lengths.append(counts)
    return np.concatenate(flat), np.concatenate(lengths)


def _blocks(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = chars = 0
    for end, text in enumerate(texts, 1):
        chars += len(text)
        if chars >= BLOCK_CHARS or end == len(texts):
            yield texts[start:end]
            start, chars = end, 0


def with_ends(tokenizer: Tokenizer, ids: Sequence[NDArray[np.int32]]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(N,) the documents one after the other, each with BOS (if the tokenizer has it) and end, and their lengths."""
    bos, eos = tokenizer.special_id("bos"), tokenizer.eos_id
    head = np.array([] if bos is None else [bos], np.int32)
    between = np.array([eos, *head], np.int32)
    flat = [head, *(part for one in ids for part in (one, between))]
    joined = np.concatenate(flat)
    lengths = np.array([len(one) for one in ids], np.int32) + len(between)
    return joined[: len(joined) - len(head)], lengths


def prove_ids(tokenizer: Tokenizer, ids: NDArray[np.int32], docs: int) -> None:
    """ProofError unless every id is of the vocabulary, and end tokens are as many as documents."""
    if ids.min() < 0 or ids.max() >= tokenizer.vocab_size:
        raise ProofError(
            f"{tokenizer.folder}: gave the ids {ids.min()} to {ids.max()}, its vocabulary has {tokenizer.vocab_size}. "
            "Are tokenizer.json and tokenizer.model of one tokenizer? Run zhllm check-vocab on it."
        )
    ends = int(np.count_nonzero(ids == tokenizer.eos_id))
    if ends != docs:
        raise ProofError(
            f"{tokenizer.folder}: {docs} documents have {ends} end tokens: it takes text for its end token. "
            "Run zhllm check-vocab on it."
        )


def prove_text(tokenizer: Tokenizer, text: str, ids: NDArray[np.int32]) -> None:
    """ProofError unless the ids of a document (or the first of them) decode to its text, as the normaliser sees it.

    A document with an unknown token is passed over; those are counted.
    """
    bos, unknown = tokenizer.special_id("bos"), tokenizer.special_id("unk")
    inner = ids[bos is not None : -1]
    if unknown is not None and (inner == unknown).any():
        return
    # A cut inside a character spoils all the bytes before it; one of four neighbouring cuts is between characters.
    cuts = range(PROVED_TOKENS, PROVED_TOKENS + 4) if len(inner) > PROVED_TOKENS + 4 else [len(inner)]
    pairs = [_decoded(tokenizer, text, inner[:cut], cut == len(inner)) for cut in cuts]
    if all(found != wanted for found, wanted in pairs):
        found, wanted = pairs[0]
        at = next((i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b), len(found))
        raise ProofError(
            f"{tokenizer.folder}: a text does not come back from its ids: {wanted[at : at + 20]!r} became "
            f"{found[at : at + 20]!r}. Run zhllm check-vocab on it."
        )


def _decoded(tokenizer: Tokenizer, text: str, ids: NDArray[np.int32], is_whole: bool) -> tuple[str, str]:
    """What ids decode to and what it should be, in normal form; of a part of a text less its last characters."""
    normalizer = tokenizer.fast.normalizer
    found = _normal(normalizer, tokenizer.decode(ids.tolist(), keep_special=True))
    wanted = _normal(normalizer, text[: 4 * len(found) + PREFIX_CHARS])
    if is_whole:
        return found, wanted
    found = found[:-PREFIX_CHARS]
    return found, wanted[: len(found)]


def _normal(normalizer: Any, text: str) -> str:
    return text if normalizer is None else str(normalizer.normalize_str(text))
