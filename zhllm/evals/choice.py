"""Multiple choice by log-likelihood: of the option's letter, and of its full text.

Letter: the options stand in the prompt and the letter that follows "答案：" is scored. Text: the options are not
shown and each one's text is scored as the answer, as a sum and per character (the number of tokens would favour
one tokenizer). Source: the two formulations compared in OLMES (Gu et al. 2024). No sampling, so no luck.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from zhllm.errors import DataError
from zhllm.evals.choice_sets import LETTERS, Choice, Subject
from zhllm.evals.intervals import Score, macro_score, mean_score
from zhllm.evals.likelihood import Ask, Scorer, ask_of
from zhllm.evals.subjects import categories_of, title_of
from zhllm.text.han import han_runs
from zhllm.text.prompt_format import Message, PromptFormat

By = Literal["letter", "text"]
# A set with a smaller share of Chinese characters among its letters is asked in English.
MIN_HAN = 0.2


@dataclass(frozen=True)
class Wording:
    """What stands around a question: headings with and without the options, the subject, the question, the answer."""

    listed: str
    open: str
    about: str
    question: str
    answer: str
    gap: str


CHINESE = Wording(
    "以下是{}单项选择题，请选出其中的正确答案。", "以下是{}题目和答案。", "关于{}的", "题目：{}\n", "答案：", ""
)
ENGLISH = Wording(
    "The following are multiple choice questions (with answers){}.",
    "The following are questions and answers{}.", " about {}", "Question: {}\n", "Answer:", " ",
)  # fmt: skip


@dataclass(frozen=True)
class ChoiceProtocol:
    """How questions are put: worked examples, what is scored, and the chat format they are wrapped in, if any."""

    shots: int
    by: By
    chat: PromptFormat | None = None


@dataclass(frozen=True)
class Prompt:
    """A question as it is put: the text before the answer and the text of each possible answer."""

    context: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Marked:
    """A question with the log-likelihood of each option, the worked examples it was given, and its share of right."""

    subject: str
    choice: Choice
    nats: tuple[float, ...]
    shots: int

    def share_right(self, per_char: bool = False) -> float:
        """1 where the right option is the likeliest alone, 1/k where k are equally likely, else 0."""
        scores = self.scores(per_char)
        best = [i for i, score in enumerate(scores) if score == max(scores)]
        return (self.choice.answer in best) / len(best)

    @property
    def asked(self) -> str:
        """What another question must have too to be the same one: its words and its options in any order."""
        told = json.dumps([self.choice.question, sorted(self.choice.options)], ensure_ascii=False)
        return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def scores(self, per_char: bool = False) -> list[float]:
        """What the options are compared by."""
        sizes = [max(1, len(option)) for option in self.choice.options]
        return [nats / size if per_char else nats for nats, size in zip(self.nats, sizes, strict=True)]


@dataclass
class Result:
    """Every question marked under one protocol, and its hash."""

    protocol: ChoiceProtocol
    digest: str
    marked: list[Marked] = field(default_factory=list)

    @property
    def dropped(self) -> int:
        """Questions that were given fewer worked examples than asked for, because they would not have fitted."""
        return sum(item.shots < self.protocol.shots for item in self.marked)


def wording_for(subjects: Sequence[Subject]) -> Wording:
    """English words around English questions, else Chinese ones."""
    text = "".join(choice.question for subject in subjects for choice in subject.questions[:50])
    letters = sum(map(str.isalpha, text))
    return CHINESE if sum(map(len, han_runs(text))) >= MIN_HAN * letters else ENGLISH


def prompt_of(subject: Subject, choice: Choice, shots: int, protocol: ChoiceProtocol, wording: Wording) -> Prompt:
    """A question after `shots` of the protocol's worked examples, the last ones where they are fewer."""
    title = title_of(subject.name, wording is ENGLISH)
    about = "" if title is None else wording.about.format(title)
    heading = (wording.listed if protocol.by == "letter" else wording.open).format(about)
    examples = subject.examples[protocol.shots - shots : protocol.shots]
    asked = [_body(example, protocol.by, wording) for example in (*examples, choice)]
    right = [wording.answer + wording.gap + _answers(e, protocol.by)[e.answer] for e in examples]
    options = tuple(wording.gap + answer for answer in _answers(choice, protocol.by))
    if protocol.chat is None:
        worked = "".join(f"{body}{answer}\n\n" for body, answer in zip(asked, right, strict=False))
        return Prompt(f"{heading}\n\n{worked}{asked[-1]}{wording.answer}", options)
    messages: list[Message] = []
    for body, answer in zip(asked, [*right, ""], strict=True):
        content = body.strip() if messages else f"{heading}\n\n{body.strip()}"
        messages += [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    asked_chat = protocol.chat.render(messages[:-1], answer_next=True) + protocol.chat.lead
    return Prompt(asked_chat + wording.answer, options)


def _body(choice: Choice, by: By, wording: Wording) -> str:
    listed = zip(LETTERS, choice.options, strict=False)
    lines = "".join(f"{letter}. {option}\n" for letter, option in listed) if by == "letter" else ""
    return wording.question.format(choice.question) + lines


def _answers(choice: Choice, by: By) -> Sequence[str]:
    return LETTERS[: len(choice.options)] if by == "letter" else choice.options


def run_choice(
    scorer: Scorer,
    subjects: Sequence[Subject],
    protocol: ChoiceProtocol,
    on_subject: Callable[[Subject], None] = lambda subject: None,
) -> Result:
    """Mark every question. Raises DataError where examples are missing or a question is too long on its own."""
    if short := [s for s in subjects if len(s.examples) < protocol.shots]:
        raise DataError(
            f"--shots {protocol.shots}: {short[0].name} has {len(short[0].examples)} worked examples. "
            "Give a folder with dev/, --examples PATH, or fewer shots."
        )
    wording = wording_for(subjects)
    result = Result(protocol, digest_of(subjects, protocol, wording))
    for subject in subjects:
        for shots, choices, asks in _by_shots(scorer, subject, protocol, wording):
            scores = scorer.score(asks)
            pairs = zip(choices, scores, strict=True)
            result.marked += [Marked(subject.name, choice, tuple(nats), shots) for choice, nats in pairs]
        on_subject(subject)
    return result


def _by_shots(
    scorer: Scorer, subject: Subject, protocol: ChoiceProtocol, wording: Wording
) -> Iterator[tuple[int, list[Choice], list[Ask]]]:
    """The questions with as many worked examples as fit, those with the same number together."""
    left = list(subject.questions)
    for shots in range(protocol.shots, -1, -1):
        asks = _encoded(scorer, [prompt_of(subject, choice, shots, protocol, wording) for choice in left])
        sizes = [max(map(len, ask.options)) - 1 for ask in asks]
        fitting = [i for i, size in enumerate(sizes) if size <= scorer.context]
        if fitting:
            yield shots, [left[i] for i in fitting], [asks[i] for i in fitting]
        if len(fitting) == len(left):
            return
        if shots == 0:
            index = next(i for i, size in enumerate(sizes) if size > scorer.context)
            raise DataError(
                f"{left[index].where}: the question has {sizes[index]} tokens and the model reads {scorer.context}. "
                "Take it out of the set, or score a model that reads more."
            )
        left = [choice for i, choice in enumerate(left) if i not in set(fitting)]


def _encoded(scorer: Scorer, prompts: Sequence[Prompt]) -> list[Ask]:
    texts = [text for p in prompts for text in (p.context, *(p.context + option for option in p.options))]
    ids = iter(scorer.encode(texts))
    return [ask_of(next(ids), [next(ids) for _ in p.options]) for p in prompts]


def digest_of(subjects: Sequence[Subject], protocol: ChoiceProtocol, wording: Wording) -> str:
    """SHA-256 of every prompt with its options and its answer: equal digests mean the same test was taken.

    Of the prompts with all worked examples; how many questions had fewer is told beside it. Names of files decide
    the order in which questions are asked, and nothing of what is found, so the order does not count.
    """
    lines = []
    for subject in subjects:
        for choice in subject.questions:
            prompt = prompt_of(subject, choice, protocol.shots, protocol, wording)
            line = [prompt.context, prompt.options, choice.options, choice.answer]
            lines.append(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    return hashlib.sha256(b"".join([json.dumps([protocol.shots, protocol.by]).encode(), *sorted(lines)])).hexdigest()


def chance_of(marked: Sequence[Marked]) -> float:
    """The share that guessing gets right."""
    return sum(1 / len(item.choice.options) for item in marked) / len(marked)


def overall(result: Result, per_char: bool = False) -> Score:
    """The share of right answers over all questions."""
    marked = result.marked
    shares, subjects = [m.share_right(per_char) for m in marked], [m.subject for m in marked]
    return mean_score(shares, chance_of(marked), subjects, clusters=[m.asked for m in marked])


def macro(result: Result, per_char: bool = False) -> Score:
    """The mean of the subjects' shares, as C-Eval and CMMLU report."""
    return _macro(result.marked, per_char)


def _macro(marked: Sequence[Marked], per_char: bool) -> Score:
    shares, subjects = [m.share_right(per_char) for m in marked], [m.subject for m in marked]
    return macro_score(shares, subjects, chance_of(marked), [m.asked for m in marked])


def tables(result: Result, per_char: bool = False) -> dict[str, dict[str, Score]]:
    """Scores by subject, and of each category that the subjects' names belong to (the mean of its subjects)."""
    subjects = {}
    for name in dict.fromkeys(m.subject for m in result.marked):
        own = [m for m in result.marked if m.subject == name]
        shares = [m.share_right(per_char) for m in own]
        subjects[name] = mean_score(shares, chance_of(own), clusters=[m.asked for m in own])
    categories: dict[str, Score] = {}
    for category in sorted({c for name in subjects for c in categories_of(name)}):
        own = [m for m in result.marked if category in categories_of(m.subject)]
        categories[category] = _macro(own, per_char)
    return {"subjects": subjects, "categories": categories}


def chosen_letters(result: Result) -> dict[str, int]:
    """How often each place was chosen: a model that always says the same letter is seen here."""
    found = Counter(LETTERS[max(range(len(m.nats)), key=m.nats.__getitem__)] for m in result.marked)
    return dict(sorted(found.items()))
