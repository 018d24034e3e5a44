"""Charts for a page, as SVG that scales with its column: lines, bars, histograms, use by rank.

Numbers that an axis cannot hold (NaN, infinite, not above zero on a log axis) leave a gap, and a line
under the chart says how many there were.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from zhllm.chart_names import DIGIT, Dot, Room, beside
from zhllm.page import Html, escape, number

WIDTH, HEIGHT, TOP, BOTTOM = 520.0, 310.0, 36.0, 54.0
_COLOURS = 6
# Beyond these a double's own arithmetic gets in the way of the axis.
_LARGEST, _SMALLEST = 1e100, 1e-100
_DOTS_UP_TO, _HOVERS = 25, 80
_LONG_NAME = 18

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """An axis: its title with the unit, whether it is logarithmic, whether it must begin at zero."""

    title: str
    log: bool = False
    from_zero: bool = False


@dataclass(frozen=True)
class Series:
    """A line of a chart: its name and its points, in order."""

    name: str
    points: Sequence[Point]


def line_chart(series: Sequence[Series], x: Axis, y: Axis, title: str = "") -> Html:
    """One line for each series, told apart by colour and dashes; a point's values appear under the pointer."""
    held = [[(_held(a, x.log), _held(b, y.log)) for a, b in s.points] for s in series]
    whole = [[(a, b) for a, b in points if a is not None and b is not None] for points in held]
    if not any(whole):
        return _figure(title, Html('<p class="note">No data.</p>\n'))
    frame = _Frame.around([p for points in whole for p in points], x, y)
    drawn = [frame.axes(x, y)]
    for index, points in enumerate(held):
        drawn.extend(_line(frame, points, index))
        drawn.extend(_dots(frame, whole[index], index, (series[index].name, x.title, y.title)))
    lost = sum(map(len, held)) - sum(map(len, whole))
    legend = _legend([s.name for s in series]) if len(series) > 1 else Html("")
    about = f"{title or y.title}: {', '.join(s.name for s in series)}"
    return _figure(title, legend, _svg(about, drawn), _lost(lost))


def scatter(points: Sequence[tuple[str, float, float]], x: Axis, y: Axis, title: str = "") -> Html:
    """A dot for each (name, x, y) that both axes can hold, its name beside it."""
    held = [(name, _held(a, x.log), _held(b, y.log)) for name, a, b in points]
    whole = [(name, a, b) for name, a, b in held if a is not None and b is not None]
    if not whole:
        return _figure(title, Html('<p class="note">No data.</p>\n'))
    frame = _Frame.around([(a, b) for _, a, b in whole], x, y)
    dots = (_dots(frame, [(a, b)], n, (name, x.title, y.title)) for n, (name, a, b) in enumerate(whole))
    drawn = [frame.axes(x, y), *chain.from_iterable(dots)]
    room = Room(frame.x.start, frame.x.end, WIDTH, TOP + 8, frame.y.start - 2)
    drawn += beside([Dot(name, frame.x.at(a), frame.y.at(b)) for name, a, b in whole], room)
    about = f"{title or y.title}: {', '.join(name for name, *_ in whole)}"
    return _figure(title, _svg(about, drawn), _lost(len(held) - len(whole)))


def rank_frequency(name: str, counts: Iterable[int], x: str, y: str, title: str = "") -> Html:
    """How often the most frequent, the second, ... was seen, both axes logarithmic; those never seen are left out."""
    seen = sorted((c for c in counts if c > 0), reverse=True)
    points = [(float(rank), float(count)) for rank, count in enumerate(seen, 1)]
    return line_chart([Series(name, points)], Axis(x, log=True), Axis(y, log=True), title)


def histogram(values: Iterable[float], x: Axis, y_title: str, bins: int = 30, title: str = "") -> Html:
    """How many values fall into each of `bins` equal intervals (of their logarithm on a log axis)."""
    every = [_held(v, x.log) for v in values]
    held = [v for v in every if v is not None]
    if not held:
        return _figure(title, Html('<p class="note">No data.</p>\n'))
    low, high = _widened(min(held), max(held), x.log)
    there, back = _transform(x.log), _inverse(x.log)
    first, width = there(low), (there(high) - there(low)) / bins
    counts = [0] * bins
    for value in held:
        counts[max(0, min(bins - 1, int((there(value) - first) / width)))] += 1
    edges = [low, *(back(first + n * width) for n in range(1, bins)), high]
    return _columns(edges, counts, x, y_title, title, _lost(len(every) - len(held)))


def binned(edges: Sequence[float], counts: Sequence[int], x: Axis, y_title: str, title: str = "") -> Html:
    """A histogram that was counted before: `counts[n]` values from `edges[n]` to below `edges[n + 1]`."""
    if len(edges) != len(counts) + 1:
        raise ValueError(f"{len(counts)} counts have {len(counts) + 1} edges, not {len(edges)}")
    if not any(counts):
        return _figure(title, Html('<p class="note">No data.</p>\n'))
    return _columns([float(edge) for edge in edges], counts, x, y_title, title, Html(""))


def _columns(edges: Sequence[float], counts: Sequence[int], x: Axis, y_title: str, title: str, remark: Html) -> Html:
    frame = _Frame.around([(edges[0], 0.0), (edges[-1], float(max(counts)))], x, Axis(y_title, from_zero=True))
    drawn = [frame.axes(x, Axis(y_title)), '<g class="c1">']
    drawn += [_column(frame, a, b, n) for (a, b), n in zip(pairwise(edges), counts, strict=True) if n]
    return _figure(title, _svg(title or x.title, [*drawn, "</g>"]), remark)


def bar_chart(bars: Sequence[tuple[str, float]], title: str = "", digits: int | None = None) -> Html:
    """Horizontal bars from zero, each with its name and its number; names may be long."""
    if not bars:
        return _figure(title, Html('<p class="note">No data.</p>\n'))
    held = [_held(value, log=False) for _, value in bars]
    largest = max((abs(v) for v in held if v is not None), default=0.0) or 1.0
    rows = []
    for (name, value), size in zip(bars, held, strict=True):
        share = max(0.5, 100 * size / largest) if size and size > 0 else 0.0
        long = ' class="long"' if len(name) > _LONG_NAME else ""
        rows.append(
            f'<tr><th scope="row"{long}>{escape(name)}</th>'
            f'<td class="track"><span class="bar" style="width:{share:.2f}%"></span></td>'
            f'<td class="number">{escape(number(value, digits))}</td></tr>\n'
        )
    return _figure(title, Html(f'<table class="bars"><tbody>\n{"".join(rows)}</tbody></table>\n'))


def _figure(title: str, *parts: Html) -> Html:
    caption = f"<figcaption>{escape(title)}</figcaption>\n" if title else ""
    return Html(f"<figure>\n{caption}{''.join(parts)}</figure>\n")


def _svg(about: str, drawn: Sequence[str]) -> Html:
    body = "\n".join(drawn)
    return Html(
        f'<svg class="chart" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(about)}">\n'
        f"{body}\n</svg>\n"
    )


def _lost(count: int) -> Html:
    what = "1 point" if count == 1 else f"{count:,} points"
    return Html(f'<p class="note">Not shown: {what} with no number that the axes can hold.</p>\n' if count else "")


def _legend(names: Sequence[str]) -> Html:
    items = (
        f'<span><svg viewBox="0 0 28 10" aria-hidden="true"><path class="line {_style(n)}" d="M1 5H27"/></svg>'
        f"{escape(name)}</span>\n"
        for n, name in enumerate(names)
    )
    return Html(f'<div class="legend">\n{"".join(items)}</div>\n')


def _style(index: int) -> str:
    place = index % _COLOURS + 1
    return f"c{place} d{place}"


def _transform(log: bool) -> Callable[[float], float]:
    return math.log10 if log else float


def _inverse(log: bool) -> Callable[[float], float]:
    return (lambda v: 10.0**v) if log else float


def _held(value: float, log: bool) -> float | None:
    """The value where an axis can hold it."""
    value = float(value)
    if not math.isfinite(value) or abs(value) > _LARGEST:
        return None
    if abs(value) < _SMALLEST:
        return None if log else 0.0
    return None if log and value < 0 else value


def _widened(low: float, high: float, log: bool) -> tuple[float, float]:
    """The range, made wider where it is (nearly) a single value."""
    if high - low > 1e-9 * max(abs(low), abs(high)):
        return low, high
    if log:
        return low / 2, high * 2
    around = abs(low) / 2 or 1.0
    return low - around, high + around


def _step(span: float, count: int, whole: bool) -> float:
    """The smallest round step of which at most `count` fit into `span`."""
    raw = span / count
    ten = 10.0 ** math.floor(math.log10(raw))
    found = next(f * ten for f in (1, 2, 2.5, 5, 10) if f * ten >= raw * (1 - 1e-9))
    return max(1.0, found) if whole else found


def _linear_ticks(low: float, high: float, count: int, whole: bool) -> list[float]:
    step = _step(high - low, count, whole)
    return [n * step for n in range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)]


def _log_ticks(low: float, high: float, count: int) -> list[float]:
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    decades = range(first, last + 1)
    if len(decades) >= 2:
        return [10.0**e for e in decades[:: math.ceil(len(decades) / count)]]
    between = [f * 10.0**e for e in range(first - 1, last + 1) for f in (1, 2, 5)]
    inside = [v for v in between if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
    return inside if len(inside) >= 2 else _linear_ticks(low, high, min(count, 4), False)


def _labels(ticks: Sequence[float], log: bool) -> list[str]:
    """The ticks in figures, with equally many decimals; on a log axis each for itself."""
    return [_figures([tick])[0] for tick in ticks] if log else _figures(ticks)


def _figures(ticks: Sequence[float]) -> list[str]:
    """As many decimals as all of the ticks need, M and B for millions and billions."""
    largest = max(map(abs, ticks), default=0.0)
    if largest and not 1e-4 <= largest < 1e15:
        return [f"{t:.3g}" for t in ticks]
    unit, sign = (1e9, "B") if largest >= 1e9 else (1e6, "M") if largest >= 1e6 else (1.0, "")
    if _decimals([t / unit for t in ticks]) > 3:
        unit, sign = 1.0, ""
    scaled = [t / unit for t in ticks]
    digits = _decimals(scaled)
    return [f"{t:,.{digits}f}{sign}" if t else "0" for t in scaled]


def _decimals(values: Sequence[float]) -> int:
    """The decimals that the values need, ten at most."""
    enough = (d for d in range(10) if all(math.isclose(v, round(v, d), rel_tol=1e-9, abs_tol=1e-12) for v in values))
    return next(enough, 10)


@dataclass(frozen=True)
class _Scale:
    """Where values lie in the drawing: `low` at `start`, `high` at `end`."""

    low: float
    high: float
    log: bool
    start: float
    end: float
    ticks: list[float]

    def at(self, value: float) -> float:
        there = _transform(self.log)
        low, high = there(self.low), there(self.high)
        return self.start + (there(value) - low) / (high - low) * (self.end - self.start)


@dataclass(frozen=True)
class _Frame:
    """The two scales of a chart."""

    x: _Scale
    y: _Scale

    @classmethod
    def around(cls, points: Sequence[Point], x: Axis, y: Axis) -> _Frame:
        """The frame that holds the points, with room for the labels of its ticks."""
        down = _up_scale([b for _, b in points], y)
        left = DIGIT * max(map(len, _labels(down.ticks, y.log)), default=1) + 12
        return cls(_across_scale([a for a, _ in points], x, left), down)

    def axes(self, x: Axis, y: Axis) -> str:
        """Grid lines, ticks and titles."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        parts = [f'<text x="0" y="14">{escape(y.title)}</text>']
        for value, label in zip(self.y.ticks, _labels(self.y.ticks, y.log), strict=True):
            at = self.y.at(value)
            parts.append(f'<path class="grid-line" d="M{left:.1f} {at:.1f}H{right:.1f}"/>')
            parts.append(f'<text x="{left - 8:.1f}" y="{at + 4.5:.1f}" text-anchor="end">{label}</text>')
        for value, label in zip(self.x.ticks, _labels(self.x.ticks, x.log), strict=True):
            at = self.x.at(value)
            parts.append(f'<path class="grid-line" d="M{at:.1f} {bottom:.1f}V{top:.1f}"/>')
            parts.append(f'<text x="{at:.1f}" y="{bottom + 20:.1f}" text-anchor="middle">{label}</text>')
        parts.append(f'<path class="axis" d="M{left:.1f} {bottom:.1f}H{right:.1f}"/>')
        parts.append(f'<text x="{right:.1f}" y="{HEIGHT - 8:.1f}" text-anchor="end">{escape(x.title)}</text>')
        return "\n".join(parts)


def _up_scale(values: Sequence[float], axis: Axis) -> _Scale:
    low, high = min(values), max(values)
    low, high = _widened(low, high, axis.log)
    if axis.from_zero and not axis.log:
        low, high = min(0.0, low), max(0.0, high)
    if axis.log:
        ticks = _log_ticks(low / 1.1, high * 1.1, 6)
        return _Scale(low / 1.1, high * 1.1, True, HEIGHT - BOTTOM, TOP, ticks)
    step = _step(high - low, 5, all(v.is_integer() for v in values))
    low, high = math.floor(low / step + 1e-6) * step, math.ceil(high / step - 1e-6) * step
    return _Scale(low, high, False, HEIGHT - BOTTOM, TOP, _linear_ticks(low, high, 5, False))


def _across_scale(values: Sequence[float], axis: Axis, left: float) -> _Scale:
    """As many ticks as their labels leave room for."""
    low, high = _widened(min(values), max(values), axis.log)
    if axis.from_zero and not axis.log:
        low, high = min(0.0, low), max(0.0, high)
    whole = not axis.log and all(v.is_integer() for v in values) and low != high
    ticks: list[float] = []
    right = WIDTH - 12
    for count in (7, 6, 5, 4, 3, 2):
        ticks = _log_ticks(low, high, count) if axis.log else _linear_ticks(low, high, count, whole)
        widths = [DIGIT * len(label) for label in _labels(ticks, axis.log)]
        right = WIDTH - max(10.0, widths[-1] / 2 if widths else 0.0)
        left = max(left, widths[0] / 2 if widths else 0.0)
        if sum(widths) + 18 * len(widths) <= right - left:
            break
    return _Scale(low, high, axis.log, left, right, ticks)


def _line(frame: _Frame, points: Sequence[tuple[float | None, float | None]], index: int) -> Iterator[str]:
    """The path of one series, parted at gaps."""
    stretch: list[Point] = []
    for a, b in [*points, (None, None)]:
        if a is not None and b is not None:
            stretch.append((frame.x.at(a), frame.y.at(b)))
        elif stretch:
            corners = list(_thinned(stretch))
            noisy = sum(abs(q[1] - p[1]) for p, q in pairwise(corners)) > 10 * HEIGHT
            path = "L".join(f"{u:.1f} {v:.1f}" for u, v in corners)
            yield f'<path class="line {_style(index)}{" fine" if noisy else ""}" d="M{path}"/>'
            stretch = []


def _thinned(points: Sequence[Point]) -> Iterator[Point]:
    """The points less those that would change no pixel: of each stretch at one x the ends and the extremes."""
    start = 0
    for end in range(1, len(points) + 1):
        if end < len(points) and round(points[end][0]) == round(points[start][0]):
            continue
        group = range(start, end)
        highest = min(group, key=lambda i: points[i][1])
        lowest = max(group, key=lambda i: points[i][1])
        for i in sorted({start, highest, lowest, end - 1}):
            yield points[i]
        start = end


def _dots(frame: _Frame, points: Sequence[Point], index: int, names: tuple[str, str, str]) -> Iterator[str]:
    """What the pointer finds: every point of a short series, evenly spread ones of a long series."""
    name, x, y = map(escape, names)
    stride = max(1, math.ceil(len(points) / _HOVERS))
    chosen = sorted({*range(0, len(points), stride), len(points) - 1}) if points else []
    for a, b in (points[i] for i in chosen):
        hint = f"{name}\n{x}: {number(_plain(a))}\n{y}: {number(_plain(b))}"
        kind, radius = ("dot", "3.5") if len(points) <= _DOTS_UP_TO else ("hover", "6")
        style = f'class="{kind} c{index % _COLOURS + 1}" r="{radius}"'
        yield f'<circle {style} cx="{frame.x.at(a):.1f}" cy="{frame.y.at(b):.1f}"><title>{hint}</title></circle>'


def _column(frame: _Frame, low: float, high: float, count: int) -> str:
    left, right = frame.x.at(low), frame.x.at(high)
    top, bottom = frame.y.at(float(count)), frame.y.start
    hint = f"{number(_plain(low))}\u2013{number(_plain(high))}: {count:,}"
    return (
        f'<rect class="column" x="{left + 0.5:.1f}" y="{top:.1f}" width="{max(right - left - 1, 0.5):.1f}" '
        f'height="{bottom - top:.1f}"><title>{hint}</title></rect>'
    )


def _plain(value: float) -> float | int:
    """A whole number as such, so that it is written without decimals."""
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
