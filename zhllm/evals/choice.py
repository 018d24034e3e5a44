"""Multiple choice by log-likelihood: of the option's letter, and of its full text.

Letter: the options stand in the prompt and the letter that follows "答案：" is scored. Text: the options are not
shown and each one's text is scored as the answer, as a sum and per character (the number of tokens would favour
one tokenizer). Source: the two formulations compared in OLMES (Gu et al. 2024). No sampling, so no luck.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from unicodedata import normalize

from zhllm.errors import DataError
from zhllm.evals.choice_sets import LETTERS, Choice, Subject
from zhllm.evals.intervals import Score, macro_score, mean_score
from zhllm.evals.likelihood import Ask, Scorer, ask_of
from zhllm.evals.subjects import categories_of, title_of
from zhllm.evals.too_long import check_too_long
from zhllm.text.han import han_runs
from zhllm.text.prompt_format import Message, PromptFormat

By = Literal["letter", "text"]
# A set with a smaller share of Chinese characters among its letters is asked in English.
MIN_HAN = 0.2
# A text has no more tokens than bytes, but for BOS, and spaces that a tokenizer writes with three bytes.
MORE_TOKENS = 8


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
    """A question as it is put: the text before the answer and the text of each possible answer.

    The question's own part of the text begins at `start`; what stands before is the same for others of its subject.
    """

    context: str
    options: tuple[str, ...]
    start: int = 0


@dataclass(frozen=True)
class Marked:
    """A question with the log-likelihood of each option, the worked examples it was given, and its share of right.

    `prefix` + `prompt` + one of `continuations` is a text that was scored, from where the continuation begins.
    """

    subject: str
    choice: Choice
    nats: tuple[float, ...]
    shots: int
    prefix: str
    prompt: str
    continuations: tuple[str, ...]

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


@dataclass(frozen=True)
class TooLong:
    """A question that the model cannot read whole, not even without worked examples, and its tokens."""

    subject: str
    choice: Choice
    tokens: int


@dataclass
class Result:
    """Every question marked under one protocol, in the order of the set, those that were too long, and the hash.

    `left_out` says of each question of the set whether it was too long.
    """

    protocol: ChoiceProtocol
    digest: str
    marked: list[Marked] = field(default_factory=list)
    too_long: list[TooLong] = field(default_factory=list)
    left_out: list[bool] = field(default_factory=list)

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
        return Prompt(f"{heading}\n\n{worked}{asked[-1]}{wording.answer}", options, len(f"{heading}\n\n{worked}"))
    messages: list[Message] = []
    for body, answer in zip(asked, [*right, ""], strict=True):
        content = body.strip() if messages else f"{heading}\n\n{body.strip()}"
        messages += [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    asked_chat = protocol.chat.render(messages[:-1], answer_next=True) + protocol.chat.lead
    return Prompt(asked_chat + wording.answer, options, max(0, asked_chat.rfind(asked[-1].strip())))


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
    max_too_long: float = 0.0,
) -> Result:
    """Mark every question that the model can read.

    Raises DataError where examples are missing, or where more than the share `max_too_long` of the questions, or all
    of them, are too long on their own: before anything is scored.
    """
    if short := [s for s in subjects if len(s.examples) < protocol.shots]:
        raise DataError(
            f"--shots {protocol.shots}: {short[0].name} has {len(short[0].examples)} worked examples. "
            "Give a folder with dev/, --examples PATH, or fewer shots."
        )
    wording = wording_for(subjects)
    result = Result(protocol, digest_of(subjects, protocol, wording))
    result.too_long = _too_long(scorer, subjects, protocol, wording)
    places = [(item.choice.where, item.tokens) for item in result.too_long]
    check_too_long(places, sum(len(s.questions) for s in subjects), max_too_long, str(scorer.context))
    long = {(item.subject, item.choice) for item in result.too_long}
    result.left_out = [(subject.name, choice) in long for subject in subjects for choice in subject.questions]
    for subject in subjects:
        choices = tuple(choice for choice in subject.questions if (subject.name, choice) not in long)
        found: dict[int, Marked] = {}
        for shots, numbers, prompts, asks in _by_shots(scorer, replace(subject, questions=choices), protocol, wording):
            for number, prompt, nats in zip(numbers, prompts, scorer.score(asks), strict=True):
                found[number] = _marked(subject.name, choices[number], shots, prompt, nats)
        result.marked += [found[number] for number in range(len(choices))]
        on_subject(subject)
    return result


def _marked(subject: str, choice: Choice, shots: int, prompt: Prompt, nats: Sequence[float]) -> Marked:
    prefix, own = prompt.context[: prompt.start], prompt.context[prompt.start :]
    # Thousands of questions begin with the same kilobytes, which are held once.
    return Marked(subject, choice, tuple(nats), shots, sys.intern(prefix), own, prompt.options)


def _too_long(scorer: Scorer, subjects: Sequence[Subject], protocol: ChoiceProtocol, wording: Wording) -> list[TooLong]:
    """The questions that do not fit without worked examples; only texts of so many bytes are encoded."""
    asked = [(s.name, choice, prompt_of(s, choice, 0, protocol, wording)) for s in subjects for choice in s.questions]
    long = [item for item in asked if _longest_bytes(item[2]) > scorer.context]
    asks = _encoded(scorer, [prompt for _, _, prompt in long], [choice.where for _, choice, _ in long])
    found = [
        TooLong(name, choice, max(map(len, ask.options)) - 1) for (name, choice, _), ask in zip(long, asks, strict=True)
    ]
    return [item for item in found if item.tokens > scorer.context]


def _longest_bytes(prompt: Prompt) -> int:
    """No less than the tokens of a prompt with its longest option, also where a tokenizer takes characters apart."""
    longest = max(prompt.options, key=lambda option: len(option.encode("utf-8", "surrogatepass")))
    text = prompt.context + longest
    forms = (text, normalize("NFKD", text))
    return max(len(form.encode("utf-8", "surrogatepass")) for form in forms) + 2 * text.count(" ") + MORE_TOKENS


def _by_shots(
    scorer: Scorer, subject: Subject, protocol: ChoiceProtocol, wording: Wording
) -> Iterator[tuple[int, list[int], list[Prompt], list[Ask]]]:
    """The questions, by number, with as many worked examples as fit, those with the same number together."""
    left = list(range(len(subject.questions)))
    for shots in range(protocol.shots, -1, -1):
        prompts = [prompt_of(subject, subject.questions[i], shots, protocol, wording) for i in left]
        asks = _encoded(scorer, prompts, [subject.questions[i].where for i in left])
        fitting = [i for i, ask in enumerate(asks) if max(map(len, ask.options)) - 1 <= scorer.context]
        if fitting:
            yield shots, [left[i] for i in fitting], [prompts[i] for i in fitting], [asks[i] for i in fitting]
        left = [number for i, number in enumerate(left) if i not in set(fitting)]
        if not left:
            return


def _encoded(scorer: Scorer, prompts: Sequence[Prompt], names: Sequence[str]) -> list[Ask]:
    texts = [text for p in prompts for text in (p.context, *(p.context + option for option in p.options))]
    ids = iter(scorer.encode(texts))
    return [ask_of(next(ids), [next(ids) for _ in p.options], name) for p, name in zip(prompts, names, strict=True)]


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
