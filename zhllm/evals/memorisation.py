"""What a model memorised: canaries that `clean` planted, extracted by greedy writing and ranked among random ones.

Source: Carlini et al. 2019, "The Secret Sharer". Exposure is log2(R) - log2(rank) over a space of R secrets,
estimated from K random ones (their section 4.4): log2((K + 1) / rank among them and the secret itself), so it ends
at log2(K + 1). Canaries of another series, which no training text holds, show what chance gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from random import Random

from zhllm.errors import DataError
from zhllm.evals.likelihood import Ask, Scorer
from zhllm.text.clean.canaries import Canary, canaries_of, secret, secret_bits

# Secrets in one row of the model: a wider row would hold more logits than a small machine has memory for.
ROW_SECRETS = 32
# Canaries in one call.
CALL_CANARIES = 16
# Beside fewer controls the share that chance gives would be hardly known.
MIN_CONTROLS = 30


@dataclass(frozen=True)
class Ranked:
    """Where a secret stands among random ones by likelihood (1 is the likeliest), and what that exposes in bits.

    `tokens` is how many it is cut into, `candidate_tokens` how many the random ones are on average.
    """

    rank: float
    candidates: int
    tokens: int = 0
    candidate_tokens: float = 0.0

    @property
    def exposure_bits(self) -> float:
        """log2((K + 1) / rank)."""
        return math.log2((self.candidates + 1) / self.rank)


def controls_for(canaries: Sequence[Canary]) -> list[Canary]:
    """As many canaries of both kinds that were never planted, at least MIN_CONTROLS; `repeats` says nothing there."""
    found = canaries_of(max(len(canaries), MIN_CONTROLS), (1,), 0, "control")
    return [replace(canary, id=f"control-{number:05d}") for number, canary in enumerate(found)]


def is_extracted(canary: Canary, continuation: str) -> bool:
    """Whether a model wrote the whole secret next behind the sentence; a space before it hides nothing."""
    return continuation.lstrip().startswith(canary.secret)


def chance_exposure_bits(candidates: int) -> float:
    """The mean exposure of a secret that is like any other: every rank as likely (1.42 for 255, 1.44 in the limit)."""
    count = candidates + 1
    return math.log2(count) - sum(math.log2(rank) for rank in range(1, count + 1)) / count


def rank_secrets(
    scorer: Scorer,
    canaries: Sequence[Canary],
    candidates: int,
    on_ranked: Callable[[int], None] = lambda count: None,
) -> list[Ranked]:
    """The rank of each canary's secret among `candidates` random ones of its kind, by their log-likelihoods.

    The random ones depend on the canary only; of equally likely ones the middle rank counts. Raises DataError where
    one of them does not fit the model.
    """
    found: list[Ranked] = []
    for start in range(0, len(canaries), CALL_CANARIES):
        some = canaries[start : start + CALL_CANARIES]
        rows = [asks_for(scorer, canary, candidates) for canary in some]
        scores = iter(scorer.score([ask for asks in rows for ask in asks]))
        for asks in rows:
            nats = [value for _ in asks for value in next(scores)]
            sizes = [len(option) - ask.border for ask in asks for option in ask.options]
            found.append(_ranked(nats, sizes))
        on_ranked(len(some))
    return found


def asks_for(scorer: Scorer, canary: Canary, candidates: int) -> list[Ask]:
    """Rows of at most ROW_SECRETS secrets behind the canary's sentence, its own first; all scored from one border."""
    secrets = [canary.secret, *_others(canary, candidates)]
    ids = scorer.encode([canary.prefix, *(canary.prefix + text for text in secrets)])
    border = max(1, min(len(commonprefix([ids[0], option])) for option in ids[1:]))
    options = [tuple(option) for option in ids[1:]]
    if (longest := max(map(len, options))) - 1 > scorer.context:
        raise DataError(
            f"canary {canary.id} ({canary.prefix[:12]}...) takes up to {longest} tokens with a secret of its kind, and "
            f"the model reads {scorer.context}. Score a model that reads more."
        )
    return [Ask(tuple(options[i : i + ROW_SECRETS]), border) for i in range(0, len(options), ROW_SECRETS)]


def _others(canary: Canary, count: int) -> list[str]:
    """Different secrets of the same kind, none of them the canary's."""
    if count >= 2 ** secret_bits(canary.kind) / 2:
        raise ValueError(f"{count} are not few among the secrets of {canary.kind}.")
    rng = Random(f"zhllm candidates {canary.prefix}")
    found: dict[str, None] = {}
    while len(found) < count:
        if (drawn := secret(canary.kind, rng)) != canary.secret:
            found[drawn] = None
    return list(found)


def _ranked(nats: Sequence[float], sizes: Sequence[int]) -> Ranked:
    """The rank of the first of the secrets."""
    own, others = nats[0], nats[1:]
    likelier = sum(value > own for value in others)
    rank = 1 + likelier + sum(value == own for value in others) / 2
    return Ranked(rank, len(others), sizes[0], sum(sizes[1:]) / len(others))
