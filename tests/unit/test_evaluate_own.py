"""Questions out of one's own documents: right, alike for equal texts, with distractors of the same kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluated import read_scores
from toys import Toy, random_model, stage, write_jsonl

from zhllm.errors import DataError
from zhllm.evals.intervals import mean_score
from zhllm.evals.own_documents import MASK, own_documents
from zhllm.stages.evaluate import table


def test_every_question_is_answered_by_its_paragraph(real_data: Path) -> None:
    files = sorted((real_data / "docs_laws").glob("*.md"))[:8]
    texts = [file.read_text(encoding="utf-8") for file in files]
    subjects, possible = own_documents(texts, 40)
    assert [s.name for s in subjects] == ["numbers", "names", "terms"] or possible["names"] == 0
    whole = "\n".join(texts)
    for subject in subjects:
        assert len(subject.questions) == min(40, possible[subject.name])
        for choice in subject.questions:
            masked = choice.question.removeprefix("下面的空格应填什么？")
            right = choice.options[choice.answer]
            assert masked.count(MASK) == 1 and masked.replace(MASK, right) in whole
            others = [o for o in choice.options if o != right]
            assert len(others) == 3 == len(set(others)) and not any(o in masked for o in others)
    assert own_documents(texts, 40) == (subjects, possible)


@pytest.mark.parametrize("most", [40, 101, 10**9])
def test_the_right_option_stands_at_each_place_as_often(real_data: Path, most: int) -> None:
    """Of all and of each kind, and in an order that tells nothing: drawn by chance it was 66 to 89 of 316."""
    files = sorted((real_data / "docs_laws").glob("*.md"))
    subjects, _ = own_documents([file.read_text(encoding="utf-8") for file in files], most)
    places = [[choice.answer for choice in subject.questions] for subject in subjects]
    for some in (*places, [place for own in places for place in own]):
        counts = [some.count(place) for place in range(4)]
        assert max(counts) - min(counts) <= 1, counts
        follows = Counter(zip(some, some[1:], strict=False))
        if len(some) > 300:
            assert all(0.5 < follows[a, b] * 16 / len(some) < 1.5 for a in range(4) for b in range(4)), follows
    orders = Counter(tuple(own[:8]) for own in places)
    assert len(orders) == len(places), "no kind repeats another's order"


# What may be known of words without reading: how often the corpus has them, how large a number is, how a word looks.
GUESSES: dict[str, Callable[[str, str], float]] = {
    "frequent": lambda word, corpus: corpus.count(word),
    "rare": lambda word, corpus: -corpus.count(word),
    "late in the alphabet": lambda word, _: float.fromhex(word.encode().hex()[:12]),
    "first in the corpus": lambda word, corpus: -corpus.index(word),
    "large": lambda word, _: float(word) if word.replace(".", "").isdigit() else 0.0,
}


@pytest.mark.parametrize("name", GUESSES)
def test_who_knows_words_but_not_the_paragraphs_gets_no_more_than_chance(name: str, real_data: Path) -> None:
    """Distractors drawn from the whole corpus let the guess at the most frequent name be right in 47 of 100."""
    texts = [file.read_text(encoding="utf-8") for file in sorted((real_data / "docs_laws").glob("*.md"))]
    corpus = "\n".join(texts)
    subjects, possible = own_documents(texts, 400)
    assert possible["numbers"] > 80 and possible["names"] > 800 and possible["terms"] > 4000
    for subject in subjects:
        right = []
        for choice in subject.questions:
            known = [GUESSES[name](option, corpus) for option in choice.options]
            best = [i for i, value in enumerate(known) if value == max(known)]
            right.append((choice.answer in best) / len(best))
        assert mean_score(right, 0.25).is_chance, f"{subject.name}: {sum(right) / len(right):.3f}"


def test_a_word_is_the_answer_as_often_as_it_is_offered_a_fourth_time(real_data: Path) -> None:
    """Of all questions, not only of some: as in a round each word is once the answer and about three times not."""
    texts = [file.read_text(encoding="utf-8") for file in sorted((real_data / "docs_laws").glob("*.md"))]
    for subject in own_documents(texts, 10**9)[0]:
        answers = Counter(c.options[c.answer] for c in subject.questions)
        offered = Counter(option for c in subject.questions for option in c.options)
        for word, times in answers.most_common(5):
            assert 0.2 <= times / offered[word] <= 0.3, (word, times, offered[word])
        assert len({c.question for c in subject.questions}) == len(subject.questions)


def test_the_stage_asks_a_model_about_documents(toy: Toy, tmp_path: Path) -> None:
    model = random_model(tmp_path / "model", toy.extended, max_position_embeddings=1024)
    lines = "\n".join(f"第{i}号样品存放在实验室的低温柜里，每{3 + i}天由专人检查并登记一次。" for i in range(12))
    data = write_jsonl(tmp_path / "texts.jsonl", [{"id": "a", "text": lines}])
    out = stage("evaluate", tmp_path / "out", model=model, task=["own"], data=[data], own_questions=12)
    found = read_scores(out)
    (score, macro) = found["scores"]
    assert score["name"] == "own_accuracy" and score["n"] == 12
    by_kind = found["tables"]["model"]["own: subjects"]["numbers"]
    assert score["chance"] == macro["chance"] == by_kind["chance"] == 0.25, "one of four options is right"
    assert score["is_chance"] and score["low"] <= 0.25 <= score["high"]
    assert "≈ chance (0.250)" in (out / "report.html").read_text(encoding="utf-8")
    assert any("≈ chance (0.250)" in line for line in table(out))
    assert any("could give: numbers 12" in note for note in found["notes"]["model"])
    with pytest.raises(DataError, match="has no paragraph with a number, name or term"):
        plain = write_jsonl(tmp_path / "t.jsonl", [{"id": "b", "text": "好。"}])
        stage("evaluate", tmp_path / "none", model=model, task=["own"], data=[plain])
