"""The table of findings: what the linter looks for, what it mends, what is dropped; help and docs come from here."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One finding in one record: its name (a key of FINDINGS), and where and what."""

    name: str
    detail: str


class Rule(NamedTuple):
    """What a finding means; `drops`: such records are dropped by default; `mends`: the text is put right."""

    line: str
    drops: bool = False
    mends: bool = False


FINDINGS: dict[str, Rule] = {
    "empty-turn": Rule(
        "a turn without a letter, digit or emoji, or only a word for nothing (nan, <noinput>)", drops=True
    ),
    "role-order": Rule("the roles do not take turns, or the chat does not end with an answer", drops=True),
    "repeated-turn": Rule(
        "an answer says the question again, or a long answer of before; a pair of equal answers", drops=True
    ),
    "truncated": Rule("an answer ends in the middle: an open code block, a comma, a sentence without its end"),
    "identity": Rule("an answer claims to be another assistant, or of another maker", mends=True),
    "identity-left": Rule("another assistant's name would be left after the rewriting", drops=True),
    "placeholder": Rule("a name or a maker is not filled in: {{name}}, {{author}}, <NAME>, <AUTHOR>", mends=True),
    "pii": Rule("personal data", mends=True),
    "contaminated": Rule("a text of an evaluation file", drops=True),
    "too-long": Rule("more tokens than the sequence length"),
    "language": Rule("not in the language asked for"),
    "language-switch": Rule("an answer in another language than its question, which asks for none"),
    "special-token": Rule("a control token or the frame of a prompt format, spelt out", mends=True),
    "garbled": Rule("characters of a broken encoding, of private use, or control characters", mends=True),
}

DROPPED = frozenset(name for name, rule in FINDINGS.items() if rule.drops)
