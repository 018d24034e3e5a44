"""Bars with whiskers: scores of several models beside each other, with their intervals and what guessing gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zhllm.page import Html, escape

STYLE = """\
.scores{width:100%;table-layout:auto}
.scores th,.scores td{border:0;padding:.25rem .5rem;vertical-align:middle;font-weight:400}
.scores th{width:8.5rem;padding-left:0;overflow-wrap:anywhere;line-height:1.25;font-size:.875rem}
.scores th small{display:block;color:var(--soft)}
.scores .wide{width:auto;min-width:5rem}
.scores td.number{width:1%;padding-right:0;line-height:1.25}
.scores svg{display:block;width:100%;height:22px;overflow:visible}
.scores .whisker{stroke:var(--ink);stroke-width:1.75;fill:none;vector-effect:non-scaling-stroke}
.scores .guess{stroke:var(--s2);stroke-width:1.5;stroke-dasharray:4 3;vector-effect:non-scaling-stroke}
.scores .fill{fill:currentColor}
.badge{display:inline-block;border:1px solid currentColor;border-radius:1rem;padding:0 .5rem;font-size:.75rem;
color:var(--s2);white-space:nowrap}
.measure{max-width:none;margin:1.25rem 0}
.measure figcaption small{font-weight:400;color:var(--soft)}
"""


@dataclass(frozen=True)
class Bar:
    """A bar: name, length, the value as written; its interval, the baseline of guessing, a badge, small print."""

    name: str
    value: float
    written: str
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    badge: str = ""
    colour: int = 1
    hint: str = ""
    small: str = ""


def interval_bars(bars: Sequence[Bar], title: str, remark: str = "", full: float | None = None) -> Html:
    """Horizontal bars from zero to `full` (default: the largest end); a negative value has no bar."""
    ends = [end for bar in bars for end in (bar.value, bar.high, bar.baseline) if end is not None]
    largest = full or max([*ends, 0.0]) or 1.0
    rows = "".join(_row(bar, largest) for bar in bars)
    small = f" <small>{escape(remark)}</small>" if remark else ""
    return Html(
        f'<figure class="measure"><figcaption>{escape(title)}{small}</figcaption>\n'
        f'<table class="scores"><tbody>\n{rows}</tbody></table></figure>\n'
    )


def _row(bar: Bar, largest: float) -> str:
    def at(value: float) -> float:
        return 100 * min(max(value, 0.0), largest) / largest

    drawn = [f'<rect class="fill c{bar.colour}" x="0" y="4" width="{max(at(bar.value), 0.4):.2f}" height="14"/>']
    if bar.low is not None and bar.high is not None and bar.high > bar.low:
        low, high = at(bar.low), at(bar.high)
        drawn.append(f'<path class="whisker" d="M{low:.2f} 11H{high:.2f}M{low:.2f} 6V16M{high:.2f} 6V16"/>')
    if bar.baseline is not None:
        drawn.append(f'<path class="guess" d="M{at(bar.baseline):.2f} 0V22"/>')
    badge = f'<br><span class="badge">{escape(bar.badge)}</span>' if bar.badge else ""
    hint = f"<title>{escape(bar.hint)}</title>" if bar.hint else ""
    small = f"<small>{escape(bar.small)}</small>" if bar.small else ""
    return (
        f'<tr><th scope="row">{escape(bar.name)}{small}</th><td class="wide"><svg viewBox="0 0 100 22" '
        f'preserveAspectRatio="none" role="img" aria-label="{escape(f"{bar.name}: {bar.written}")}">{hint}'
        f'{"".join(drawn)}</svg></td><td class="number"><b>{escape(bar.written)}</b>{badge}</td></tr>\n'
    )
