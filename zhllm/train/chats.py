"""Chats as token rows whose labels are exactly the assistant's turns and their end token.

T tokens a row.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from zhllm.errors import DataError
from zhllm.text.prompt_format import Message, PromptFormat
from zhllm.train.batch import IGNORED, Batch, Ids, stack
from zhllm.vocab.tokenizer import Tokenizer


@dataclass(frozen=True)
class TokenChat:
    """A tokenised chat: ids, and for each whether the model is to learn to write it.

    `merged` counts the answers whose first token begins in the prompt; `source` numbers where it is from.
    """

    ids: list[int]
    learn: list[bool]
    merged: int = 0
    source: int = 0


@dataclass
class Fitting:
    """What was cut from chats or left out to fit a row, and the merged boundaries of those that fit."""

    cut_turns: int = 0
    cut_prompts: int = 0
    too_long: int = 0
    merged_boundaries: int = 0


def end_of_turn_id(chat_format: PromptFormat, tokenizer: Tokenizer) -> int:
    """The one id at which generation stops; DataError where the vocabulary lacks it."""
    return chat_format.end_token_ids(tokenizer)[0]


def prompt_ids(messages: Sequence[Message], chat_format: PromptFormat, tokenizer: Tokenizer) -> list[int]:
    """The ids that serving gives the model: the rendered chat up to where its answer begins."""
    return tokenizer.encode_prompt(chat_format.render(messages, answer_next=True), chat_format.special_tokens)


def tokenize(messages: Sequence[Message], chat_format: PromptFormat, tokenizer: Tokenizer) -> TokenChat:
    """Ids and mask of a whole chat, the ids being those of the whole rendered text.

    Up to each answer they are the ids of the rendered prompt, so the model learns to continue
    exactly what serving will give it. Where a token straddles that border (none does with the
    formats and tokenizers of the tests) it is learnt with the answer, and counted.
    """
    text, prompts = "", []
    for segment in chat_format.segments(messages):
        if segment.learn:
            prompts.append(text)
        text += segment.text
    controls, end_id = chat_format.special_tokens, end_of_turn_id(chat_format, tokenizer)
    ids = tokenizer.encode_prompt(text, controls)
    learn, merged = [False] * len(ids), 0
    for before in prompts:
        prompt = tokenizer.encode_prompt(before, controls)
        common = _common_prefix(prompt, ids)
        merged += common < len(prompt)
        end = ids.index(end_id, common) + 1  # no content can write it
        learn[common:end] = [True] * (end - common)
    return TokenChat(ids, learn, merged)


def _common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    same = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), None)
    return min(len(a), len(b)) if same is None else same


def fit(
    messages: Sequence[Message], chat_format: PromptFormat, tokenizer: Tokenizer, seq_len: int, fitting: Fitting
) -> TokenChat | None:
    """The chat within `seq_len` tokens, its last answer and end token always whole.

    Oldest exchanges go first (a system turn stays), then the beginning of the prompt, of which one
    token must stay. What stands behind the last answer to learn teaches nothing and is left out. None
    where not even the last fits (counted as too long), or there is no answer to learn.
    """
    learnt = [i for i, message in enumerate(messages) if is_learnt(message)]
    messages = messages[: learnt[-1] + 1] if learnt else messages
    chat, cut_turns = tokenize(messages, chat_format, tokenizer), 0
    while len(chat.ids) > seq_len and (shorter := _without_oldest_exchange(messages)) is not None:
        messages, cut_turns = shorter, cut_turns + 1
        chat = tokenize(messages, chat_format, tokenizer)
    if not any(chat.learn):
        return None
    surplus = max(0, len(chat.ids) - seq_len)
    if surplus and (chat.learn[surplus] or not any(chat.learn[surplus:])):
        fitting.too_long += 1
        return None
    fitting.cut_turns += cut_turns
    fitting.cut_prompts += surplus > 0
    fitting.merged_boundaries += chat.merged
    return TokenChat(chat.ids[surplus:], chat.learn[surplus:], chat.merged)


def is_learnt(message: Message) -> bool:
    """Whether a message is an answer to learn: the assistant's, and not only context ("weight": 0)."""
    return bool(message["role"] == "assistant" and message.get("weight", 1) != 0)


def _without_oldest_exchange(messages: Sequence[Message]) -> list[Message] | None:
    """The chat without its first user turns and the answer to them; None for the last exchange."""
    start = 1 if messages and messages[0]["role"] == "system" else 0
    answers = [i for i, m in enumerate(messages) if m["role"] == "assistant"]
    if len(answers) < 2:
        return None
    return [*messages[:start], *messages[answers[0] + 1 :]]


def label_row(chats: Sequence[TokenChat], seq_len: int, pad_id: int) -> tuple[Ids, Ids, Ids]:
    """(input_ids, labels, position_ids), each (T,): chats side by side, padding behind.

    Positions start at 0 for each chat, and each padding token is alone, so nothing sees another.
    """
    inputs = np.full(seq_len, pad_id, np.int64)
    labels = np.full(seq_len, IGNORED, np.int64)
    positions = np.zeros(seq_len, np.int64)
    at = 0
    for chat in chats:
        ids, count = np.asarray(chat.ids), len(chat.ids)
        inputs[at : at + count] = ids
        labels[at : at + count - 1] = np.where(chat.learn[1:], ids[1:], IGNORED)
        positions[at : at + count] = np.arange(count)
        at += count
    return inputs, labels, positions


def source_row(chats: Sequence[TokenChat], seq_len: int) -> Ids:
    """(T,) source of each label of `label_row`; 0 in the padding."""
    row = np.zeros(seq_len, np.int64)
    stretches = np.repeat([chat.source for chat in chats], [len(chat.ids) for chat in chats])
    row[: len(stretches)] = stretches
    return row


def pack_rows(chats: Sequence[TokenChat], seq_len: int, order: Sequence[int]) -> list[list[int]]:
    """Indices of chats row by row, in `order`, each chat whole; a new row when the next does not fit."""
    rows: list[list[int]] = []
    left = 0
    for index in order:
        size = len(chats[index].ids)
        if size > left:
            rows.append([])
            left = seq_len
        rows[-1].append(index)
        left -= size
    return rows


class ChatRows:
    """Packed rows of chats over epochs; the batch of a step is a function of (seed, step) alone."""

    def __init__(self, chats: Sequence[TokenChat], seq_len: int, pad_id: int, rows_per_step: int, seed: int) -> None:
        if not chats:
            raise DataError("there is no chat to learn from after the split; give more chats.")
        self.chats, self.seq_len, self.pad_id = chats, seq_len, pad_id
        self.rows_per_step, self.seed = rows_per_step, seed
        self._several_sources = any(chat.source for chat in chats)
        self._rows: list[list[int]] = []
        self._epochs = 0

    def steps(self, epochs: float) -> int:
        """Steps in so many epochs (at least 1)."""
        whole = int(epochs)
        self._extend(whole + (epochs > whole))
        per_epoch = len(self._rows) / self._epochs
        return max(1, round(per_epoch * epochs / self.rows_per_step))

    def _extend(self, epochs: int) -> None:
        while self._epochs < epochs:
            order = np.random.default_rng((self.seed, self._epochs)).permutation(len(self.chats)).tolist()
            self._rows += pack_rows(self.chats, self.seq_len, order)
            self._epochs += 1

    def batch(self, step: int) -> Batch:
        """The rows of one step."""
        while len(self._rows) < (step + 1) * self.rows_per_step:
            self._extend(self._epochs + 1)
        rows = self._rows[step * self.rows_per_step : (step + 1) * self.rows_per_step]
        return self.stack(rows)

    def stack(self, rows: Sequence[Sequence[int]]) -> Batch:
        """A batch of the given rows of chat indices."""
        chats = [[self.chats[i] for i in row] for row in rows]
        sources = [source_row(row, self.seq_len) for row in chats] if self._several_sources else None
        return stack([label_row(row, self.seq_len, self.pad_id) for row in chats], sources)

    def every_batch(self) -> Iterator[Batch]:
        """All chats once, in their own order: for validation."""
        rows = pack_rows(self.chats, self.seq_len, range(len(self.chats)))
        for start in range(0, len(rows), self.rows_per_step):
            yield self.stack(rows[start : start + self.rows_per_step])
