"""A unit of any shape as canonical chats and preferences."""

from __future__ import annotations

from collections.abc import Callable

from zhllm.text.chats import Chat
from zhllm.text.shapes.alpaca import alpaca_messages
from zhllm.text.shapes.oasst import oasst_messages, oasst_preferences, oasst_root
from zhllm.text.shapes.record import Converted, FieldError, Options, Unit


def converted(unit: Unit, identity: str, source: str, options: Options) -> Converted:
    """What a unit becomes, named `identity` and from the file `source`; FieldError says why it cannot."""
    convert = _CONVERTERS.get(unit.shape)
    if convert is None:
        raise FieldError("", f"has the shape {unit.shape}, which is not one of {', '.join(_CONVERTERS)}")
    try:
        return convert(unit, identity, source, options)
    except FieldError as error:
        if unit.at:
            raise FieldError(f"{unit.at}{error.field}", error.reason) from error
        raise


def _alpaca(unit: Unit, identity: str, source: str, options: Options) -> Converted:
    return Converted((Chat(identity, alpaca_messages(unit.value), source),))


def _oasst(unit: Unit, identity: str, source: str, options: Options) -> Converted:
    root = oasst_root(unit.value)
    chat = Chat(identity, oasst_messages(root), source)
    return Converted((chat,), tuple(oasst_preferences(root, identity, source)))


_CONVERTERS: dict[str, Callable[[Unit, str, str, Options], Converted]] = {
    "alpaca": _alpaca,
    "oasst": _oasst,
    "oasst-messages": _oasst,
}
