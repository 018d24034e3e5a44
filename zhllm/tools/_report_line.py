"""The line as a picture: a stop for each step, and for what it made a track down to the last step that read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zhllm.page import Html, escape
from zhllm.tools._report_run import DAMAGED, DONE, STALE, WAITING, Run, Step
from zhllm.tools._report_words import Words, key_figures, size

# In CSS pixels; the rows of text beside the picture have the same height.
ROW, PITCH, EDGE = 52, 14, 10
_COLOURS = 6
_STATES = {DONE: "done", STALE: "stale", DAMAGED: "damaged", WAITING: "waiting"}

STYLE = f"""\
.route{{list-style:none;margin:1rem 0;padding:0}}
.route li{{position:relative;height:{ROW}px;padding-left:calc(var(--map) + .75rem);display:grid;align-content:center;
align-items:center;gap:0 .875rem;grid-template-columns:minmax(0,1fr) 6rem 5.5rem 5rem 7.5rem;line-height:1.35;
break-inside:avoid}}
.route li::after{{content:"";position:absolute;left:calc(var(--map) + .75rem);right:0;bottom:0;
border-bottom:1px solid var(--grid)}}
.route svg{{position:absolute;left:0;top:0;display:block}}
.route .what{{min-width:0}}
.route .what>*{{display:block;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}}
.route b{{font-weight:650}}
.route small{{font-size:.8125rem;color:var(--soft)}}
.route .n{{text-align:right;font-size:.875rem;font-variant-numeric:tabular-nums;white-space:nowrap}}
.route code{{font-size:.8125rem;color:var(--soft)}}
.route .time{{display:block;height:.625rem;border-radius:0 2px 2px 0;background:var(--s1);min-width:1px}}
.route .bad{{color:var(--s2);font-weight:600}}
.track{{fill:none;stroke:currentColor;stroke-width:3;stroke-linecap:round;stroke-linejoin:round}}
.stop{{fill:var(--paper);stroke:currentColor;stroke-width:3}}
.stop.done{{fill:currentColor}}
.stop.waiting{{color:var(--soft);stroke-dasharray:2 2}}
.stop.stale,.stop.damaged{{stroke:var(--s2)}}
.stop.damaged{{fill:var(--s2)}}
@media(max-width:46rem){{.route li{{grid-template-columns:minmax(0,1fr) auto;gap:0 .5rem}}
.route .bar-cell,.route .about{{display:none}}.route .n{{font-size:.8125rem}}
.route .n+.n,.route .digest{{display:none}}}}
@media(min-width:46.01rem){{.phone-part{{display:none}}}}
@media print{{.route *{{print-color-adjust:exact}}}}
"""


@dataclass(frozen=True)
class Track:
    """What a step made, as drawn: from its row and column down its own column, then over to each reader's."""

    start: int
    column: int
    ends: tuple[int, ...]


def columns_of(steps: Sequence[Step]) -> tuple[list[int], list[Track]]:
    """(column of each step, tracks): a column is free again after the last step that reads what was made there."""
    place = {step.name: n for n, step in enumerate(steps)}
    readers: dict[int, list[int]] = {n: [] for n in range(len(steps))}
    for n, step in enumerate(steps):
        for maker in sorted({place[s.step] for s in step.sources if s.step in place}):
            if maker < n:
                readers[maker].append(n)
    columns: list[int] = []
    busy: dict[int, int] = {}  # column -> row after which it is free
    for n in range(len(steps)):
        busy = {column: last for column, last in busy.items() if last > n}
        column = next(c for c in range(len(steps)) if c not in busy)
        columns.append(column)
        if readers[n]:
            busy[column] = readers[n][-1]
    return columns, [Track(n, columns[n], tuple(ends)) for n, ends in readers.items() if ends]


def picture(run: Run, words: Words) -> Html:
    """The map, a slice in each row so that pages can part it, with name, time, size, digest and state."""
    columns, tracks = columns_of(run.steps)
    width = 2 * EDGE + PITCH * max(columns, default=0)
    longest = max((step.seconds or 0.0 for step in run.steps), default=0.0) or 1.0
    rows = []
    for n, step in enumerate(run.steps):
        passing = [track for track in tracks if track.start <= n <= track.ends[-1]]
        drawn = [_track(track, columns, run.steps) for track in passing] + [_stop(n, columns[n], step, words)]
        about = escape(f"{step.name}{words.colon}{words('state_' + step.state)}")
        svg = (
            f'<svg class="map" width="{width}" height="{ROW}" viewBox="0 {ROW * n} {width} {ROW}" role="img" '
            f'aria-label="{about}">' + "".join(drawn) + "</svg>"
        )
        rows.append(_row(step, svg, longest, words))
    about = escape(words("line_about", count=len(run.steps)))
    return Html(f'<ol class="route" style="--map:{width}px" aria-label="{about}">\n{"".join(rows)}</ol>\n')


def _x(column: int) -> int:
    return EDGE + PITCH * column


def _y(row: int) -> int:
    return ROW * row + ROW // 2


def _track(track: Track, columns: Sequence[int], steps: Sequence[Step]) -> str:
    colour = f"c{track.column % _COLOURS + 1}"
    paths = []
    for end in track.ends:
        x, turn, to, y = _x(track.column), _y(end) - ROW // 2 - 6, _x(columns[end]), _y(end)
        middle = (turn + y) // 2
        bend = f"C{x} {middle} {to} {middle} {to} {y}" if to != x else f"V{y}"
        paths.append(f"M{x} {_y(track.start)}V{turn}{bend}")
    hint = escape(f"{steps[track.start].name} \u2192 {', '.join(steps[end].name for end in track.ends)}")
    return f'<path class="track {colour}" d="{"".join(paths)}"><title>{hint}</title></path>'


def _stop(row: int, column: int, step: Step, words: Words) -> str:
    state = _STATES.get(step.state, "unfinished")
    hint = escape(f"{step.name}{words.colon}{words('state_' + step.state)}")
    return (
        f'<circle class="stop {state} c{column % _COLOURS + 1}" cx="{_x(column)}" cy="{_y(row)}" r="6">'
        f"<title>{hint}</title></circle>"
    )


def _row(step: Step, svg: str, longest: float, words: Words) -> str:
    seconds = "" if step.seconds is None else words.duration(step.seconds)
    held = "" if step.size_bytes is None else size(step.size_bytes)
    share = 100 * (step.seconds or 0.0) / longest
    figures = key_figures(step.stage, step.metrics, words)
    mark = "" if step.state in (DONE, WAITING) else " bad"
    state = words("state_" + step.state)
    shown = f"<code>{escape(step.digest[:8])}</code>" if step.state == DONE else escape(state)
    bar = f'<span class="time" style="width:{share:.1f}%"></span>' if step.seconds else ""
    told = figures or step.about
    phone = "".join(f" \u00b7 {part}" for part in (held, "" if step.state == DONE else state) if part)
    return (
        f'<li title="{escape(step.about)}">{svg}<span class="what"><b><a href="#step-{escape(step.name)}">'
        f"{escape(step.name)}</a></b><small>{escape(words.stage(step.stage))}"
        f'<span class="phone-part">{escape(phone)}</span>'
        f'<span class="about"> \u00b7 {escape(told)}</span></small></span>'
        f'<span class="bar-cell">{bar}</span><span class="n">{escape(seconds)}</span><span class="n">{escape(held)}'
        f'</span><span class="n digest{mark}">{shown}</span></li>\n'
    )
