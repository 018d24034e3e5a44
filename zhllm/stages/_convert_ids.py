"""Ids that several records give themselves: the first keeps it, the others are called by their place, too.

So an id names one chat (or one preference) of the output, whatever the files were called in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import xxhash

from zhllm.stages._convert_items import sample_of_item
from zhllm.stages._convert_parts import CASES, Summary
from zhllm.stages._convert_rows import KEPT, Found, Numbers, Table

BEFORE = b'{"id":'
READ_BYTES = 4 << 20
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
    digests = _digests(table, kept)
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
    digest = xxhash.xxh3_64_intdigest(orjson.dumps(name)[:-1])
    at = int(np.searchsorted(ordered, np.uint64(digest)))
    return at < len(ordered) and int(ordered[at]) == digest


def _digests(table: Table, kept: Numbers) -> Digests:
    """The digest of the id of each kept row, as its line holds it without the last quote."""
    found = np.zeros(len(kept), np.uint64)
    done = 0
    for part, start, end in zip(table.parts, table.starts[:-1], table.starts[1:], strict=True):
        some = kept[np.searchsorted(kept, start) : np.searchsorted(kept, end)]
        if len(some):
            at = part.lines_at(table.kind)
            digests = _of_lines(at, table.offsets[some], table.rows["size"][some].astype(np.int64))
            found[done : done + len(some)] = np.fromiter(digests, np.uint64, len(some))
            done += len(some)
    return found


def _of_lines(path: Path, offsets: Numbers, sizes: Numbers) -> Iterator[int]:
    """The digests of the ids in lines of a file, of which a block is held at a time."""
    digest, before, skip = xxhash.xxh3_64_intdigest, b'","', len(BEFORE)
    ends = offsets + sizes
    with path.open("rb") as file:
        first = 0
        while first < len(offsets):
            begin = int(offsets[first])
            last = max(int(np.searchsorted(ends, begin + READ_BYTES, side="right")), first + 1)
            file.seek(begin)
            block = file.read(int(ends[last - 1]) - begin)
            for at in (offsets[first:last] - begin + skip).tolist():
                # Within an id a quote has a backslash before it, which the next byte can only hide at its very end.
                yield digest(block[at : block.index(before, at)])
            first = last
