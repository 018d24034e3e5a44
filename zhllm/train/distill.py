"""Input rows for new pieces, fitted so that the base reads a piece as it reads the piece's sub-tokens.

Source: Dobler, Elliott and de Melo 2025, "Token Distillation: Attention-aware Input Embeddings for
New Tokens". The base is its own teacher: it reads a text once in its own tokens and once in the
extended ones, and the squared distance between its hidden states at the token ends is what falls.

B windows, S extended tokens and T base tokens in the longest (the start token counted), M extended
tokens in all, H hidden size, N new rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from zhllm.errors import DataError
from zhllm.model.embeddings import moments
from zhllm.model.llama import EMBED
from zhllm.model.tensors import F32, Checkpoint, to_f32
from zhllm.train.batch import Ids

Window = NDArray[np.int32]

WINDOW_TOKENS = 128  # base tokens a window at most
WINDOWS_PER_STEP = 16
# Adam's rate in standard deviations of the base's embeddings, since models differ in these. With the
# 4-layer base of tests/bench/init_methods.py, 5 places a piece, the held-out error 0.566 fell to 0.387
# at 0.01, 0.303 at 0.03, 0.250 at 0.1 and 0.237 at 0.3, where the rows had grown to twice their length.
RATE = 0.1
# A step is as long for a row that comes late as for one that comes first when 1 - b2 = (1 - b1)^2.
BETAS = (0.9, 0.99)
# How often a piece that stands in no window is read on its own. Rows fitted so and in no other way left
# a held-out error of 0.481.
READINGS_ALONE = 5


@dataclass(frozen=True)
class Added:
    """What the added ids stand for: id `first + k` for the base ids `sub_ids[k]` ([]: no text)."""

    first: int
    sub_ids: Sequence[Sequence[int]]

    def base_ids(self, token: int) -> Sequence[int]:
        """The base ids of one id."""
        return self.sub_ids[token - self.first] if token >= self.first else (token,)


def cut(ids: Sequence[int], added: Added, limit: int) -> Iterator[Window]:
    """A document's consecutive windows, each of at most `limit` base tokens (or of one extended token)."""
    window: list[int] = []
    filled = 0
    for token in ids:
        size = len(added.base_ids(token))
        if window and filled + size > limit:
            yield np.asarray(window, np.int32)
            window, filled = [], 0
        window.append(token)
        filled += size
    if window:
        yield np.asarray(window, np.int32)


def choose_windows(
    documents: Iterable[Sequence[int]], added: Added, per_piece: int, limit: int = WINDOW_TOKENS
) -> tuple[list[Window], Counter[int]]:
    """The windows that show a piece which fewer than `per_piece` chosen places show, and each added id's count.

    Documents come as extended ids. A text in which every piece is frequent needs few windows, so the
    work grows with the pieces, not with the text.
    """
    seen: Counter[int] = Counter()
    chosen = []
    for ids in documents:
        for window in cut(ids, added, limit):
            pieces = window[window >= added.first].tolist()
            if any(seen[piece] < per_piece for piece in pieces):
                chosen.append(window)
                seen.update(pieces)
    return chosen, seen


@dataclass(frozen=True)
class Reading:
    """Windows as both tokenisations: `extended` (B, S) and `base` (B, T) ids, where both end, and what counts.

    The base token with which extended token (b, s) ends is (b, ends[b, s]). `counts` (B, S) leaves
    out the start token and padding.
    """

    extended: Ids
    base: Ids
    ends: Ids
    counts: NDArray[np.bool_]


def read_twice(windows: Sequence[Window], added: Added, start_id: int) -> Reading:
    """The windows side by side, a start token before each, padding behind."""
    parts = [[added.base_ids(token) for token in window.tolist()] for window in windows]
    longest = [max(map(len, windows)) + 1, max(sum(map(len, row)) for row in parts) + 1]
    extended, base = (np.full((len(windows), length), start_id, np.int64) for length in longest)
    ends = np.zeros_like(extended)
    for row, (window, ids) in enumerate(zip(windows, parts, strict=True)):
        extended[row, 1 : len(window) + 1] = window
        ends[row, 1 : len(window) + 1] = np.cumsum([len(part) for part in ids])
        flat = [i for part in ids for i in part]
        base[row, 1 : len(flat) + 1] = flat
    return Reading(extended, base, ends, ends > 0)


class FirstLayers:
    """The first layers of a base model, frozen; of its embeddings only the rows asked for are read."""

    def __init__(self, folder: Path, layers: int, added: Added, start_id: int, device: torch.device) -> None:
        """Reads nothing of the later layers. Raises DataError for a model that is not built like Llama."""
        self.added, self.start_id, self.device = added, start_id, device
        base = Checkpoint(folder)
        self.matrix, self.dtype = base.raw(EMBED), base.specs[EMBED].dtype
        self.model = _without_embeddings(folder, layers)
        with torch.no_grad():
            for name, value in self.model.named_parameters():
                if name != "embed_tokens.weight":
                    value.copy_(torch.from_numpy(np.array(base.f32(f"model.{name}"))))
        self.model.to(device).eval().requires_grad_(False)

    def base_rows(self, ids: Ids) -> Tensor:
        """(..., H) rows of base ids; an added id gives the last base row, in whose place its own is put."""
        rows = to_f32(self.matrix[np.minimum(ids, self.added.first - 1)], self.dtype)
        return torch.from_numpy(rows).to(self.device)

    def hidden(self, embeddings: Tensor) -> Tensor:
        """(B, T, H) states behind the last of the layers, before any norm.

        No attention mask: each token sees those before it, and padding stands behind all.
        """
        states: Tensor = self.model(inputs_embeds=embeddings, use_cache=False).last_hidden_state
        return states

    def distances(self, windows: Sequence[Window], rows: Tensor) -> tuple[Tensor, Tensor]:
        """(M,) squared distances of the states with these (N, H) rows from the base's, and (M,) squares of those."""
        reading = read_twice(windows, self.added, self.start_id)
        extended, ends, counts = (
            torch.from_numpy(part).to(self.device) for part in (reading.extended, reading.ends, reading.counts)
        )
        embeddings = self.base_rows(reading.extended)
        new = extended >= self.added.first
        embeddings[new] = functional.embedding(extended[new] - self.added.first, rows, sparse=True)
        states = self.hidden(embeddings)
        with torch.no_grad():
            wanted = self.hidden(self.base_rows(reading.base)).gather(1, ends[..., None].expand_as(states))
        difference = (states - wanted)[counts]
        return difference.square().sum(dim=-1), wanted[counts].square().sum(dim=-1)

    def error(self, windows: Sequence[Window], rows: F32) -> float:
        """Squared distance over all tokens of the windows, as a share of the base's own squares."""
        table, distance, size = torch.from_numpy(rows).to(self.device), 0.0, 0.0
        with torch.no_grad():
            for start in range(0, len(windows), WINDOWS_PER_STEP):
                part = self.distances(windows[start : start + WINDOWS_PER_STEP], table)
                distance, size = distance + float(part[0].sum()), size + float(part[1].sum())
        return distance / size


def _without_embeddings(folder: Path, layers: int) -> Any:
    """The decoder of so many layers, weights unset, with neither embeddings nor a last norm."""
    from transformers import AutoConfig, AutoModel
    from transformers.initialization import no_init_weights

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        config.num_hidden_layers, config.vocab_size, config.pad_token_id = layers, 1, None
        with no_init_weights():
            model = AutoModel.from_config(config, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: transformers cannot open it: {str(error).splitlines()[0]}") from error
    model.norm = nn.Identity()
    return model


def fit_rows(
    layers: FirstLayers, start: F32, windows: Sequence[Window], seed: int, on_step: Callable[[int, float], None]
) -> F32:
    """(N, H) rows, from `start`: each window is read once, in a seeded order, at a rate that falls to zero.

    Adam touches only the rows a step reads; the others are bit for bit those of `start`. `on_step`
    is told the windows read and their error. Same seed, same bytes (on the same CPU).
    """
    rows = nn.Parameter(torch.from_numpy(start.copy()).to(layers.device))
    deviation = moments(layers.matrix[: layers.added.first], layers.dtype)[1]
    rate = RATE * float(np.sqrt(np.square(deviation).mean()))
    optimizer = torch.optim.SparseAdam([rows], lr=rate, betas=BETAS)
    order = np.random.default_rng(seed).permutation(len(windows))
    for first in range(0, len(order), WINDOWS_PER_STEP):
        part = [windows[i] for i in order[first : first + WINDOWS_PER_STEP]]
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - first / len(order))
        distances, sizes = layers.distances(part, rows)
        loss = distances.sum() / sizes.sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()  # type: ignore[no-untyped-call]
        on_step(len(part), float(loss.detach()))
    return rows.detach().cpu().numpy()


def windows_alone(added: Added, seen: Counter[int]) -> list[Window]:
    """For each piece that was not seen, windows of that piece and nothing else."""
    unseen = [added.first + k for k, ids in enumerate(added.sub_ids) if ids and not seen[added.first + k]]
    return [np.asarray([piece], np.int32) for piece in unseen for _ in range(READINGS_ALONE)]
