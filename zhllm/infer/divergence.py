"""How far one model's next-token probabilities are from another's, without ever holding all logits.

Both heads are gone through in blocks of vocabulary rows; what a token's numbers need is summed up on the way.
T tokens (positions that predict), V vocabulary rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from zhllm.infer.streamed import StreamedModel, Weights


@dataclass
class _Side:
    """One model's running log-sum-exp, likeliest token, and logit of the token that really follows; each (T,)."""

    highest: Tensor
    total: Tensor
    best: Tensor
    target: Tensor

    @classmethod
    def of(cls, tokens: int) -> _Side:
        lowest = torch.full((tokens,), -math.inf, dtype=torch.float64)
        return cls(lowest, torch.zeros_like(lowest), torch.zeros(tokens, dtype=torch.long), lowest.clone())

    def add(self, logits: Tensor, first: int, targets: Tensor) -> Tensor:
        """Take a block of logits (T, rows) in; gives the factor by which earlier sums are to be scaled."""
        block, at = logits.max(dim=1)
        is_higher = block > self.highest
        self.best = torch.where(is_higher, at + first, self.best)
        highest = torch.maximum(block, self.highest)
        factor = (self.highest - highest).exp()
        self.total = self.total * factor + (logits - highest[:, None]).exp().sum(1)
        self.highest = highest
        inside = (targets >= first) & (targets < first + logits.shape[1])
        self.target[inside] = logits[inside, targets[inside] - first]
        return factor

    @property
    def log_total(self) -> Tensor:
        return self.highest + self.total.log()


@dataclass(frozen=True)
class Divergence:
    """Of T tokens: KL(source || file) in nats, whether both find the same token likeliest, and the real next
    token's negative log-probability in nats in source and file (NaN where no token follows)."""

    kl: Tensor
    same_best: Tensor
    nats_source: Tensor
    nats_file: Tensor
    margin: Tensor = field(repr=False)  # of the file: the likeliest token's logit above the real next token's

    def figures(self, chars: int) -> dict[str, float]:
        """What the report says of them; `chars` are the characters of the texts."""
        known = ~self.nats_file.isnan()
        nats = float(self.nats_file[known].sum())
        change = self.nats_file[known].neg().exp() - self.nats_source[known].neg().exp()
        found = {
            "kl_mean": float(self.kl.mean()),
            "kl_p99": float(self.kl.quantile(0.99)),
            "kl_max": float(self.kl.max()),
            "top1_agreement": float(self.same_best.double().mean()),
            "bits_per_token": nats / math.log(2) / int(known.sum()),
            "rms_delta_p": float(change.square().mean().sqrt()),
        }
        return found | ({"bits_per_char": nats / math.log(2) / chars} if chars else {})

    def first(self, tokens: int) -> Divergence:
        """The same of the first tokens."""
        parts = (self.kl, self.same_best, self.nats_source, self.nats_file, self.margin)
        return Divergence(*(part[:tokens] for part in parts))


def divergence(
    model: StreamedModel, targets: Tensor, source: tuple[Tensor, Weights], file: tuple[Tensor, Weights], rows: int
) -> Divergence:
    """Compare two models' hidden states (T, H) and heads of `rows` rows; `targets` (T,), -1 where none follows."""
    tokens = len(targets)
    a, b, weighted = _Side.of(tokens), _Side.of(tokens), torch.zeros(tokens, dtype=torch.float64)
    for block in model.vocabulary(rows):
        one, other = (model.logits(hidden, weights, block).double().cpu() for hidden, weights in (source, file))
        factor = a.add(one, block.start, targets)
        b.add(other, block.start, targets)
        # Sum over the vocabulary of exp(a - highest a) (a - b); 0 times infinity is nothing.
        weighted = weighted * factor.nan_to_num() + ((one - a.highest[:, None]).exp() * (one - other)).sum(1)
    kl = (weighted / a.total - a.log_total + b.log_total).clamp(min=0)
    none = targets < 0
    before, after = (torch.where(none, math.nan, side.log_total - side.target) for side in (a, b))
    return Divergence(kl, a.best == b.best, before, after, b.highest - b.target)


def nats_of(model: StreamedModel, targets: Tensor, hidden: Tensor, weights: Weights, rows: int) -> Tensor:
    """(T,) negative log-probability of each target (T,) after the hidden state (T, H); NaN where it is -1."""
    side = _Side.of(len(targets))
    for block in model.vocabulary(rows):
        side.add(model.logits(hidden, weights, block).double().cpu(), block.start, targets)
    return torch.where(targets < 0, math.nan, side.log_total - side.target)


def targets_of(ids: Sequence[Sequence[int]]) -> Tensor:
    """The token that follows each token of each row, -1 after the last."""
    return torch.tensor([follows for row in ids for follows in (*row[1:], -1)])
