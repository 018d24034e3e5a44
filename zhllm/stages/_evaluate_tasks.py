"""What each task of `evaluate` measures of one model: figures with intervals, items for a paired comparison, a hash."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Container, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from zhllm.evals.intervals import Score, mean_score
from zhllm.evals.questions import Question, is_right
from zhllm.evals.too_long import check_too_long
from zhllm.infer.engine import open_engine
from zhllm.infer.sampling import Sampling
from zhllm.infer.writing import Engine
from zhllm.page import visible
from zhllm.progress import bar, say
from zhllm.stages._evaluate_config import EvaluateConfig

ADAPTER, ANSWERED_AT_ONCE = "adapter", 4
_REPEAT = "items repeat others"
# Of a question that does not fit, enough to find it by.
SHOWN_CHARS = 24
# Of questions that were left out, those that are named.
SHOWN_PLACES = 5
PREFIX_DIGITS = 16


@dataclass(frozen=True)
class Measured:
    """A figure under its name, and what it was made of: a value (with its weight) for each item, in order.

    Items with one label of `clusters` repeat each other; those `in_order` are cells of running text. The value of one
    that this model could not be asked is NaN.
    """

    name: str
    score: Score
    items: Sequence[float] = ()
    weights: Sequence[float] | None = None
    clusters: Sequence[str] | None = None
    in_order: bool = False

    def only(self, numbers: Sequence[int]) -> Measured:
        """The figure with these of its items; its score stays that of all."""
        weights = None if self.weights is None else [self.weights[i] for i in numbers]
        clusters = None if self.clusters is None else [self.clusters[i] for i in numbers]
        return replace(self, items=[self.items[i] for i in numbers], weights=weights, clusters=clusters)


@dataclass
class TaskResult:
    """One task on one model. `flat` holds what the manifest keeps; `records` go to `<task>.jsonl`.

    `prefixes`, what prompts of the records begin with, go to `<task>-prefixes.jsonl`.
    """

    measured: list[Measured]
    protocol: dict[str, Any]
    flat: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, dict[str, Score]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    prefixes: list[dict[str, Any]] = field(default_factory=list)

    def add_repeats(self, clusters: Sequence[str]) -> None:
        """A note of how many items repeat others, where some do."""
        if (again := len(clusters) - len(set(clusters))) and not any(_REPEAT in note for note in self.notes):
            self.notes.append(
                f"{again} of {len(clusters)} {_REPEAT}: intervals count what is the same once, as "
                f"{len(set(clusters))} in all."
            )

    def metrics(self) -> dict[str, Any]:
        """Flat names to numbers: each figure with the ends of its interval (null for none), then the rest."""
        found: dict[str, Any] = {}
        for item in self.measured:
            found |= {item.name: item.score.value, f"{item.name}_low": item.score.low}
            found[f"{item.name}_high"] = item.score.high
        return found | self.flat


@dataclass(frozen=True)
class Subject:
    """The model that is measured: where it is, the adapter on it, and whether it is the one beside it.

    `window`: tokens that it reads at most where the model beside it reads no more.
    """

    model: Path
    adapter: Path | None
    role: str
    window: int | None = None


def digest_of(*parts: Any) -> str:
    """SHA-256 of JSON values: what was asked, of which data, in which words."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def questions(config: EvaluateConfig, subject: Subject, asked: Sequence[Question]) -> TaskResult:
    """Greedy answers to a question set; one is right when it holds an accepted form of the answer."""
    found = answers(config, subject, [q.question for q in asked])
    hits = {i: is_right(asked[i], reply) for i, reply in found.replies.items()}
    records = [
        {
            "id": asked[i].id,
            "question": asked[i].question,
            "answers": asked[i].answers,
            "reply": reply,
            "right": hits[i],
        }
        for i, reply in found.replies.items()
    ]
    records += [
        {"id": asked[i].id, "question": asked[i].question, "answers": asked[i].answers, "right": None,
         "too_long_tokens": tokens}
        for i, tokens in found.too_long.items()
    ]  # fmt: skip
    measured = [found.mean("accuracy", [float(hit) for hit in hits.values()], [q.question for q in asked])]
    protocol = written_protocol(config, subject, "questions", [[q.question, q.answers] for q in asked])
    result = TaskResult(measured, protocol, {"questions": len(hits)}, records=records)
    found.tell(result, "questions", config.max_tokens)
    result.add_repeats([asked[i].question for i in hits])
    return result


def written_protocol(config: EvaluateConfig, subject: Subject, task: str, asked: Sequence[Any]) -> dict[str, Any]:
    """How answers are asked for: the hash of the words, the template around them and the longest answer.

    `asked` is the hash without the template, which two models may each have their own of.
    """
    from zhllm.infer.writing import directory_format
    from zhllm.stages._evaluate_models import chat_format_of
    from zhllm.vocab.tokenizer import Tokenizer

    fallback = fallback_of(config, subject)
    if subject.adapter is not None and subject.model.is_dir():
        spoken = directory_format(Tokenizer(subject.model), fallback, [subject.adapter])
    else:
        spoken = chat_format_of(subject.model, fallback)
    words = digest_of(task, asked, config.max_tokens)
    return {
        "hash": digest_of(words, asdict(spoken)), "asked": words, "template": spoken.name,
        "max_tokens": config.max_tokens,
    }  # fmt: skip


@dataclass(frozen=True)
class Answers:
    """What a model answered, by the number of the question; `too_long`: the tokens of those that it cannot read.

    `cramped` is how many leave less room than the longest answer may take; `names` is what questions are called.
    """

    replies: dict[int, str]
    too_long: dict[int, int]
    names: Sequence[str]
    context: int
    cramped: int

    def mean(self, name: str, values: Sequence[float], asked: Sequence[str]) -> Measured:
        """The mean over the questions that were answered, those `asked` in the same words counted once."""
        score = mean_score(values, clusters=[asked[i] for i in self.replies])
        return Measured(name, score, spread(values, self.too_long, len(asked)), clusters=asked)

    def tell(self, result: TaskResult, items: str, max_tokens: int) -> None:
        """How many were left out, and how many had little room, where there are some."""
        result.flat[f"{items}_too_long"] = len(self.too_long)
        if self.too_long:
            tell_long(result, [self.names[i] for i in self.too_long], len(self.replies), self.context, items)
        if self.cramped:
            few = f"{self.cramped} of {len(self.replies)} {items}"
            told = f"{few} leave less than the {max_tokens} tokens of --max-tokens for the answer."
            say(told)
            result.notes.append(told)


def answers(
    config: EvaluateConfig, subject: Subject, asked: Sequence[str], names: Sequence[str] | None = None
) -> Answers:
    """The greedy answer to each question, asked as a chat of one turn, that leaves room for one.

    `names` is what they are called, else their numbers and first words. DataError where too many leave no room.
    """
    chats = [[{"role": "user", "content": question}] for question in asked]
    adapters = {} if subject.adapter is None else {ADAPTER: subject.adapter}
    with open_engine(subject.model, fallback_of(config, subject), ANSWERED_AT_ONCE, adapters) as engine:
        tokens = [engine.prompt_tokens(chat) for chat in chats]
        long = {i: count for i, count in enumerate(tokens) if count >= engine.context}
        named = names or [f"question {i} ({visible(q[:SHOWN_CHARS])}...)" for i, q in enumerate(asked, 1)]
        places = [(named[i], count) for i, count in long.items()]
        check_too_long(places, len(asked), config.max_too_long, f"{engine.context} with its answer", "the prompt")
        fitting = [i for i in range(len(asked)) if i not in long]
        cramped = sum(tokens[i] + config.max_tokens > engine.context for i in fitting)
        replies = _answered(config, engine, [chats[i] for i in fitting], ADAPTER if adapters else None)
        return Answers(dict(zip(fitting, replies, strict=True)), long, named, engine.context, cramped)


def _answered(
    config: EvaluateConfig, engine: Engine, chats: Sequence[Sequence[dict[str, str]]], adapter: str | None
) -> list[str]:
    if adapter is None:
        return engine.answer_many(chats, config.max_tokens)
    sampling = Sampling(max_tokens=config.max_tokens)
    with ThreadPoolExecutor(ANSWERED_AT_ONCE) as pool:
        return list(pool.map(lambda chat: "".join(engine.stream(chat, sampling, adapter)).strip(), chats))


def fallback_of(config: EvaluateConfig, subject: Subject) -> str | None:
    """The prompt format of a model without a template: a base beside a model is asked in that one's format."""
    from zhllm.stages._evaluate_models import chat_format_of

    fallback: str | None = config.prompt_format
    if subject.role == "against" and fallback is None and config.model.is_dir():
        fallback = chat_format_of(config.model, None).name
    return fallback


def choice(config: EvaluateConfig, subject: Subject, sets: Sequence[Any]) -> TaskResult:
    """Multiple choice by log-likelihood, under each way of scoring that was asked for."""
    result = _choices(config, subject, sets, "choice")
    asked = [question for one in sets for question in one.questions]
    if alike := [question.where for question in asked if len(set(question.options)) < len(question.options)]:
        result.notes.append(f"Options that are the same, of which only one counts as right: {_named(alike)}.")
    keys: dict[tuple[str, frozenset[str]], str] = {}
    answers = [(question, question.options[question.answer]) for question in asked]
    others = [q.where for q, key in answers if keys.setdefault((q.question, frozenset(q.options)), key) != key]
    if others:
        result.notes.append(f"Questions that an earlier one answers in another way: {_named(others)}.")
    return result


def _named(places: Sequence[str]) -> str:
    more = f" and {len(places) - SHOWN_PLACES} more" if len(places) > SHOWN_PLACES else ""
    return f"{', '.join(places[:SHOWN_PLACES])}{more}"


def own(config: EvaluateConfig, subject: Subject, made: tuple[Sequence[Any], dict[str, int]]) -> TaskResult:
    """Multiple choice made of held-out documents: numbers, names and terms masked."""
    sets, possible = made
    result = _choices(config, subject, sets, "own")
    counts = ", ".join(f"{kind} {count}" for kind, count in possible.items())
    result.notes.append(f"Questions that the documents could give: {counts}; --own-questions {config.own_questions}.")
    return result


def _choices(config: EvaluateConfig, subject: Subject, sets: Sequence[Any], task: str) -> TaskResult:
    from zhllm.evals.choice import ChoiceProtocol, run_choice
    from zhllm.stages._evaluate_models import chat_format_of, open_scorer

    chat = chat_format_of(subject.model, fallback_of(config, subject)) if config.chat else None
    result = TaskResult([], {})
    with open_scorer(subject.model, subject.adapter, chat, subject.window) as scorer:
        for by in config.score_by:
            label = f"{subject.role}: {by} scoring"
            with bar(label, sum(len(s.questions) for s in sets), "questions") as shown:
                protocol = ChoiceProtocol(config.shots if task == "choice" else 0, by, chat)
                found = run_choice(
                    scorer, sets, protocol, lambda s: shown.advance(len(s.questions)), config.max_too_long
                )
            _add_choice(result, found, task)
            _add_records(result, found)
            if found.too_long:
                wheres = [item.choice.where for item in found.too_long]
                tell_long(result, wheres, len(found.marked), scorer.context, "questions", by)
        result.flat[f"{task}_tokens_computed"] = scorer.tokens_computed
        window = scorer.context
    digests = [result.protocol[by] for by in config.score_by]
    shots = {"shots": config.shots} if task == "choice" else {}
    result.protocol |= {"hash": digest_of(*digests), **shots, "chat": chat.name if chat else None}
    result.protocol["window_tokens"] = window
    return result


def _add_choice(result: TaskResult, found: Any, task: str) -> None:
    """The figures of one way of scoring."""
    from zhllm.evals.choice import chosen_letters, macro, overall, tables

    by = found.protocol.by
    ways = [(task, False)] if by == "letter" else [(f"{task}_text", False), (f"{task}_text_per_char", True)]
    same = [item.asked for item in found.marked]
    result.add_repeats(same)
    for name, per_char in ways:
        right = [item.share_right(per_char) for item in found.marked]
        items = spread(right, [i for i, is_long in enumerate(found.left_out) if is_long], len(found.left_out))
        labels = iter(same)
        clusters = ["" if is_long else next(labels) for is_long in found.left_out]
        result.measured.append(Measured(f"{name}_accuracy", overall(found, per_char), items, clusters=clusters))
        result.measured.append(Measured(f"{name}_macro_accuracy", macro(found, per_char)))
        for kind, scores in tables(found, per_char).items():
            result.tables |= {f"{name}: {kind}": scores} if scores else {}
    result.protocol[by] = found.digest
    result.flat |= {f"{task}_questions": len(found.marked), f"{task}_{by}_fewer_shots": found.dropped}
    result.flat[f"{task}_{by}_too_long"] = len(found.too_long)
    if found.dropped:
        say(f"{found.dropped} of {len(found.marked)} questions got fewer than {found.protocol.shots} examples to fit")
        result.notes.append(f"{found.dropped} questions got fewer worked examples, the oldest left out, to fit.")
    if by == "letter":
        chosen = ", ".join(f"{letter} {count}" for letter, count in chosen_letters(found).items())
        result.notes.append(f"Chosen letters: {chosen}.")


def tell_long(
    result: TaskResult, wheres: Sequence[str], done: int, context: int, items: str, by: str | None = None
) -> None:
    """How many items were left out because the model cannot read them whole, and which; `by` a way of scoring."""
    named = _named(wheres)
    count = done + len(wheres)
    told = f"{done} of {count} {items}; {len(wheres)} too long for the {context} tokens the model reads"
    say(f"{by} scoring: {told} ({named})" if by else f"{told} ({named})")
    result.notes.append(f"{f'Scored by {by}: ' if by else ''}{told}: {named}.")
    result.protocol["left out"] = max(result.protocol.get("left out", 0), len(wheres))


def spread(values: Iterable[float], left_out: Container[int], count: int) -> list[float]:
    """The values of those that were not left out at their places among `count` items, NaN at the others."""
    found = iter(values)
    return [math.nan if place in left_out else next(found) for place in range(count)]


def _add_records(result: TaskResult, found: Any) -> None:
    """A record for every question, those left out last, and one for each text that some of them begin with."""
    from zhllm.evals.choice_sets import LETTERS

    by, chat = found.protocol.by, found.protocol.chat
    known = {record["prefix"] for record in result.prefixes}
    for item in found.marked:
        prefix = digest_of(item.prefix)[:PREFIX_DIGITS]
        if prefix not in known:
            known.add(prefix)
            result.prefixes.append(
                {"prefix": prefix, "by": by, "subject": item.subject, "shots": item.shots,
                 "chat": chat.name if chat else None, "text": item.prefix}
            )  # fmt: skip
        nats = dict(zip(LETTERS, (round(n, 6) for n in item.nats), strict=False))
        result.records.append(
            {"by": by, "subject": item.subject, "question": item.choice.question, "asked": item.asked,
             "where": item.choice.where, "answer": item.choice.letter, "log_likelihoods": nats, "shots": item.shots,
             "right": item.share_right(), "prefix": prefix, "prompt": item.prompt,
             "continuations": item.continuations}
        )  # fmt: skip
    result.records += [
        {"by": by, "subject": item.subject, "question": item.choice.question, "where": item.choice.where,
         "answer": item.choice.letter, "right": None, "too_long_tokens": item.tokens}
        for item in found.too_long
    ]  # fmt: skip
