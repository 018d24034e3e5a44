"""Ids that several records give themselves: the first keeps it, the others are called by their place, too.

So an id names one chat (or one preference) of the output, whatever the files were called in.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import orjson

from zhllm.stages._convert_items import id_digest, sample_of_item
from zhllm.stages._convert_parts import CASES, Summary
from zhllm.stages._convert_rows import KEPT, Found, Numbers, Table

BEFORE = b'{"id":'
REPAIR = "renamed_ids"
Digests = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Renamed:
    """The rows that get another id, in ascending order; how many bytes longer their lines become; and `again`.

    That is the number behind the new id, by row, where its place alone does not tell it from others.
    """

    rows: Numbers
    longer: Numbers
    again: dict[int, int]

    def sizes(self, table: Table) -> Numbers:
        """The bytes of every row's line once written."""
        sizes = table.rows["size"].astype(np.int64)
        sizes[self.rows] += self.longer
        return sizes

    def line(self, number: int, line: bytes, place: int) -> bytes:
        """The line of one of the rows, which is from line `place` of its file, with its new id."""
        value = orjson.loads(line)
        new = _named(value["id"], value["source"], place, self.again.get(number, 1))
        return BEFORE + orjson.dumps(new) + line[len(BEFORE) + len(orjson.dumps(value["id"])) :]


def _named(name: str, source: str, line: int, number: int) -> str:
    return f"{name}@{source}#{line}" if number == 1 else f"{name}@{source}#{line}.{number}"


def renamed_ids(table: Table, found: Found, summary: Summary) -> Renamed:
    """New ids for kept rows whose id an earlier kept row has; they are counted in `summary`, with cases."""
    kept = np.flatnonzero(found.fates == KEPT)
    digests = table.rows["id"][kept]
    order = np.argsort(digests, kind="stable")
    ordered = digests[order]
    rows = np.sort(kept[order[1:][ordered[1:] == ordered[:-1]]])
    longer, again = np.zeros(len(rows), np.int64), dict[int, int]()
    here: tuple[str, int] | None = None
    given: set[str] = set()  # new ids at one place
    for i, (row, item) in enumerate(table.items(rows)):
        place = item.source, int(table.rows["line"][row])
        here, given = place, given if place == here else set()
        number = 1
        while (new := _named(item.id, *place, number)) in given or _is_among(ordered, new):
            number += 1
        given.add(new)
        if number > 1:
            again[row] = number
        longer[i] = len(orjson.dumps(new)) - len(orjson.dumps(item.id))
        if i < CASES:
            case = [*place, item.id, sample_of_item(item)]
            summary.cases.setdefault(f"repair {REPAIR}", []).append(case)
    summary.repairs += Counter({REPAIR: len(rows)})
    return Renamed(rows, longer, again)


def _is_among(ordered: Digests, name: str) -> bool:
    digest = id_digest(name)
    at = int(np.searchsorted(ordered, np.uint64(digest)))
    return at < len(ordered) and int(ordered[at]) == digest
