"""Written answers: each measure by hand and against its library, sets as they are read, signs of a broken model."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest
from evaluated import read_scores
from scripted import scripted_llama
from toys import Toy, stage, write_jsonl

from zhllm.errors import DataError
from zhllm.evals.cmrc import SIGNS, segments
from zhllm.evals.generation import (
    bleu,
    bleu_counts,
    exact_match,
    f1,
    final_number,
    meteor,
    number_match,
    pieces,
    rouge_l,
    words,
)
from zhllm.evals.generation_sets import read_items
from zhllm.evals.health import health_prompts, is_garbled, leaks, repeats, signs_of

PAIRS = [
    ("保修期是三年，从购买日起算。", "保修期为三年，自购买之日起计算。"),
    ("The cat sat on the mat.", "The cat is on the mat."),
    ("用 Python 3.11 编写，𠮷野家👍🏽。", "使用Python 3.11编写𠮷野家。"),
    ("今天天气很好", "明天会下雨吗？"),
    ("一", "一"),
]


def test_chinese_counts_by_characters_and_other_scripts_by_words() -> None:
    assert pieces("ＡＢＣ保修3.5年！") == ["abc", "保", "修", "3.5", "年", "!"]
    assert words("𠮷野家，It's OK") == ["𠮷", "野", "家", "it", "s", "ok"]


def test_exact_match_sees_no_punctuation_and_no_width() -> None:
    assert exact_match("《三国演义》。", "三国演义") == exact_match("ＡＢ 12", "ab 12") == 1.0
    assert exact_match("三国演義", "三国演义") == exact_match("。", "。") == exact_match("", "三") == 0.0


def test_f1_is_that_of_the_longest_common_stretch() -> None:
    """CMRC's own: 三年 of a reply with 4 and an answer with 2 characters, P 2/4 and R 2/2."""
    assert f1("就是三年", "三年") == pytest.approx(2 * 0.5 * 1 / 1.5)
    assert f1("年三", "三年") == pytest.approx(0.5)  # in another order only one character is common


def test_f1_is_that_of_the_script_of_cmrc() -> None:
    """A word of letters and digits is one, signs of the script's list join; its other signs are segments."""
    reply, reference = "澜溪水质仪LX-300的保修期是三年。", "水质仪LX-300的保修期是三年。"
    assert segments(reference) == ["水", "质", "仪", "lx300", "的", "保", "修", "期", "是", "三", "年"]
    assert f1(reply, reference) == pytest.approx(2 * 11 / (13 + 11))
    assert segments("约为0.304平方公里。") == ["约", "为", "0.304", "平", "方", "公", "里"]
    assert f1("面积为0.304平方米", "约为0.304平方公里。") == pytest.approx(2 * 4 / (7 + 7))
    found = segments("𠮷野家ＡＢ（X cannot, 3%…）")
    assert found == ["𠮷", "野", "家", "ａｂx", "can", "not", ",", "3", "%", "…"]
    assert segments(" ·～") == segments("") == [] and f1("～", "～") == f1("三", "。") == 0.0 and f1("—", "—") == 1.0


def test_segments_are_those_of_nltk(real_data: Path) -> None:
    """On every text of CMRC but one, where "ampla var. megacephala" is two sentences to a rule that knows no Latin."""
    nltk = pytest.importorskip("nltk")
    articles = json.loads((real_data / "squad" / "cmrc2018_trial.json").read_text(encoding="utf-8"))["data"]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"]]
    texts = [paragraph["context"] for paragraph in paragraphs]
    texts += [answer["text"] for p in paragraphs for question in p["qas"] for answer in question["answers"]]

    def by_nltk(text: str) -> list[str]:
        parts = re.split("([\u4e00-\u9fa5])", text.lower().strip().translate({ord(sign): None for sign in SIGNS}))
        return [word for part in parts for word in nltk.word_tokenize(part, preserve_line=True)]

    other = [text for text in texts if segments(text) != by_nltk(text)]
    assert len(texts) > 1200 and [found for text in other for found in re.findall(r"\w+ \w+ var\. \w+", text)]
    assert len(other) == 1
    quoted = """ he said "it's 3,000 'dogs' (don't)..." -- we'd «gonna'tis» go; 50%? cannot, o'clock. """.lower()
    assert segments(quoted) == by_nltk(quoted)


def test_rouge_l_is_the_longest_common_subsequence() -> None:
    assert rouge_l("年三", "三年") == pytest.approx(0.5)
    assert rouge_l("保修期三年", "保修期是三年") == pytest.approx(2 * 5 / 11)


def test_meteor_by_hand() -> None:
    # Four of five match in one run: P = R = 4/5, one chunk.
    assert meteor("甲乙丙丁戊", "甲乙丙丁己") == pytest.approx(0.8 * (1 - 0.5 * (1 / 4) ** 3))
    assert meteor("戊", "己") == 0.0


def test_bleu_of_a_copy_is_one_and_of_nothing_common_zero() -> None:
    same, other = bleu_counts("保修期是三年。", ["保修期是三年。"]), bleu_counts("甲乙丙丁", ["戊己庚辛"])
    assert bleu([same]) == pytest.approx(1.0) and bleu([other]) == 0.0 and bleu([[0, 3, *[0] * 8]]) == 0.0


def test_bleu_is_that_of_sacrebleu() -> None:
    sacrebleu = pytest.importorskip("sacrebleu")
    replies, references = [" ".join(pieces(a)) for a, _ in PAIRS], [" ".join(pieces(b)) for _, b in PAIRS]
    found = sacrebleu.corpus_bleu(replies, [references], tokenize="none").score
    assert 100 * bleu([bleu_counts(a, [b]) for a, b in PAIRS]) == pytest.approx(found, abs=1e-6)


def test_rouge_l_is_that_of_rouge_score() -> None:
    scorer = pytest.importorskip("rouge_score.rouge_scorer")

    class Pieces:
        def tokenize(self, text: str) -> list[str]:
            return pieces(text)

    measure = scorer.RougeScorer(["rougeL"], tokenizer=Pieces())
    for reply, reference in PAIRS:
        assert rouge_l(reply, reference) == pytest.approx(measure.score(reference, reply)["rougeL"].fmeasure)


def test_meteor_is_that_of_nltk_without_stems_and_wordnet() -> None:
    if importlib.util.find_spec("nltk") is None:
        pytest.skip("nltk is not installed")
    from nltk.translate.meteor_score import single_meteor_score

    class Same:
        def stem(self, word: str) -> str:
            return word

        def synsets(self, word: str) -> list[str]:
            return []

    for reply, reference in PAIRS:
        found = single_meteor_score(pieces(reference), pieces(reply), str, Same(), Same())
        assert meteor(reply, reference) == pytest.approx(found)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("共 1,000 元", "1000"),
        ("5×3=15\n#### 15", "15"),
        ("答案是3.50。", "3.5"),
        ("－２", "-2"),
        ("三", None),
        ("1/4", "1/4"),
        ("澜溪水质仪LX-300的保修期", "300"),
        ("10-7", "7"),
        ("（2）-3", "3"),
        ("最低-7℃", "-7"),
        ("得 −7.50", "-7.5"),
    ],
)
def test_the_final_number(text: str, number: str | None) -> None:
    assert final_number(text) == number


def test_a_number_matches_whatever_stands_around_it() -> None:
    assert number_match("所以一共是 1,250.0 元。", "先算…\n#### 1250") == 1.0
    assert number_match("1250 再加 1", "#### 1250") == 0.0


def test_cmrc_and_jsonl_are_read(tmp_path: Path, real_data: Path) -> None:
    items = read_items([real_data / "squad" / "cmrc2018_trial.json"])
    assert len(items) == 1002 and all(item.references for item in items)
    assert items[0].prompt.startswith("阅读短文") and "问题：" in items[0].prompt
    own = write_jsonl(tmp_path / "gsm.jsonl", [{"question": "1+1？", "answer": "1+1=2\n#### 2"}])
    (item,) = read_items([own])
    assert item.is_number and not items[0].is_number
    for record, problem in (({"answer": "2"}, "1: has no prompt"), ({"question": "1+1？"}, "1: has no answer")):
        with pytest.raises(DataError, match=problem):
            read_items([write_jsonl(tmp_path / "bad.jsonl", [record])])
    with pytest.raises(DataError, match="is a folder"):
        read_items([tmp_path])


def test_the_stage_scores_what_the_model_writes(toy: Toy, tmp_path: Path) -> None:
    model = scripted_llama(tmp_path / "model", toy.extended)
    data = write_jsonl(tmp_path / "d.json", [{"question": f"问{i}？", "answer": "保修龘🦄"} for i in range(4)])
    wrong = write_jsonl(tmp_path / "w.json", [{"question": "问？", "answer": "别的 #### 7"}])
    found = read_scores(stage("evaluate", tmp_path / "out", model=model, task=["generate"], data=[data, wrong]))
    values = {s["name"]: s["value"] for s in found["scores"]}
    assert values["generate_exact_match"] == values["generate_f1"] == 0.8 and values["generate_number"] == 0.0
    assert 0 < values["generate_bleu"] < 1
    records = [json.loads(line) for line in (tmp_path / "out" / "generate.jsonl").read_text("utf-8").splitlines()]
    assert records[0]["reply"] == "保修龘🦄" and records[0]["exact_match"] == 1.0
    assert [record.get("number") for record in records] == [None] * 4 + [0.0]


def test_health_of_a_model_that_says_one_thing(toy: Toy, tmp_path: Path) -> None:
    model = scripted_llama(tmp_path / "model", toy.extended)
    found = read_scores(stage("evaluate", tmp_path / "out", model=model, task=["health"]))
    values = {s["name"]: s["value"] for s in found["scores"]}
    assert values["health_stopped"] == 1.0 and values["health_empty"] == values["health_garbled"] == 0.0
    assert found["model"]["health"]["health_prompts"] == len(health_prompts()) == 24


def test_signs_of_a_broken_model() -> None:
    assert repeats("保修期是三年。" * 12) and not repeats("保修期是三年。" * 2)
    assert is_garbled("保\ufffd修") and is_garbled("\ue001") and not is_garbled("𠮷👩‍👩‍👧\n繁體")
    assert leaks("好的。<|im_end|>") and leaks("[/INST] 好") and not leaks("如果 a < b，则 [1, 2]。User: 你好")
    chinese, english = (next(p for p in health_prompts() if p.language == x) for x in ("zh", "en"))
    assert signs_of(chinese, "Sure, here is the answer.", True).switches_language
    assert signs_of(english, "好的，这就是答案所在。", True).switches_language
    assert signs_of(chinese, "好的，这是答案。", True).is_healthy
    assert not signs_of(chinese, "好的，这是答案。", False).is_healthy
