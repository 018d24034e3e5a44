"""A model directory in this process, through transformers; many askers share one batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from zhllm.infer.sampling import Sampling, until_stop
from zhllm.infer.writing import LocalEngine, Written, directory_format
from zhllm.model.directory import check_vocabulary
from zhllm.text.prompt_format import Message
from zhllm.train.chats import prompt_ids
from zhllm.vocab.tokenizer import Tokenizer

# Prompts answered at once by `answer_many`.
BATCH = 64
# Tokens before a text that decide how it begins: a space, the bytes of a character.
DECODED_BEFORE = 8
# Tokens of a stream that are decoded again for each one that comes.
DECODED_AGAIN = 32
# Conversations that stay computed, for each that is answered at once.
KEPT_EACH = 1


class TransformersEngine(LocalEngine):
    """A model directory in this process."""

    def __init__(
        self, model: Path, fallback_format: str | None, parallel: int = 1, adapters: Mapping[str, Path] | None = None
    ) -> None:
        import torch

        from zhllm.infer.batching import Batcher
        from zhllm.infer.live_adapters import LiveAdapters
        from zhllm.model.transformers_model import open_model

        self.tokenizer = Tokenizer(model)
        self.chat_format = directory_format(self.tokenizer, fallback_format, (adapters or {}).values())
        check_vocabulary(model, self.tokenizer)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model: Any = open_model(model).to(self.device)
        self.ends = self.chat_format.end_token_ids(self.tokenizer)
        self._live = LiveAdapters(self.model)
        for name, path in (adapters or {}).items():
            self._live.add(name, path)
        self._batcher = Batcher(self.model, self.ends, self.context, parallel, parallel * KEPT_EACH, self._live.choose)

    def __exit__(self, *error: object) -> None:
        """End the thread that writes answers."""
        self._batcher.close()

    @property
    def context(self) -> int:
        """The model's own limit."""
        return int(self.model.config.max_position_embeddings)

    @property
    def adapters(self) -> tuple[str, ...]:
        """The adapters by name."""
        return tuple(self._live.names)

    def chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the rendered prompt; DataError where there is no room for an answer."""
        return self.fitting(prompt_ids(messages, self.chat_format, self.tokenizer), self.tokenizer.folder)

    def text_prompt(self, text: str) -> list[int]:
        """Ids of plain text to go on with, BOS before it; DataError as `chat_prompt`."""
        bos = self.tokenizer.special_id("bos")
        return self.fitting(
            [*([] if bos is None else [bos]), *self.tokenizer.encode_plain([text])[0]], self.tokenizer.folder
        )

    def prompt_tokens(self, messages: Sequence[Message]) -> int:
        """Tokens of the rendered prompt."""
        return len(prompt_ids(messages, self.chat_format, self.tokenizer))

    def answer_many(self, chats: Sequence[Sequence[Message]], max_tokens: int) -> list[str]:
        """The greedy answer to each chat, in batches of prompts of similar length."""
        prompts = [self.chat_prompt(chat) for chat in chats]
        answers = [""] * len(chats)
        by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        for start in range(0, len(prompts), BATCH):
            indices = by_length[start : start + BATCH]
            made = greedy(self.model, [prompts[i] for i in indices], max_tokens, self.ends, self.context)
            for index, ids in zip(indices, made, strict=True):
                text = "".join(until_stop(iter([decode_whole(self.tokenizer, ids)]), self.chat_format.stop_strings))
                answers[index] = text.strip()
        return answers

    def _parts(
        self, prompt: Sequence[int], sampling: Sampling, adapter: str | None, is_chat: bool, written: Written
    ) -> Iterator[str]:
        writing = self._batcher.submit(prompt, sampling, adapter)
        written.on_close = writing.close
        if written.closed:
            writing.close()
        try:
            parts = decode_stream(self.tokenizer, writing, () if is_chat else prompt)
            stopped = yield from until_stop(parts, self.stops(sampling, is_chat))
        finally:
            writing.close()
            written.made_tokens = len(writing.made) + (writing.finish == "stop")
        written.finish = "stop" if stopped is not None else writing.finish

    def embed(self, texts: Sequence[str], adapter: str | None = None) -> tuple[list[list[float]], int]:
        """A vector of length 1 for each text (the mean of the last hidden states), and the tokens read."""
        prompts = [self.text_prompt(text) for text in texts]
        return [self._batcher.between(partial(self._vector, ids, adapter)) for ids in prompts], sum(map(len, prompts))

    def _vector(self, ids: Sequence[int], adapter: str | None) -> list[float]:
        import torch

        self._live.choose([adapter])
        hidden = self.model.base_model(torch.tensor([ids], device=self.device), use_cache=False).last_hidden_state
        found: list[float] = torch.nn.functional.normalize(hidden[0].float().mean(0), dim=0).tolist()
        return found


def greedy(
    model: Any, prompts: Sequence[Sequence[int]], max_tokens: int, ends: Sequence[int], context: int
) -> list[list[int]]:
    """The likeliest continuation of each prompt, up to its end token (left out).

    Prompt and continuation together have `context` tokens at most. Shorter prompts are padded on the
    left; the mask and the positions keep the padding unseen.
    """
    import torch

    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=model.device)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    made: list[list[int]] = [[] for _ in prompts]
    open_rows = set(range(len(prompts)))
    cache = None
    for _ in range(max_tokens):
        with torch.no_grad():
            out = model(
                input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache,
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
        cache, ids = out.past_key_values, out.logits[:, -1].argmax(-1, keepdim=True)
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        positions = positions[:, -1:] + 1
        for row, token in enumerate(ids[:, 0].tolist()):
            if token in ends:
                open_rows.discard(row)
            if row in open_rows:
                made[row].append(token)
                if len(prompts[row]) + len(made[row]) == context:
                    open_rows.discard(row)
        if not open_rows:
            break
    return made


def decode_whole(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Text of ids, without the bytes of a last character that is not complete.

    At most three bytes can wait for a fourth. They are left out before decoding, because tokenizers
    takes a run of byte tokens for invalid as a whole when its last character is cut.
    """
    texts = (tokenizer.decode(ids[: len(ids) - cut]) for cut in range(4))
    return next((text for text in texts if not text.endswith("\ufffd")), tokenizer.decode(ids))


def decode_stream(tokenizer: Tokenizer, tokens: Iterator[int], after: Sequence[int] = ()) -> Iterator[str]:
    """Text as soon as whole characters are there; a byte-fallback character waits for its last byte.

    Without ids that the text goes on `after`, it loses the space at its beginning. Only the last tokens
    are decoded again for each one that comes.
    """
    ids = _last(tokenizer, after)
    strip = str if ids else str.lstrip
    shown = len(decode_whole(tokenizer, ids)) if ids else 0
    for token in tokens:
        ids.append(token)
        whole = strip(decode_whole(tokenizer, ids))
        if len(whole) > shown:
            yield whole[shown:]
            shown = len(whole)
        if len(ids) >= DECODED_AGAIN and whole.endswith(text := decode_whole(tokenizer, last := _last(tokenizer, ids))):
            ids, shown, strip = last, len(text), str


def _last(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """The last DECODED_BEFORE ids, or a few more, so that they begin with a whole character."""
    ends = (list(ids[-size:]) for size in range(DECODED_BEFORE, DECODED_BEFORE + 4))
    return next((end for end in ends if "\ufffd" not in decode_whole(tokenizer, end)), list(ids[-DECODED_BEFORE:]))
