"""Log-likelihoods of answers, with what they have in common computed once.

The tokens that all questions of a call begin with (instruction, worked examples) go through the model once; each
question then is one row in which every option is a branch behind the same question: it sees the question and
itself, not the other options. Source: tree attention as in SpecInfer (Miao et al. 2023). B rows, P shared tokens,
C columns of questions (padded on the left), R columns of branches (padded on the right), V vocabulary rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from os.path import commonprefix
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

# Limits of one forward pass: cached positions of all rows (a 7B holds 0.5 MB for each), logits, cells of the mask.
MAX_POSITIONS, MAX_LOGITS, MAX_MASK = 16_384, 48_000_000, 32_000_000
# Logits that are made float32 at once.
SOFTMAX_CELLS = 16_000_000


@dataclass(frozen=True)
class Ask:
    """A question with its options as whole token sequences; those from index `border` on are scored.

    `name` is what an error about it begins with.
    """

    options: tuple[tuple[int, ...], ...]
    border: int
    name: str = field(default="", compare=False)

    @property
    def context(self) -> tuple[int, ...]:
        """The tokens before the answer."""
        return self.options[0][: self.border]

    @property
    def branches(self) -> list[tuple[int, ...]]:
        """The tokens of each option that must be read: the last one is only predicted."""
        return [option[self.border : -1] for option in self.options]


class Answer(NamedTuple):
    """The natural-log likelihood of an option, whether each of its tokens is the likeliest where it stands, and,
    where the scorer tells it, the log-likelihood of each token."""

    nats: float
    is_likeliest: bool
    of_tokens: tuple[float, ...] = ()


class Scorer(Protocol):
    """A model that gives log-likelihoods; `context` is how many tokens it reads at most."""

    context: int
    tokens_computed: int

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of plain texts as the model reads them from the beginning (BOS where it has one)."""

    def score(self, asks: Sequence[Ask]) -> list[list[float]]:
        """For each question the natural-log likelihood of each option's tokens from the border on."""

    def judge(self, asks: Sequence[Ask]) -> list[list[Answer]]:
        """The same, and whether the model itself would have written the option."""


def ask_of(context: Sequence[int], options: Sequence[Sequence[int]], name: str = "") -> Ask:
    """A question from the ids of its text alone and with each option behind it, encoded as a whole.

    The border is where the texts part: where a token straddles the end of the context it is scored with the
    option, so that what is compared is always the tokens that really follow.
    """
    whole = tuple(tuple(option) for option in options)
    border = min(len(commonprefix([list(context), list(option)])) for option in whole)
    return Ask(whole, max(1, min(border, min(map(len, whole)) - 1)), name)


class TorchScorer:
    """A transformers causal LM as a Scorer; `before_forward` is told the number of rows of each pass."""

    def __init__(
        self,
        model: Any,
        encode: Callable[[Sequence[str]], list[list[int]]],
        before_forward: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self.model, self.encode, self.before_forward = model, encode, before_forward
        self.context = int(model.config.max_position_embeddings)
        self.tokens_computed = 0

    def score(self, asks: Sequence[Ask]) -> list[list[float]]:
        """For each question the natural-log likelihood of each option's tokens from the border on."""
        return [[answer.nats for answer in row] for row in self.judge(asks)]

    def judge(self, asks: Sequence[Ask]) -> list[list[Answer]]:
        """The same, and whether the model itself would have written the option."""
        if not asks:
            return []
        shared = min(len(commonprefix([a.context[:-1] for a in asks])), *(a.border - 1 for a in asks))
        found: dict[int, list[Answer]] = {}
        with torch.inference_mode():
            prefix = self._read(asks[0].context[:shared])
            for indices in self._batches(asks, shared):
                batch = [asks[i] for i in indices]
                found |= dict(zip(indices, self._score(batch, shared, prefix), strict=True))
        return [found[i] for i in range(len(asks))]

    def _read(self, ids: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the shared tokens by layer, (1, heads, P, size) each."""
        if not ids:
            return []
        self.before_forward(1)
        self.tokens_computed += len(ids)
        rows = torch.tensor([list(ids)], device=self.model.device)
        out = self.model(input_ids=rows, use_cache=True, logits_to_keep=1)
        return [(layer.keys, layer.values) for layer in out.past_key_values.layers]

    def _batches(self, asks: Sequence[Ask], shared: int) -> Iterator[list[int]]:
        """Rows of like length together, as many as the limits allow."""
        sizes = [(a.border - shared, sum(map(len, a.branches))) for a in asks]
        vocabulary = int(self.model.config.vocab_size)
        batch: list[int] = []
        columns = branches = 0
        for index in sorted(range(len(asks)), key=lambda i: (sum(sizes[i]), i)):
            c, r, rows = max(columns, sizes[index][0]), max(branches, sizes[index][1]), len(batch) + 1
            is_full = (
                rows * (shared + c + r) > MAX_POSITIONS
                or rows * (r + 1) * vocabulary > MAX_LOGITS
                or rows * (c + r) * (shared + c + r) > MAX_MASK
            )
            if batch and is_full:
                yield batch
                batch, (c, r) = [], sizes[index]
            batch.append(index)
            columns, branches = c, r
        yield batch

    def _score(self, asks: list[Ask], shared: int, prefix: list[tuple[Tensor, Tensor]]) -> list[list[Answer]]:
        from transformers import DynamicCache

        ids, positions, seen = _rows(asks, shared)
        self.tokens_computed += sum(a.border - shared + sum(map(len, a.branches)) for a in asks)
        device, dtype = self.model.device, self.model.dtype
        mask = torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
        cache = DynamicCache([(k.expand(len(asks), -1, -1, -1), v.expand(len(asks), -1, -1, -1)) for k, v in prefix])
        first = max(a.border for a in asks) - shared - 1
        self.before_forward(len(asks))
        out = self.model(
            input_ids=ids.to(device), position_ids=positions.to(device), attention_mask=mask[:, None].to(device),
            past_key_values=cache if prefix else None, use_cache=bool(prefix),
            logits_to_keep=torch.arange(first, ids.shape[1], device=device),
        )  # fmt: skip
        return [_answers(row, ask) for row, ask in zip(out.logits, asks, strict=True)]


def _rows(asks: Sequence[Ask], shared: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids and positions (B, C + R), and which columns each column sees, (B, C + R, P + C + R) bool."""
    columns = max(a.border for a in asks) - shared
    width = columns + max(sum(map(len, a.branches)) for a in asks)
    ids = torch.zeros(len(asks), width, dtype=torch.long)
    positions = torch.zeros_like(ids)
    seen = torch.zeros(len(asks), width, shared + width, dtype=torch.bool)
    seen[:, :, :shared] = True
    seen[:, range(width), range(shared, shared + width)] = True  # padding must see something
    for row, ask in enumerate(asks):
        start = columns - (ask.border - shared)
        ids[row, start:columns] = torch.tensor(ask.context[shared:])
        positions[row, start:columns] = torch.arange(shared, ask.border)
        own = seen[row, :, shared:]
        own[start:columns, start:columns] = torch.ones(columns - start, columns - start, dtype=torch.bool).tril()
        at = columns
        for branch in ask.branches:
            end = at + len(branch)
            if branch:
                ids[row, at:end] = torch.tensor(branch)
                positions[row, at:end] = torch.arange(ask.border, ask.border + len(branch))
                own[at:end, start:columns] = True
                own[at:end, at:end] = torch.ones(len(branch), len(branch), dtype=torch.bool).tril()
            at = end
    return ids, positions, seen


def _answers(logits: Tensor, ask: Ask) -> list[Answer]:
    """What is found of each option in (1 + R, V): first what follows the question, then the branches."""
    places: list[int] = []
    tokens: list[int] = []
    sizes, at = [], 1
    for option, branch in zip(ask.options, ask.branches, strict=True):
        places += [0, *range(at, at + len(branch))]
        tokens += option[ask.border :]
        sizes.append(len(branch) + 1)
        at += len(branch)
    used = sorted(set(places))
    step = max(1, SOFTMAX_CELLS // logits.shape[1])
    total: dict[int, float] = {}
    best: dict[int, int] = {}
    for own in (used[i : i + step] for i in range(0, len(used), step)):
        block = logits[own].float()
        total |= dict(zip(own, block.logsumexp(-1).tolist(), strict=True))
        best |= dict(zip(own, block.argmax(-1).tolist(), strict=True))
    picked = logits[places, tokens].float().tolist()
    each = iter([(p - total[at], best[at] == t) for p, at, t in zip(picked, places, tokens, strict=True)])
    found = [list(islice(each, size)) for size in sizes]
    return [
        Answer(sum(nats for nats, _ in row), all(likeliest for _, likeliest in row), tuple(nats for nats, _ in row))
        for row in found
    ]
