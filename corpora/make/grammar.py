"""A small Chinese text grammar: choices, slots and plots.

``[x|y|z]`` is one of the options (they nest, an option may be empty); ``{name}``
is a slot of the scene or else a draw from the lexicon; ``{n:3-9}`` is a number.
A plot is a list of beats: ``=`` begins a beat, of which one wording is told,
``=?`` one that may be left out, ``=+`` one that starts a paragraph, ``=-`` one
that starts a line.  Wordings begin with ``- ``; other lines continue them, and
``¶`` breaks a line inside a wording.

Draws come from shuffled decks, so every option gets its turn, and a wording
whose sentences were all told before is drawn again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

RETRIES = 10

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([^{}]+)\}")
_SENTENCE = re.compile(r"[^。！？\n]+[。！？]?[”」』]?")

Slots = Mapping[str, str]


@dataclass(frozen=True)
class Beat:
    """One step of a plot: what joins it to the text before, and its wordings."""

    key: str
    lead: str
    optional: bool
    wordings: tuple[str, ...]


def items(text: str) -> list[str]:
    """Split a data block into its ``- `` items, joining continuation lines."""
    found: list[str] = []
    for line in text.strip().splitlines():
        stripped = line.strip()
        if stripped.startswith("- "):
            found.append(stripped[2:])
        elif stripped:
            found[-1] += stripped
    return [item.replace("¶", "\n") for item in found]


def plot(name: str, text: str) -> list[Beat]:
    """Read a plot from its text."""
    beats: list[Beat] = []
    for number, block in enumerate(re.split(r"^=", text.strip(), flags=re.M)[1:]):
        marks, _, body = block.partition("\n")
        lead = "\n\n" if "+" in marks else "\n" if "-" in marks else ""
        beats.append(Beat(f"{name}/{number}", lead, "?" in marks, tuple(items(body))))
    return beats


def sentences(text: str) -> list[str]:
    """The sentences of a text, without surrounding spaces."""
    found = (match.group().strip() for match in _SENTENCE.finditer(text))
    return [sentence for sentence in found if len(sentence) > 1]


@dataclass
class Writer:
    """What the documents of one folder share: chance, lexicon, decks and memory."""

    seed: int
    lexicon: Mapping[str, Sequence[str]]
    decks: dict[str, list[int]] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def draw(self, key: str, size: int) -> int:
        """Deal an index from a shuffled deck."""
        pile = self.decks.setdefault(key, [])
        if not pile:
            pile.extend(range(size))
            self.rng.shuffle(pile)
        return pile.pop()

    def pick(self, key: str, options: Sequence[str]) -> str:
        """Deal one of the options."""
        return options[self.draw(key, len(options))]

    def expand(self, template: str, slots: Slots) -> str:
        """Settle choices and slots until none is left."""
        text = template
        while True:
            if choice := _CHOICE.search(text):
                options = choice.group(1).split("|")
                text = _replaced(text, choice, self.pick(choice.group(1), options))
            elif slot := _SLOT.search(text):
                text = _replaced(text, slot, self.slot(slot.group(1), slots))
            else:
                return text

    def slot(self, key: str, slots: Slots) -> str:
        """The text for one slot, which may hold choices of its own."""
        _, _, span = key.partition(":")
        if span:
            low, high = (int(part) for part in span.split("-"))
            return str(self.rng.randint(low, high))
        if key in slots:
            return slots[key]
        return self.pick(key, self.lexicon[key])

    def fresh(self, key: str, wordings: Sequence[str], slots: Slots) -> str:
        """A wording with at least one sentence that was not told before."""
        text = ""
        for _ in range(RETRIES):
            text = self.expand(self.pick(key, wordings), slots)
            if any(sentence not in self.told for sentence in sentences(text)):
                break
        self.told.update(sentences(text))
        return text

    def tell(self, beats: Sequence[Beat], slots: Slots) -> str:
        """Tell a plot once: a wording for every beat, in order."""
        parts: list[str] = []
        for beat in beats:
            if beat.optional and self.rng.random() < 0.4:
                continue
            text = self.fresh(beat.key, beat.wordings, slots)
            parts.append((beat.lead if parts else "") + text)
        return "".join(parts)


def _replaced(text: str, match: re.Match[str], new: str) -> str:
    return text[: match.start()] + new + text[match.end() :]
