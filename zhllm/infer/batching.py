"""Many answers at once: sequences join one batch and leave it between two steps (continuous batching).

Source: Orca (Yu et al. 2022). One thread owns the model; whoever asks reads tokens from a queue. B sequences,
T cached positions (the longest sequence's; shorter ones are padded on the left and masked), V vocabulary rows.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from zhllm.errors import StageError
from zhllm.infer.sampling import Sampling, draw

Finish = Literal["stop", "length"]
T = TypeVar("T")

# A beginning shorter than this is not worth keeping for the next prompt.
WORTH_KEEPING_TOKENS = 16


class Writing:
    """One answer in the making: iterate over its tokens; `finish` tells why there are no more.

    `close` ends it early. The end token itself is not given.
    """

    def __init__(self, prompt: Sequence[int], settings: Sampling, limit: int, adapter: str | None) -> None:
        self.prompt, self.settings, self.adapter = list(prompt), settings, adapter
        self.made: list[int] = []
        self.limit = limit
        self.generator = torch.Generator().manual_seed(settings.draws_seed)
        self.finish: Finish | None = None
        self.closed = False
        self._given: SimpleQueue[int | BaseException | None] = SimpleQueue()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        found = None if self.closed else self._given.get()
        if isinstance(found, BaseException):
            self.closed = True
            raise found
        if found is None:
            self.closed = True
            raise StopIteration
        return found

    def close(self) -> None:
        """Want no more tokens; the batch lets go of it at the next step."""
        self.closed = True
        self._given.put(None)  # whoever waits for a token is not kept

    def put(self, token: int) -> None:
        """Give a token on."""
        self.made.append(token)
        self._given.put(token)

    def end(self, why: Finish | BaseException) -> None:
        """Give no more."""
        if isinstance(why, BaseException):
            self._given.put(why)
        else:
            self.finish = why
            self._given.put(None)


class Batcher:
    """Runs a causal LM for at most `width` answers at once; more of them wait in the order they came.

    `ends` are the ids that end an answer, `context` the tokens of prompt and answer at most. `keep`
    prompts with their answers stay computed, so that a conversation that goes on is not read again
    (the last bits of the logits then depend on what was asked before). `choose_rows` is told the
    adapter of each sequence of the batch before each step. Use as a context manager, or `close` it.
    """

    def __init__(
        self, model: Any, ends: Sequence[int], context: int, width: int = 8, keep: int = 0, choose_rows: Any = None
    ) -> None:
        self.model, self.ends, self.context, self.width = model, frozenset(ends), context, width
        self._choose_rows = choose_rows or (lambda adapters: None)
        self._waiting: deque[Writing] = deque()
        self._errands: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._batch = _Batch(model.device)
        self._kept: deque[tuple[str | None, list[int], list[tuple[Tensor, Tensor]]]] = deque(maxlen=keep)
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def __enter__(self) -> Batcher:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End every answer with a StageError and stop the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def submit(self, prompt: Sequence[int], settings: Sampling, adapter: str | None = None) -> Writing:
        """Queue a prompt of 1 to `context` - 1 tokens; returns at once."""
        if not 0 < len(prompt) < self.context:
            raise ValueError(f"a prompt of {len(prompt)} tokens, where 1 to {self.context - 1} fit.")
        limit = min(settings.max_tokens, self.context - len(prompt))
        asked = Writing(prompt, settings, limit, adapter)
        with self._changed:
            if self._stopping:
                raise StageError("the model is shutting down.")
            self._waiting.append(asked)
            self._changed.notify()
        return asked

    def between(self, work: Callable[[], T]) -> T:
        """The result of other work on the model, done by the same thread between two steps."""
        done: Future[T] = Future()
        with self._changed:
            if self._stopping:
                raise StageError("the model is shutting down.")
            self._errands.append((work, done))
            self._changed.notify()
        return done.result()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._stopping or self._waiting or self._batch.rows or self._errands):
                    self._changed.wait()
                if self._stopping:
                    break
                errand = self._errands.popleft() if self._errands else None
                fits = self._waiting and len(self._batch.rows) < self.width
                joining = self._waiting.popleft() if fits else None
            if errand:
                _run_errand(*errand)
            try:
                with torch.inference_mode():
                    self._step(joining)
            except BaseException as error:
                self._fail([joining] if joining else [], error)
        self._fail(list(self._waiting), StageError("the model is shutting down."))
        for _, done in self._errands:
            done.set_exception(StageError("the model is shutting down."))

    def _fail(self, others: list[Writing], error: BaseException) -> None:
        """Tell everybody in the batch, and begin with an empty one."""
        for row in dict.fromkeys([*self._batch.rows, *others]):
            row.end(error)
        self._batch = _Batch(self.model.device)
        self._kept.clear()

    def _step(self, joining: Writing | None) -> None:
        """Read a prompt that joins, or write one token of every answer; reading counts as its first."""
        if joining is not None and not joining.closed:
            layers, logits = self._read(joining)
            if self._put(joining, logits):
                self._batch.join(joining, layers)
            else:
                self._keep(joining, layers)
        self._leave([row.closed for row in self._batch.rows])
        if self._batch.rows:
            self._choose_rows([row.adapter for row in self._batch.rows])
            logits = self._batch.forward(self.model)
            likeliest = logits.argmax(-1).tolist()
            rows = zip(self._batch.rows, logits, likeliest, strict=True)
            self._leave([not self._put(row, scores, best) for row, scores, best in rows])

    def _read(self, row: Writing) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """The prompt's keys and values, each (1, heads, T, size), and (V,) logits of what follows it."""
        from transformers import DynamicCache

        known, count = self._longest_known(row)
        cache = DynamicCache([(keys[:, :, :count], values[:, :, :count]) for keys, values in known] or None)
        ids = torch.tensor([row.prompt[count:]], device=self.model.device)
        self._choose_rows([row.adapter])
        out = self.model(
            input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1,
            position_ids=torch.arange(count, len(row.prompt), device=ids.device)[None],
            attention_mask=torch.ones(1, len(row.prompt), dtype=torch.long, device=ids.device),
        )  # fmt: skip
        return [(layer.keys, layer.values) for layer in out.past_key_values.layers], out.logits[0, -1].float()

    def _longest_known(self, row: Writing) -> tuple[list[tuple[Tensor, Tensor]], int]:
        best: tuple[list[tuple[Tensor, Tensor]], int] = ([], 0)
        for adapter, ids, layers in self._kept:
            count = min(_common(ids, row.prompt), len(row.prompt) - 1)
            if adapter == row.adapter and count >= max(WORTH_KEEPING_TOKENS, best[1] + 1):
                best = (layers, count)
        return best

    def _put(self, row: Writing, logits: Tensor, likeliest: int | None = None) -> bool:
        """Draw and give a token; False where it was the last one."""
        if row.settings.is_plain:
            token = int(logits.argmax()) if likeliest is None else likeliest
        else:
            try:
                token = draw(logits, row.prompt, row.made, row.settings, row.generator)
            except RuntimeError as error:  # scores that are no numbers: the others' may well be
                row.end(error)
                return False
        if token in self.ends:
            row.end("stop")
            return False
        row.put(token)
        if len(row.made) >= row.limit:
            row.end("length")
            return False
        return True

    def _leave(self, leaving: Sequence[bool]) -> None:
        if self._kept.maxlen:
            for place in [i for i, leaves in enumerate(leaving) if leaves]:
                self._keep(self._batch.rows[place], self._batch.layers_of(place))
        if all(leaving):
            self._batch = _Batch(self.model.device)
        elif any(leaving):
            self._batch.keep([i for i, leaves in enumerate(leaving) if not leaves])

    def _keep(self, row: Writing, layers: list[tuple[Tensor, Tensor]]) -> None:
        self._kept.append((row.adapter, (row.prompt + row.made)[: layers[0][0].shape[2]], layers))


def _run_errand(work: Callable[[], Any], done: Future[Any]) -> None:
    try:
        with torch.inference_mode():
            done.set_result(work())
    except BaseException as error:
        done.set_exception(error)


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


class _Batch:
    """The sequences of a batch and their cache: layers of (B, heads, T, size), a mask (B, T), the last ids (B, 1)."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.rows: list[Writing] = []
        self.layers: list[tuple[Tensor, Tensor]] = []
        self.mask = torch.zeros(0, 0, dtype=torch.long, device=device)

    def join(self, row: Writing, layers: list[tuple[Tensor, Tensor]]) -> None:
        """Take in a sequence whose prompt was read and whose first token was drawn."""
        length = layers[0][0].shape[2]
        width = max(self.mask.shape[1], length)
        fresh = torch.ones(1, length, dtype=torch.long, device=self.device)
        self.mask = torch.cat([_padded(self.mask, width, 1), _padded(fresh, width, 1)]) if self.rows else fresh
        self.layers = [
            (_joined(old[0], new[0], width), _joined(old[1], new[1], width))
            for old, new in zip(self.layers, layers, strict=True)
        ] if self.rows else layers  # fmt: skip
        self.rows.append(row)

    def keep(self, places: list[int]) -> None:
        """Let go of all sequences but these, and of positions that only the others had."""
        self.rows = [self.rows[i] for i in places]
        at = torch.tensor(places, device=self.device)
        self.mask = self.mask[at]
        unused = int(self.mask.shape[1] - self.mask.sum(1).max())
        self.mask = self.mask[:, unused:]
        self.layers = [(keys[at, :, unused:], values[at, :, unused:]) for keys, values in self.layers]

    def layers_of(self, place: int) -> list[tuple[Tensor, Tensor]]:
        """One sequence's own keys and values, each (1, heads, its length, size)."""
        start = int(self.mask.shape[1] - self.mask[place].sum())
        own = (slice(place, place + 1), slice(None), slice(start, None))
        return [(keys[own].clone(), values[own].clone()) for keys, values in self.layers]

    def forward(self, model: Any) -> Tensor:
        """(B, V) float32 logits after the last token of every sequence."""
        from transformers import DynamicCache

        positions = self.mask.sum(1, keepdim=True)
        self.mask = torch.cat([self.mask, torch.ones_like(positions)], dim=1)
        ids = torch.tensor([[row.made[-1]] for row in self.rows], device=self.device)
        out = model(
            input_ids=ids, attention_mask=self.mask, position_ids=positions,
            past_key_values=DynamicCache(self.layers), use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        self.layers = [(layer.keys, layer.values) for layer in out.past_key_values.layers]
        logits: Tensor = out.logits[:, -1].float()
        return logits


def _padded(values: Tensor, width: int, dim: int) -> Tensor:
    """`values` with zeros before it along a dimension, up to `width`."""
    missing = width - values.shape[dim]
    if missing == 0:
        return values
    shape = list(values.shape)
    shape[dim] = missing
    return torch.cat([values.new_zeros(shape), values], dim=dim)


def _joined(old: Tensor, new: Tensor, width: int) -> Tensor:
    return torch.cat([_padded(old, width, 2), _padded(new, width, 2)])
