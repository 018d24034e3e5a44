"""Turns in whatever order a file has them to messages in the canonical one; what is mended is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from zhllm.text.prompt_format import Message
from zhllm.text.shapes.record import FieldError


@dataclass(slots=True)
class Turn:
    """What a role of the canonical ones says, and the path of it in the record; weight 0 is not learnt."""

    role: str
    content: str
    at: str
    weight: int = 1

    def message(self) -> Message:
        """The turn as a canonical message."""
        plain = {"role": self.role, "content": self.content}
        return plain if self.weight else plain | {"weight": 0}


def chat_messages(turns: Sequence[Turn], repairs: Counter[str]) -> tuple[Message, ...]:
    """Turns as the messages of a chat, a last question without an answer dropped; FieldError where there is none."""
    ordered = _ordered(turns, repairs)
    if ordered and ordered[-1].role == "user":
        ordered.pop()
        repairs["dropped_last_questions"] += 1
    answers = [turn for turn in ordered if turn.role == "assistant"]
    if not answers:
        raise FieldError(_top(turns), "holds no answer of an assistant to a user")
    if not any(turn.weight for turn in answers):
        raise FieldError(_top(turns), "every turn of the assistant has weight 0: nothing is to be learnt")
    return tuple(turn.message() for turn in ordered)


def prompt_messages(turns: Sequence[Turn], repairs: Counter[str]) -> tuple[Message, ...]:
    """Turns as what two answers are answers to; FieldError where a user does not have the last word."""
    ordered = _ordered(turns, repairs)
    if not ordered or ordered[-1].role != "user":
        raise FieldError(_top(turns), "does not end with a user's turn, so there is nothing to answer")
    return tuple({"role": turn.role, "content": turn.content} for turn in ordered)


def _top(turns: Sequence[Turn]) -> str:
    """The path of the list that the turns are of."""
    return turns[-1].at.partition("[")[0] if turns else ""


def _ordered(turns: Sequence[Turn], repairs: Counter[str]) -> list[Turn]:
    """Perhaps one of the system, then user and assistant in turn, beginning with a user's."""
    ordered: list[Turn] = []
    for turn in turns:
        if ordered and ordered[-1].role == turn.role:
            ordered[-1] = _joined(ordered[-1], turn)
            repairs["joined_turns"] += 1
        elif turn.role == "system" and ordered:
            raise FieldError(turn.at, "is a turn of the system's that is not the first")
        else:
            ordered.append(turn)
    first = 1 if ordered and ordered[0].role == "system" else 0
    if len(ordered) > first and ordered[first].role == "assistant":
        del ordered[first]
        repairs["dropped_greetings"] += 1
    return ordered


def _joined(a: Turn, b: Turn) -> Turn:
    if a.weight != b.weight:
        raise FieldError(b.at, f"follows a turn of the same role with another weight ({a.weight}, {b.weight})")
    return Turn(a.role, f"{a.content}\n{b.content}", a.at, a.weight)
