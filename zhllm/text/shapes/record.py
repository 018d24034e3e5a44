"""What all shapes share: a unit of a file, what becomes of it, and what a field must be to be taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import orjson

from zhllm.text.chats import Chat, Preference
from zhllm.text.read.json_values import kind_of_value

Shape = Literal[
    "alpaca",
    "oasst",
    "oasst-messages",
    "sharegpt",
    "messages",
    "moss",
    "squad",
    "qa",
    "text",
    "table",
    "preference",
    "kto",
]
Format = Literal["auto"] | Shape


class FieldError(ValueError):
    """A record that cannot be converted: `field` is the path of what is wrong."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


@dataclass(slots=True)  # not frozen: that takes four times as long to make
class Unit:
    """The smallest piece of a file that stands for itself: a record, a tree, a question, a row.

    `line` is where it begins, from 1; `count` the records of the file it is made of (the messages of a flat
    tree); `at` the path of the unit within its record, which precedes the field in every FieldError.
    """

    line: int
    value: dict[str, Any]
    shape: Shape
    count: int = 1
    at: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """How shapes are converted, where there is a choice.

    Of an OASST tree the "best" ranked path becomes a chat, or "all" paths do. `columns` names those of tables,
    as (role, name). The refusals answer a question that its paragraph does not.
    """

    oasst_paths: Literal["best", "all"] = "best"
    columns: tuple[tuple[str, str], ...] = ()
    refusal_zh: str = "根据所给材料无法回答这个问题。"
    refusal_zh_hant: str = "根據所給材料無法回答這個問題。"
    refusal_en: str = "The passage does not answer this question."


_NOTHING: Mapping[str, int] = MappingProxyType({})


class Converted(NamedTuple):
    """What a unit gave; `repairs` counts what was mended in it, `facts` what it held, both by name."""

    chats: Sequence[Chat] = ()
    preferences: Sequence[Preference] = ()
    repairs: Mapping[str, int] = _NOTHING
    facts: Mapping[str, int] = _NOTHING


_IDENTITIES = ("id", "message_tree_id", "conversation_id", "prompt_id", "message_id")
_NAMING = frozenset(_IDENTITIES)


def identity_of(value: Mapping[str, Any], otherwise: str) -> str:
    """The id that a record gives itself, else what it is called otherwise."""
    for key in () if _NAMING.isdisjoint(value) else _IDENTITIES:
        if key in value:
            found = value[key]
            if isinstance(found, str | int) and found != "":
                name = str(found)
                return name if name.isascii() or _is_writable(name) else otherwise
    return otherwise


def _is_writable(value: Any) -> bool:
    """Whether a value can be written as JSON: no lone surrogate, no whole number beyond 64 bits."""
    try:
        orjson.dumps(value)
    except TypeError:
        return False
    return True


_CANONICAL = frozenset(("id", "messages", "prompt", "chosen", "rejected", "source", "meta"))


def canonical_meta(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `meta` of a record that is canonical already (`synth` writes such), else nothing."""
    meta = value.get("meta")
    if not isinstance(meta, dict) or not value.keys() <= _CANONICAL:
        return {}
    if not _is_writable(meta):
        raise FieldError("meta", "holds a lone surrogate or a number beyond 64 bits")
    return meta


# ISO 639-1, and two codes of ISO 639-3 that Chinese data has.
_CODES = (
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee "
    "el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is "
    "it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms "
    "mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk "
    "sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi "
    "yo za zh zu yue wuu"
)
LANGUAGES = frozenset(_CODES.split())


def is_language(code: str) -> bool:
    """Whether a code names a language: zh, zh-TW, zh_Hant, pt-BR."""
    return code.lower().replace("_", "-").partition("-")[0] in LANGUAGES


def language_matches(record: Mapping[str, Any], language: str) -> bool:
    """Whether a record is of a language: `zh` takes zh-CN and zh_TW; a record that names none is taken."""
    prompt = record.get("prompt")
    found = (prompt if isinstance(prompt, dict) else record).get("lang")
    if not isinstance(found, str):
        return True
    wanted, found = language.lower().replace("_", "-"), found.lower().replace("_", "-")
    return found == wanted or found.startswith(wanted + "-")


def text_of(value: Mapping[str, Any], field: str, at: str = "") -> str:
    """A text field without surrounding space; "" where it is missing or null."""
    found = value.get(field)
    return checked_text(found, at + field) if found else ""


def checked_text(text: Any, field: str) -> str:
    """The text without surrounding space; FieldError where it is none, or cannot be written as UTF-8."""
    if not isinstance(text, str):
        raise FieldError(field, f"is {kind_of_value(text)}, not text")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise FieldError(field, f"holds a lone surrogate at character {error.start}") from error
    return text.strip()
