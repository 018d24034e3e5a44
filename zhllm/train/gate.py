"""The forgetting gate: how much worse a retained set may become while the target is learnt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zhllm.errors import ConfigError

if TYPE_CHECKING:
    from zhllm.train.tally import Record

_GATE = re.compile(r"^(?P<set>[\w.-]+):\+?(?P<percent>\d+(\.\d+)?)%$")


@dataclass(frozen=True)
class Gate:
    """`retained` may not exceed `before` by more than `share`; among what holds that, the lowest `target` is best.

    Both name numbers of a validation record: bits per character, in which less is better.
    """

    retained: str
    target: str
    share: float
    before: float
    stops: bool

    @property
    def limit(self) -> float:
        """The highest value of `retained` that holds the gate."""
        return self.before * (1 + self.share)

    def holds(self, record: Record) -> bool:
        """Whether a validation record is within the limit."""
        return float(record[self.retained]) <= self.limit


def parse_gate(text: str) -> tuple[str, float]:
    """`en:+3%` as ("en", 0.03); raises ConfigError for anything else."""
    match = _GATE.match(text)
    if match is None:
        raise ConfigError(f"--gate {text}: is not SET:+PERCENT%, as in en:+3%.")
    return match["set"], float(match["percent"]) / 100
