"""One self-contained HTML page: text, key figures, tables and coloured tokens, readable offline and on a phone.

Equal content gives equal bytes, and nothing is fetched: a content policy in the page forbids it. What is
not `Html` is text and is escaped. Charts are in `zhllm.chart`.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix

# Blue, vermilion, green, pink, ochre, grey after Okabe and Ito, with other lightnesses for each scheme.
_STYLE = """\
:root{color-scheme:light dark;--paper:#fff;--card:#f5f7f9;--ink:#1c2127;--soft:#59636e;--line:#d5dbe1;--grid:#e8ecf0;
--s1:#0072b2;--s2:#cf5a00;--s3:#00855f;--s4:#b04f88;--s5:#876900;--s6:#5b6570;
--plain1:#e9edf1;--plain2:#d8dfe6;--new1:#ffe3bf;--new2:#ffcf94;--byte:#fff;--mark:#cf5a00;
--gone:#ffd7c7;--come:#c9efdc}
@media(prefers-color-scheme:dark){:root{--paper:#14171b;--card:#1d2126;--ink:#e4e8ec;--soft:#9da7b2;--line:#363d45;
--grid:#282e35;--s1:#56b4e9;--s2:#ff9a4a;--s3:#2fc796;--s4:#e493c2;--s5:#dcc64a;--s6:#b3bcc6;
--plain1:#272d34;--plain2:#353d46;--new1:#5a3c12;--new2:#714a12;--byte:#14171b;--mark:#ff9a4a;
--gone:#5e2a18;--come:#12462e}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);-webkit-text-size-adjust:100%;font:16px/1.6 system-ui,
-apple-system,"Segoe UI",Roboto,"PingFang SC","Hiragino Sans GB","Microsoft YaHei","Noto Sans CJK SC",
"Source Han Sans SC","WenQuanYi Micro Hei",sans-serif}
:lang(zh-Hant){font-family:system-ui,"PingFang TC","Microsoft JhengHei","Noto Sans CJK TC",
"Source Han Sans TC",sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1rem 4rem}
h1,h2,p{overflow-wrap:anywhere}
h1{font-size:1.75rem;line-height:1.25;margin:0 0 .5rem}
h2{font-size:1.25rem;line-height:1.3;margin:2.75rem 0 .75rem;padding-top:1rem;border-top:1px solid var(--line)}
h3{font-size:1rem;line-height:1.4;margin:1.5rem 0 .25rem}
p{margin:.5rem 0;max-width:44rem}
code{font:.9375em ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:nowrap}
.lead{font-size:1.0625rem;color:var(--soft)}
.note{font-size:.875rem;color:var(--soft)}
nav{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;margin:1rem 0 1.5rem;font-size:.9375rem}
a{color:var(--s1)}
.tiles{display:grid;gap:.75rem;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));margin:1rem 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.625rem .875rem .75rem}
.tile dt{font-size:.8125rem;line-height:1.35;color:var(--soft)}
.tile dd{margin:0}
.tile .value{font-size:1.5rem;font-weight:650;line-height:1.35;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.tile .note{line-height:1.35;font-size:.8125rem}
.grid{display:grid;gap:0 2rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));align-items:start}
.scroll{overflow-x:auto;margin:.75rem 0;max-width:100%}
table{border-collapse:collapse;font-size:.9375rem;line-height:1.4;font-variant-numeric:tabular-nums}
caption{text-align:left;font-weight:600;padding:0 0 .375rem}
th,td{padding:.3125rem .75rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{padding-left:0}
thead th{font-weight:600;color:var(--soft);font-size:.8125rem;vertical-align:bottom;white-space:nowrap}
td.number,th.number{text-align:right;white-space:nowrap}
figure{margin:1rem 0 1.25rem;max-width:36rem;container-type:inline-size}
figcaption{font-weight:600;margin-bottom:.25rem}
.legend{display:flex;flex-wrap:wrap;gap:.125rem 1.25rem;margin-bottom:.375rem;font-size:.875rem}
.legend span{display:inline-flex;align-items:center;gap:.4rem}
.legend svg{width:28px;height:10px;flex:none}
.chart{display:block;width:100%;height:auto;overflow:visible}
.chart text{font-size:12px;fill:var(--soft);font-variant-numeric:tabular-nums}
@container(max-width:26rem){.chart text{font-size:16px}}
.chart .grid-line{stroke:var(--grid)}
.chart .axis{stroke:var(--soft)}
.line{fill:none;stroke-width:2.25;stroke-linejoin:round;stroke-linecap:round}
.hover{fill:transparent;stroke:none}
.hover:hover{fill:currentColor}
.column:hover,.bars tr:hover .bar{opacity:.75}
.c1{color:var(--s1)}.c2{color:var(--s2)}.c3{color:var(--s3)}.c4{color:var(--s4)}.c5{color:var(--s5)}.c6{color:var(--s6)}
.line{stroke:currentColor}.fine{stroke-width:1.25}.dot,.column{fill:currentColor}
.d2{stroke-dasharray:7 5}.d3{stroke-dasharray:1 5}.d4{stroke-dasharray:10 4 1 4}.d5{stroke-dasharray:3 3}
.d6{stroke-dasharray:14 4}
.bars{width:100%}
.bars th,.bars td{border:0;padding:.1875rem .5rem;vertical-align:middle;font-weight:400}
.bars th{width:1%;padding-left:0;white-space:nowrap}
.bars th.long{width:auto;min-width:8.5rem;max-width:14rem;white-space:normal}
.bars .track{width:auto;min-width:5rem}
.bars .number{width:1%;padding-right:0}
.bar{display:block;height:1rem;border-radius:0 2px 2px 0;background:var(--s1)}
td.long{min-width:15rem}
.scroll td:first-child:not(.number){min-width:7.5rem}
.tokens{line-height:1.9;margin:.25rem 0 .5rem;max-width:none}
.t{display:inline-block;max-width:100%;line-height:1.35;padding:.125rem .0625rem;margin-right:1px;border-radius:2px;
white-space:pre-wrap;overflow-wrap:anywhere;background:var(--plain1)}
.t.odd{background:var(--plain2)}
.t.new{background:var(--new1);box-shadow:inset 0 -2px var(--mark)}
.t.new.odd{background:var(--new2)}
.t.byte{background:var(--byte);border:1px dashed var(--soft);color:var(--soft);padding:.1875rem .125rem;
font:.75rem/1.2 ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.t.byte.odd{border-style:dotted;background:var(--plain1)}
.excerpt{background:var(--card);border-left:3px solid var(--line);margin:.25rem 0;padding:.25rem .625rem;max-width:none;
font-size:.9375rem;line-height:1.5;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}
.excerpt del{background:var(--gone)}
.excerpt ins{background:var(--come)}
.t.learnt{background:var(--come);box-shadow:inset 0 -2px var(--s3)}
.t.context{box-shadow:inset 0 -2px var(--s5);border-bottom:1px dashed var(--paper)}
.t.cut{background:none;color:var(--soft);text-decoration:line-through}
.t.pad{background:none;color:var(--soft);font-style:italic}
.t.end{outline:2px solid var(--s3);outline-offset:-1px}
.t.start{border-left:3px solid var(--mark);padding-left:.1875rem}
.excerpt .alarm,.alarm{color:var(--s2);font-weight:600}
hr{border:0;border-top:1px solid var(--line);margin:1.5rem 0}
details{margin:.5rem 0}
summary{cursor:pointer;color:var(--s1);font-size:.9375rem}
@media(max-width:30rem){main{padding-top:1.25rem}h1{font-size:1.5rem}.tiles{grid-template-columns:1fr 1fr;gap:.5rem}
.tile{padding:.5rem .625rem}.tile .value{font-size:1.25rem}}
@media print{main{max-width:none}h2,h3{break-after:avoid}figure,tr,.tile{break-inside:avoid}}
"""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

# Surrogates cannot be written as UTF-8, HTML has no control characters but these three, and what overrides the
# direction of text would turn round what stands beside it.
_NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


class Html(str):
    """Markup that stands in a page as it is; any other string is text."""

    __slots__ = ()


Cell = str | int | float | None


def escape(text: str) -> Html:
    """The text as markup, characters that HTML cannot hold as U+FFFD; what is `Html` already stays as it is."""
    return text if isinstance(text, Html) else Html(html.escape(_NOT_TEXT.sub("\ufffd", text)))


def join(parts: Iterable[str]) -> Html:
    """The parts one after the other, each escaped unless it is `Html`."""
    return Html("".join(map(escape, parts)))


def number(value: Cell, digits: int | None = None) -> str:
    """A number for people: thousands separators, `digits` decimals (default: four figures); "–" for none."""
    if isinstance(value, str):
        return value
    if value is None or not math.isfinite(value):
        return "–"
    if isinstance(value, int) and digits is None:
        return f"{value:,}"
    if value and not 1e-4 <= abs(value) < 1e15:
        return f"{value:.3g}"
    if digits is None:
        digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f}"


def percent(share: float, digits: int = 1, signed: bool = False) -> str:
    """A share such as 0.123 as "12.3 %", a change (`signed`) as "+12.3 %" or "−12.3 %"."""
    if not math.isfinite(share):
        return "–"
    sign = ("+" if share >= 0 else "\u2212") if signed else ""
    return f"{sign}{number(abs(100 * share) if signed else 100 * share, digits)}\u00a0%"


def paragraph(*parts: str) -> Html:
    """A paragraph."""
    return Html(f"<p>{join(parts)}</p>\n")


def note(*parts: str) -> Html:
    """A paragraph in small print."""
    return Html(f'<p class="note">{join(parts)}</p>\n')


def code(text: str) -> Html:
    """A flag, a path or a name in a line of text, never broken."""
    return Html(f"<code>{escape(text)}</code>")


def heading(text: str) -> Html:
    """A heading inside a section."""
    return Html(f"<h3>{escape(text)}</h3>\n")


def grid(*parts: Html) -> Html:
    """The parts beside each other where there is room."""
    return Html('<div class="grid">\n' + "".join(f"<div>{part}</div>\n" for part in parts) + "</div>\n")


def details(summary: str, *parts: Html) -> Html:
    """Parts that open with a click."""
    return Html(f"<details><summary>{escape(summary)}</summary>\n{join(parts)}</details>\n")


@dataclass(frozen=True)
class Tile:
    """A key figure with its name and a remark."""

    name: str
    value: str
    remark: str = ""


def tiles(figures: Sequence[Tile]) -> Html:
    """Key figures side by side."""
    boxes = (
        f'<div class="tile"><dt>{escape(t.name)}</dt><dd class="value">{escape(t.value)}</dd>'
        + (f'<dd class="note">{escape(t.remark)}</dd>' if t.remark else "")
        + "</div>\n"
        for t in figures
    )
    return Html(f'<dl class="tiles">\n{"".join(boxes)}</dl>\n')


@dataclass(frozen=True)
class Column:
    """A column's title, and the decimals of its numbers where they are not whole."""

    title: str
    digits: int | None = None


def table(columns: Sequence[str | Column], rows: Iterable[Sequence[Cell]], caption: str = "") -> Html:
    """A table that scrolls sideways where it is too wide; columns of numbers are aligned right."""
    heads = [c if isinstance(c, Column) else Column(c) for c in columns]
    lines = [list(row) for row in rows]
    right = [_is_of_numbers([line[i] for line in lines]) for i in range(len(heads))]
    head = "".join(
        f'<th scope="col"{_ALIGNED if r else ""}>{escape(c.title)}</th>' for c, r in zip(heads, right, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(_cell(v, c, r) for v, c, r in zip(line, heads, right, strict=True))}</tr>\n" for line in lines
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return Html(
        f'<div class="scroll" tabindex="0"><table>{title}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>'
        "</table></div>\n"
    )


_ALIGNED = ' class="number"'
# Longer texts get a minimal width, or a narrow screen would set a character a line.
_LONG = 24


def _is_of_numbers(cells: Sequence[Cell]) -> bool:
    """Whether there is a number among the cells, or a share written as one, and no text."""
    written = [isinstance(v, str) and not _WRITTEN_NUMBER.match(v) for v in cells]
    return bool(cells) and not any(written)


_WRITTEN_NUMBER = re.compile(r"(–|[+\u2212-]?[\d,.]+\u00a0%)\Z")


def _cell(value: Cell, column: Column, right: bool) -> str:
    text = value if isinstance(value, str) else number(value, None if isinstance(value, int) else column.digits)
    style = _ALIGNED if right else ' class="long"' if len(text) > _LONG else ""
    return f"<td{style}>{escape(text)}</td>"


@dataclass(frozen=True)
class Token:
    """A token as shown: `hint` appears under the pointer; `kind` is "new" (underlined), "byte" (dashed), or what
    becomes of it in training: "learnt", "context", "cut", "pad", with "end" and "start" for the ends of answers
    and the beginnings of documents.
    """

    text: str
    hint: str = ""
    kind: str = ""


_SHOWN = {" ": "\u2423", "\n": "\u23ce", "\r": "\u240d", "\t": "\u21e5"}


def visible(text: str, spaces: bool = True) -> str:
    """The text with the code point for what cannot be seen, and a sign for each space and line end (if `spaces`)."""
    if text.isprintable() and (not spaces or " " not in text):
        return text
    signs = _SHOWN if spaces else {c: c for c in " \n\t"}
    return "".join(
        signs.get(c) or (c if c.isprintable() or c == "\u3000" or "\ud800" <= c <= "\udfff" else f"[U+{ord(c):04X}]")
        for c in text
    )


def visible_ends(text: str) -> str:
    """The text with signs for the spaces and line ends at its ends, where nobody would see them."""
    inner = text.strip(" \n\t")
    first, _, last = text.partition(inner) if inner else (text, "", "")
    return visible(first) + visible(inner, spaces=False) + visible(last)


def tokens(shown: Iterable[Token], lang: str = "zh-Hans") -> Html:
    """A text cut into tokens, neighbours in two shades; `lang` chooses the shapes of the characters."""
    spans = []
    for place, token in enumerate(shown):
        classes = " ".join(c for c in ("t", token.kind, "odd" if place % 2 else "") if c)
        hint = f' title="{escape(token.hint)}"' if token.hint else ""
        spans.append(f'<span class="{classes}"{hint}>{escape(visible(token.text))}</span>')
    return Html(f'<p class="tokens" lang="{escape(lang)}">{"".join(spans)}</p>\n')


def excerpt(text: str, lang: str = "zh-Hans") -> Html:
    """A piece of someone's text, its lines as they are, what cannot be seen as code points."""
    shown = text if isinstance(text, Html) else escape(visible(text, spaces=False))
    return Html(f'<p class="excerpt" lang="{escape(lang)}">{shown}</p>\n')


def difference(before: str, after: str, lang: str = "zh-Hans") -> Html:
    """A piece of text with what a change took out and what it put there, both marked."""
    parts: list[str] = []
    for is_equal, gone, new in compared(before, after):
        if is_equal:
            parts.append(escape(visible(gone, spaces=False)))
        else:
            parts += (
                f"<{tag}>{escape(visible_ends(text))}</{tag}>" for tag, text in (("del", gone), ("ins", new)) if text
            )
    return excerpt(Html("".join(parts)), lang)


# Fewer equal characters between two changes are chance.
_MIN_EQUAL = 3


def compared(before: str, after: str) -> list[tuple[bool, str, str]]:
    """Stretches of two short texts in order: whether they are equal, and what each text has there."""
    from difflib import SequenceMatcher

    start = len(commonprefix([before, after]))
    tail = len(commonprefix([before[start:][::-1], after[start:][::-1]]))
    one, other = before[start : len(before) - tail], after[start : len(after) - tail]
    found = [(True, before[:start], after[:start])]
    for tag, a, b, c, d in SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        is_equal = tag == "equal" and b - a >= _MIN_EQUAL
        if not is_equal and not found[-1][0]:
            _, gone, new = found.pop()
            found.append((False, gone + one[a:b], new + other[c:d]))
        else:
            found.append((is_equal, one[a:b], other[c:d]))
    return [*found, (True, before[len(before) - tail :], after[len(after) - tail :])]


@dataclass
class Page:
    """A page: its title, a sentence or two of what it shows, and sections in order; `style` is CSS of its own."""

    title: str
    lead: str = ""
    lang: str = "en"
    style: str = ""
    _sections: list[tuple[str, Html]] = field(default_factory=list)

    def section(self, title: str, *parts: Html) -> None:
        """Add a section."""
        self._sections.append((title, join(parts)))

    def html(self) -> str:
        """The whole page, to be written as UTF-8."""
        title = escape(self.title)
        links = "".join(f'<a href="#s{n}">{escape(t)}</a>\n' for n, (t, _) in enumerate(self._sections, 1))
        nav = f"<nav>\n{links}</nav>\n" if len(self._sections) > 3 else ""
        lead = f'<p class="lead">{escape(self.lead)}</p>\n' if self.lead else ""
        body = "".join(
            f'<section id="s{n}">\n<h2>{escape(t)}</h2>\n{content}</section>\n'
            for n, (t, content) in enumerate(self._sections, 1)
        )
        return (
            f'<!DOCTYPE html>\n<html lang="{escape(self.lang)}">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{title}</title>\n<style>\n{_STYLE}{self.style}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
            f"{lead}{nav}{body}</main>\n</body>\n</html>\n"
        )
