"""Whether a model talks like one: it stops, does not go round in circles, keeps the language, writes whole characters.

A fixed set of prompts of our own is answered greedily; each sign is a share of the answers, lower is better but for
`stopped`. None needs a reference, so they tell a broken template or a damaged file, not a good model.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from zhllm.text.han import han_runs
from zhllm.text.prompt_format import FORMATS

# An answer goes round in circles where this share of its 6-character stretches was there before. Of 1,999 answers
# of real instruction data (Chinese and English) one is above: a drawing made of characters.
REPEATED, STRETCH, MIN_STRETCHES = 0.5, 6, 20
# Of the letters of an answer to a Chinese prompt this share at least is Han, to an English one at most.
MIN_HAN, MAX_HAN = 0.3, 0.2
MIN_LETTERS = 8
_BAD = re.compile("[\ufffd\ue000-\uf8ff\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Prompt:
    """A prompt and the language its answer should be in: "zh", "en", or "any" (code, numbers)."""

    text: str
    language: str


@dataclass(frozen=True)
class Signs:
    """What is wrong with an answer."""

    stopped: bool
    empty: bool
    repeats: bool
    switches_language: bool
    garbled: bool
    leaks_template: bool

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is."""
        wrong = (self.empty, self.repeats, self.switches_language, self.garbled, self.leaks_template)
        return self.stopped and not any(wrong)


@cache
def health_prompts() -> tuple[Prompt, ...]:
    """The fixed set."""
    text = (resources.files("zhllm.evals") / "health.json").read_text(encoding="utf-8")
    return tuple(Prompt(prompt, language) for language, prompts in json.loads(text).items() for prompt in prompts)


def signs_of(prompt: Prompt, reply: str, stopped: bool) -> Signs:
    """Look at an answer."""
    return Signs(
        stopped, not reply.strip(), repeats(reply), _switches(prompt.language, reply),
        is_garbled(reply), leaks(reply),
    )  # fmt: skip


def repeats(text: str) -> bool:
    """Whether most of the text was there before, in stretches of STRETCH characters."""
    plain = "".join(text.split())
    stretches = [plain[i : i + STRETCH] for i in range(len(plain) - STRETCH + 1)]
    return len(stretches) >= MIN_STRETCHES and 1 - len(set(stretches)) / len(stretches) > REPEATED


def _switches(language: str, reply: str) -> bool:
    letters = sum(map(str.isalpha, reply))
    if language == "any" or letters < MIN_LETTERS:
        return False
    share = sum(map(len, han_runs(reply))) / letters
    return share < MIN_HAN if language == "zh" else share > MAX_HAN


def is_garbled(text: str) -> bool:
    """Whether there are characters that no text has: half characters, control and private ones, unassigned ones."""
    return _BAD.search(text) is not None or any(unicodedata.category(c) == "Cn" for c in text)


def leaks(text: str) -> bool:
    """Whether the text spells a marker of any chat format, such as <|im_end|> or [/INST]."""
    return any(marker in text for marker in _markers())


@cache
def _markers() -> Sequence[str]:
    found = {m for chat in FORMATS.values() for m in (*chat.special_tokens, *chat.text_markers)}
    # "User:" may well stand in an answer; what has brackets or bars never does.
    return sorted(m.strip() for m in found if re.search(r"[<\[|#]", m))
