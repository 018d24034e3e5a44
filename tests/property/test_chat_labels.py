"""Labels stand exactly on what the assistant writes; training and serving see the same ids; long chats are cut."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from makers import DATED, THOUGHTLESS
from toys import CHATML_SPECIALS, CONTENTS, Toy, byte_level_tokenizer

from zhllm.errors import DataError, ProofError
from zhllm.stages.sft import prove_labels
from zhllm.text.prompt_format import FORMATS, WHITESPACE, Message, PromptFormat
from zhllm.train.batch import IGNORED
from zhllm.train.chats import Fitting, TokenChat, end_of_turn_id, fit, label_row, pack_rows, prompt_ids, tokenize
from zhllm.vocab.tokenizer import Tokenizer

NAMES = list(FORMATS)
SPECIALS = ("<s>", "</s>", "<unk>", "<pad>", "<|")
EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

hard = st.lists(st.sampled_from(CONTENTS), min_size=1, max_size=4).map("".join)
contents = (hard | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)).filter(
    lambda text: text.strip(WHITESPACE) and not any(special in text for special in SPECIALS)
)


@st.composite
def chats(draw: st.DrawFn) -> list[Message]:
    """Perhaps a system turn, then exchanges, as `convert` writes them; at least one answer is learnt."""
    messages: list[Message] = [{"role": "system", "content": draw(contents)}] if draw(st.booleans()) else []
    weights = draw(st.lists(st.sampled_from([0, 1, 1]), min_size=1, max_size=4).filter(any))
    for weight in weights:
        answer = {"role": "assistant", "content": draw(contents)} | ({} if weight else {"weight": 0})
        messages += [{"role": "user", "content": draw(contents)}, answer]
    return messages


def answers_learnt(messages: Sequence[Message]) -> list[int]:
    """Where the answers to learn stand."""
    return [i for i, m in enumerate(messages) if m["role"] == "assistant" and m.get("weight", 1) == 1]


@pytest.fixture(scope="module")
def tokenizers(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    """A tokenizer for each format: SentencePiece, and byte-level with each format's own specials."""
    folder = tmp_path_factory.mktemp("byte-level")
    sp = Tokenizer(toy.extended)
    chatml = Tokenizer(byte_level_tokenizer(folder / "chatml", CHATML_SPECIALS))
    return {
        "llama2": sp,
        "plain": sp,
        "alpaca-zh": sp,
        "llama3": Tokenizer(byte_level_tokenizer(folder / "llama3")),
        "chatml": chatml,
    }


EVERY = FORMATS | {"dated": DATED, "without thoughts": THOUGHTLESS}


@pytest.fixture(params=EVERY)
def pair(request: pytest.FixtureRequest, tokenizers: dict[str, Tokenizer]) -> tuple[PromptFormat, Tokenizer]:
    return EVERY[request.param], tokenizers[EVERY[request.param].name]


def spans_learnt(chat: TokenChat) -> list[tuple[int, int]]:
    """(begin, end) of each stretch of learnt ids."""
    flags = [False, *chat.learn, False]
    edges = [i for i in range(len(flags) - 1) if flags[i] != flags[i + 1]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def tokenized(messages: list[Message], pair: tuple[PromptFormat, Tokenizer]) -> TokenChat:
    return tokenize(messages, *pair)


@EXAMPLES
@given(messages=chats())
def test_exactly_the_answers_and_their_end_tokens_are_learnt(
    messages: list[Message], pair: tuple[PromptFormat, Tokenizer]
) -> None:
    """By the characters each id stands for, as tokenizers reports them: another way than the one under test."""
    chat_format, tokenizer = pair
    chat, text, wanted = tokenized(messages, pair), "", []
    for segment in chat_format.segments(messages):
        wanted += [segment.learn] * len(segment.text)
        text += segment.text
    tokenizer.fast.encode_special_tokens = False
    encoding = tokenizer.fast.encode(text, add_special_tokens=False)
    assert chat.ids == encoding.ids
    for (begin, end), learnt in zip(encoding.offsets, chat.learn, strict=True):
        # A token is learnt where the last character it stands for is the assistant's.
        assert learnt == wanted[max(end - 1, begin)], (text, text[begin:end])
    end_id = end_of_turn_id(chat_format, tokenizer)
    spans = spans_learnt(chat)
    assert len(spans) == len(answers_learnt(messages))
    assert all(chat.ids[end - 1] == end_id for _, end in spans)
    prove_labels([chat], end_id)


@EXAMPLES
@given(messages=chats())
def test_before_each_answer_stand_the_ids_that_serving_sends(
    messages: list[Message], pair: tuple[PromptFormat, Tokenizer]
) -> None:
    chat_format, tokenizer = pair
    chat = tokenized(messages, pair)
    # Without thoughts an earlier answer stands as in the history of the next question.
    answers = [i for i in answers_learnt(messages) if not chat_format.thoughts or i == len(messages) - 1]
    prompts = [tokenizer.encode_prompt(chat_format.render(messages[:i], answer_next=True)) for i in answers]
    assert prompts == [prompt_ids(messages[:i], *pair) for i in answers]
    differs = sum(chat.ids[: len(ids)] != ids for ids in prompts)
    assert differs == chat.merged or chat_format.thoughts, "a token over the border is counted"
    if not any(m["content"].strip(WHITESPACE)[0].isspace() for m in messages):
        assert differs == 0
        assert [len(ids) for ids in prompts] == [begin for begin, _ in spans_learnt(chat)][-len(answers) :][
            : len(answers)
        ]


@EXAMPLES
@given(messages=chats(), data=st.data())
def test_a_long_chat_loses_its_oldest_turns_then_its_prompt_never_its_end(
    messages: list[Message], data: st.DataObject, pair: tuple[PromptFormat, Tokenizer]
) -> None:
    behind_the_last = answers_learnt(messages)[-1] + 1
    whole = tokenized(messages[:behind_the_last], pair)
    seq_len = data.draw(st.integers(2, len(whole.ids) + 3))
    fitting = Fitting()
    fitted = fit(messages, *pair, seq_len, fitting)
    begin, end = spans_learnt(whole)[-1]
    answer, behind = whole.ids[begin:end], len(whole.ids) - end
    messages = messages[:behind_the_last]
    exchanges = sum(m["role"] == "assistant" for m in messages)
    if fitted is None:
        assert len(answer) + behind >= seq_len, "one token of prompt, the answer and its end would fit"
        assert (fitting.too_long, fitting.cut_prompts, fitting.cut_turns) == (1, 0, 0)
        return
    assert len(fitted.ids) <= seq_len and not fitted.learn[0]
    last_begin, last_end = spans_learnt(fitted)[-1]
    assert fitted.ids[last_begin:last_end] == answer and len(fitted.ids) - last_end == behind
    prove_labels([fitted], end_of_turn_id(*pair))
    kept = exchanges - fitting.cut_turns
    assert len(spans_learnt(fitted)) == len(answers_learnt(messages[len(messages) - 2 * kept :]))
    assert kept >= 1 and fitting.too_long == 0
    assert fitting.cut_prompts == 0 or (kept == 1 and len(fitted.ids) == seq_len)
    if fitting.cut_prompts == 0:
        start = messages[:1] if messages[0]["role"] == "system" else []
        shorter = tokenized([*start, *messages[len(messages) - 2 * kept :]], pair)
        assert fitted == shorter, "the system turn and the newest exchanges are whole"
    if len(whole.ids) <= seq_len:
        assert fitted == whole


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("room", range(-3, 4))
def test_an_answer_as_long_as_the_row(tokenizers: dict[str, Tokenizer], name: str, room: int) -> None:
    """One token of the prompt must stay, because a label belongs to the token before it."""
    pair = FORMATS[name], tokenizers[name]
    messages = [{"role": "user", "content": "样品在哪里？"}, {"role": "assistant", "content": "实验室的样品。"}]
    whole, fitting = tokenized(messages, pair), Fitting()
    ((begin, _),) = spans_learnt(whole)
    fitted = fit(messages, *pair, len(whole.ids) - begin + room, fitting)
    assert (fitted is None) == (room < 1) == bool(fitting.too_long)
    if fitted is not None:
        assert fitted.ids == whole.ids[begin - room :] and fitting.cut_prompts == 1


@pytest.mark.parametrize("name", NAMES)
def test_a_chat_without_an_answer_teaches_nothing(tokenizers: dict[str, Tokenizer], name: str) -> None:
    asked = [{"role": "user", "content": "样品在哪里？"}]
    assert fit(asked, FORMATS[name], tokenizers[name], 500, Fitting()) is None
    assert fit(asked, FORMATS[name], tokenizers[name], 4, Fitting()) is None


def test_a_token_over_the_border_is_learnt_and_counted_once(tokenizers: dict[str, Tokenizer]) -> None:
    """Where no separator stands between, "th" and "e" share the piece "he": it is learnt whole."""
    merging = PromptFormat("merging", "", "", ("", ""), ("", "th"), "", "", "", "</s>", "")
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "e lab"}] * 2
    chat = tokenize(messages, merging, tokenizers["llama2"])
    assert chat.merged == 2
    begin, _ = spans_learnt(chat)[0]
    assert tokenizers["llama2"].fast.id_to_token(chat.ids[begin]) == "he"
    fitting = Fitting()
    assert fit(messages, merging, tokenizers["llama2"], len(chat.ids) - 1, fitting) is not None
    assert fitting.merged_boundaries == 1, "the chat as it is learnt has one border"


@pytest.mark.parametrize(
    ("name", "other"), [("llama2", "chatml"), ("chatml", "llama2"), ("llama3", "plain"), ("alpaca-zh", "llama3")]
)
def test_a_format_whose_end_token_the_tokenizer_lacks_is_refused(
    tokenizers: dict[str, Tokenizer], name: str, other: str
) -> None:
    with pytest.raises(DataError, match=rf'"{name}" ends a turn with .*Choose another --prompt-format'):
        end_of_turn_id(FORMATS[name], tokenizers[other])


def test_labels_are_the_next_ids_where_they_are_learnt() -> None:
    chats = [TokenChat([5, 6, 7, 8], [False, False, True, True]), TokenChat([5, 9], [False, True])]
    inputs, labels, positions = label_row(chats, 8, pad_id=0)
    assert inputs.tolist() == [5, 6, 7, 8, 5, 9, 0, 0]
    assert labels.tolist() == [IGNORED, 7, 8, IGNORED, 9, IGNORED, IGNORED, IGNORED]
    assert positions.tolist() == [0, 1, 2, 3, 0, 1, 0, 0]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=30), st.randoms())
def test_rows_hold_every_chat_once_and_whole(sizes: list[int], rng: object) -> None:
    order = list(range(len(sizes)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    rows = pack_rows([TokenChat([0] * size, [False] * size) for size in sizes], 20, order)
    assert [i for row in rows for i in row] == order
    assert all(sum(sizes[i] for i in row) <= 20 for row in rows)
    for row, following in zip(rows, rows[1:], strict=False):
        assert sum(sizes[i] for i in row) + sizes[following[0]] > 20, "a new row only where the next does not fit"


@pytest.mark.parametrize(
    "wrong",
    [
        TokenChat([5, 6, 2], [False, True, False]),  # the end token is not learnt
        TokenChat([5, 6, 7], [False, True, True]),  # another token ends the answer
        TokenChat([6, 2], [True, True]),  # nothing stands before the answer
        TokenChat([5, 2], [False, False]),  # nothing is learnt
    ],
)
def test_labels_that_do_not_close_with_the_end_token_are_refused(wrong: TokenChat) -> None:
    sound = TokenChat([5, 6, 2, 5, 2], [False, True, True, False, True])
    prove_labels([sound], end_id=2)
    with pytest.raises(ProofError, match="chat 2: an answer's labels do not close with the end token 2"):
        prove_labels([sound, wrong], end_id=2)
