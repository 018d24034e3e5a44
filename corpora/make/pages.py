"""HTML pages with the noise real ones have: menus, scripts, styles, entities."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from corpora.make.blocks import Block, Heading, Items, Para, Table

STYLE = """
body { font-family: "Noto Sans CJK SC", sans-serif; margin: 0; }
.top-menu li { display: inline-block; padding: 4px 12px; }
/* 页脚的颜色 */
.foot { color: #888; font-size: 12px; }
""".strip()
SCRIPT = """
var visits = visits || [];
visits.push(["page", document.title]);
function toTop() { window.scrollTo(0, 0); }
if (visits.length > 100) { console.log("统计队列过长"); }
""".strip()
MENU = ("首页", "产品中心", "解决方案", "服务支持", "资料中心", "新闻动态", "关于我们", "联系我们")
SIDE = ("热门产品", "最近浏览", "在线咨询", "返回顶部", "分享到", "扫一扫关注我们")
FOOT = "版权所有 © 澜溪仪器有限公司　备案号：示例备案00000000号"


def html_page(title: str, blocks: Iterable[Block], section: str) -> str:
    """A whole page around the blocks."""
    links = "".join(f'<li><a href="/{n}.html">{name}</a></li>' for n, name in enumerate(MENU))
    side = "".join(f"<p><a href='#'>{name}</a></p>" for name in SIDE)
    return (
        '<!DOCTYPE html>\n<html lang="zh-CN">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)} - 澜溪仪器</title>\n<style>\n{STYLE}\n</style>\n"
        f"<script>\n{SCRIPT}\n</script>\n</head>\n<body>\n"
        f'<nav class="top-menu"><ul>{links}</ul></nav>\n'
        f'<div class="crumbs">首页 &gt; {section} &gt; {escape(title)}</div>\n'
        f"<!-- 正文开始 -->\n<main>\n{_body(blocks)}</main>\n<!-- 正文结束 -->\n"
        f"<aside>{side}</aside>\n<noscript>请启用脚本以获得更好的体验</noscript>\n"
        f'<footer class="foot"><p>{escape(FOOT)}</p>'
        '<p><a href="javascript:toTop()">返回顶部</a>&nbsp;|&nbsp;<a href="/map">网站地图</a></p>'
        '</footer>\n<script>visits.push(["done", 1]);</script>\n</body>\n</html>\n'
    )


def _body(blocks: Iterable[Block]) -> str:
    parts: list[str] = []
    for number, block in enumerate(blocks):
        match block:
            case Heading(text, level):
                parts.append(f"<h{level}>{_text(text)}</h{level}>\n")
            case Para(text):
                lines = "<br>\n".join(_text(line) for line in text.split("\n"))
                parts.append(f'<p class="p{number % 3}">{lines}</p>\n')
            case Items(items, numbered):
                tag = "ol" if numbered else "ul"
                inner = "".join(f"  <li>{_text(item)}</li>\n" for item in items)
                parts.append(f"<{tag}>\n{inner}</{tag}>\n")
            case Table(rows):
                parts.append(_table(rows))
    return "".join(parts)


def _table(rows: tuple[tuple[str, ...], ...]) -> str:
    lines: list[str] = []
    for number, row in enumerate(rows):
        tag = "td" if number else "th"
        cells = "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in row)
        lines.append(f"  <tr>{cells}</tr>\n")
    return f'<table border="1">\n{"".join(lines)}</table>\n'


def _text(text: str) -> str:
    """Escape, and write quotation marks and some spaces as entities."""
    found = escape(text, quote=False)
    return found.replace("“", "&ldquo;").replace("”", "&rdquo;").replace("　", "&nbsp;&nbsp;")
