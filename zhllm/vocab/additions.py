"""Which pieces are added to a base, and in which order, so that each of them can be formed.

BPE joins two tokens at a time, so a piece of three tokens is formed only when two of them make a piece
too. A list learnt by BPE brings its own steps; a list of terms, or one from a unigram model, does not.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field

from zhllm.errors import DataError
from zhllm.text.han import is_han

Cut = Callable[[Sequence[str]], list[list[str]]]


@dataclass
class Additions:
    """Pieces in the order of their ids, spelt as the base spells; which are joins only; what was left out."""

    ordered: list[str] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def leave_out(self, reason: str, piece: str) -> None:
        """Record a piece that is not added."""
        self.left_out.setdefault(reason, []).append(piece)

    def describe_left_out(self) -> str:
        """One line: how many of which reason, with an example."""
        found = [f"{len(v)} {k} (such as {v[0]!r})" for k, v in self.left_out.items()]
        return ", ".join(found) or "no pieces given"


def select(pieces: Sequence[str], has: Callable[[str], bool]) -> tuple[list[str], Additions]:
    """The pieces that may be added: Han only, not in the base, once; the others by reason."""
    found, wanted = Additions(), dict[str, None]()
    for piece in pieces:
        if has(piece):
            found.leave_out("in the base", piece)
        elif piece in wanted:
            found.leave_out("twice", piece)
        elif not is_han(piece):
            found.leave_out("not Han", piece)
        else:
            wanted[piece] = None
    return list(wanted), found


def check_special(token: str, is_ordinary: bool) -> None:
    """DataError when `token` cannot be a special token: engines part texts at it, so no text may need it."""
    if not token or any(c.isspace() for c in token):
        raise DataError(f"{token!r} cannot be a special token: it must be one word, such as <pad>.")
    if is_ordinary or is_han(token):
        raise DataError(
            f"{token!r} cannot be a special token: it is an ordinary piece or Chinese text, which engines would cut "
            "in different ways around it. Choose a spelling that no text has, such as <pad>."
        )


def continue_bpe(tokens: Sequence[str], rank: Mapping[str, float]) -> list[str]:
    """The tokens after every join that `rank` allows: lowest rank first, leftmost of equals."""
    parts = list(tokens)
    while len(parts) > 1:
        joins = [(rank[a + b], i) for i, (a, b) in enumerate(zip(parts, parts[1:], strict=False)) if a + b in rank]
        if not joins:
            break
        at = min(joins)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def plan_additions(
    pieces: Sequence[str],
    has: Callable[[str], bool],
    cut: Cut,
    rank: Mapping[str, float],
    spell: Callable[[str], str] = str,
    taken: Container[str] = (),
    limit: int | None = None,
) -> Additions:
    """The pieces to add, each with the joins it needs right before it; at most `limit` in all.

    `has` says what the base holds, `cut` gives the base's own tokens of texts, `rank` the order in
    which the base joins (lower first), `spell` how the base writes a text. A piece that would need a
    token of `taken` (in the base, but never formed there) is left out as unreachable. Every prefix of
    the order is whole: a piece is formed from what stands before it, whatever comes later.
    """
    wanted, found = select(pieces, has)
    known = dict(rank)
    first = 1 + max(known.values(), default=0.0)
    texts = list(dict.fromkeys(text for piece in wanted for text in (*piece, piece)))
    tokens_of = dict(zip(texts, cut(texts), strict=True))
    asked = set(wanted)
    joins: set[str] = set()
    for text in texts:
        spelt = spell(text)
        parts = continue_bpe(tokens_of[text], known)
        if parts == [spelt] and (spelt in known or spelt in taken):
            joins.discard(spelt)
            continue
        steps = ["".join(parts[:count]) for count in range(2, len(parts))] + [spelt]
        if any(step in taken and step not in known for step in steps):
            if text in asked:
                found.leave_out("unreachable", text)
            continue
        for step in steps:
            if step not in known:
                known[step] = first + len(found.ordered)
                found.ordered.append(step)
        joins.update(steps if text not in asked else steps[:-1])
    if limit is not None:
        del found.ordered[limit:]
    found.joins = [piece for piece in found.ordered if piece in joins]
    return found
