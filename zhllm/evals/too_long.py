"""Items of a test set that a model cannot read whole: left out and counted where few, else the set is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence

from zhllm.errors import DataError

# Of items that are too long, those that an error names; and what a share of their number may be off.
NAMED, TINY = 3, 1e-9


def check_too_long(
    long: Sequence[tuple[str, int]],
    count: int,
    limit: float,
    reads: str,
    what: str = "the question",
    of: str = "questions",
) -> None:
    """DataError where more than the share `limit` of `count` items, or all of them, are too long.

    `long` holds the place and the tokens of each; `what` of it is too long for the model, that `reads` so much.
    """
    is_all = len(long) == count
    if not long or (len(long) <= limit * count + TINY and not is_all):
        return
    where, tokens = long[0]
    named = ", ".join(place for place, _ in long[1:NAMED])
    others = f" (also {named}{' ...' if len(long) > NAMED else ''})" if named else ""
    remedy = "" if is_all else f", or leave them out: --max-too-long {math.ceil(1000 * len(long) / count) / 1000:g}"
    raise DataError(
        f"{where}: {what} has {tokens} tokens and the model reads {reads}. So it is of {len(long)} of {count} "
        f"{of}{others}. Take them out of the set, score a model that reads more{remedy}."
    )
