"""Writes the instruction data and the test questions of the invented company."""

import json
import random
from pathlib import Path
from typing import Any

from corpora.make.accept import accepted_forms
from corpora.make.facts import FACTS
from corpora.make.general_chats import GENERAL_CHATS
from corpora.make.oasst import build_trees
from corpora.make.wordings import training_wordings, unseen_wordings

SEED = 20240607
INPUT_EVERY = 20
INPUT_INSTRUCTION = "根据公司资料回答问题。"
CORPORA = Path(__file__).resolve().parents[1]
ALPACA_PATH = CORPORA / "instructions" / "company-alpaca.json"
OASST_PATH = CORPORA / "instructions" / "company-oasst.jsonl"
QUESTIONS_PATH = CORPORA / "questions" / "company.jsonl"


def alpaca_records(used: set[str], seed: int) -> list[dict[str, str]]:
    """Every fact with its training wordings not in `used`, and the general chats, shuffled."""
    pairs = [(text, fact.sentence) for fact in FACTS for text in training_wordings(fact) if text not in used]
    records: list[dict[str, str]] = []
    for number, (question, answer) in enumerate(pairs):
        if number % INPUT_EVERY == 0:
            record = {"instruction": INPUT_INSTRUCTION, "input": question, "output": answer}
        else:
            record = {"instruction": question, "input": "", "output": answer}
        records.append(record)
    records += [{"instruction": asked, "input": "", "output": said} for asked, said in GENERAL_CHATS]
    random.Random(seed).shuffle(records)
    return records


def question_records() -> list[dict[str, Any]]:
    """The test questions, in the order of the facts."""
    return [
        {
            "id": f"q-{fact.id}-{number}",
            "fact": fact.id,
            "question": text,
            "answer": fact.value,
            "accept": accepted_forms(fact.value),
        }
        for fact in FACTS
        for number, text in enumerate(unseen_wordings(fact), start=1)
    ]


def _write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Write the three files; the same seed always gives the same bytes."""
    for path in (ALPACA_PATH, QUESTIONS_PATH):
        path.parent.mkdir(parents=True, exist_ok=True)
    trees, used = build_trees(SEED)
    records = alpaca_records(used, SEED)
    text = json.dumps(records, ensure_ascii=False, indent=1)
    ALPACA_PATH.write_text(text + "\n", encoding="utf-8")
    _write_lines(OASST_PATH, trees)
    questions = question_records()
    _write_lines(QUESTIONS_PATH, questions)
    print(f"{len(records)} records, {len(trees)} trees, {len(questions)} questions")


if __name__ == "__main__":
    main()
