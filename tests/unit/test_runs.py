"""Counted Han runs: the same as by hand, in bounded memory, whatever the order of the documents."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from zhllm.text import runs as module
from zhllm.text.han import han_runs
from zhllm.text.runs import CountedRuns, RunCounter, count_runs

AWKWARD = (
    "人工智能，AI 与法律。",
    "𠮷野家々〇𠮷",
    "全角：ＡＢＣ１２３！？《法》",
    "零\u200b宽\u200d连\ufeff接\x00空",
    "👩‍👩‍👧‍👦家庭👍🏽",
    "",
    "no Han かな カナ 한글 豈 ⼀",
    "谢谢谢谢",
    "末尾\n",
    "繁體中文：臺灣\r\n的電腦",
)


def documents(count: int) -> list[str]:
    rng = random.Random(1)
    chars = "的一是不了人我在有他这中大来上国个到说们𠮷"
    return ["\n".join("".join(rng.choices(chars, k=rng.randint(1, 9))) + "。" for _ in range(40)) for _ in range(count)]


def table(runs: CountedRuns) -> dict[str, int]:
    return {run: count for block, counts in runs.blocks(3) for run, count in zip(block, counts.tolist(), strict=True)}


def by_hand(texts: list[str]) -> tuple[Counter[str], Counter[str]]:
    runs = Counter(run for text in texts for run in han_runs(text))
    return runs, Counter(char for run in runs.elements() for char in run)


def test_counts_are_those_of_the_definition() -> None:
    texts = [*AWKWARD, *AWKWARD[:4], "\n".join(AWKWARD), *documents(30)]
    counted = count_runs(texts)
    runs, characters = by_hand(texts)
    assert table(counted) == runs
    assert counted.characters == characters
    assert len(counted) == len(runs)
    assert counted.share == 1


def test_a_text_without_han_has_no_runs() -> None:
    for counted in (count_runs([]), count_runs(["", "no Han", "한글"])):
        assert table(counted) == {} and counted.characters == {} and len(counted) == 0


def test_too_many_runs_leave_a_sample_that_is_the_same_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BATCH_CHARS", 2000)
    texts = documents(400)
    counter = RunCounter(max_held=4000)
    for text in texts:
        counter.add(text)
    sample = counter.finish()
    backwards = RunCounter(max_held=4000)
    for text in reversed(texts):
        backwards.add(text)
    runs, characters = by_hand(texts)
    assert table(backwards.finish()) == table(sample)
    assert 0 < len(sample.text) <= 4000 < len("".join(runs))
    assert sample.characters == characters, "characters are counted in everything"
    kept = sum(len(run) * count for run, count in table(sample).items())
    assert sample.share == kept / characters.total() < 1
    assert all(count <= runs[run] for run, count in table(sample).items())


def test_half_of_the_text_is_left_after_one_level_is_dropped() -> None:
    """Each level holds half of what is left: 400 documents, so the share is near a power of a half."""
    counter = RunCounter(max_held=30_000)
    for text in documents(400):
        counter.add(text)
    assert any(abs(counter.finish().share / 2**-level - 1) < 0.2 for level in (1, 2, 3))


@pytest.mark.parametrize("border", ["\n", "，", "x", "\ue000"])
def test_long_texts_are_cut_but_never_inside_a_run(border: str) -> None:
    sizes = [3, module.CHUNK_CHARS - 7, 5, 2 * module.CHUNK_CHARS, module.CHUNK_CHARS, 1, 9] * 3
    text = border.join("汉" * size for size in sizes)
    chunks = list(module._chunks(text))
    assert "".join(chunks) == text and len(chunks) > 6
    assert all(chunk.endswith(border) for chunk in chunks[:-1])
    assert table(count_runs([text])) == Counter("汉" * size for size in sizes)


def test_chunks_of_many_lines_are_short() -> None:
    assert max(map(len, module._chunks("字\n" * 500_000))) <= 2 * module.CHUNK_CHARS


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("keep", {"头发": 1, "頭髮": 1, "发展": 1, "人": 1}),
        ("simplified", {"头发": 2, "发展": 1, "人": 1}),
        ("traditional", {"頭髮": 2, "發展": 1, "人": 1}),
        ("both", {"头发": 2, "頭髮": 2, "发展": 1, "發展": 1, "人": 2}),
    ],
)
def test_runs_are_counted_in_the_script_that_is_wished(script: module.Script, expected: dict[str, int]) -> None:
    counted = count_runs(["头发 and 頭髮", "发展x人"], script)
    assert table(counted) == expected
    assert counted.characters == Counter(char for run, n in expected.items() for char in run * n)


def test_what_is_not_in_a_set_of_characters_becomes_a_space() -> None:
    counted = CountedRuns.of({"甲罕乙": 2, "𠮷": 1})
    assert table(counted.only("甲乙")) == {"甲 乙": 2, " ": 1}
