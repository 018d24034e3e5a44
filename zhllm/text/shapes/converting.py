"""A unit of any shape as canonical chats and preferences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from zhllm.text.chats import Chat
from zhllm.text.prompt_format import Message
from zhllm.text.shapes.alpaca import alpaca_messages, qa_messages
from zhllm.text.shapes.conversations import turns_of
from zhllm.text.shapes.moss import moss_turns
from zhllm.text.shapes.oasst import oasst_converted
from zhllm.text.shapes.pairs import kto_converted, preference_converted
from zhllm.text.shapes.record import Converted, FieldError, Options, Unit, canonical_meta
from zhllm.text.shapes.squad import squad_converted
from zhllm.text.shapes.tables import by_own_names
from zhllm.text.shapes.turns import Turn, chat_messages
from zhllm.text.shapes.written_out import written_turns


def converted(unit: Unit, identity: str, source: str, options: Options) -> Converted:
    """What a unit becomes, named `identity` and from the file `source`; FieldError says why it cannot."""
    try:
        return _CONVERTERS[unit.shape](unit, identity, source, options)
    except FieldError as error:
        if unit.at:
            raise FieldError(f"{unit.at}{error.field}".rstrip("."), error.reason) from error
        raise


Converter = Callable[[Unit, str, str, Options], Converted]


def _text_converter(messages_of: Callable[[dict[str, Any]], tuple[Message, ...]]) -> Converter:
    """For shapes of single texts: the fast way, nothing to mend."""

    def convert(unit: Unit, identity: str, source: str, options: Options) -> Converted:
        return Converted((Chat(identity, messages_of(unit.value), source),))

    return convert


def _turn_converter(turns: Callable[[dict[str, Any], Counter[str]], list[Turn]]) -> Converter:
    """For shapes of turns, whose order may have to be mended."""

    def convert(unit: Unit, identity: str, source: str, options: Options) -> Converted:
        repairs: Counter[str] = Counter()
        messages = chat_messages(turns(unit.value, repairs), repairs)
        return Converted((Chat(identity, messages, source, canonical_meta(unit.value)),), repairs=+repairs)

    return convert


def _table(unit: Unit, identity: str, source: str, options: Options) -> Converted:
    """A row of a table: a preference, a labelled answer, or a question and its answer."""
    roles = unit.value
    try:
        if "chosen" in roles and "rejected" in roles:
            value = {"prompt" if key == "question" else key: text for key, text in roles.items()}
            return preference_converted(Unit(unit.line, value, "preference"), identity, source, options)
        if "label" in roles:
            return kto_converted(unit, identity, source, options)
        value = {"instruction" if key == "question" else key: text for key, text in roles.items()}
        return Converted((Chat(identity, alpaca_messages(value), source),))
    except FieldError as error:
        known = {"instruction": "question", "prompt": "question"}
        raise by_own_names(FieldError(known.get(error.field, error.field), error.reason), roles) from error


_CONVERTERS: dict[str, Converter] = {
    "alpaca": _text_converter(alpaca_messages),
    "qa": _text_converter(qa_messages),
    "oasst": oasst_converted,
    "oasst-messages": oasst_converted,
    "sharegpt": _turn_converter(turns_of),
    "messages": _turn_converter(turns_of),
    "moss": _turn_converter(moss_turns),
    "text": _turn_converter(written_turns),
    "squad": squad_converted,
    "table": _table,
    "preference": preference_converted,
    "kto": kto_converted,
}
