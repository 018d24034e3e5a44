"""Preferences: likelihoods equal one plain pass for each answer, over the labels that training learns; bad input."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluated import byte_level_model, read_scores
from toys import Toy, random_model, stage, write_jsonl

from zhllm.errors import DataError
from zhllm.evals.likelihood import TorchScorer
from zhllm.evals.preferences import Judged, digest_of, judge_pairs, texts_of
from zhllm.infer import llamacpp
from zhllm.model.transformers_model import open_model
from zhllm.stages._evaluate_preferences import WAYS
from zhllm.text.chats import Preference, read_preferences
from zhllm.text.prompt_format import FORMATS, PromptFormat
from zhllm.train.chats import tokenize
from zhllm.vocab.tokenizer import Tokenizer

LIKELIHOOD_TOLERANCE = 1e-4


def pair(number: int, prompt: Sequence[str], chosen: str, rejected: str, source: str = "甲") -> dict[str, Any]:
    roles = ("user", "assistant") * len(prompt)
    messages = [{"role": role, "content": text} for role, text in zip(roles, prompt, strict=False)]
    return {"id": f"p{number}", "prompt": messages, "chosen": chosen, "rejected": rejected, "source": source}


PAIRS = [
    pair(0, ["样品多久记录一次？"], "每三天记录一次。", "不知道"),
    pair(1, ["保修期多长？"], "两年。", "保修期是两年，从开箱那天算起，　ＡＢＣ除外。"),
    pair(2, ["你好", "您好！", "𠮷野家在哪里？"], "在臺北👩‍👩‍👧。", "在臺北👩‍👩‍👧！"),
    pair(3, ["Where is it?"], "In the lab.\nOn the left.", "[INST]</s><|im_end|>", "乙"),
    pair(4, ["样品在哪里？"], "实验室的样品", "实验室的样品放在冰箱里", "乙"),
    pair(5, ["二加二"], "四", "五", "乙"),
]


def pairs_of(path: Path, records: Sequence[dict[str, Any]] = PAIRS) -> list[Preference]:
    return list(read_preferences([write_jsonl(path, list(records))]))


@pytest.fixture(scope="module")
def model(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("preferences") / "model", toy.extended)


def scorer_of(folder: Path, chat: PromptFormat) -> TorchScorer:
    tokenizer = Tokenizer(folder)
    return TorchScorer(
        open_model(folder, torch.float32),
        lambda texts: [tokenizer.encode_prompt(t, chat.special_tokens) for t in texts],
    )


def by_hand(folder: Path, item: Preference, chat: PromptFormat) -> list[tuple[float, int]]:
    """(nats, tokens) of both answers: the last answer's labels of training, each chat alone in a float64 softmax."""
    model, tokenizer = open_model(folder, torch.float32), Tokenizer(folder)
    found = []
    for answer in (item.chosen, item.rejected):
        asked = [{**message, "weight": 0} if message["role"] == "assistant" else message for message in item.prompt]
        chat_ids = tokenize([*asked, {"role": "assistant", "content": answer}], chat, tokenizer)
        with torch.inference_mode():
            log_p = model(torch.tensor([chat_ids.ids]), use_cache=False).logits[0].double().log_softmax(-1)
        learnt = [i for i, learn in enumerate(chat_ids.learn) if learn]
        found.append((sum(float(log_p[i - 1, chat_ids.ids[i]]) for i in learnt), len(learnt)))
    return found


@pytest.mark.parametrize("name", ["plain", "llama2", "alpaca-zh"])
def test_batched_likelihoods_are_those_of_one_pass_each(model: Path, tmp_path: Path, name: str) -> None:
    check_parity(model, tmp_path, FORMATS[name])


def test_batched_likelihoods_of_a_byte_level_model(tmp_path: Path) -> None:
    check_parity(byte_level_model(tmp_path / "byte"), tmp_path, FORMATS["llama3"])


def check_parity(folder: Path, tmp_path: Path, chat: PromptFormat) -> None:
    pairs = pairs_of(tmp_path / "pairs.jsonl")
    seen: list[int] = []
    judged, _ = judge_pairs(scorer_of(folder, chat), pairs, chat, seen.append)
    assert sum(seen) == len(pairs) and [item.pair.id for item in judged] == [f"p{i}" for i in range(6)]
    for item in judged:
        (chosen, chosen_tokens), (rejected, rejected_tokens) = by_hand(folder, item.pair, chat)
        assert abs(item.chosen_nats - chosen) < LIKELIHOOD_TOLERANCE
        assert abs(item.rejected_nats - rejected) < LIKELIHOOD_TOLERANCE
        # ids that both answers begin with stay with the answer, the border is where the prompt ends
        assert (item.chosen_tokens, item.rejected_tokens) == (chosen_tokens, rejected_tokens)
        assert not item.cut


def test_real_pairs_in_both_orders(model: Path, tmp_path: Path, real_data: Path) -> None:
    """Of pairs turned round the accuracy is 1 minus what it was, and the margins change their sign."""
    out = stage("convert", tmp_path / "c", source=[real_data / "preference"])
    chat = FORMATS["plain"]
    pairs = [p for p in read_preferences([out]) if p.chosen and p.rejected and len(p.chosen + p.rejected) < 200][:40]
    assert len(pairs) == 40
    scorer = scorer_of(model, chat)
    scorer.context = 4096
    turned = [Preference(p.id, p.prompt, p.rejected, p.chosen, p.source) for p in pairs]
    (one, _), (two, _) = judge_pairs(scorer, pairs, chat), judge_pairs(scorer, turned, chat)
    for a, b in zip(one, two, strict=True):
        assert abs(a.margin() + b.margin()) < LIKELIHOOD_TOLERANCE
        assert abs(a.margin(True) + b.margin(True)) < LIKELIHOOD_TOLERANCE
        if abs(a.margin()) > 1e-3:
            assert a.share_right() == 1 - b.share_right()
    assert digest_of(pairs, chat) != digest_of(turned, chat)


def test_marks_by_hand() -> None:
    item = Judged(Preference("p", (), "甲", "乙", "s"), -6.0, -4.0, 3, 1)
    assert item.margin() == -2 and item.share_right() == 0
    assert item.margin(True) == pytest.approx(2.0) and item.share_right(True) == 1
    assert item.shorter_is_right() == 0
    tie = Judged(item.pair, -4.0, -4.0, 2, 2)
    assert tie.share_right() == tie.share_right(True) == tie.shorter_is_right() == 0.5


def test_an_answer_ends_with_its_end_token_and_no_more(model: Path, tmp_path: Path) -> None:
    (first, *_) = pairs_of(tmp_path / "pairs.jsonl")
    for name, end in (("chatml", "<|im_end|>"), ("plain", "</s>"), ("llama2", "</s>")):
        prompt, chosen, rejected = texts_of(first, FORMATS[name])
        assert chosen.startswith(prompt) and rejected.startswith(prompt)
        assert chosen.endswith("每三天记录一次。" + FORMATS[name].tail + end) and rejected.endswith(end)


def test_a_long_prompt_loses_its_beginning_and_a_long_answer_is_refused(model: Path, tmp_path: Path) -> None:
    chat, scorer = FORMATS["plain"], scorer_of(model, FORMATS["plain"])
    pairs = pairs_of(tmp_path / "a.jsonl", [pair(0, ["样品" * 400], "每三天记录一次。", "否"), *PAIRS[:1]])
    (long, short), _ = judge_pairs(scorer, pairs, chat)
    assert long.cut and not short.cut
    tokenizer = Tokenizer(model)
    for answer, nats in ((1, long.chosen_nats), (2, long.rejected_nats)):
        prompt, *answers = (tokenizer.encode_prompt(t, chat.special_tokens) for t in texts_of(pairs[0], chat))
        longest = max(map(len, answers))
        ids = [answers[answer - 1][0], *answers[answer - 1][1 + longest - 1 - scorer.context :]]
        with torch.inference_mode():
            log_p = scorer.model(torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)
        border = len(ids) - (len(answers[answer - 1]) - len(prompt))
        assert abs(nats - sum(float(log_p[i - 1, ids[i]]) for i in range(border, len(ids)))) < LIKELIHOOD_TOLERANCE
    refused = pairs_of(tmp_path / "b.jsonl", [*PAIRS, pair(9, ["问"], "样品𠮷" * 200, "否")])
    told = (
        r"甲: pair p9: its longer answer has \d+ tokens and the model reads 256 with the prompt\. So it is of 1 of \d+ "
    )
    with pytest.raises(DataError, match=told + r"pairs\. Take them out .*, or leave them out: --max-too-long 0\.\d+\."):
        judge_pairs(scorer, refused, chat)
    kept, left_out = judge_pairs(scorer, refused, chat, max_too_long=0.5)
    assert list(left_out) == [len(PAIRS)] and left_out[len(PAIRS)] > 256
    assert kept == judge_pairs(scorer, refused[:-1], chat)[0]
    with pytest.raises(
        DataError, match=r"So it is of 1 of 1 pairs\. Take them out of the set, score a model that reads"
    ):
        judge_pairs(scorer, refused[-1:], chat, max_too_long=1.0)


# --- the task


def test_scores_of_the_task(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "converted"
    data.mkdir()
    write_jsonl(data / "preferences-00000.jsonl", PAIRS)
    settings = {"model": model, "task": ["preference"], "data": [data], "prompt_format": "plain"}
    one, two = (stage("evaluate", tmp_path / name, against=model, **settings) for name in ("one", "two"))
    assert (one / "scores.json").read_bytes() == (two / "scores.json").read_bytes()
    scores = read_scores(one)
    by_name = {s["name"]: s for s in scores["scores"] if s["role"] == "model"}
    judged, _ = judge_pairs(scorer_of(model, FORMATS["plain"]), pairs_of(tmp_path / "p.jsonl"), FORMATS["plain"])
    for name, per_token in WAYS:
        accuracy, margin = by_name[f"{name}_accuracy"], by_name[f"{name}_margin_nats"]
        assert accuracy["value"] == sum(item.share_right(per_token) for item in judged) / 6
        assert margin["value"] == pytest.approx(math.fsum(item.margin(per_token) for item in judged) / 6, abs=1e-4)
        assert accuracy["chance"] == 0.5 and margin["chance"] == 0
        assert not scores["differences"][f"{name}_accuracy"]["is_clear"]
    assert list(scores["tables"]["model"]["preference_accuracy: sources"]) == ["乙", "甲"]
    assert any("fewer tokens would get" in note for note in scores["notes"]["model"])
    records = [json.loads(line) for line in (one / "preference.jsonl").read_bytes().splitlines()]
    assert [r["id"] for r in records] == [f"p{i}" for i in range(6)] * 2
    assert scores["protocols"]["preference"]["format"] == "plain"


def test_a_model_that_cannot_tell_is_marked_chance_and_one_that_can_is_not(model: Path, tmp_path: Path) -> None:
    """Chosen and rejected drawn alike; then the model is made to like the token that only chosen answers hold."""
    chat, tokenizer = FORMATS["plain"], Tokenizer(model)
    words = ["样品", "实验室", "记录", "三天", "每", "一次"]
    alike = [pair(i, [f"第{i}问"], words[i % 6] + words[i % 5], words[i % 5] + words[i % 6]) for i in range(60)]
    data = write_jsonl(tmp_path / "preferences-00000.jsonl", alike)
    settings = {"model": model, "task": ["preference"], "data": [data], "prompt_format": "plain"}
    scores = {s["name"]: s for s in read_scores(stage("evaluate", tmp_path / "out", **settings))["scores"]}
    assert scores["preference_accuracy"]["is_chance"]
    scorer = scorer_of(model, chat)
    liked = tokenizer.encode_plain(["样品"])[0][-1]

    def prefer(module: Any, args: Any, kwargs: Any, out: Any) -> Any:
        out.logits[..., liked] += 30.0
        return out

    scorer.model.register_forward_hook(prefer, with_kwargs=True)
    clear = pairs_of(tmp_path / "b.jsonl", [pair(i, [f"第{i}问"], "样品", "记录") for i in range(20)])
    assert all(item.share_right() == 1 for item in judge_pairs(scorer, clear, chat)[0])


def test_a_gguf_file_judges_as_its_directory(model: Path, tmp_path: Path) -> None:
    if not llamacpp.available():
        pytest.skip("xllamacpp is not installed")
    exported = stage("export", tmp_path / "gguf", model=model, type=["f32"])
    data = write_jsonl(tmp_path / "preferences-00000.jsonl", PAIRS[1:2])
    settings = {"task": ["preference"], "data": [data], "prompt_format": "plain"}
    folder = stage("evaluate", tmp_path / "a", model=model, **settings)
    file = stage("evaluate", tmp_path / "b", model=next(exported.glob("*.gguf")), **settings)
    one, two = ([json.loads(x) for x in (o / "preference.jsonl").read_bytes().splitlines()] for o in (folder, file))
    for a, b in zip(one, two, strict=True):
        assert abs(a["chosen_nats"] - b["chosen_nats"]) < 0.02 and abs(a["rejected_nats"] - b["rejected_nats"]) < 0.02
        assert (a["chosen_tokens"], a["rejected_tokens"]) == (b["chosen_tokens"], b["rejected_tokens"])


def test_long_pairs_and_halves_are_left_out_counted_and_named(model: Path, tmp_path: Path) -> None:
    """Beside the model a copy of it: differences are over the pairs that were scored."""
    halves = [{**PAIRS[0], "id": "k1", "rejected": None}, {**PAIRS[1], "id": "k2", "chosen": None}]
    records = [halves[0], pair(9, ["问"], "样品𠮷" * 200, "否"), *PAIRS, halves[1]]
    data = write_jsonl(tmp_path / "preferences-00000.jsonl", records)
    settings = {"model": model, "against": model, "task": ["preference"], "data": [data], "prompt_format": "plain"}
    with pytest.raises(DataError, match=r"pair p9: .* --max-too-long 0\.\d+\."):
        stage("evaluate", tmp_path / "refused", **settings)
    out = stage("evaluate", tmp_path / "out", **settings, max_too_long=0.5)
    found = json.loads((out / "scores.json").read_text("utf-8"))
    counts = found["model"]["preference"]
    assert (counts["preference_pairs"], counts["preference_too_long"], counts["preference_halves"]) == (
        len(PAIRS),
        1,
        2,
    )
    assert (
        found["differences"]["preference_accuracy"]["n"] == len(PAIRS)
        and found["protocols"]["preference"]["left out"] == 1
    )
    notes = found["notes"]["model"]
    assert any("1 too long for the 256 tokens the model reads: 甲: pair p9." in note for note in notes)
    assert any("2 answers that are only labelled good or bad" in note for note in notes)
    written = [json.loads(line) for line in (out / "preference.jsonl").read_bytes().splitlines()]
    assert [r["id"] for r in written if r["right"] is None] == ["p9", "p9"] and len(written) == 2 * (len(PAIRS) + 1)


@pytest.mark.parametrize(
    ("record", "settings", "message"),
    [
        ({**PAIRS[0], "rejected": None}, {}, r"jsonl: holds no pairs, only 1 single answers labelled good or bad\."),
        ({"question": "问", "answer": "答"}, {}, r"\.jsonl:1: is not a canonical record"),
        (None, {}, "holds no pairs"),
        (PAIRS[0], {"prompt_format": None}, "Give --prompt-format"),
        (PAIRS[0], {"data": []}, "--data names no pairs"),
    ],
)
def test_bad_input_is_named(
    model: Path, tmp_path: Path, record: dict[str, Any] | None, settings: dict[str, Any], message: str
) -> None:
    data = write_jsonl(tmp_path / "preferences-00000.jsonl", [] if record is None else [record])
    base = {"model": model, "task": ["preference"], "data": [data], "prompt_format": "plain"}
    with pytest.raises(DataError, match=message):
        stage("evaluate", tmp_path / "out", **{**base, **settings})


def test_data_without_names_find_their_tasks(tmp_path: Path) -> None:
    from zhllm.stages._evaluate_config import EvaluateConfig
    from zhllm.stages._evaluate_data import paths_of

    (clean := tmp_path / "clean").mkdir()
    (clean / "canaries.jsonl").write_text("{}", "utf-8")
    (converted := tmp_path / "converted").mkdir()
    write_jsonl(converted / "preferences-00000.jsonl", PAIRS)
    lines = write_jsonl(tmp_path / "own.jsonl", PAIRS)
    asked = write_jsonl(tmp_path / "q.jsonl", [{"question": "问", "answer": "答"}])
    data = (clean, converted, lines, asked)
    config = EvaluateConfig(model=tmp_path, task=("bits", "questions", "preference", "memory"), data=data)
    assert {task: list(paths_of(config, task)) for task in config.task} == {
        "bits": [clean], "questions": [asked], "preference": [converted, lines], "memory": [clean]
    }  # fmt: skip
