"""Whatever stands under the keys that shapes look at: a record becomes canonical, or is refused by field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zhllm.text.chats import message_problem
from zhllm.text.read.records import Record
from zhllm.text.shapes.converting import converted
from zhllm.text.shapes.reading import units_of
from zhllm.text.shapes.record import FieldError, Options, identity_of, language_matches

TEXTS = st.sampled_from(
    ["", " ", "问？", "答", "Human: 一\nAssistant: 二", "好\ud83d", "𠮷🧑\u200d💼", "true", "{}", "[1]", "null"]
)
KEYS = st.sampled_from(
    """instruction input output system history messages conversations conversation items data turns role
    content from value weight loss_weight tools tool_calls function_call function name arguments prompt
    response chosen rejected label kto_tag completion question answer answers context context_text qas
    paragraphs text replies rank parent_id message_id lang labels spam review_result deleted tree_state
    chat turn_1 Human MOSS Commands plain_text human assistant user type id title meta is_impossible
    answer_start query_text 问题 答案 images 别的""".split()
)
ROLES = st.sampled_from(
    ["user", "assistant", "system", "human", "gpt", "tool", "observation", "function_call", "prompter", "人"]
)
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.just(1 << 70) | st.floats(allow_nan=False) | TEXTS


def turn(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A turn that is nearly sound."""
    both = st.fixed_dictionaries(
        {"role": ROLES, "content": TEXTS | inner}, optional={"weight": SCALARS, "tool_calls": inner}
    )
    return both | st.fixed_dictionaries({"from": ROLES, "value": TEXTS})


VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4) | turn(inner),
    max_leaves=12,
)
TURNS = st.lists(turn(SCALARS), max_size=5)
RECORDS = st.dictionaries(KEYS, VALUES, max_size=6) | st.fixed_dictionaries(
    {}, optional={
        "instruction": TEXTS, "output": TEXTS | st.lists(TEXTS, max_size=3), "history": VALUES, "prompt": TEXTS | TURNS,
        "messages": TURNS, "conversations": TURNS, "chosen": TEXTS | TURNS, "rejected": TEXTS | TURNS, "label": SCALARS,
        "context": TEXTS, "question": TEXTS, "answers": VALUES, "tools": VALUES,
    },
)  # fmt: skip
SHAPES = (
    "auto",
    "alpaca",
    "oasst",
    "oasst-messages",
    "sharegpt",
    "messages",
    "moss",
    "text",
    "squad",
    "qa",
    "table",
    "preference",
    "kto",
)


def check(value: dict[str, Any], shape: Any, options: Options) -> None:
    """That a record is refused, or that what it becomes is canonical and can be written."""
    language_matches(value, "zh")
    try:
        units = units_of(Record(1, value), shape, options)
    except FieldError as error:
        assert error.reason
        return
    assert units
    for unit in units:
        try:
            made = converted(unit, identity_of(unit.value, "a#1"), "a", options)
        except FieldError as error:
            assert error.reason and isinstance(error.field, str)
            continue
        assert made.chats or made.preferences
        for chat in made.chats:
            assert message_problem(chat.messages) is None
            assert json.loads(chat.to_json())["messages"][-1]["role"] == "assistant"
        for preference in made.preferences:
            assert message_problem(preference.prompt, "user") is None
            assert preference.chosen or preference.rejected
            assert preference.chosen != preference.rejected and json.loads(preference.to_json())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(RECORDS, st.sampled_from(["best", "all"]))
def test_any_record_is_converted_or_refused(value: dict[str, Any], paths: Any) -> None:
    check(value, "auto", Options(oasst_paths=paths))


@pytest.mark.parametrize("shape", SHAPES[1:])
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=RECORDS)
def test_any_record_of_a_named_format_is_converted_or_refused(shape: str, value: dict[str, Any]) -> None:
    check(value, shape, Options())
