"""Read the hand-written prose modules and put the facts into them.

The prose is kept in a small markup: ``# `` and ``## `` are headings, ``- `` is a
list item, ``1. `` a numbered one, a blank line parts paragraphs, and ``@facts``
stands for a table of all facts the document names.  ``{h-001}`` is the canonical
sentence of the fact handbook-001 and ``{h-001=}`` its value alone; the letters
are h, m, f and n for the four sources.
"""

from __future__ import annotations

import re

from corpora.make.blocks import Block, Document, Heading, Items, Para, Table, flow
from corpora.make.facts import FACTS, Fact

SOURCES = {"h": "handbook", "m": "manuals", "f": "faq", "n": "notices"}
BY_ID: dict[str, Fact] = {fact.id: fact for fact in FACTS}

_SLOT = re.compile(r"\{([hmfn])-(\d{3})(=?)\}")
_ITEM = re.compile(r"^(- |\d+\. )")


def fact(letter: str, number: str) -> Fact:
    """The fact a slot names."""
    return BY_ID[f"{SOURCES[letter]}-{number}"]


def fill(text: str) -> str:
    """Replace every fact slot by its sentence or its value."""
    return _SLOT.sub(lambda m: _said(fact(m.group(1), m.group(2)), m.group(3)), text)


def _said(found: Fact, mark: str) -> str:
    return found.value if mark else found.sentence


def named(text: str) -> list[Fact]:
    """The facts a text names, each once, in order of first mention."""
    ids: dict[str, Fact] = {}
    for match in _SLOT.finditer(text):
        found = fact(match.group(1), match.group(2))
        ids.setdefault(found.id, found)
    return list(ids.values())


def facts_table(facts: list[Fact], head: tuple[str, str, str] = ("事项", "项目", "规定")) -> Table:
    """The facts as a table, which is their second, reworded mention."""
    return Table((head, *((one.entity, one.attribute, one.value) for one in facts)))


def blocks_of(text: str, head: tuple[str, str, str] = ("事项", "项目", "规定")) -> list[Block]:
    """Parse the markup of one document."""
    found: list[Block] = []
    for chunk in re.split(r"\n\s*\n", text.strip()):
        chunk = chunk.strip()
        if chunk == "@facts":
            found.append(facts_table(named(text), head))
        elif chunk.startswith("#"):
            marks, _, title = chunk.partition(" ")
            found.append(Heading(title, len(marks)))
        elif _ITEM.match(chunk):
            found.append(_items(chunk))
        else:
            found += [Para(fill(paragraph)) for paragraph in flow(chunk)]
    return found


def _items(chunk: str) -> Items:
    entries: list[list[str]] = []
    for line in chunk.splitlines():
        if _ITEM.match(line):
            entries.append([_ITEM.sub("", line, count=1)])
        else:
            entries[-1].append(line)
    texts = tuple(fill(flow("\n".join(entry))[0]) for entry in entries)
    return Items(texts, numbered=not chunk.startswith("- "))


def document(name: str, text: str, head: tuple[str, str, str] = ("事项", "项目", "规定")) -> Document:
    """A whole document; its first heading is its title."""
    blocks = blocks_of(text, head)
    first = blocks[0]
    if not isinstance(first, Heading):
        raise ValueError(f"{name} must begin with a heading")
    return Document(name, first.text, tuple(blocks))
