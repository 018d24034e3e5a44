"""Adding Han pieces to a SentencePiece base so that every engine tokenises alike.

The recipe (each rule closes a measured disagreement): Han characters only; strictly falling scores
below the base's ordinary pieces, in id order; every piece with the joins it needs; the fixed order of
the given list, never a set's.

Strict scores are enough for overlapping pieces such as 甲乙甲 beside 甲乙 and 乙甲: what a model joins
inside a piece depends on nothing outside it until the piece is whole, so its last two parts are
always the same, and a list of merges has no other choice than SentencePiece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from zhllm.errors import DataError
from zhllm.vocab.additions import check_special, plan_additions
from zhllm.vocab.sentencepiece_model import (
    BYTE,
    CONTROL,
    META_SPACE,
    NORMAL,
    UNKNOWN,
    bare_processor,
    copy_of,
    processor,
)

# llama.cpp's converter has special cases for these vocabulary sizes (CodeLlama's).
FORBIDDEN_SIZES = (32016, 49152)

# Below this a score belongs to the base's space runs, where float32 cannot tell neighbours apart.
ORDINARY_SCORE = -1e8

_BYTE = re.compile(r"<0x([0-9A-F]{2})>\Z")


@dataclass(frozen=True)
class Extension:
    """An extended model: what was added (joins among it), and what was left out with the reason."""

    model: Any
    base_size: int
    added: list[str]
    joins: list[str] = field(default_factory=list)
    specials: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Ids in all."""
        return len(self.model.pieces)


class SentencePieceBase:
    """A SentencePiece BPE model as extension sees it: `proto` is its ModelProto."""

    kind = "sentencepiece"
    borders = ""

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self.size = len(proto.pieces)
        self._pieces = {p.piece for p in proto.pieces}
        self._whole = {p.piece for p in proto.pieces if p.type == NORMAL}

    @cached_property
    def _processor(self) -> Any:
        return processor(self.proto)

    @cached_property
    def _bare(self) -> Any:
        return bare_processor(self.proto)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts without specials."""
        return self._processor.encode(list(texts))  # type: ignore[no-any-return]

    def encode_inside(self, texts: Sequence[str]) -> list[list[int]]:
        """What each text becomes inside a longer one: without the dummy `▁`."""
        return self._bare.encode(list(texts))  # type: ignore[no-any-return]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return str(self._processor.decode(list(ids)))

    @cached_property
    def partial_ids(self) -> frozenset[int]:
        """The ids of the byte pieces, and of the unknown piece where a model has no bytes."""
        return frozenset(i for i, p in enumerate(self.proto.pieces) if p.type in (BYTE, UNKNOWN))

    def text_of(self, index: int) -> str | None:
        """The text of an ordinary piece, `▁` as a space; None for the others."""
        piece = self.proto.pieces[index]
        return piece.piece.replace(META_SPACE, " ") if piece.type == NORMAL else None

    def has(self, text: str) -> bool:
        """Whether `text` is a piece."""
        return text in self._pieces

    def cut_runs(self, runs: Sequence[str]) -> list[list[str]]:
        """Each run as pieces of the base, and single characters where the base has only bytes."""
        whole = self._whole
        rows = self._bare.encode(list(runs), out_type=str)
        return [row if whole.issuperset(row) else list(_without_bytes(row)) for row in rows]

    @cached_property
    def rank(self) -> dict[str, float]:
        """The order in which the base joins: highest score first."""
        return {p.piece: -p.score for p in self.proto.pieces if p.type == NORMAL}

    def bytes_of_id(self, index: int) -> bytes:
        """What a byte piece stands for; empty for others."""
        found = _BYTE.match(self.proto.pieces[index].piece)
        return bytes.fromhex(found[1]) if found else b""

    def extend(
        self,
        pieces: Sequence[str],
        pad_token: str | None = "<pad>",
        specials: Sequence[str] = (),
        max_pieces: int | None = None,
    ) -> Extension:
        """The model with `pieces` and the joins they need appended, then a pad piece and `specials` as CONTROL.

        Base ids, pieces and scores stay as they are. Pieces the base has, duplicates and pieces that are
        not Han are left out and returned by reason. Raises DataError when nothing is left to add or the
        final size is one that converters mistake.
        """
        for token in (*specials, *([] if pad_token is None else [pad_token])):
            check_special(token, token in self._whole)
        plan = plan_additions(pieces, self.has, self.cut_runs, self.rank, limit=max_pieces)
        if not plan.ordered:
            raise DataError(f"none of the {len(pieces)} pieces can be added: {plan.describe_left_out()}.")
        spec = self.proto.trainer_spec
        has_pad = 0 <= spec.pad_id < self.size
        pad = None if has_pad or self.has(pad_token or "") else pad_token
        new = [t for t in dict.fromkeys((pad, *specials)) if t is not None and not self.has(t)]
        model = appended(self.proto, plan.ordered, new)
        if not has_pad and pad_token is not None:
            model.trainer_spec.pad_id = next(i for i, p in enumerate(model.pieces) if p.piece == pad_token)
            model.trainer_spec.pad_piece = pad_token
        if len(model.pieces) in FORBIDDEN_SIZES:
            raise DataError(
                f"the extended vocabulary would have {len(model.pieces)} pieces, a size that llama.cpp's "
                "converter treats as another model. Add one piece more or fewer (--max-pieces)."
            )
        return Extension(model, self.size, plan.ordered, plan.joins, new, plan.left_out)


def extend(base: Any, pieces: Sequence[str], pad_piece: str | None = "<pad>") -> Extension:
    """`SentencePieceBase.extend` for a ModelProto."""
    return SentencePieceBase(base).extend(pieces, pad_piece)


def _without_bytes(row: Sequence[str]) -> Iterator[str]:
    """The tokens of a text, the characters themselves in place of their byte pieces."""
    pending = b""
    for token in row:
        found = _BYTE.match(token)
        if found is None:
            yield token
            continue
        pending += bytes.fromhex(found[1])
        if len(pending) == _length(pending[0]):
            yield pending.decode()
            pending = b""


def _length(first: int) -> int:
    """Bytes of a UTF-8 character by its first byte."""
    return 4 if first >= 0xF0 else 3 if first >= 0xE0 else 2 if first >= 0xC0 else 1


def lowest_ordinary_score(base: Any) -> float:
    """The lowest score among the base's ordinary pieces (Llama-2: -31740)."""
    return float(min(p.score for p in base.pieces if p.type == NORMAL and p.score > ORDINARY_SCORE))


def appended(base: Any, pieces: Sequence[str], specials: Sequence[str]) -> Any:
    """A copy of the base with `pieces` at strictly falling scores, then `specials` as CONTROL pieces."""
    model = copy_of(base)
    lowest = lowest_ordinary_score(base)
    for rank, piece in enumerate(pieces):
        model.pieces.add(piece=piece, score=lowest - 1 - rank, type=NORMAL)
    for token in specials:
        model.pieces.add(piece=token, score=0.0, type=CONTROL)
    model.trainer_spec.vocab_size = len(model.pieces)
    return model
