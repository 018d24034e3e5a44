"""A small text grammar: tables, choices, slots and plots.

Data modules are written in a line format that keeps prose readable:

* a line that starts with ``- `` begins an item, other lines continue it;
* ``[x|y|z]`` is one of the options (they nest, and an option may be empty);
* ``{a}`` .. ``{d}`` are people, ``{a.he}`` and so on their pronouns;
* ``{n:3-9}`` is a number in digits and ``{w:3-9}`` the same in words;
* ``{kettle}`` or ``{kettle.field}`` is a row of the table ``kettle``.  The row
  stays fixed inside one document, which is what makes the parts agree;
  ``{kettle2}`` is a second, different row of the same table;
* ``=`` begins a beat of a plot (one of its items is told), ``=?`` a beat that
  may be left out, ``=+`` one that starts a paragraph, ``=-`` one that starts
  a line.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

Row = dict[str, str]
Tables = dict[str, list[Row]]

PEOPLE = ("a", "b", "c", "d")
# Names for the time of the text itself; ``season2`` and ``month2`` are other times.
NOW = ("season", "month", "weather", "weather2")
ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["-", "-", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
PRONOUNS = {
    "f": {"he": "she", "him": "her", "his": "her", "himself": "herself", "child": "girl"},
    "m": {"he": "he", "him": "him", "his": "his", "himself": "himself", "child": "boy"},
}

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{([^{}]+)\}")
# "a" before a vowel letter becomes "an", except where the vowel is not heard.
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])(?!(?:one|once|use|usual|uni|eu)[a-z]*)")
_HOUR = re.compile(r"\b([Aa]) (?=(?:hour|honest)\b)")
# A closing quote after "?" or "!" is often followed by "he said", so only a
# full stop may carry a capital across a quote.
_START = re.compile(r"((?:^|\n)(?:\d+\. |- )?\"?|[.!?] \"?|\.\" \"?)([a-z])")


def items(text: str) -> list[str]:
    """Split a data block into its ``- `` items, joining continuation lines."""
    found: list[str] = []
    for line in text.strip().splitlines():
        stripped = line.strip()
        if stripped.startswith("- "):
            found.append(stripped[2:])
        elif stripped:
            found[-1] += " " + stripped
    return found


def table(fields: str, text: str) -> list[Row]:
    """Read rows whose cells are parted by ``' / '``; the first field is the default."""
    names = fields.split()
    rows: list[Row] = []
    for item in items(text):
        cells = [cell.strip() for cell in item.split(" / ")]
        if len(cells) != len(names):
            raise ValueError(f"{len(cells)} cells for {names}: {item}")
        rows.append(dict(zip(names, cells, strict=True)))
    return rows


def words(text: str) -> list[Row]:
    """Read a plain comma-separated list as a one-field table."""
    return [{"name": word.strip()} for word in text.replace("\n", " ").split(",")]


def spell(number: int) -> str:
    """A number below one hundred in words."""
    if number < len(ONES):
        return ONES[number]
    tens, ones = divmod(number, 10)
    return TENS[tens] + (f"-{ONES[ones]}" if ones else "")


@dataclass(frozen=True)
class Beat:
    """One step of a plot: what joins it to the text before, and its wordings."""

    key: str
    lead: str
    optional: bool
    options: tuple[str, ...]


def plot(name: str, text: str) -> list[Beat]:
    """Read a plot: beats marked by ``=`` lines, each with its ``- `` wordings."""
    beats: list[Beat] = []
    for number, block in enumerate(re.split(r"^=", text.strip(), flags=re.M)[1:]):
        marks, _, body = block.partition("\n")
        lead = "\n\n" if "+" in marks else "\n" if "-" in marks else " "
        beats.append(Beat(f"{name}/{number}", lead, "?" in marks, tuple(items(body))))
    return beats


@dataclass
class World:
    """What all documents share: the random source, the tables and the decks."""

    seed: int
    tables: Tables
    decks: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def draw(self, key: str, size: int) -> int:
        """Deal an index from a shuffled deck, so that every option gets its turn."""
        pile = self.decks.setdefault(key, [])
        if not pile:
            pile.extend(range(size))
            self.rng.shuffle(pile)
        return pile.pop()


class Scene:
    """One document in the making: the people and rows it has settled on."""

    def __init__(self, world: World, preset: dict[str, str] | None = None) -> None:
        self.world = world
        self.preset = dict(preset or {})
        self.rows: dict[str, Row] = {}

    def expand(self, template: str) -> str:
        """Settle the choices first, so a slot in a lost option binds nothing."""
        while match := _CHOICE.search(template):
            options = match.group(1).split("|")
            picked = options[self.world.draw(match.group(1), len(options))]
            template = template[: match.start()] + picked + template[match.end() :]
        return _SLOT.sub(lambda m: self.slot(m.group(1)), template)

    def slot(self, key: str) -> str:
        """The text for one slot."""
        name, _, wanted = key.partition(".")
        kind, _, span = key.partition(":")
        if span:
            low, high = (int(part) for part in span.split("-"))
            number = self.world.rng.randint(low, high)
            return spell(number) if kind == "w" else str(number)
        if name in self.preset and not wanted:
            return self.preset[name]
        row = self.person(name) if name in PEOPLE else self.row(name)
        wanted = wanted or next(iter(row))
        if wanted[0].isupper():
            text = self.slot(f"{name}.{wanted.lower()}")
            return text[0].upper() + text[1:]
        # Settle a cell once: a red kite must stay red when it is named again.
        row[wanted] = self.expand(row[wanted])
        return row[wanted]

    def row(self, name: str) -> Row:
        """The row bound to a name, dealt on first use and unlike its siblings."""
        if name not in self.rows:
            base = name.rstrip("0123456789")
            rows = self.world.tables[base]
            taken = [r["#"] for n, r in self.rows.items() if n.rstrip("0123456789") == base]
            index = self.world.draw(base, len(rows))
            while str(index) in taken or self.clashes(name, rows[index]):
                index = self.world.draw(base, len(rows))
            self.rows[name] = {**rows[index], "#": str(index)}
        return self.rows[name]

    def clashes(self, name: str, row: Row) -> bool:
        """Whether a season, month or weather would not suit those already named."""
        climes = {self.rows[n].get("clime") for n in NOW if n in self.rows}
        return name in NOW and {row.get("clime")} | climes >= {"warm", "cold"}

    def person(self, name: str) -> Row:
        """A person with pronouns, a relation and a trade that go together."""
        if name not in self.rows:
            used = [self.rows[p]["name"] for p in PEOPLE if p in self.rows]
            sex = "fm"[self.world.draw("sex", 2)]
            rows = self.world.tables[f"name_{sex}"]
            while (pick := rows[self.world.draw(sex, len(rows))]["name"]) in used:
                pass
            kin = self.world.tables[f"kin_{sex}"]
            jobs = self.world.tables["job"]
            self.rows[name] = {
                "name": pick,
                **PRONOUNS[sex],
                "kin": kin[self.world.draw("kin" + sex, len(kin))]["name"],
                "job": jobs[self.world.draw("job", len(jobs))]["name"],
            }
        return self.rows[name]


def tidy(text: str) -> str:
    """Mend what slots leave behind: spaces, articles and capitals."""
    text = re.sub(r" +([,.;:?!])", r"\1", re.sub(r" {2,}", " ", text))
    text = re.sub(r" *\n *", "\n", text).strip()
    text = _ARTICLE.sub(r"\1n ", text)
    text = _HOUR.sub(r"\1n ", text)
    return _START.sub(lambda m: m.group(1) + m.group(2).upper(), text)


def tell(scene: Scene, beats: Sequence[Beat]) -> str:
    """Tell a plot once: a wording for every beat, in order."""
    parts: list[str] = []
    for beat in beats:
        if beat.optional and scene.world.draw(beat.key + "?", 2):
            continue
        option = beat.options[scene.world.draw(beat.key, len(beat.options))]
        parts.append(beat.lead + scene.expand(option))
    return tidy("".join(parts))


def sentences(text: str) -> list[str]:
    """Split text into sentences, dropping list numbers so that they do not count."""
    text = re.sub(r"(?m)^(?:\d+\.|-|#+) ", "", text)
    parts = re.split(r"(?<=[.!?])\"?\s+|\n+", text)
    return [part.strip("\" ") for part in parts if len(part) > 3]
