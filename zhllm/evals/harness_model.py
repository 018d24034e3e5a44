"""A model of zhllm as lm-evaluation-harness sees one: its requests, our scorer and engine. Needs lm-eval.

Texts are cut into tokens, joined, shortened and windowed as lm-eval's own `HFLM` does it, so that a score is the one
that the harness gives; what the options of a question have in common is computed once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from zhllm.errors import DataError
from zhllm.evals.likelihood import Answer, Ask, Scorer
from zhllm.text.prompt_format import PromptFormat

# Tokens of an answer where a task names none, as HFLM has it.
ANSWER_TOKENS = 256
# What a task may ask of generation; more is refused, because it would change what is measured.
_SAMPLING = {"temperature", "top_p", "top_k", "min_p"}
_HARMLESS = {"do_sample", "use_cache", "num_beams", "early_stopping", "pad_token_id"}


class Encode(Protocol):
    """Ids of a text that may spell special tokens; `special` None adds BOS where the tokenizer does."""

    def __call__(self, text: str, special: bool | None = None) -> list[int]:
        """Ids of a text."""


@dataclass(frozen=True)
class Writing:
    """What is to be written: behind which ids, how many tokens at most, up to which texts, drawn how."""

    ids: list[int]
    max_tokens: int
    stop: tuple[str, ...]
    settings: dict[str, float]
    seed: int


@dataclass(frozen=True)
class Words:
    """The tokenizer's side of a model: BOS (or what stands for it), the end token, and how a text is cut."""

    encode: Encode
    start_id: int
    end_id: int
    end_text: str
    name: str


class HarnessModel(TemplateLM):  # type: ignore[misc]
    """Answers lm-eval's requests. `cut` counts those that were longer than the context and lost their beginning."""

    def __init__(
        self,
        scorer: Scorer,
        words: Words,
        write: Callable[[Sequence[Writing]], list[str]],
        chat: PromptFormat | None,
        on_scored: Callable[[int], None] = lambda count: None,
    ) -> None:
        super().__init__()
        self._scorer, self._words, self._write, self._chat = scorer, words, write, chat
        self._on_scored = on_scored
        self.cut = 0

    @property
    def eot_token_id(self) -> int:
        """The end token."""
        return self._words.end_id

    @property
    def prefix_token_id(self) -> int:
        """What stands before a text without a context."""
        return self._words.start_id

    @property
    def max_length(self) -> int:
        """Tokens that the model reads."""
        return self._scorer.context

    @property
    def tokenizer_name(self) -> str:
        """What lm-eval names the tokenizer by."""
        return self._words.name

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The name of the prompt format that stands for the template."""
        return self._chat.name if self._chat is not None and chat_template else None

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A chat as text, up to where the model answers, or with the beginning of an answer at its end."""
        if self._chat is None:
            raise DataError("the harness renders a chat, but the model has no prompt format. Give --prompt-format.")
        messages: Any = [{"role": turn["role"], "content": turn["content"]} for turn in chat_history]
        if add_generation_prompt:
            return self._chat.render(messages, answer_next=True)
        begun = self._chat.plain(messages[-1]["content"])
        return self._chat.render(messages[:-1], answer_next=True) + self._chat.lead + begun

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Ids of a text."""
        return self._words.encode(string, add_special_tokens)

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-likelihood, is it what the model would write) of each; a task's common beginning is computed once."""
        found: dict[int, tuple[float, bool]] = {}
        by_task: dict[str | None, list[int]] = {}
        for place, request in enumerate(requests):
            by_task.setdefault(request.task_name, []).append(place)
        for places in by_task.values():
            answers = super().loglikelihood([requests[i] for i in places], disable_tqdm=True)
            found |= dict(zip(places, answers, strict=True))
            self._on_scored(len(places))
        return [found[i] for i in range(len(requests))]

    def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        """Requests with the same context are the options of one question."""
        by_context: dict[tuple[int, ...], list[int]] = {}
        for place, (_, context, continuation) in enumerate(requests):
            by_context.setdefault(self._kept(context, continuation), []).append(place)
        asks = [
            Ask(tuple((*context, *requests[i][2]) for i in places), len(context))
            for context, places in by_context.items()
        ]
        found: dict[int, Answer] = {}
        for places, answers in zip(by_context.values(), self._scorer.judge(asks), strict=True):
            found |= dict(zip(places, answers, strict=True))
        return [(found[i].nats, found[i].is_likeliest) for i in range(len(requests))]

    def _kept(self, context: Sequence[int], continuation: Sequence[int]) -> tuple[int, ...]:
        """What of a context fits before a continuation: its end."""
        if not continuation or len(continuation) > self.max_length:
            size = f"has {len(continuation)} tokens; it must have 1 to {self.max_length}, what the model reads"
            raise DataError(f"a harness task asks for the likelihood of a text that {size}. Leave this task out.")
        room = self.max_length + 1 - len(continuation)
        self.cut += len(context) > room
        return tuple(context[-room:])

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of each whole text, in windows that do not overlap."""
        windows: list[tuple[None, list[int], list[int]]] = []
        owners: list[int] = []
        for place, request in enumerate(requests):
            rolled = get_rolling_token_windows(
                self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length, context_len=1
            )
            for context, continuation in map(make_disjoint_window, rolled):
                windows.append((None, context, continuation))
                owners.append(place)
        found = [0.0] * len(requests)
        for place, (nats, _) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            found[place] += nats
        self._on_scored(len(requests))
        return found

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes behind each text."""
        asked = [self._writing(request.args[0], request.args[1], place) for place, request in enumerate(requests)]
        found = self._write(asked)
        self._on_scored(len(requests))
        return found

    def _writing(self, context: str, given: dict[str, Any], seed: int) -> Writing:
        settings = dict(normalize_gen_kwargs(given, ANSWER_TOKENS))
        stop = handle_stop_sequences(settings.pop("until", None), eos=self._words.end_text)
        room = self.max_length - (max_tokens := int(settings.pop("max_gen_toks")))
        if room < 1:
            raise DataError(
                f"a harness task asks for {max_tokens} tokens; the model reads {self.max_length} with them."
            )
        beams = {"num_beams"} if settings.get("num_beams", 1) != 1 else set()
        if unknown := sorted((settings.keys() - _SAMPLING - _HARMLESS) | beams):
            raise DataError(f"a harness task generates with {', '.join(unknown)}, which zhllm does not. Leave it out.")
        is_drawn = bool(settings.get("do_sample"))
        drawn = {name: value for name, value in settings.items() if name in _SAMPLING and is_drawn}
        ids = self.tok_encode(context)
        self.cut += len(ids) > room
        return Writing(ids[-room:], max_tokens, tuple(word for word in stop if word), drawn, seed)
