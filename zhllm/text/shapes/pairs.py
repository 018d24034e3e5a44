"""Two answers of which one is better, and single answers labelled good or bad (KTO), in the shapes people have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from zhllm.text.chats import Preference
from zhllm.text.prompt_format import Message
from zhllm.text.shapes.alpaca import history_of, spoken_turns
from zhllm.text.shapes.conversations import SYSTEMS, content_text, list_key, turns_of
from zhllm.text.shapes.record import Converted, FieldError, Options, Unit, canonical_meta, checked_text, text_of
from zhllm.text.shapes.turns import Turn, prompt_messages

# Better and worse, in the order in which they are looked for.
PAIRS = (
    ("chosen", "rejected"),
    ("response_chosen", "response_rejected"),
    ("chosen_response", "rejected_response"),
    ("response_j", "response_k"),
    ("pos_resp", "neg_resp"),
)
LABELS = ("kto_tag", "label")
_PROMPTS = ("prompt", "instruction", "question", "query", "input")
_TRUE, _FALSE = ("true", "1", "desirable", "good"), ("false", "0", "undesirable", "bad")


def pair_keys(value: Mapping[str, Any]) -> tuple[str, str] | None:
    """The keys of the better and the worse answer, or None."""
    return next((pair for pair in PAIRS if pair[0] in value or pair[1] in value), None)


def preference_converted(unit: Unit, identity: str, source: str, options: Options) -> Converted:
    """The preference of a record; of a list of answers, best first, one for each worse answer."""
    value = unit.value
    repairs: Counter[str] = Counter()
    if isinstance(value.get("output"), list) and pair_keys(value) is None:
        return _ranked(value, identity, source, repairs)
    keys = pair_keys(value) or PAIRS[0]
    if keys[0] in value and keys[1] in value and (value[keys[0]] is None) != (value[keys[1]] is None):
        return _half(value, keys, identity, source, repairs)
    chosen, rejected = (_answer_turns(value, key) for key in keys)
    shared = _shared(chosen, rejected)
    prompt = chosen[:shared] if shared or _is_talk(chosen) else _prompt_turns(value, repairs)
    if shared and prompt[0].role != "system":
        prompt = [*_system_turns(value), *prompt]
    texts = [_last(turns[shared:], key) for turns, key in zip((chosen, rejected), keys, strict=True)]
    given = _pairs(prompt, texts, keys[1], identity, source, repairs, canonical_meta(value))
    return Converted(preferences=given, repairs=repairs)


def _half(value: dict[str, Any], keys: tuple[str, str], identity: str, source: str, repairs: Counter[str]) -> Converted:
    """A record of which one answer is null: the other one was labelled, as in the canonical form."""
    is_good = value[keys[0]] is not None
    answer = _last(_answer_turns(value, keys[not is_good]), keys[not is_good])
    prompt = prompt_messages(_prompt_turns(value, repairs), repairs)
    chosen, rejected = (answer, None) if is_good else (None, answer)
    half = Preference(identity, prompt, chosen, rejected, source, canonical_meta(value))
    return Converted((), (half,), repairs, {"kto_good" if is_good else "kto_bad": 1})


def _pairs(
    prompt: list[Turn],
    texts: list[str],
    field: str,
    identity: str,
    source: str,
    repairs: Counter[str],
    meta: Mapping[str, Any],
) -> tuple[Preference, ...]:
    messages = prompt_messages(prompt, repairs)
    for worse in texts[1:]:
        if worse == texts[0]:
            raise FieldError(field, "is the same as the better answer")
    names = [identity] if len(texts) == 2 else [f"{identity}/{i}" for i in range(1, len(texts))]
    return tuple(
        Preference(name, messages, texts[0], worse, source, meta) for name, worse in zip(names, texts[1:], strict=True)
    )


def _ranked(value: dict[str, Any], identity: str, source: str, repairs: Counter[str]) -> Converted:
    """Alpaca with a list of outputs, the best one first."""
    outputs = value["output"]
    if len(outputs) < 2:
        raise FieldError("output", f"is a list of {len(outputs)}, which makes no pair")
    texts = [_filled(checked_text(text, f"output[{i}]"), f"output[{i}]") for i, text in enumerate(outputs)]
    prompt = _prompt_turns(value, repairs)
    return Converted(preferences=_pairs(prompt, texts, "output[1]", identity, source, repairs, {}), repairs=repairs)


def _answer_turns(value: dict[str, Any], key: str) -> list[Turn]:
    """An answer as turns: a text, a turn, a list of turns, or a whole talk as "Human: ... Assistant: ..."."""
    found = value.get(key)
    if found is None:
        raise FieldError(key, "is missing" if key not in value else "is null")
    if isinstance(found, str):
        talk = [] if _has_prompt(value) else spoken_turns(checked_text(found, key))
        if len(talk) > 1:
            return [Turn(role, _filled(text, key), f"{key}[{i}]") for i, (role, text) in enumerate(talk)]
        return [Turn("assistant", _filled(checked_text(found, key), key), key)]
    items = found if isinstance(found, list) else [found]
    if items and all(isinstance(item, str) for item in items):
        return [Turn("assistant", _filled(checked_text("\n".join(items), key), key), key)]
    if not items or not all(isinstance(item, dict) for item in items):
        raise FieldError(key, "is neither text, nor a turn, nor a list of turns")
    if not any(name in items[0] for name in ("role", "from")):
        text = content_text(items[0].get("content", items[0].get("value")), key)
        return [Turn("assistant", _filled(text, key), key)]
    return turns_of({"messages": items}, Counter())


def _has_prompt(value: dict[str, Any]) -> bool:
    return list_key(value) is not None or any(value.get(key) for key in _PROMPTS)


def _shared(chosen: list[Turn], rejected: list[Turn]) -> int:
    """How many turns both begin with."""
    for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)):
        if (a.role, a.content) != (b.role, b.content):
            return i
    return min(len(chosen), len(rejected)) - (len(chosen) == len(rejected))


def _is_talk(turns: list[Turn]) -> bool:
    return len(turns) > 1


def _last(turns: list[Turn], key: str) -> str:
    if len(turns) != 1 or turns[0].role != "assistant":
        roles = ", ".join(turn.role for turn in turns[:6]) or "none"
        raise FieldError(key, f"is not one turn of the assistant's after what both have in common ({roles})")
    return turns[0].content


def _prompt_turns(value: dict[str, Any], repairs: Counter[str]) -> list[Turn]:
    """What a record says before the answers, in order."""
    prompt = value.get("prompt")
    if isinstance(prompt, list):
        return [*_system_turns(value), *turns_of({"messages": prompt}, repairs)]
    if list_key(value) is not None:
        return turns_of(value, repairs)
    key = next((key for key in _PROMPTS if value.get(key)), None)
    if key is None:
        empty = next((key for key in _PROMPTS if key in value), None)
        raise FieldError(empty or "prompt", "is empty" if empty else f"is missing; keys: {', '.join(list(value)[:8])}")
    asked = text_of(value, key)
    talk = spoken_turns(asked)
    turns = _system_turns(value)
    for i, (question, answer) in enumerate(history_of(value)):
        turns += [Turn("user", question, f"history[{i}]"), Turn("assistant", answer, f"history[{i}]")]
    if talk:
        talk = talk[:-1] if talk[-1] == ("assistant", "") else talk
        return turns + [Turn(role, _filled(text, key), key) for role, text in talk]
    more = text_of(value, "input") if key == "instruction" else ""
    return [*turns, Turn("user", _filled(f"{asked}\n{more}" if more else asked, key), key)]


def _system_turns(value: dict[str, Any]) -> list[Turn]:
    return [Turn("system", text, key) for key in SYSTEMS if (text := text_of(value, key))]


def _filled(text: str, field: str) -> str:
    if not text:
        raise FieldError(field, "is empty")
    return text


def kto_converted(unit: Unit, identity: str, source: str, options: Options) -> Converted:
    """A labelled answer as half a preference: the chosen one where the label is true, else the rejected one."""
    value = unit.value
    repairs: Counter[str] = Counter()
    label = _label(value)
    prompt, answer = _labelled(value, repairs)
    chosen, rejected = (answer, None) if label else (None, answer)
    facts = {"kto_good" if label else "kto_bad": 1}
    return Converted((), (Preference(identity, prompt, chosen, rejected, source),), repairs, facts)


def _labelled(value: dict[str, Any], repairs: Counter[str]) -> tuple[tuple[Message, ...], str]:
    """The messages before the answer, and the answer."""
    key = next((key for key in ("completion", "response", "output", "answer") if value.get(key)), None)
    if key is not None:
        answer = _last(_answer_turns(value, key), key)
        return prompt_messages(_prompt_turns(value, repairs), repairs), answer
    turns = turns_of(value, repairs)
    if turns[-1:] and turns[-1].role != "assistant":
        raise FieldError(turns[-1].at, "is the last turn, but not an answer that the label could be of")
    if not turns:
        raise FieldError(list_key(value) or "messages", "is empty")
    return prompt_messages(turns[:-1], repairs), turns[-1].content


def _label(value: dict[str, Any]) -> bool:
    key = next((key for key in LABELS if key in value), None)
    if key is None:
        raise FieldError("label", "is missing")
    written = str(value[key]).strip().lower()
    if written not in (*_TRUE, *_FALSE):
        raise FieldError(key, f"is {str(value[key])[:40]!r}, neither {', '.join(_TRUE)} nor {', '.join(_FALSE)}")
    return written in _TRUE
