"""A document in pieces of bounded size, each a slice of its text: what a question is asked about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from zhllm.text.synth.outline import Block, Outline

_SENTENCE = re.compile(r"[^。！？!?；;\n]*[。！？!?；;]+[”』」）)]*|[^。！？!?；;\n]+")


@dataclass(frozen=True, slots=True)
class Chunk:
    """`text` stands at `start` in its document; `path` are the headings over it, the title first."""

    start: int
    text: str
    path: tuple[str, ...] = ()

    @property
    def end(self) -> int:
        """The offset after the chunk."""
        return self.start + len(self.text)


def sentences(text: str, start: int = 0) -> Iterator[tuple[int, str]]:
    """Every sentence with its offset, blanks around it left out."""
    for found in _SENTENCE.finditer(text):
        inner = found[0].strip()
        if inner:
            yield start + found.start() + found[0].index(inner), inner


def chunks_of(outline: Outline, chars: int) -> list[Chunk]:
    """The document in chunks of at most `chars` characters, cut between lines, or sentences of a longer line.

    Small sections stand together; a heading begins a chunk unless it would leave one of under a third.
    """
    found: list[Chunk] = []
    path: list[tuple[int, str]] = []
    first, last = -1, -1
    names: tuple[str, ...] = ()

    def close() -> None:
        nonlocal first
        if first >= 0:
            title = [outline.title] if outline.title else []
            kept = tuple(dict.fromkeys([*title, *names]))
            found.append(Chunk(first, outline.slice(first, last), kept))
        first = -1

    for block in outline.blocks:
        if block.kind == "furniture":
            continue
        if block.kind == "heading":
            path = [*(entry for entry in path if entry[0] < block.level), (block.level, block.text)]
            if first >= 0 and last - first > chars // 3:
                close()
        for start, end in _pieces(block, chars):
            if first >= 0 and end - first > chars:
                close()
            if first < 0:
                first, names = start, tuple(text for _, text in path)
            last = end
    close()
    return [chunk for chunk in found if any(c.isalnum() for c in chunk.text)]


def _pieces(block: Block, chars: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the block, or of parts of it that are short enough."""
    if len(block.text) <= chars:
        yield block.start, block.end
        return
    first = last = block.start
    for start, sentence in sentences(block.text, block.start):
        if last > first and start + len(sentence) - first > chars:
            yield first, last
            first = start
        while start + len(sentence) - first > chars:  # a sentence longer than a chunk is cut where it must be
            yield first, first + chars
            sentence = sentence[first + chars - start :]
            start = first = first + chars
        last = start + len(sentence)
    if last > first:
        yield first, last
