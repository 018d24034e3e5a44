"""Intervals that hold what they say: of clusters, small groups, neighbouring stretches of text, and answers paired."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from zhllm.evals.harness_results import NO_ERROR
from zhllm.evals.intervals import (
    ALL_SAME,
    ONE_IN_GROUP,
    ONE_ITEM,
    Score,
    cells_score,
    difference,
    macro_score,
    mean_score,
)
from zhllm.evals.resampling import binomial_tail, exact_limits, pooled, student_95, units_of
from zhllm.tools._compare_items import NO_CELLS
from zhllm.tools._compare_words import CompareWords

RNG = np.random.default_rng(5)
HITS = (RNG.random(60) < 0.6).astype(float).tolist()
NAMES = [f"第{i}题\U00020bb7" for i in range(60)]


def ends(score: Score) -> tuple[float, float]:
    assert score.low is not None and score.high is not None
    return score.low, score.high


# --- what repeats counts once


@pytest.mark.parametrize("values", [HITS, [h / 2 for h in HITS], [1.0] * 60, [1.0] * 3 + [0.0] * 57])
def test_every_question_five_times_is_as_sure_as_once(values: list[float]) -> None:
    once, five = mean_score(values), mean_score(values * 5, clusters=NAMES * 5)
    assert ends(five) == pytest.approx(ends(once), rel=1e-12) and five.value == pytest.approx(once.value)
    assert (five.n, five.units, once.units) == (300, 60, None)
    low, high = ends(mean_score(values * 5))
    assert high - low < 0.7 * (ends(once)[1] - ends(once)[0]), "what is counted five times looks surer"


def test_a_file_that_is_there_under_five_names_is_as_sure_as_once() -> None:
    """The same questions in five subjects, beside one subject of its own: overall and by the mean of subjects."""
    once = mean_score(HITS, strata=["甲"] * 60)
    names = [f"科{i}" for i in range(5) for _ in range(60)]
    assert ends(mean_score(HITS * 5, strata=names, clusters=NAMES * 5)) == pytest.approx(ends(once), rel=1e-12)
    alone = ends(macro_score(HITS, ["甲"] * 60))
    assert ends(macro_score(HITS * 5, names, clusters=NAMES * 5)) == pytest.approx(alone, rel=1e-12)
    assert alone == pytest.approx(ends(once), rel=1e-12)
    other = (np.random.default_rng(6).random(30) < 0.3).astype(float).tolist()
    both = macro_score([*HITS * 2, *other], ["甲"] * 60 + ["乙"] * 60 + ["丙"] * 30,
                       clusters=[*NAMES * 2, *map(str, range(30))])  # fmt: skip
    apart = macro_score([*HITS * 2, *other], ["甲"] * 60 + ["乙"] * 60 + ["丙"] * 30)
    assert ends(both)[1] - ends(both)[0] > 1.1 * (ends(apart)[1] - ends(apart)[0])


def test_a_difference_counts_what_repeats_once() -> None:
    after = [1.0 - h if i % 3 == 0 else h for i, h in enumerate(HITS)]
    for is_share, values in ((True, after), (False, [a + 0.1 * i / 60 for i, a in enumerate(after)])):
        once = difference(values, HITS, is_share=is_share)
        five = difference(values * 5, HITS * 5, clusters=NAMES * 5, is_share=is_share)
        assert [five[key] for key in ("low", "high", "p")] == pytest.approx([once[k] for k in ("low", "high", "p")])
        assert (five["n"], five["units"]) == (300, 60) and "units" not in once


# --- small groups


def test_the_exact_interval_is_the_one_of_the_books() -> None:
    """Clopper and Pearson (1934), as binom.test(x, n) of R gives it."""
    for hits, n, low, high in (
        (3, 10, 0.0667, 0.6525),
        (0, 5, 0.0, 0.5218),
        (5, 5, 0.4782, 1.0),
        (1, 30, 0.0008, 0.1722),
    ):
        assert exact_limits(hits, n) == pytest.approx((low, high), abs=5e-5)
    for hits, n, share in ((3, 10, 0.25), (9, 10, 0.6), (0, 4, 0.5), (5, 4, 0.5), (40, 80, 0.5)):
        exact = sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(hits, n + 1))
        assert binomial_tail(hits, n, share) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(("hits", "n"), [(h, n) for n in (4, 9, 12, 16, 25) for h in range(min(n, 9) + 1)])
def test_the_mark_of_a_small_group_is_the_exact_binomial_test(hits: int, n: int) -> None:
    found = mean_score([1.0] * hits + [0.0] * (n - hits), 0.25)
    above, below = binomial_tail(hits, n, 0.25), 1 - binomial_tail(hits + 1, n, 0.25)
    assert found.is_chance == (min(above, below) > 0.025) and found.is_few == (n < 10)
    assert found.record().get("is_few", False) == (n < 10)


def test_a_group_is_few_by_what_it_holds_once() -> None:
    assert mean_score([1.0] * 20, 0.25, clusters=["甲", "乙"] * 10).is_few
    assert not mean_score([1.0] * 20, 0.25).is_few and not mean_score([1.0] * 2).is_few, "nothing to guess"


def test_what_does_not_vary_has_no_interval_and_says_why() -> None:
    """Every option as likely as every other: a quarter of each question, and no interval of no width."""
    tied = mean_score([0.25] * 40, 0.25)
    assert (tied.value, tied.low, tied.high, tied.is_chance) == (0.25, None, None, True)
    assert tied.record() == {"value": 0.25, "low": None, "high": None, "n": 40, "chance": 0.25, "is_chance": True,
                             "no_interval": "all items have the same value"}  # fmt: skip
    assert mean_score([3.5]).no_interval == "a single item" and mean_score([1.0]).low == pytest.approx(0.025)
    assert macro_score([1.0, 1.0, 0.0, 0.0], ["a", "a", "b", "b"]).no_interval == "all items have the same value"


def coverage(made: Sequence[Score], truth: float) -> float:
    return sum(s.low is not None and s.high is not None and s.low <= truth <= s.high for s in made) / len(made)


def test_many_small_subjects_hold_the_truth() -> None:
    """Forty subjects of three questions, and eighty of one: what is drawn within a subject alone would hardly vary."""
    rng = np.random.default_rng(3)
    for groups, size in ((40, 3), (80, 1)):
        names = [str(i) for i in range(groups) for _ in range(size)]
        made = [mean_score((rng.random(groups * size) < 0.4).astype(float).tolist(), None, names) for _ in range(150)]
        assert 0.89 <= coverage(made, 0.4) <= 0.99
    assert pooled(np.array([0, 1, 1, 2, 3, 3, 3])).tolist() == [0, 1, 1, 0, 2, 2, 2]
    assert pooled(np.array([0, 1, 1, 2, 2, 2])).tolist() == [0, 0, 0, 1, 1, 1]


def test_units_are_sums_by_column() -> None:
    units = units_of([1.0, 2.0, 4.0], [1.0, 1.0, 2.0], ["x", "y", "x"], ["b", "a", "a"], by_group=True)
    assert units.values.tolist() == [[4.0, 1.0], [2.0, 0.0]] and units.weights.tolist() == [[2.0, 1.0], [1.0, 0.0]]
    assert len(set(units.strata.tolist())) == 2


# --- neighbouring stretches of text


def text_of(rng: np.random.Generator, cells: int, memory: float) -> list[float]:
    """Bits of stretches of 64 characters about 4 a character, each like the one before it by `memory`."""
    noise, found = rng.standard_normal(cells + 30), [0.0]
    for value in noise:
        found.append(memory * found[-1] + value)
    return [64 * (4 + 0.3 * v) for v in found[-cells:]]


@pytest.mark.parametrize(
    ("cells", "memory", "least"), [(8, 0.0, 0.9), (16, 0.3, 0.88), (100, 0.3, 0.9), (400, 0.5, 0.9)]
)
def test_blocks_of_a_text_hold_the_truth_about_as_often_as_they_say(cells: int, memory: float, least: float) -> None:
    rng = np.random.default_rng(4)
    texts = [text_of(rng, cells, memory) for _ in range(300)]
    made = [cells_score(text, [64.0] * cells, 1) for text in texts]
    assert least <= coverage(made, 4.0) <= 0.99
    if memory >= 0.5:
        alone = [mean_score(text, weights=[64.0] * cells) for text in texts]
        assert coverage(alone, 4.0) < 0.8, "stretches drawn one by one are too sure"


def test_a_short_text_has_no_interval() -> None:
    found = cells_score([300.0] * 7, [64.0] * 7, 1)
    assert (found.low, found.n, found.no_interval) == (None, 1, "7 of 8 stretches of 64 characters")
    gap = difference([1.0] * 7, [2.0] * 7, [64.0] * 7, in_order=True)
    assert gap["low"] is None and not gap["is_clear"] and gap["value"] == -1 / 64
    assert gap["no_interval"] == "7 of 8 stretches of 64 characters"
    same = cells_score([256.0] * 20, [64.0] * 20, 1)
    assert same.no_interval == "all items have the same value"


def test_a_difference_of_texts_is_drawn_in_blocks() -> None:
    rng = np.random.default_rng(8)
    before = text_of(rng, 60, 0.4)
    after = [b - 64 * 0.05 + rng.normal(0, 1) for b in before]
    found = difference(after, before, [64.0] * 60, in_order=True)
    assert found["is_clear"] and found["low"] < -0.05 < found["high"] < 0 and found["p"] < 0.01
    assert difference(before, before, [64.0] * 60, in_order=True)["no_interval"] == "the same on all 60"


def test_student_is_as_in_the_tables() -> None:
    for freedom, value in ((3, 3.182), (4, 2.776), (10, 2.228), (60, 2.000), (500, 1.965)):
        assert student_95(freedom) == pytest.approx(value, abs=0.03)


def test_every_reason_has_chinese_words() -> None:
    short = difference([1.0], [2.0], [64.0], in_order=True)["no_interval"]
    same = difference([0.3] * 3, [0.3] * 3)["no_interval"]
    few = difference([0.1, 0.2], [0.0, 0.0])["no_interval"]
    for told in (short, same, few, ALL_SAME, ONE_ITEM, ONE_IN_GROUP, NO_CELLS, NO_ERROR):
        chinese = CompareWords("zh").why(told)
        assert not any("a" <= c <= "z" for c in chinese.replace("lm-eval", "")), chinese
        assert CompareWords("en").why(told) == told


# --- answers paired


def test_the_same_answers_do_not_prove_that_models_are_equal() -> None:
    """Bonett and Price (2012) with no pair that differs: z * sqrt(2 / (n + 2) / (n + 2))."""
    found = difference(HITS[:40], HITS[:40], is_share=True)
    bound = 1.959964 * math.sqrt(2) / 42
    assert (found["value"], found["low"], found["high"]) == (0.0, pytest.approx(-bound), pytest.approx(bound))
    assert (found["p"], found["changed"], found["is_clear"]) == (1.0, 0, False)
    margins = difference([0.1, 0.2], [0.1, 0.2])
    assert (margins["low"], margins["p"], margins["no_interval"]) == (None, 1.0, "the same on all 2")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [2, 5, 6, 9, 12])
def test_few_items_are_judged_by_all_choices_of_signs(count: int, weighted: bool) -> None:
    """Every sign of every item, by hand; the ends are the last values that the same test does not refuse."""
    rng = np.random.default_rng(count)
    values = rng.normal(0.4, 0.6, count).round(3).tolist()
    sizes = rng.integers(1, 9, count).astype(float).tolist() if weighted else [1.0] * count

    def p_of(middle: float) -> float:
        moved = [v - middle * w for v, w in zip(values, sizes, strict=True)]
        sums = [math.fsum(s * m for s, m in zip(signs, moved, strict=True)) for signs in product((1, -1), repeat=count)]
        return sum(abs(found) >= abs(math.fsum(moved)) - 1e-9 for found in sums) / 2**count

    found = difference(values, [0.0] * count, sizes if weighted else None)
    assert found["p"] == pytest.approx(p_of(0.0)) and found["n"] == count
    if count < 6:
        assert (found["low"], found["high"], found["is_clear"]) == (None, None, False)
        assert found["no_interval"] == f"{count} of 6 items"
        return
    assert found["is_clear"] == (found["p"] < 0.05) == (found["low"] > 0 or found["high"] < 0)
    for end, out in ((found["low"], -1e-6), (found["high"], 1e-6)):
        assert p_of(end + out) < 0.05 <= p_of(end - out)


def test_two_items_prove_nothing() -> None:
    """Both of two documents got worse by next to nothing, which a bootstrap calls p < 0.001."""
    found = difference([6.304e-05, 0.0001362], [0.0, 0.0])
    assert (found["p"], found["low"], found["is_clear"]) == (0.5, None, False)
    rng = np.random.default_rng(0)
    for count in (6, 8, 12):
        clear = [difference(rng.normal(0, 1, count).tolist(), [0.0] * count)["is_clear"] for _ in range(400)]
        assert sum(clear) / 400 < 0.05 + 2 * math.sqrt(0.05 * 0.95 / 400), count


def test_few_changed_answers_are_judged_by_mcnemar_s_mid_p() -> None:
    """Five of forty better, none worse: exact p 2 / 2^5, of which the mid-p counts half of the outcome's mass."""
    before = [0.0] * 40
    found = difference([1.0] * 5 + [0.0] * 35, before, is_share=True)
    assert found["p"] == pytest.approx(2 / 2**5 - 1 / 2**5) and found["changed"] == 5
    # (6 - 1) / 42 -+ z sqrt((7 / 42 - (5 / 42)^2) / 42)
    half = 1.959964 * math.sqrt((7 / 42 - (5 / 42) ** 2) / 42)
    assert (found["low"], found["high"]) == (pytest.approx(5 / 42 - half), pytest.approx(5 / 42 + half))
    assert difference([1.0] * 3 + [0.0] * 37, before, is_share=True)["is_clear"] is False
    even = difference([1.0, 0.0, *before], [0.0, 1.0, *before], is_share=True)
    assert even["p"] == 1.0 and even["low"] == -even["high"]


def test_paired_answers_hold_the_truth() -> None:
    """Models that change an answer in eight, better twice as often as worse: 25 and 200 questions."""
    rng = random.Random(2)
    for n in (25, 200):
        inside = clear = 0
        for _ in range(400):
            draws = [rng.random() for _ in range(n)]
            after = [1.0 if d < 1 / 12 else 0.0 for d in draws]
            before = [1.0 if 1 / 12 <= d < 1 / 8 else 0.0 for d in draws]
            found = difference(after, before, is_share=True)
            inside += found["low"] <= 1 / 12 - 1 / 24 <= found["high"]
            null = difference([float(d < 0.06) for d in draws], [float(d > 0.94) for d in draws], is_share=True)
            clear += null["p"] < 0.05
        assert inside / 400 >= 0.93 and clear / 400 <= 0.06
