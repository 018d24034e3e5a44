"""Write the English sample corpus: hand-written texts and texts from a grammar.

Run ``python -m corpora.make.english`` from the root of the project.  The output
depends on nothing but this package: the same bytes come out on every run.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path

from corpora.make.english_dialogues import (
    DIALOGUE_TABLES,
    MARKET_PLOT,
    MEND_PLOT,
    TABLE_PLOT,
    WAY_PLOT,
    WHY_PLOT,
    converse,
    market_numbers,
)
from corpora.make.english_explain import EXPLAIN_TABLES, material_text, report_text, topic_text
from corpora.make.english_fables import FABLE_PLOTS, FABLE_TABLES
from corpora.make.english_grammar import Scene, World, sentences, tell
from corpora.make.english_howto import howto_text
from corpora.make.english_letters import LETTER_TABLES, letter_text
from corpora.make.english_prose_explain import EXPLAIN_TEXTS
from corpora.make.english_prose_stories import STORY_TEXTS
from corpora.make.english_prose_talk import TALK_TEXTS
from corpora.make.english_stories import STORY_PLOTS, STORY_TABLES
from corpora.make.english_talk import (
    LAB_PLOT,
    TALK_PLOTS,
    TALK_TABLES,
    lab_numbers,
)
from corpora.make.english_words import TABLES

SEED = 20240607
OUTPUT = Path(__file__).resolve().parents[1] / "english"
KINDS = ("stories", "explain", "dialogues", "howto", "letters")
PER_FILE = 120
# A candidate text is drawn this often, and the one with the fewest sentences
# that were already used is kept: repeated sentences teach a model nothing new.
TRIES = 3
SHORTEST, LONGEST = 200, 800

ALL_PLOTS = [*STORY_PLOTS.values(), *FABLE_PLOTS.values()]
ALL_TALKS = [
    MARKET_PLOT,
    WAY_PLOT,
    WHY_PLOT,
    MEND_PLOT,
    LAB_PLOT,
    TABLE_PLOT,
    *TALK_PLOTS,
]


def story_text(scene: Scene) -> str:
    """A story from one of the plots."""
    return tell(scene, ALL_PLOTS[scene.world.draw("story", len(ALL_PLOTS))])


def dialogue_text(scene: Scene) -> str:
    """A dialogue from one of the plots, with figures where its plot has any."""
    beats = ALL_TALKS[scene.world.draw("talk", len(ALL_TALKS))]
    if beats is MARKET_PLOT:
        scene.preset.update(market_numbers(scene.world.rng))
    if beats is LAB_PLOT:
        scene.preset.update(lab_numbers(scene.world.rng))
    return converse(scene, beats)


def explain_text(scene: Scene) -> str:
    """A topic, a comparison or a report; topics have the most to say."""
    pick = scene.world.draw("explain", 7)
    if pick < 3:
        return topic_text(scene)
    return material_text(scene) if pick < 5 else report_text(scene)


# How many documents of each kind, and what writes one.
PLAN: dict[str, tuple[int, Callable[[Scene], str]]] = {
    "stories": (300, story_text),
    "explain": (270, explain_text),
    "dialogues": (230, dialogue_text),
    "howto": (130, howto_text),
    "letters": (155, letter_text),
}


def write_kind(world: World, kind: str, seen: set[str]) -> list[str]:
    """The documents of one kind, each the freshest of a few candidates."""
    count, make = PLAN[kind]
    documents: list[str] = []
    while len(documents) < count:
        best, best_share = "", 2.0
        for _ in range(TRIES):
            text = make(Scene(world))
            parts = sentences(text)
            share = sum(part in seen for part in parts) / len(parts)
            if SHORTEST <= len(text) <= LONGEST and share < best_share:
                best, best_share = text, share
        if best:
            seen.update(sentences(best))
            documents.append(best)
    return documents


def unwrap(text: str) -> str:
    """Join the lines of each paragraph, except where a list or heading begins."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    joined = (re.sub(r"\n(?!- |#|\d+\. )", " ", paragraph) for paragraph in paragraphs)
    return "\n\n".join(joined) + "\n"


def hand_written() -> dict[str, str]:
    """File name to text for everything written by hand."""
    texts = STORY_TEXTS | EXPLAIN_TEXTS | TALK_TEXTS
    return {name: unwrap(texts[name]) for name in sorted(texts)}


def build() -> dict[str, str]:
    """All files of the corpus, by name."""
    files = hand_written()
    tables = TABLES | STORY_TABLES | FABLE_TABLES | EXPLAIN_TABLES
    world = World(SEED, tables | DIALOGUE_TABLES | TALK_TABLES | LETTER_TABLES)
    seen: set[str] = set()
    for text in files.values():
        seen.update(sentences(text))
    for kind in KINDS:
        documents = write_kind(world, kind, seen)
        # File numbers go on where the hand-written files of the kind stop.
        first = 1 + sum(name.startswith(kind) for name in files)
        for start in range(0, len(documents), PER_FILE):
            number = first + start // PER_FILE
            lines = [
                json.dumps({"id": f"{kind}-{index:04d}", "text": text}, ensure_ascii=True)
                for index, text in enumerate(documents[start : start + PER_FILE], start + 1)
            ]
            files[f"{kind}-{number:02d}.jsonl"] = "\n".join(lines) + "\n"
    return files


def texts_of(files: dict[str, str]) -> list[str]:
    """The bare texts, without the JSON around them."""
    found: list[str] = []
    for name, content in files.items():
        if name.endswith(".jsonl"):
            found.extend(json.loads(line)["text"] for line in content.splitlines())
        else:
            found.append(content)
    return found


def measure(files: dict[str, str]) -> dict[str, float]:
    """Figures that show whether the corpus is varied enough to be worth learning."""
    texts = texts_of(files)
    whole = "\n\n".join(texts)
    parts = [part for text in texts for part in sentences(text)]
    return {
        "files": len(files),
        "documents": len(texts),
        "kilobytes": round(len(whole.encode()) / 1000, 1),
        "hand_written_kilobytes": round(sum(map(len, hand_written().values())) / 1000, 1),
        "sentences": len(parts),
        "distinct_sentence_share": round(len(set(parts)) / len(parts), 3),
        "distinct_words": len(set(re.findall(r"[a-z]+", whole.lower()))),
        "zlib_ratio": round(len(whole) / len(zlib.compress(whole.encode(), 9)), 2),
    }


def main() -> None:
    """Write the files, removing those of an earlier run, and print the figures."""
    files = build()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for old in sorted(OUTPUT.iterdir()):
        if re.fullmatch(rf"(?:{'|'.join(KINDS)})-\d\d\.(?:txt|md|jsonl)", old.name):
            old.unlink()
    for name, content in files.items():
        if not content.isascii():
            raise ValueError(f"{name} is not plain ASCII")
        (OUTPUT / name).write_bytes(content.encode("ascii"))
    print(json.dumps(measure(files), indent=1))


if __name__ == "__main__":
    main()
