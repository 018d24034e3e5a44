"""How a next token is drawn, by the names the field gives the settings, and where text stops.

B sequences of a batch, V vocabulary rows.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zhllm.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

# llama.cpp's default: a penalty looks back on so many tokens.
PENALTY_WINDOW = 64
# llama.cpp's seeds have 32 bits, and the last one asks it for a random seed.
SEEDS = 2**32 - 1
# Beyond these a logit would no longer be a number.
LEAST_REPEAT_PENALTY, MOST_REPEAT_PENALTY = 0.01, 100.0
# What each setting may be: least and most (top_p 0 would leave nothing to draw).
_RANGES = {
    "max_tokens": (1, math.inf), "temperature": (0, 100), "top_p": (0, 1), "top_k": (0, 2**31 - 1), "min_p": (0, 1),
    "repeat_penalty": (LEAST_REPEAT_PENALTY, MOST_REPEAT_PENALTY),
    "presence_penalty": (-100, 100), "frequency_penalty": (-100, 100), "seed": (-math.inf, math.inf),
}  # fmt: skip


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn; temperature 0 takes the likeliest.

    `repeat_penalty` (Keskar et al. 2019) divides the logits of tokens among the last PENALTY_WINDOW;
    `presence_penalty` and `frequency_penalty` (OpenAI's) are taken off for what the answer already holds,
    once or each time. `stop` holds texts at which an answer ends before it shows them.
    """

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ConfigError for a value that no drawing can follow."""
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most or (name == "top_p" and value == 0):  # what is not a number is in no range
                bounds = f"more than 0, at most {most:g}" if name == "top_p" else f"from {least:g} to {most:g}"
                raise ConfigError(f"{name} {value}: must be {f'{least:g} or more' if most == math.inf else bounds}.")

    @property
    def draws_seed(self) -> int:
        """The seed as every engine can take it: from 0, below SEEDS."""
        return self.seed % SEEDS

    @property
    def is_plain(self) -> bool:
        """Whether the likeliest token is taken as the model gives it."""
        penalties = (self.repeat_penalty - 1.0, self.presence_penalty, self.frequency_penalty)
        return self.temperature == 0.0 and not any(penalties)


def draw(logits: Tensor, prompt: Sequence[int], made: Sequence[int], settings: Sampling, generator: Any) -> int:
    """The next id from (V,) float32 logits: penalties, temperature, top-k, top-p, min-p, in llama.cpp's order."""
    import torch

    logits = _penalised(logits, prompt, made, settings)
    if settings.temperature == 0.0:
        return int(logits.argmax())
    logits, ids = logits.sort(descending=True)
    if settings.top_k:
        logits, ids = logits[: settings.top_k], ids[: settings.top_k]
    if settings.top_p < 1.0:
        shares = logits.softmax(-1)
        kept = max(1, int((shares.cumsum(-1) - shares < settings.top_p).sum()))
        logits, ids = logits[:kept], ids[:kept]
    if settings.min_p > 0.0:
        shares = logits.softmax(-1)
        kept = max(1, int((shares >= settings.min_p * shares[0]).sum()))
        logits, ids = logits[:kept], ids[:kept]
    # The likeliest at 0, so that no temperature, however small, makes an infinite logit the largest.
    shares = ((logits - logits[0]).double() / settings.temperature).softmax(-1)
    return int(ids[torch.multinomial(shares.cpu(), 1, generator=generator)])


def _penalised(logits: Tensor, prompt: Sequence[int], made: Sequence[int], settings: Sampling) -> Tensor:
    import torch

    if settings.is_plain:
        return logits
    logits = logits.clone()
    if settings.repeat_penalty != 1.0:
        seen = [*prompt[-PENALTY_WINDOW:], *made][-PENALTY_WINDOW:]
        at = torch.tensor(sorted(set(seen)), device=logits.device)
        found = logits[at]
        logits[at] = torch.where(found > 0, found / settings.repeat_penalty, found * settings.repeat_penalty)
    if made and (settings.presence_penalty or settings.frequency_penalty):
        at = torch.tensor(sorted(set(made)), device=logits.device)
        counts = torch.tensor([made.count(token) for token in at.tolist()], device=logits.device)
        logits[at] -= settings.presence_penalty + settings.frequency_penalty * counts
    return logits


def until_stop(parts: Iterator[str], stops: Sequence[str]) -> Generator[str, None, str | None]:
    """The parts up to the first stop string; what may become one is held back until it is not.

    Returns (as the generator's value) the stop string that was found, or None.
    """
    held = ""
    for part in parts:
        held += part
        found = [(place, stop) for stop in stops if (place := held.find(stop)) >= 0]
        if found:
            place, stop = min(found)
            if place:
                yield held[:place]
            return stop
        ready = len(held) - max((_overlap(held, stop) for stop in stops), default=0)
        if ready:
            yield held[:ready]
            held = held[ready:]
    if held:
        yield held
    return None


def without_tail(parts: Iterator[str], tail: str) -> Iterator[str]:
    """The parts without the `tail` that they may end with; what may be it is held back until it is not."""
    held = ""
    for part in parts:
        held += part
        kept = len(tail) if held.endswith(tail) else _overlap(held, tail)
        if ready := held[: len(held) - kept]:
            yield ready
            held = held[len(ready) :]
    if held and held != tail:
        yield held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
