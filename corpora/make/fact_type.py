"""The record that holds one fact about the invented company."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """One fact: `value` is the short answer, `sentence` the full one that contains it."""

    id: str
    topic: str
    entity: str
    attribute: str
    value: str
    sentence: str
    source: str
