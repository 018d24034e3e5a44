"""Multiple choice: sets as they are read, prompts, scores, the oracle, chance, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from evaluated import (
    HEADER,
    Plain,
    byte_level_model,
    encoder,
    make_oracle,
    read_scores,
    worst,
    write_cmmlu,
)
from toys import stage, write_jsonl

from zhllm.cli import cli
from zhllm.errors import ConfigError, DataError
from zhllm.evals.choice import ChoiceProtocol, overall, prompt_of, run_choice, tables, wording_for
from zhllm.evals.choice_sets import Columns, is_choice_data, read_sets
from zhllm.evals.intervals import Score, difference, macro_score, mean_score
from zhllm.evals.likelihood import Ask, TorchScorer, ask_of
from zhllm.evals.subjects import known_subjects, mmlu_categories
from zhllm.model import transformers_model
from zhllm.model.transformers_model import open_model
from zhllm.text.prompt_format import FORMATS
from zhllm.vocab.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return byte_level_model(tmp_path_factory.mktemp("choice"))


def scorer_of(folder: Path) -> TorchScorer:
    return TorchScorer(open_model(folder, torch.float32), encoder(folder))


# --- sets


def test_ceval_cmmlu_and_mmlu_are_the_same_questions(tmp_path: Path) -> None:
    rows = [("甲？", "一", "二", "三", "四", "B"), ('乙，"丙"？', "1", "2", "3", "4", "d")]
    quoted = [[f'"{c.replace(chr(34), chr(34) * 2)}"' for c in row] for row in rows]
    files = {
        "cmmlu/test/法.csv": ",Question,A,B,C,D,Answer\n"
        + "".join(f"{i},{','.join(r)}\n" for i, r in enumerate(quoted)),
        "ceval/val/法_val.csv": "id,question,A,B,C,D,answer,explanation\n"
        + "".join(f"{i},{','.join(r)},因为\n" for i, r in enumerate(quoted)),
        "ceval/test/法_test.csv": "id,question,A,B,C,D\n0,甲？,一,二,三,四\n",
        "mmlu/法.csv": "".join(f"{','.join(r)}\n" for r in quoted),
        "own/法.csv": "题干;甲项;乙项;丙项;丁项;对\n" + "".join(f"{';'.join(r)}\n" for r in quoted),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    write_jsonl(
        tmp_path / "法.jsonl",
        [{"question": r[0], "choices": list(r[1:5]), "answer": i * 2 + 1} for i, r in enumerate(rows)],
    )
    own = Columns.parse(["question=题干", "answer=对", "options=甲项,乙项,丙项,丁项"])
    plain = Columns()
    found = [
        read_sets([tmp_path / "cmmlu"], plain), read_sets([tmp_path / "ceval"], plain),
        read_sets([tmp_path / "mmlu"], plain), read_sets([tmp_path / "own"], own),
        read_sets([tmp_path / "法.jsonl"], plain),
    ]  # fmt: skip
    for (subject,) in found:
        assert subject.name == "法"
        assert [(c.question, c.options, c.letter) for c in subject.questions] == [
            ("甲？", ("一", "二", "三", "四"), "B"), ('乙，"丙"？', ("1", "2", "3", "4"), "D"),
        ]  # fmt: skip


def test_a_gb18030_file_of_excel_is_read(tmp_path: Path) -> None:
    text = HEADER + "".join(f"{i},中华人民共和国的首都是哪一个城市？,北京,上海,广州,深圳,A\n" for i in range(3))
    (tmp_path / "地理.csv").write_bytes(text.replace("\n", "\r\n").encode("gb18030"))
    (subject,) = read_sets([tmp_path / "地理.csv"], Columns())
    assert [c.options for c in subject.questions] == [("北京", "上海", "广州", "深圳")] * 3


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (",Question,A,B,C,D\n0,甲？,一,二,三,四\n", "has no column for the answer .*--columns answer=NAME"),
        (",Frage,A,B,C,D,Answer\n0,甲？,一,二,三,四,A\n", "has no column for the question"),
        (",Question,A,B,C,D,Answer\n0,甲？,一,,三,四,A\n", "bad.csv:2: option B is empty"),
        (",Question,Answer\n0,甲？,A\n", "bad.csv:2: has 0 options .*--columns options="),
        (",Question,A,B,C,D,Answer\n0,甲？,一,二,三,四,E\n", "bad.csv:2: the answer 'E' is no option .A to D"),
        (",Question,A,B,C,D,Answer\n0,甲？,一,二,三,四,AB\n", "the answer 'AB' is no option"),
        (",Question,A,B,C,D,Answer\n0,甲，乙,丙？,一,二,三,四,A\n", "bad.csv:2: has 8 cells, the header 7"),
        (",Question,A,B,C,D,Answer\n0, ,一,二,三,四,A\n", "the question is empty"),
        (",Question,A,B,C,D,Answer\n", "bad.csv: holds no question"),
    ],
)
def test_a_broken_set_is_refused_with_its_line(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "bad.csv").write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=problem):
        read_sets([tmp_path / "bad.csv"], Columns())


def test_an_empty_folder_and_an_unknown_column_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: holds no questions"):
        read_sets([tmp_path / "empty"], Columns())
    with pytest.raises(DataError, match="--columns antwort=X: give question=NAME"):
        Columns.parse(["antwort=X"])
    path = write_jsonl(tmp_path / "a.jsonl", [{"question": "甲？", "choices": ["一", "二"], "answer": 2}])
    with pytest.raises(DataError, match=r"a.jsonl:1: the answer 2 is no option \(A to B\)"):
        read_sets([path], Columns())


@pytest.mark.parametrize(
    ("answer", "place"), [("C", 2), ("c", 2), ("Ｃ", 2), ("（C）", 2), ("(c)", 2), ("B.", 1), ("D、", 3), ("(A)一", 3)]
)
def test_an_answer_may_stand_in_brackets(tmp_path: Path, answer: str, place: int) -> None:
    content = f"题目,A,B,C,D,答案\n甲？,一,二,三,(A)一,{answer}\n"
    (tmp_path / "a.csv").write_text(content, encoding="utf-8")
    (found,) = read_sets([tmp_path / "a.csv"], Columns())
    assert found.questions[0].answer == place


def test_data_are_told_apart(tmp_path: Path) -> None:
    folder = write_cmmlu(tmp_path / "cmmlu")
    questions = write_jsonl(tmp_path / "q.jsonl", [{"question": "甲？", "answer": "乙"}])
    options = write_jsonl(tmp_path / "c.jsonl", [{"question": "甲？", "options": ["乙", "丙"], "answer": "A"}])
    assert [is_choice_data(p) for p in (folder, questions, options, folder / "test")] == [True, False, True, True]


def test_every_subject_of_both_sets_is_known() -> None:
    known = known_subjects()
    assert len(known) == 67 + 52 - 7  # seven names are in both
    assert known["chinese_history"] == {"title": "中国历史", "categories": ["Humanities", "China-specific"]}
    assert {c for s in known.values() for c in s["categories"]} == {
        "STEM", "Humanities", "Social sciences", "Other", "China-specific",
    }  # fmt: skip


def test_mmlu_s_subjects_are_those_of_the_paper() -> None:
    known = mmlu_categories()
    assert len(known) == 57 and sum(c == "STEM" for c in known.values()) == 19
    assert set(known.values()) == {"STEM", "Humanities", "Social sciences", "Other"}


# --- prompts and scores


def test_the_prompt_is_as_documented(tmp_path: Path) -> None:
    (subject, _) = read_sets([write_cmmlu(tmp_path, 1)], Columns())
    wording = wording_for([subject])
    prompt = prompt_of(subject, subject.questions[0], 1, ChoiceProtocol(1, "letter"), wording)
    assert prompt.context == (
        "以下是关于中国历史的单项选择题，请选出其中的正确答案。\n\n"
        "题目：chinese_history第0个仪器，每3天dev校准一次，由谁负责？\n"
        "A. 实验室0\nB. 仓库𠮷0\nC. 办公室,0号\nD. 食堂👍🏽0\n答案：A\n\n"
        "题目：chinese_history第0个仪器，每3天test校准一次，由谁负责？\n"
        "A. 实验室0\nB. 仓库𠮷0\nC. 办公室,0号\nD. 食堂👍🏽0\n答案："
    )
    assert prompt.options == ("A", "B", "C", "D")
    by_text = prompt_of(subject, subject.questions[0], 1, ChoiceProtocol(1, "text"), wording)
    assert "A. " not in by_text.context and by_text.options[2] == "办公室,0号"
    chat = prompt_of(subject, subject.questions[0], 1, ChoiceProtocol(1, "letter", FORMATS["chatml"]), wording)
    assert chat.context.count("<|im_start|>assistant\n答案：A<|im_end|>") == 1
    assert chat.context.endswith("<|im_start|>assistant\n答案：")


def test_english_questions_are_asked_in_english(tmp_path: Path) -> None:
    (tmp_path / "world_religions.csv").write_text("Who wrote it?,Ann,Bob,Cid,Dan,C\n", encoding="utf-8")
    subjects = read_sets([tmp_path / "world_religions.csv"], Columns())
    prompt = prompt_of(subjects[0], subjects[0].questions[0], 0, ChoiceProtocol(0, "letter"), wording_for(subjects))
    start = "The following are multiple choice questions (with answers) about world religions.\n\nQuestion: Who"
    assert prompt.context.startswith(start)
    assert prompt.context.endswith("D. Dan\nAnswer:") and prompt.options == (" A", " B", " C", " D")


@pytest.mark.parametrize("by", ["letter", "text"])
@pytest.mark.parametrize("shots", [0, 5])
def test_scores_are_those_of_one_forward_pass_an_option(model: Path, tmp_path: Path, by: Any, shots: int) -> None:
    subjects = read_sets([write_cmmlu(tmp_path)], Columns())
    scorer, plain = scorer_of(model), Plain(model)
    result = run_choice(scorer, subjects, ChoiceProtocol(shots, by))
    assert worst(result, plain.of_result(subjects, result)) < 1e-4
    assert plain.tokens > (4 if shots == 5 else 2) * scorer.tokens_computed
    assert result.dropped == 0 and {m.shots for m in result.marked} == {shots}


def test_a_token_that_straddles_the_border_is_scored_with_the_option() -> None:
    assert ask_of([1, 2, 3], [[1, 2, 3, 7], [1, 2, 9]]) == Ask(((1, 2, 3, 7), (1, 2, 9)), 2)
    assert ask_of([1, 2], [[1, 2, 5], [1, 2, 6]]).border == 2
    assert ask_of([1, 2], [[1, 2], [1, 2, 6]]).border == 1  # an option of no tokens: what it ends with is scored


def test_options_of_unlike_length_do_not_see_each_other(model: Path) -> None:
    """Against passes of one option, ids at random: also with nothing in common, and with one token only."""
    generator = torch.Generator().manual_seed(3)
    scorer = scorer_of(model)
    for shared in (0, 1, 40):
        start = torch.randint(0, 400, (shared,), generator=generator).tolist()
        asks = []
        for size in (1, 2, 5, 30):
            context = start + torch.randint(0, 400, (size,), generator=generator).tolist()
            tails = [torch.randint(0, 400, (n,), generator=generator).tolist() for n in (1, 4, 9)]
            asks.append(Ask(tuple(tuple(context + tail) for tail in tails), len(context)))
        for ask, found in zip(asks, scorer.score(asks), strict=True):
            alone = [scorer.score([Ask((option,), ask.border)])[0][0] for option in ask.options]
            assert found == pytest.approx(alone, abs=1e-4)


def test_examples_that_do_not_fit_are_dropped_from_the_oldest_and_counted(tmp_path: Path) -> None:
    folder = byte_level_model(tmp_path / "m", max_position_embeddings=420)
    subjects = read_sets([write_cmmlu(tmp_path / "c")], Columns())
    result = run_choice(scorer_of(folder), subjects, ChoiceProtocol(5, "letter"))
    assert result.dropped == len(result.marked) == 12 and {m.shots for m in result.marked} < {1, 2, 3, 4}
    (shots,) = {m.shots for m in result.marked if m.subject == "甲"} or {0}
    prompt = prompt_of(subjects[1], subjects[1].questions[0], shots, result.protocol, wording_for(subjects))
    assert "甲第0个仪器，每3天dev" not in prompt.context and "甲第4个仪器，每7天dev" in prompt.context
    short = byte_level_model(tmp_path / "s", max_position_embeddings=64)
    with pytest.raises(DataError, match=r"chinese_history.csv:2: the question has \d+ tokens and the model reads 64"):
        run_choice(scorer_of(short), subjects, ChoiceProtocol(5, "letter"))


def test_too_few_examples_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--shots 6: chinese_history has 5 worked examples"):
        run_choice(scorer_of(model), read_sets([write_cmmlu(tmp_path)], Columns()), ChoiceProtocol(6, "letter"))


def test_the_name_of_a_file_is_no_part_of_the_test(model: Path, tmp_path: Path) -> None:
    """Other names, another order of files: the same prompts, scores and hash. A known subject has its title."""
    scorer, found = scorer_of(model), []
    for names in (("exam", "甲"), ("zulu", "alpha"), ("chinese_history", "law")):
        data = write_cmmlu(tmp_path / names[0], 3, ("x", "y"))
        for split in ("dev", "test"):
            for old, new in zip(("x", "y"), names, strict=True):
                (data / split / f"{old}.csv").rename(data / split / f"{new}.csv")
        subjects = read_sets([data], Columns())
        result = run_choice(scorer, subjects, ChoiceProtocol(1, "letter"))
        nats = sorted(round(n, 3) for m in result.marked for n in m.nats)
        prompt = prompt_of(subjects[0], subjects[0].questions[0], 0, result.protocol, wording_for(subjects))
        found.append((result.digest, nats, prompt.context.split("\n")[0]))
    assert found[0] == found[1] and found[0][2] == "以下是单项选择题，请选出其中的正确答案。"
    assert found[2][0] != found[0][0] and found[2][2] == "以下是关于中国历史的单项选择题，请选出其中的正确答案。"


def test_the_hash_knows_every_word_and_the_answers(model: Path, tmp_path: Path) -> None:
    one, other = write_cmmlu(tmp_path / "a"), write_cmmlu(tmp_path / "b")
    scorer = scorer_of(model)

    def digest(folder: Path, shots: int = 0, by: Any = "letter") -> str:
        return run_choice(scorer, read_sets([folder], Columns()), ChoiceProtocol(shots, by)).digest

    assert digest(one) == digest(other)
    assert len({digest(one), digest(one, 1), digest(one, 0, "text")}) == 3
    file = other / "test" / "甲.csv"
    before = digest(other)
    file.write_text(file.read_text(encoding="utf-8").replace("食堂👍🏽1,B", "食堂👍🏽1,C"), encoding="utf-8")
    assert digest(other) != before, "the key changed"


# --- the stage


def oracle_opened(monkeypatch: pytest.MonkeyPatch, folder: Path, data: Path) -> None:
    """Make every opened model the oracle of the set."""
    tokenizer = Tokenizer(folder)
    choices = [c for s in read_sets([data], Columns()) for c in s.questions]
    (base, *letters) = tokenizer.encode_plain(["答案：", *(f"答案：{x}" for x in "ABCD")])
    assert all(ids[:-1] == base for ids in letters)
    monkeypatch.setattr(
        transformers_model, "open_model",
        lambda *a, **k: make_oracle(open_model(*a, **k), tokenizer, choices, [ids[-1] for ids in letters]),
    )  # fmt: skip


def test_an_oracle_scores_everything_and_a_random_model_chance(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_cmmlu(tmp_path / "cmmlu", 16)
    plain = read_scores(stage("evaluate", tmp_path / "random", model=model, task=["choice"], data=[data], shots=2))
    (score, _) = plain["scores"]
    assert score["name"] == "choice_accuracy" and score["is_chance"] and score["chance"] == 0.25 and score["n"] == 32
    oracle_opened(monkeypatch, model, data)
    found = read_scores(stage("evaluate", tmp_path / "oracle", model=model, task=["choice"], data=[data], shots=2))
    assert found["model"]["choice"]["choice_accuracy"] == 1.0
    (score, _) = found["scores"]
    assert score["value"] == score["high"] == 1.0 and 0.8 < score["low"] < 1 and not score["is_chance"]
    assert found["protocols"]["choice"]["hash"] == plain["protocols"]["choice"]["hash"]


def test_the_command_shows_subjects_chance_and_protocol(model: Path, tmp_path: Path) -> None:
    data = write_cmmlu(tmp_path / "cmmlu", 8)
    words = ["evaluate", "--model", model, "--against", model, "--task", "choice", "--data", data]
    words += ["--shots", "1", "--score-by", "letter", "text", "-o", tmp_path / "out"]
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:7]] == [
        "choice_accuracy", "choice_macro_accuracy", "choice_text_accuracy", "choice_text_macro_accuracy",
        "choice_text_per_char_accuracy", "choice_text_per_char_macro_accuracy",
    ]  # fmt: skip
    assert "≈ chance (0.250)" in lines[1] and "+0.0000 [-0.1540, +0.1540] (not clear of 0)" in lines[1]
    assert any(line.startswith("  Humanities") for line in lines)
    assert any(line.startswith("protocol choice: sha256 ") and "shots 1" in line for line in lines)
    records = [json.loads(r) for r in (tmp_path / "out" / "choice.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(records) == 2 * 2 * 16 and set(records[0]["log_likelihoods"]) == set("ABCD")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "chinese_history" in page and "≈ chance" in page
    same = stage("evaluate", tmp_path / "again", model=model, against=model, task=["choice"], data=[data], shots=1,
                 score_by=["letter", "text"])  # fmt: skip
    for name in ("scores.json", "choice.jsonl", "report.html"):
        assert (same / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_data_named_after_no_task_is_refused(model: Path, tmp_path: Path) -> None:
    data = write_cmmlu(tmp_path / "cmmlu")
    with pytest.raises(ConfigError, match="--data bits=.*: is not a task of this run"):
        stage("evaluate", tmp_path / "out", model=model, task=["choice"], data=[Path(f"bits={data}")])
    with pytest.raises(DataError, match="--data names no multiple-choice set"):
        stage("evaluate", tmp_path / "out", model=model, task=["choice"])


def test_a_model_without_a_chat_template_is_not_asked_in_one(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no chat template"):
        stage("evaluate", tmp_path / "out", model=model, task=["choice"], data=[write_cmmlu(tmp_path / "c")], chat=True)


# --- intervals


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    generator = torch.Generator().manual_seed(1)
    hits = torch.rand(200, 80, generator=generator) < 0.3
    inside = [(s := mean_score(row.float().tolist())).low <= 0.3 <= s.high for row in hits]
    assert 0.9 <= sum(inside) / 200 <= 0.98


def test_scores_of_all_or_none_are_not_certain() -> None:
    assert mean_score([1.0] * 10).low == pytest.approx(0.025**0.1)  # Clopper and Pearson 1934
    assert mean_score([0.0] * 10).high == pytest.approx(1 - 0.025**0.1)
    assert Score(0.3, 0.2, 0.4, 10, 0.25).is_chance and not Score(0.5, 0.4, 0.6, 10, 0.25).is_chance
    assert mean_score([1.0, 9.0], weights=[1, 3]).value == 2.5


def test_one_rare_hit_is_no_chance() -> None:
    """As binom.test(1, 30) of R gives it: 0.0008 to 0.1722."""
    found = mean_score([1.0] + [0.0] * 29, 0.0)
    assert (found.low, found.high) == (pytest.approx(0.0008, abs=1e-4), pytest.approx(0.1722, abs=1e-4))
    assert not found.is_chance
    assert mean_score([0.0] * 30, 0.0).is_chance and mean_score([0.0] * 30).low == 0.0
    bits = mean_score([0.0] * 8, 1.4, is_share=False)
    assert (bits.low, bits.high) == (None, None), "eight exposures of no bits are no share of hits"
    with pytest.raises(ValueError, match="no value"):
        mean_score([])


def test_the_mean_of_few_values_has_a_wide_interval() -> None:
    """Four units, of which one repeats with other outcomes: t with three degrees of freedom is 3.18, not 1.96."""
    hits = [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    found = mean_score(hits, clusters=["一", "二", "三", "四", "四", "四"])
    assert found.units == 4 and found.low == 0.0
    assert found.high is not None and found.high > 0.3
    values = [0.2, 0.4, 0.4, 0.6]
    few, many = mean_score(values), mean_score(values * 3)
    spread = (0.04 * 2 / 3) ** 0.5  # of the four values
    assert few.high - few.value == pytest.approx(3.18 * spread / 4**0.5, rel=0.25)  # type: ignore[operator]
    assert many.high - many.value < 0.1  # type: ignore[operator]


def test_a_macro_mean_of_one_subject_is_its_mean() -> None:
    hits = [1.0] * 4 + [0.0] * 8
    assert macro_score(hits, ["法"] * 12, 0.25) == mean_score(hits, 0.25)


def test_a_macro_mean_weighs_subjects_alike() -> None:
    found = macro_score([1.0, 0.0] + [0.0] * 8, ["a", "a"] + ["b"] * 8)
    assert found.value == 0.25 and found.n == 10 and (found.low, found.high) == (0.0, 0.5)
    alone = macro_score([1.0] + [0.0] * 9, ["a"] + ["b"] * 9)
    assert alone.value == 0.5 and alone.low is None and alone.no_interval == "a group of a single item"


def test_paired_differences_are_narrower_than_two_intervals() -> None:
    generator = torch.Generator().manual_seed(2)
    before = (torch.rand(300, generator=generator) < 0.5).float()
    after = before.clone()
    after[:20] = 1.0
    found = difference(after.tolist(), before.tolist())
    assert found["is_clear"] and 0 < found["low"] < found["value"] < found["high"] < 0.07
    one, other = mean_score(after.tolist()), mean_score(before.tolist())
    assert one.low < other.high, "apart, the same two scores could be equal"
    with pytest.raises(ValueError, match="not paired"):
        difference([1.0], [1.0, 0.0])


def test_the_table_of_categories_takes_the_mean_of_subjects(model: Path, tmp_path: Path) -> None:
    subjects = read_sets([write_cmmlu(tmp_path, 4, ("chinese_history", "law", "甲"))], Columns())
    result = run_choice(scorer_of(model), subjects, ChoiceProtocol(0, "letter"))
    found = tables(result)
    assert set(found["subjects"]) == {"chinese_history", "law", "甲"}
    both = [found["subjects"][name].value for name in ("chinese_history", "law")]
    assert found["categories"]["Humanities"].value == pytest.approx(sum(both) / 2)
    assert overall(result).n == 12


def test_questions_that_stand_there_twice_are_told(model: Path, tmp_path: Path) -> None:
    rows = ["甲？,一,二,三,四,A", "乙？,一,二,三,四,B", "甲？,四,三,二,一,A", "甲？,一,二,三,五,A"]
    for name, content, wanted in (("twice", rows, ["1 of 4 items repeat others"]), ("once", rows[:2], [])):
        path = tmp_path / f"{name}.csv"
        path.write_text("\n".join(["题目,A,B,C,D,答案", *content]) + "\n", encoding="utf-8")
        out = stage("evaluate", tmp_path / name, model=model, task=["choice"], data=[path])
        notes = [note for note in read_scores(out)["notes"]["model"] if "repeat" in note]
        assert len(notes) == len(wanted) and all(want in note for want, note in zip(wanted, notes, strict=True))


def test_options_that_are_the_same_and_keys_that_contradict_are_told(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "颜色.csv"
    rows = ["天空？,蓝,蓝,红,绿,A", "草？,蓝,黄,红,绿,D", "草？,绿,红,黄,蓝,A", "草？,蓝,黄,红,绿,B"]
    path.write_text("\n".join(["question,A,B,C,D,answer", *rows]) + "\n", encoding="utf-8")
    out = stage("evaluate", tmp_path / "out", model=model, task=["choice"], data=[path], lang="zh")
    (told,) = [note for note in read_scores(out)["notes"]["model"] if "Options that are the same" in note]
    assert told == f"choice: Options that are the same, of which only one counts as right: {path}:2."
    page = (out / "report.html").read_text(encoding="utf-8")
    assert f"有相同的选项，只有一个算对：{path}:2。" in page
    assert f"与前面同一题的答案相矛盾：{path}:5。" in page, "line 4 says the same in another order"
