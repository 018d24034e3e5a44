"""Preference accuracy: how often the better of two answers is the likelier one.

Both answers follow the same rendered prompt and are scored with their end token, as training scores them. The sum
of log-likelihoods is what DPO's implicit reward is made of and favours short answers; the mean per token does not
(Meng et al. 2024, SimPO). Nothing is drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from zhllm.evals.likelihood import Ask, Scorer, ask_of
from zhllm.evals.too_long import check_too_long
from zhllm.text.chats import Preference
from zhllm.text.prompt_format import Message, PromptFormat

# Pairs that are scored in one call, those of like length together.
CALL_PAIRS = 128
# Guessing gets one of two right.
CHANCE = 0.5


@dataclass(frozen=True)
class Judged:
    """A pair with the log-likelihoods (nats) and tokens of its two answers; `cut`: the prompt lost its beginning."""

    pair: Preference
    chosen_nats: float
    rejected_nats: float
    chosen_tokens: int
    rejected_tokens: int
    cut: bool = False

    def margin(self, per_token: bool = False) -> float:
        """By how many nats the better answer is the likelier."""
        if per_token:
            return self.chosen_nats / self.chosen_tokens - self.rejected_nats / self.rejected_tokens
        return self.chosen_nats - self.rejected_nats

    def share_right(self, per_token: bool = False) -> float:
        """1 where the better answer is the likelier, a half where both are equally likely, else 0."""
        margin = self.margin(per_token)
        return 0.5 if margin == 0 else float(margin > 0)

    def shorter_is_right(self) -> float:
        """What choosing the answer with fewer tokens would get: 1, 0, or a half where they have as many."""
        more = self.rejected_tokens - self.chosen_tokens
        return 0.5 if more == 0 else float(more > 0)


def texts_of(pair: Preference, chat: PromptFormat) -> tuple[str, str, str]:
    """The rendered prompt up to where an answer begins, and the chat with each answer up to its end token."""
    answers = [_answered(pair.prompt, answer or "", chat) for answer in (pair.chosen, pair.rejected)]
    return chat.render(pair.prompt, answer_next=True), answers[0], answers[1]


def _answered(prompt: Sequence[Message], answer: str, chat: PromptFormat) -> str:
    segments = chat.segments([*prompt, {"role": "assistant", "content": answer}])
    last = max(i for i, segment in enumerate(segments) if segment.learn)
    return "".join(segment.text for segment in segments[: last + 1])


def judge_pairs(
    scorer: Scorer,
    pairs: Sequence[Preference],
    chat: PromptFormat,
    on_judged: Callable[[int], None] = lambda count: None,
    max_too_long: float = 0.0,
) -> tuple[list[Judged], dict[int, int]]:
    """Score both answers of every pair that the model can read, in the order given.

    A prompt too long for the model loses what follows its first token, and that is told in `cut`. Pairs with an answer
    too long by itself are left out: their numbers, and the tokens of the answer, come second. Raises DataError where
    these are more than the share `max_too_long`, or all, before anything is scored.
    """
    ids = iter(scorer.encode([text for pair in pairs for text in texts_of(pair, chat)]))
    read = [ask_of(next(ids), (next(ids), next(ids)), where_of(pair)) for pair in pairs]
    fitted = [_fitting(ask, scorer.context) for ask in read]
    long = {i: max(map(len, read[i].options)) - read[i].border for i, found in enumerate(fitted) if found is None}
    places = [(where_of(pairs[i]), tokens) for i, tokens in long.items()]
    reads = f"{scorer.context} with the prompt"
    check_too_long(places, len(pairs), max_too_long, reads, "its longer answer", "pairs")
    asks = {i: found for i, found in enumerate(fitted) if found is not None}
    order = sorted(asks, key=lambda i: (sum(map(len, asks[i][0].options)), i))
    found: dict[int, Judged] = {}
    for start in range(0, len(order), CALL_PAIRS):
        indices = order[start : start + CALL_PAIRS]
        scores = scorer.score([asks[i][0] for i in indices])
        for index, (chosen, rejected) in zip(indices, scores, strict=True):
            ask, cut = asks[index]
            sizes = [len(option) - ask.border for option in ask.options]
            found[index] = Judged(pairs[index], chosen, rejected, sizes[0], sizes[1], cut)
        on_judged(len(indices))
    return [found[i] for i in asks], long


def where_of(pair: Preference) -> str:
    """What a pair is called."""
    return f"{pair.source}: pair {pair.id}"


def _fitting(ask: Ask, context: int) -> tuple[Ask, bool] | None:
    """The pair within `context` tokens (the last one is only predicted), and whether its prompt was cut for it.

    None where an answer is too long for that.
    """
    longest = max(map(len, ask.options))
    surplus = longest - 1 - context
    if surplus <= 0:
        return ask, False
    if ask.border - surplus < 2:
        return None
    return Ask(tuple((o[0], *o[1 + surplus :]) for o in ask.options), ask.border - surplus, ask.name), True


def digest_of(pairs: Sequence[Preference], chat: PromptFormat) -> str:
    """SHA-256 of every rendered prompt with its two answers: equal digests mean the same test was taken."""
    found = hashlib.sha256()
    for line in _lines(pairs, chat):
        found.update(line)
    return found.hexdigest()


def _lines(pairs: Sequence[Preference], chat: PromptFormat) -> Iterator[bytes]:
    for pair in pairs:
        yield json.dumps(texts_of(pair, chat), ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
