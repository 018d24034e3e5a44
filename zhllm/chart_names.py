"""Names beside the dots of a chart, as SVG: each near its own, over no other. Lengths are units of the chart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from zhllm.page import escape

# Text is laid out for the larger size that narrow screens get (16 units, a digit about 9 wide).
DIGIT = 9.0
LINE = 16.0


class Dot(NamedTuple):
    """A dot's name, and where it is."""

    name: str
    x: float
    y: float


class Room(NamedTuple):
    """Where dots may be (left to right), how far to the right a name may reach (edge), and where its line may stand."""

    left: float
    right: float
    edge: float
    top: float
    bottom: float


class _Place(NamedTuple):
    """The two ends of a name and the line it stands on."""

    left: float
    right: float
    line: float


def beside(dots: Sequence[Dot], room: Room) -> Iterator[str]:
    """The name of each dot beside it, moved off the other dots and the names before it, then with a line to it."""
    taken: list[_Place] = []
    for dot in sorted(dots, key=lambda dot: dot.y):
        free = (place for place in _places(dot, len(dots), room) if _is_free(place, dot, dots, taken))
        place = next(free, _usual(dot, room))
        taken.append(place)
        near, anchor = (place.left, "start") if place.left > dot.x else (place.right, "end")
        if abs(place.line - dot.y) > LINE:
            to = f"M{dot.x:.1f} {dot.y:.1f}L{near:.1f} {place.line - 4:.1f}"
            yield f'<path class="axis" opacity=".4" d="{to}"/>'
        yield f'<text x="{near:.1f}" y="{place.line:.1f}" text-anchor="{anchor}">{escape(dot.name)}</text>'


def _lefts(dot: Dot, room: Room) -> tuple[float, float]:
    """Where a name may begin: towards the middle of the chart first."""
    before, behind = dot.x - 9 - DIGIT * len(dot.name), dot.x + 9
    return (before, behind) if dot.x > (room.left + room.right) / 2 else (behind, before)


def _usual(dot: Dot, room: Room) -> _Place:
    left = _lefts(dot, room)[0]
    return _Place(left, left + DIGIT * len(dot.name), dot.y - 7)


def _places(dot: Dot, dots: int, room: Room) -> Iterator[_Place]:
    """Where a dot's name may stand, the nearest first."""
    width = DIGIT * len(dot.name)
    inside = [left for left in _lefts(dot, room) if room.left <= left <= room.edge - width]
    for line in (dot.y - 7, *(dot.y + 4 + step * way for step in range(dots * 4) for way in (-4, 4))):
        if room.top <= line <= room.bottom:
            yield from (_Place(left, left + width, line) for left in inside)


def _is_free(place: _Place, own: Dot, dots: Sequence[Dot], taken: Sequence[_Place]) -> bool:
    """Whether a name covers no dot and no other name there, and stands nearest to its own dot."""
    left, right, line = place
    if any(abs(line - other.line) < LINE and left < other.right and right > other.left for other in taken):
        return False
    away = (math.hypot(max(left - dot.x, 0, dot.x - right), line - 4 - dot.y) for dot in dots if dot != own)
    return min(away, default=math.inf) > (12 if abs(line - own.y) > LINE else math.hypot(9, line - 4 - own.y))
