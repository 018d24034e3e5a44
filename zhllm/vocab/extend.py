"""Adding Han pieces to a SentencePiece base so that every engine tokenises alike.

The recipe (each rule closes a measured disagreement): Han characters only; strictly falling scores
below the base's ordinary pieces, in id order; no unreachable pieces; the fixed order of the given
list, never a set's.

Strict scores are enough for overlapping pieces such as 甲乙甲 beside 甲乙 and 乙甲: what a model joins
inside a piece depends on nothing outside it until the piece is whole, so its last two parts are
always the same, and a list of merges has no other choice than SentencePiece.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from zhllm.errors import DataError
from zhllm.text.han import is_han
from zhllm.vocab.sentencepiece_model import (
    CONTROL,
    NORMAL,
    USER_DEFINED,
    bare_processor,
    copy_of,
)

# llama.cpp's converter has special cases for these vocabulary sizes (CodeLlama's).
FORBIDDEN_SIZES = (32016, 49152)

# Below this a score belongs to the base's space runs, where float32 cannot tell neighbours apart.
ORDINARY_SCORE = -1e8


@dataclass(frozen=True)
class Extension:
    """An extended model, and which pieces were left out with the reason."""

    model: Any
    added: list[str]
    left_out: dict[str, list[str]] = field(default_factory=dict)


def extend(base: Any, pieces: Sequence[str], pad_piece: str | None = "<pad>") -> Extension:
    """The base ModelProto with `pieces` appended, then `pad_piece` as a CONTROL piece.

    Base ids, pieces and scores stay as they are. Pieces the base has, duplicates, pieces that are
    not Han and unreachable pieces are left out and returned by reason. Raises DataError when nothing
    is left to add, the final size is one that converters mistake, or the base has user-defined pieces.
    """
    user_defined = [p.piece for p in base.pieces if p.type == USER_DEFINED]
    if user_defined:
        raise DataError(
            f"the base holds {len(user_defined)} user-defined pieces (such as {user_defined[0]!r}), around which "
            "SentencePiece, Hugging Face and llama.cpp cut a text in different ways."
        )
    in_base = {p.piece for p in base.pieces}
    left_out: dict[str, list[str]] = {}
    wanted: list[str] = []
    known = set(in_base)
    for piece in pieces:
        if piece not in known and is_han(piece):
            wanted.append(piece)
            known.add(piece)
        else:
            reason = "in the base" if piece in in_base else "twice" if piece in known else "not Han"
            left_out.setdefault(reason, []).append(piece)
    dead = set(unreachable(_append(base, wanted, pad_piece), len(base.pieces), wanted))
    if dead:  # nothing is lost with them: what is never formed is no step to anything else
        left_out["unreachable"] = [piece for piece in wanted if piece in dead]
        wanted = [piece for piece in wanted if piece not in dead]
    model = _append(base, wanted, pad_piece)
    if not wanted:
        raise DataError(f"none of the {len(pieces)} pieces can be added: {_by_reason(left_out)}.")
    if len(model.pieces) in FORBIDDEN_SIZES:
        raise DataError(
            f"the extended vocabulary would have {len(model.pieces)} pieces, a size that llama.cpp's "
            "converter treats as another model. Add one piece more or fewer (--max-pieces)."
        )
    return Extension(model, wanted, left_out)


def _by_reason(left_out: dict[str, list[str]]) -> str:
    return ", ".join(f"{len(v)} {k} (such as {v[0]!r})" for k, v in left_out.items()) or "no pieces given"


def lowest_ordinary_score(base: Any) -> float:
    """The lowest score among the base's ordinary pieces (Llama-2: -31740)."""
    return float(min(p.score for p in base.pieces if p.type == NORMAL and p.score > ORDINARY_SCORE))


def _append(base: Any, pieces: Sequence[str], pad_piece: str | None) -> Any:
    model = copy_of(base)
    lowest = lowest_ordinary_score(base)
    for rank, piece in enumerate(pieces):
        model.pieces.add(piece=piece, score=lowest - 1 - rank, type=NORMAL)
    if pad_piece is not None and all(p.piece != pad_piece for p in base.pieces):
        model.pieces.add(piece=pad_piece, score=0.0, type=CONTROL)
        model.trainer_spec.pad_id = len(model.pieces) - 1
        model.trainer_spec.pad_piece = pad_piece
    model.trainer_spec.vocab_size = len(model.pieces)
    return model


def unreachable(model: Any, base_size: int, pieces: Sequence[str]) -> list[str]:
    """Added pieces that the model itself never produces: their own text gives other ids."""
    encoder = bare_processor(model)
    encoded = encoder.encode(list(pieces))
    return [p for i, (p, ids) in enumerate(zip(pieces, encoded, strict=True)) if ids != [base_size + i]]
