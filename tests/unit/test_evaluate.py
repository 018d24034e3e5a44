"""Bits per character by hand, answers as they are marked, and engines that write what transformers writes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from evaluated import read_scores
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from toys import Toy, byte_level_tokenizer, random_model, stage, write_jsonl

from zhllm.errors import ConfigError, DataError
from zhllm.evals.bits import bits_per_char, windows
from zhllm.evals.questions import Question, is_right, normal, read_questions
from zhllm.infer import llamacpp
from zhllm.infer.engine import open_engine
from zhllm.infer.sampling import Sampling
from zhllm.infer.transformers_engine import TransformersEngine, decode_stream, decode_whole, greedy
from zhllm.model.transformers_model import open_model
from zhllm.vocab.tokenizer import Tokenizer

TEXTS = ["实验室的样品每三天记录一次。", "𠮷野家　ＡＢＣ👩‍👩‍👧！", "The lab keeps every sample cold.\n" * 8, "好"]
ASKED = ["样品在哪里？", "保修期多长？", "Where is the sample?", "员工手册", "订单多少钱"]


@pytest.fixture(scope="module")
def taught(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model on the extended tokenizer whose logits differ enough that greedy choices are no near-ties.

    It writes no byte tokens, as no taught model writes them at random: what tokenizers makes of a run
    of bytes that is not UTF-8 depends on what follows.
    """
    folder = random_model(tmp_path_factory.mktemp("taught") / "model", toy.extended)
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"][3:259] = 0  # a logit of 0, far below the largest
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


# --- bits per character


def nats_by_hand(folder: Path, texts: Sequence[str]) -> tuple[float, int]:
    """Each text alone in one plain forward pass, BOS before it; the sum of -log p and the tokens scored."""
    model, tokenizer = open_model(folder, torch.float32), Tokenizer(folder)
    nats, count = 0.0, 0
    for text in texts:
        ids = [tokenizer.special_id("bos"), *tokenizer.encode_plain([text])[0]]
        with torch.no_grad():
            log_p = model(torch.tensor([ids]), use_cache=False).logits[0].double().log_softmax(-1)
        nats -= sum(float(log_p[i, token]) for i, token in enumerate(ids[1:]))
        count += len(ids) - 1
    return nats, count


def test_bits_per_char_are_those_of_one_forward_pass_a_text(taught: Path) -> None:
    found, (nats, count) = bits_per_char(taught, TEXTS), nats_by_hand(taught, TEXTS)
    chars = sum(map(len, TEXTS))
    assert (found.chars, found.bytes, found.tokens) == (chars, sum(len(t.encode()) for t in TEXTS), count)
    # float32 against float64 softmax
    assert found.nats == pytest.approx(nats, rel=1e-5)
    assert found.bits_per_char == pytest.approx(nats / math.log(2) / chars, rel=1e-5)
    assert found.bits_per_byte == pytest.approx(found.bits_per_char * chars / found.bytes)


def test_two_tokenizers_are_compared_on_the_same_characters(toy: Toy, taught: Path, tmp_path: Path) -> None:
    """The base spells Chinese in bytes: more tokens, but the same text divides the loss."""
    base = random_model(tmp_path / "base", toy.tokenizer)
    other = bits_per_char(base, TEXTS)
    own = bits_per_char(taught, TEXTS)
    assert (other.chars, other.bytes) == (own.chars, own.bytes) and other.tokens > 1.1 * own.tokens
    assert other.nats == pytest.approx(nats_by_hand(base, TEXTS)[0], rel=1e-5)


def test_batches_do_not_change_the_score(taught: Path) -> None:
    alone, together = (bits_per_char(taught, TEXTS, rows=rows) for rows in (1, 50))
    assert together.nats == pytest.approx(alone.nats, rel=1e-6) and together.tokens == alone.tokens


def test_a_window_sees_at_least_half_of_itself_before_a_token(taught: Path) -> None:
    """With a model this shallow context hardly matters, so the windows are compared with the definition."""
    text, window = "".join(TEXTS) * 3, 16
    tokenizer, model = Tokenizer(taught), open_model(taught, torch.float32)
    ids = [tokenizer.special_id("bos"), *tokenizer.encode_plain([text])[0]]
    nats = 0.0
    for at in range(1, len(ids)):
        block = (at - window) // 8 + 1 if at >= window else 0
        end = window + 8 * block
        first = max(0, min(end, len(ids)) - window)
        with torch.no_grad():
            logits = model(torch.tensor([ids[first:at]]), use_cache=False).logits[0, -1].double()
        nats -= float(logits.log_softmax(-1)[ids[at]])
        assert at - first >= min(at, window // 2)
    assert bits_per_char(taught, [text], window=window).nats == pytest.approx(nats, rel=1e-5)


@given(st.integers(0, 60), st.integers(2, 17))
def test_windows_score_every_token_but_the_first_once(count: int, limit: int) -> None:
    scored: list[int] = []
    for chat in windows(list(range(count)), limit):
        assert len(chat.ids) <= limit and not chat.learn[0]
        assert chat.ids == list(range(chat.ids[0], chat.ids[-1] + 1))
        scored += [i for i, learnt in zip(chat.ids, chat.learn, strict=True) if learnt]
    assert scored == list(range(1, count))


def test_no_text_is_refused(taught: Path) -> None:
    for texts in ([], [""]):
        with pytest.raises(DataError, match="no text to measure"):
            bits_per_char(taught, texts)


# --- marking


@pytest.mark.parametrize(
    ("answer", "reply", "right"),
    [
        ("六天", "新员工的年假是六天。", True),
        ("6天", "６ 天", True),
        ("IP67", "防护等级为 ip-67。", True),
        ("1000元", "一共 1,000 元", True),
        ("8:40", "早上８：４０上班", True),
        ("20GB", "容量是20 GB", True),
        ("三天", "十三天", False),
        ("5天", "15天", False),
        ("5", "50元", False),
        ("35", "3.5", False),
        ("3.5", "温度 3.5 度", True),
        ("三天", "周一、三天内", True),
        ("诊断证明", "需要「诊断证明」", True),
        ("部門主管", "部门主管", False),
        ("六天", "", False),
        ("Beijing", "BEIJING.", True),
        ("C++ (17)", "用c++17写的", True),
    ],
)
def test_a_reply_is_right_when_it_holds_the_answer(answer: str, reply: str, right: bool) -> None:
    assert is_right(Question("q", "?", (answer,)), reply) is right
    assert is_right(Question("q", "?", ("绝不会出现", answer)), reply) is right


def test_the_normal_form_keeps_letters_and_digits() -> None:
    assert normal(" Ａb_c，「Ｄ」！\u3000é\n") == "abcdé"
    assert normal("1,234.5 12,34") == "1234 5 12 34"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is not JSON"),
        ("[1]", r"is a JSON list, not an object"),
        ('{"question": "?", "anwser": "6"}', r'"answer" is missing \(keys: question, anwser\)\. Add it, or take'),
        ('{"answer": "6"}', '"question" is missing'),
        ('{"question": 6, "answer": "6"}', '"question" and "answer" must be texts'),
        ('{"question": "?", "answer": null}', '"question" and "answer" must be texts'),
        ('{"question": "?", "answer": "6", "accept": "六天"}', '"accept" a list of texts'),
        ('{"question": "?", "answer": "。"}', "an answer has no letter or digit"),
        ('{"question": "?", "answer": "6", "accept": ["！"]}', "an answer has no letter or digit"),
    ],
)
def test_a_wrong_question_is_named_by_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "questions.jsonl"
    sound = '{"question": "问\u2028句？", "answer": "六天"}'
    path.write_text(f"\ufeff{sound}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"questions\.jsonl:3: .*{message}"):
        read_questions(path)
    path.write_text(sound, encoding="utf-8")
    assert read_questions(path) == [Question("1", "问\u2028句？", ("六天",))]


def test_no_question_at_all_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n")
    with pytest.raises(DataError, match="holds no questions"):
        read_questions(path)
    with pytest.raises(DataError, match="is a folder"):
        read_questions(tmp_path)


# --- engines


def generated(folder: Path, prompt: Sequence[int], max_tokens: int, ends: Sequence[int]) -> list[int]:
    """transformers' own greedy answer, without its end token."""
    model = open_model(folder)
    ids = torch.tensor([list(prompt)])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max_tokens, eos_token_id=list(ends)
    )[0, len(prompt) :].tolist()
    return out[:-1] if out and out[-1] in ends else out


@pytest.fixture(scope="module")
def engine(taught: Path) -> Iterator[TransformersEngine]:
    with open_engine(taught, "plain") as opened:
        assert isinstance(opened, TransformersEngine)
        yield opened


def prompts_of(engine: TransformersEngine) -> list[list[int]]:
    return [engine.chat_prompt([{"role": "user", "content": text}]) for text in ASKED]


def test_greedy_is_what_transformers_generates(engine: TransformersEngine, taught: Path) -> None:
    prompts = prompts_of(engine)
    free = [generated(taught, prompt, 20, [2]) for prompt in prompts]
    ends = [2, free[0][4]]  # a token that does come, so that rows end at different steps
    wanted = [generated(taught, prompt, 20, ends) for prompt in prompts]
    assert len({len(row) for row in wanted}) > 1
    assert greedy(engine.model, prompts, 20, ends, 256) == wanted
    assert [greedy(engine.model, [prompt], 20, ends, 256)[0] for prompt in prompts] == wanted


def test_an_answer_ends_where_the_context_does(engine: TransformersEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = prompts_of(engine)
    longest = max(map(len, prompts))
    room = [len(row) for row in greedy(engine.model, prompts, 50, [], longest + 2)]
    assert room == [longest + 2 - len(prompt) for prompt in prompts]
    chat = [{"role": "user", "content": ASKED[0]}]
    monkeypatch.setattr(engine._batcher, "context", len(prompts[0]) + 3)
    monkeypatch.setattr(engine._batcher, "ends", frozenset())
    parts = "".join(engine.stream(chat, Sampling(max_tokens=50)))
    assert parts == decode_whole(engine.tokenizer, greedy(engine.model, prompts[:1], 3, [], 999)[0]).lstrip()
    monkeypatch.setattr(engine.model.config, "max_position_embeddings", len(prompts[0]))
    with pytest.raises(DataError, match=rf"the prompt has {len(prompts[0])} tokens, but .* reads"):
        engine.answer_many([chat], 5)


def test_many_answers_keep_their_order_and_are_those_of_one_by_one(engine: TransformersEngine) -> None:
    chats = [[{"role": "user", "content": text}] for text in ASKED]
    answers = engine.answer_many(chats, 12)
    assert answers == [engine.answer_many([chat], 12)[0] for chat in chats] and len(set(answers)) > 1
    streamed = ["".join(engine.stream(chat, Sampling(max_tokens=12))).strip() for chat in chats]
    assert streamed == answers


def test_draws_follow_the_seed_and_the_settings(engine: TransformersEngine) -> None:
    chat = [{"role": "user", "content": ASKED[0]}]

    def drawn(**settings: Any) -> str:
        return "".join(engine.stream(chat, Sampling(max_tokens=12, **settings)))

    assert drawn(temperature=2.0, seed=1) == drawn(temperature=2.0, seed=1) != drawn(temperature=2.0, seed=2)
    likeliest = drawn()
    for settings in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        assert drawn(temperature=2.0, **settings) == likeliest
    assert drawn(repeat_penalty=0.1) != likeliest, "below 1 it repeats"


def decided(engine: TransformersEngine, prompt: Sequence[int], answer: Sequence[int]) -> list[int]:
    """The answer up to its first near-tie. llama.cpp keeps keys and values in f16, so its logits (of
    standard deviation 1 here) are off by some 0.003; a lead of 0.03 decides."""
    with torch.no_grad():
        logits = engine.model(torch.tensor([[*prompt, *answer]])).logits[0, len(prompt) - 1 :]
    best, second = logits.topk(2).values.unbind(-1)
    leads = (best - second > 0.03).tolist()
    return list(answer[: leads.index(False) if False in leads else None])


@pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")
def test_llama_cpp_writes_what_transformers_writes(engine: TransformersEngine, taught: Path, tmp_path: Path) -> None:
    chats, prompts = [[{"role": "user", "content": text}] for text in ASKED], prompts_of(engine)
    sure = [
        decided(engine, p, ids) for p, ids in zip(prompts, greedy(engine.model, prompts, 20, [2], 256), strict=True)
    ]
    wanted = [decode_whole(engine.tokenizer, ids).strip() for ids in sure]
    assert sum(map(len, sure)) > 20
    folder = stage("export", tmp_path / "gguf", model=taught, type=["f32"])
    with open_engine(folder / "model-f32.gguf", "plain", parallel=2) as other:
        assert other.context == engine.context
        assert [other.prompt_tokens(chat) for chat in chats] == [len(prompt) for prompt in prompts]
        answers = other.answer_many(chats, 20)
        streamed = ["".join(other.stream(chat, Sampling(max_tokens=20))).strip() for chat in chats]
        for text, *found in zip(wanted, answers, streamed, strict=True):
            assert all(answer.startswith(text) for answer in found)
        too_long = [{"role": "user", "content": "样品" * 300}]
        for asked in (engine, other):
            with pytest.raises(DataError, match="tokens"):
                asked.answer_many([too_long], 5)


HALVES = "龘今👍🏽天👩‍👩‍👧好\U0002a6d6"


@pytest.fixture(scope="module", params=["sentencepiece", "byte-level"])
def tokenizer(request: pytest.FixtureRequest, toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    """Tokenizers in which one character may be several tokens, and none of them text by itself."""
    if request.param == "sentencepiece":
        return Tokenizer(toy.tokenizer)
    return Tokenizer(byte_level_tokenizer(tmp_path_factory.mktemp("byte-level")))


def test_a_stream_never_shows_half_a_character(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_plain([HALVES])[0]
    assert len(ids) > 3 * len(HALVES) - 3
    parts = list(decode_stream(tokenizer, iter(ids)))
    assert "".join(parts) == HALVES and all(parts) and len(parts) == len(HALVES)


def test_a_stream_cut_anywhere_ends_in_a_whole_character(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_plain([HALVES])[0]
    shown = [decode_whole(tokenizer, ids[:end]) for end in range(len(ids) + 1)]
    assert shown == ["".join(decode_stream(tokenizer, iter(ids[:end]))) for end in range(len(ids) + 1)]
    assert all(HALVES.startswith(text) for text in shown)
    assert [len(text) for text in shown] == sorted(len(text) for text in shown)


@pytest.mark.parametrize("text", [HALVES * 40, "The quick brown fox. " * 30, "\u3000保修  三年\n\n" * 60, "龘" * 300])
def test_a_long_stream_says_what_the_whole_says(tokenizer: Tokenizer, text: str) -> None:
    decoded: list[int] = []

    class Counting:
        def decode(self, ids: list[int]) -> str:
            decoded.append(len(ids))
            return tokenizer.decode(ids)

    ids = tokenizer.encode_plain([text])[0]
    ends = [end for end in range(60) if "\ufffd" not in tokenizer.decode(ids[:end])]
    for before in ends:
        parts = decode_stream(cast(Tokenizer, Counting()), iter(ids[before:]), ids[:before])
        whole = tokenizer.decode(ids[:before]) + "".join(parts)
        assert whole == (text if before else text.lstrip()), "text went missing"
    assert max(decoded) < 64, "the whole answer is decoded for every token"


def test_bytes_that_are_no_character_are_shown_as_such(toy: Toy) -> None:
    tokenizer = Tokenizer(toy.tokenizer)
    bad = [tokenizer.fast.token_to_id("<0xFF>")] * 5
    assert decode_whole(tokenizer, bad) == "\ufffd" * 5
    assert "".join(decode_stream(tokenizer, iter([*bad, tokenizer.fast.token_to_id("a")]))).endswith("a")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "is not a model directory"),
        (("adapter_config.json",), "give it as --adapter of its base"),
        (("new_rows.safetensors",), "give it as --adapter of its base"),
        (("b-q8_0.gguf", "a-f16.gguf", "report.json"), r"\(a-f16.gguf, b-q8_0.gguf\). Name one of them"),
    ],
)
def test_a_folder_that_is_no_model_says_what_to_give(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    for name in files:
        (tmp_path / name).write_text("")
    with pytest.raises(DataError, match=message):
        open_engine(tmp_path)


# --- the stage


def test_the_stage_scores_both_models_and_keeps_every_reply(toy: Toy, taught: Path, tmp_path: Path) -> None:
    with open_engine(taught, "llama2") as engine:
        reply = engine.answer_many([[{"role": "user", "content": ASKED[0]}]], 6)[0]
    records = [
        {"id": "yes", "question": ASKED[0], "answer": "绝不会出现", "accept": [reply]},
        {"id": "no", "question": ASKED[1], "answer": "绝不会出现"},
    ]
    path = write_jsonl(tmp_path / "questions.jsonl", records)
    settings = {"model": taught, "against": toy.base, "prompt_format": "llama2", "max_tokens": 6}
    made = [
        stage("evaluate", tmp_path / name, task=["questions", "bits"], data=[path, toy.zh], **settings)
        for name in ("a", "b")
    ]
    contents = [(folder / "scores.json").read_text(encoding="utf-8") for folder in made]
    assert contents[0] == contents[1]
    scores = json.loads(contents[0])
    assert scores["model"]["questions"]["accuracy"] == 0.5 and scores["against"]["questions"]["accuracy"] == 0
    assert scores["model"]["bits"]["chars"] == scores["against"]["bits"]["chars"]
    answers = [json.loads(line) for line in (made[0] / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(a["model"], a["id"], a["right"]) for a in answers] == [
        ("model", "yes", True), ("model", "no", False), ("against", "yes", False), ("against", "no", False),
    ]  # fmt: skip
    assert answers[0]["reply"] == reply


def test_data_of_every_task_are_read_before_a_model_is_asked(tmp_path: Path) -> None:
    """The model is no model: what is wrong with the data of the last task is told all the same."""
    (model := tmp_path / "model").mkdir()
    good = write_jsonl(tmp_path / "q.jsonl", [{"question": "问", "answer": "答"}])
    bad = write_jsonl(tmp_path / "bad.jsonl", [{"question": "问", "answer": "答"}, {"question": "问"}])
    texts = write_jsonl(tmp_path / "t.jsonl", [{"id": "a", "text": "好。"}])
    tried: list[tuple[list[str], list[str], str]] = [
        (["questions", "generate"], [f"questions={good}", f"generate={bad}"], "bad.jsonl:2: has no answer"),
        (["questions", "choice"], [f"questions={good}"], "--task choice: --data names no multiple-choice set"),
        (["questions", "own"], [f"questions={good}", f"own={texts}"], "has no paragraph with a number"),
        (["questions", "memory"], [str(good)], "--task memory: --data names no canaries"),
        (["questions", "preference"], [f"questions={good}", f"preference={texts}"], "t.jsonl:1: is not a canonical"),
    ]
    for tasks, data, told in tried:
        with pytest.raises(DataError, match=told):
            stage("evaluate", tmp_path / "out", model=model, task=tasks, data=data)
    with pytest.raises(ConfigError, match="--allow-code"):
        stage("evaluate", tmp_path / "out", model=model, task=["questions", "code"], data=[f"questions={good}"])


def test_data_that_no_task_reads_are_not_passed_over(tmp_path: Path) -> None:
    (model := tmp_path / "model").mkdir()
    asked = write_jsonl(tmp_path / "q.jsonl", [{"question": "问", "answer": "答"}])
    for tasks in (["health"], ["health", "memory"], ["code", "bits"]):
        with pytest.raises(
            ConfigError, match=r"q.jsonl: looks like data of no task of this run \(.*\). Name it: TASK="
        ):
            stage("evaluate", tmp_path / "out", model=model, task=tasks, data=[asked])


@pytest.mark.parametrize("task", ["questions", "generate"])
def test_a_question_that_does_not_fit_is_told_by_its_words(toy: Toy, tmp_path: Path, task: str) -> None:
    asked = [{"question": text, "answer": "答"} for text in ("样品在哪里？", "很长的\n𠮷问题" + "长" * 400)]
    data = write_jsonl(tmp_path / "q.jsonl", list(asked))
    name = r"q\.jsonl:2" if task == "generate" else r"question 2 \(很长的\u23ce𠮷问题长+\.\.\.\)"
    told = (
        name + r": the prompt has \d+ tokens and the model reads 256 with its answer\. So it is of 1 of 2 questions\. "
    )
    settings = {"model": toy.resized, "task": [task], "data": [data], "prompt_format": "plain"}
    with pytest.raises(DataError, match=told + "Take them out .*, or leave them out: --max-too-long 0.5"):
        stage("evaluate", tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()
    found = read_scores(stage("evaluate", tmp_path / "out", **settings, against=toy.resized, max_too_long=0.5))
    items = {"questions": "questions", "generate": "prompts"}[task]
    assert found["model"][task][f"{items}_too_long"] == 1 == found["protocols"][task]["left out"]
    assert {score["n"] for score in found["scores"]} == {1}
    assert any(re.search(f"1 of 2 {items}; 1 too long for the 256 .*{name}", note) for note in found["notes"]["model"])
    file = tmp_path / "out" / ("answers.jsonl" if task == "questions" else "generate.jsonl")
    records = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    assert [record.get("too_long_tokens", 0) > 256 for record in records] == [False, True] * 2


def test_little_room_for_an_answer_is_told(toy: Toy, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "q.jsonl", [{"question": "样品在哪里？", "answer": "答"}])
    settings = {"model": toy.resized, "task": ["questions"], "data": [data], "prompt_format": "plain"}
    found = read_scores(stage("evaluate", tmp_path / "out", **settings, max_tokens=256))
    assert found["notes"]["model"] == [
        "questions: 1 of 1 questions leave less than the 256 tokens of --max-tokens for the answer."
    ]
