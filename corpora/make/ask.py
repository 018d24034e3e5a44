"""The hand-written ways to ask for one fact."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Ask:
    """One fact's wordings; the first four carry no final mark, `test` is never trained on."""

    noun: str
    wh: str
    first: str
    second: str
    test: str
