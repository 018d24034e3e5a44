"""How long chats are in tokens, and what `sft` would cut of those that are too long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from zhllm.text.chats import Chat
from zhllm.text.prompt_format import FORMATS, Message, PromptFormat
from zhllm.vocab.tokenizer import Tokenizer


@dataclass(frozen=True)
class LengthSettings:
    """The tokenizer's directory, how turns are written, and the tokens of a row."""

    tokenizer: Path
    prompt_format: str
    seq_len: int


class Lengths:
    """Counts the tokens of chats as they will be trained on."""

    def __init__(self, tokenizer: Tokenizer, chat_format: PromptFormat, seq_len: int) -> None:
        self._tokenizer, self._format, self._seq_len = tokenizer, chat_format, seq_len
        self._known: dict[str, int] = {}

    @classmethod
    def of(cls, settings: LengthSettings) -> Lengths:
        """With the tokenizer loaded once a process."""
        return cls(_tokenizer_at(settings.tokenizer), FORMATS[settings.prompt_format], settings.seq_len)

    def of_conversations(self, conversations: Sequence[Sequence[Message]]) -> list[int]:
        """Tokens of each conversation as it is rendered for training."""
        texts = [self._format.render(messages) for messages in conversations]
        known = self._known
        new = list(dict.fromkeys(text for text in texts if text not in known))
        self._tokenizer.fast.encode_special_tokens = False
        encoded = self._tokenizer.fast.encode_batch_fast(new, add_special_tokens=False)
        # The linter asks first; those it leaves are asked for again, to be written down.
        self._known = {text: len(one.ids) for text, one in zip(new, encoded, strict=True)}
        return [self._known[text] if text in self._known else known[text] for text in texts]

    def cuts(self, chats: Iterable[Chat]) -> dict[str, int]:
        """What `sft` does to chats that are longer than its rows: turns and prompts cut, chats left out."""
        from zhllm.train.chats import Fitting, fit  # loads torch, for the chats that need it only

        fitting, count = Fitting(), 0
        for chat in chats:
            fit(chat.messages, self._format, self._tokenizer, self._seq_len, fitting)
            count += 1
        return {
            "chats_over_seq_len": count,
            "cut_turns": fitting.cut_turns,
            "cut_prompts": fitting.cut_prompts,
            "chats_too_long": fitting.too_long,
        }


@lru_cache(maxsize=1)
def _tokenizer_at(folder: Path) -> Tokenizer:
    return Tokenizer(folder)
