"""Settle who, what, where and when for one generated record."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass

from corpora.make.blocks import chinese_number
from corpora.make.grammar import Writer, items
from corpora.make.lexicon import BENCH, ENGINEERS, MEASURES, ORGS, STAKES, STAKES_BY_WORD, WEATHER
from corpora.make.scenarios_a import SCENARIOS_A
from corpora.make.scenarios_b import SCENARIOS_B

FIELDS = ("symptom", "check", "cause", "cure", "result", "advice")
FIRST_DAY = dt.date(2023, 3, 1)
# How people are called, by a word in the name of the place; the last suits any place.
TITLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("学", ("老师",)),
    ("医院", ("大夫", "主任", "技师")),
    ("公司", ("经理", "主管", "技术员")),
    ("合作社", ("社长", "师傅", "大姐", "技术员")),
    ("养殖场|鱼种场|茶场", ("场长", "师傅", "技术员")),
    ("站", ("站长", "技术员", "工程师")),
    ("园|基地|试验田", ("师傅", "技术员", "大姐", "主管")),
    ("厂", ("主任", "师傅", "工程师", "组长")),
    ("", ("主任", "科长", "工程师", "组长")),
)


@dataclass(frozen=True)
class Trouble:
    """One trouble of one product; the n-th cause goes with the n-th cure and result."""

    product: str
    options: dict[str, tuple[str, ...]]

    def settle(self, writer: Writer) -> dict[str, str]:
        """Pick a symptom, and a cause with the cure and the result that belong to it."""
        key = self.product + self.options["check"][0]
        first = writer.draw(key + "/symptom", len(self.options["symptom"]))
        second = writer.draw(key + "/cause", len(self.options["cause"]))
        return {
            name: texts[(first if name == "symptom" else second) % len(texts)]
            for name, texts in self.options.items()
        }


def _options(cell: str) -> tuple[str, ...]:
    cell = cell.strip()
    return tuple(cell[1:-1].split("|")) if cell.startswith("[") else (cell,)


def troubles() -> list[Trouble]:
    """All troubles, product by product."""
    found: list[Trouble] = []
    for product, text in (SCENARIOS_A | SCENARIOS_B).items():
        for item in items(text):
            cells = [_options(cell) for cell in item.split(" / ")]
            found.append(Trouble(product, dict(zip(FIELDS, cells, strict=True))))
    return found


TROUBLES = troubles()


def date_text(writer: Writer, day: dt.date) -> str:
    """A date in one of the ways people write it."""
    style = writer.draw("date style", 3)
    if style == 0:
        return f"{day.year}年{day.month}月{day.day}日"
    if style == 1:
        return f"{chinese_number(day.month)}月{chinese_number(day.day)}日"
    return f"{day.month}月{day.day}日"


def contact_name(writer: Writer, org: str) -> str:
    """How a customer is called: a surname and what suits the place of work."""
    surname = writer.pick("surname", writer.lexicon["surname"])
    titles = next(found for word, found in TITLES if re.search(word, org))
    return surname + writer.pick(f"title {titles[0]}", titles)


def stake(writer: Writer, org: str) -> str:
    """Why the customer cannot wait, as it suits the place."""
    special = next((found for word, found in STAKES_BY_WORD if re.search(word, org)), STAKES)
    if writer.rng.random() < 0.5:
        return writer.pick("stake", STAKES)
    return writer.pick(f"stake {special[0]}", special)


def code(writer: Writer) -> str:
    """The number of a record."""
    return f"{writer.pick('code', ('GD', 'WX', 'JZ', 'HF'))}{writer.rng.randint(100000, 999999)}"


def phone(writer: Writer) -> str:
    """An invented telephone number; no real one begins with 000."""
    return f"000-{writer.rng.randint(20000000, 89999999)}"


def _pair(writer: Writer) -> tuple[Trouble, Trouble]:
    first = TROUBLES[writer.draw("trouble", len(TROUBLES))]
    second = first
    while second.product == first.product:
        second = TROUBLES[writer.draw("trouble 2", len(TROUBLES))]
    return first, second


def _people(writer: Writer) -> dict[str, str]:
    names = writer.rng.sample(ENGINEERS, 3)
    return dict(zip(("engineer", "colleague", "colleague2"), names, strict=True))


def _places(writer: Writer, first: str, second: str) -> dict[str, str]:
    place = writer.pick("place", writer.lexicon["place"])
    place2 = place
    while place2 == place:
        place2 = writer.pick("place", writer.lexicon["place"])
    orgs = [ORGS.get(product, BENCH) for product in (first, second)]
    org, org2 = (writer.pick(choices[0], choices) for choices in orgs)
    return {"place": place, "place2": place2, "org": org, "org2": org2}


def scene(writer: Writer, day: dt.date) -> dict[str, str]:
    """The slots of one record."""
    first, second = _pair(writer)
    slots = {"product": first.product, "product2": second.product}
    slots |= first.settle(writer)
    slots |= {f"{name}2": text for name, text in second.settle(writer).items()}
    slots |= _people(writer) | _places(writer, first.product, second.product)
    slots["measure"] = MEASURES.get(first.product, "台")
    slots["contact"] = contact_name(writer, slots["org"])
    slots["surname"] = slots["contact"][0]
    slots["stake"] = stake(writer, slots["org"])
    slots["date"] = date_text(writer, day)
    slots["date2"] = date_text(writer, day - dt.timedelta(days=writer.rng.randint(3, 20)))
    season = day.month % 12 // 3
    slots["weather"] = writer.pick(f"weather {season}", WEATHER[season])
    slots["weather2"] = writer.pick(f"weather {season}", WEATHER[season])
    slots["code"], slots["phone"] = code(writer), phone(writer)
    return slots


def days(count: int, seed_day: int = 0, span: int = 700) -> list[dt.date]:
    """Dates spread evenly over about two years, in order."""
    step = span / max(count, 1)
    return [FIRST_DAY + dt.timedelta(days=seed_day + int(step * n)) for n in range(count)]
