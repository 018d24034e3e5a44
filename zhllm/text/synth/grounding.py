"""What a question and its answer must hold to be kept: a text of their own, and nothing but what the text says."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from zhllm.text.han import han_runs
from zhllm.text.synth.numbers import numbers_in

# Of the answers of people to 1,002 questions of CMRC 2018 these refuse under 5 % (tests/parity/test_grounding.py).
MIN_COVERED = 0.5  # share of the answer's pairs of characters that the passage or the question has
MIN_SUPPORTED = 0.25  # the same in the evidence alone
MIN_LANGUAGE_SHARE = 0.3

_NAMES_TEXT = re.compile(
    r"本[文段章篇](?!化|件|体)|[上下前后]文|(?:该|此|这[一]?|上述|下列|以上|以下)(?:段|文|篇|节|材料|内容|文章|文本|文档|片段|表格|条款)"
    r"|(?:这|本)(?:本|份|张|篇|部|手册|制度|页)|这一(?:章|节|页)|(?:文|段|材料|文档|文章|原文)中|材料里|根据(?:材料|文章|文档|所给|提供)"
    r"|\b(?:the|this) (?:passage|text|document|article|paragraph|above)\b|\baccording to the (?:passage|text)\b",
    re.IGNORECASE,
)
_POINTS_BACK = re.compile("如[上下]|前述|上述")
_POINTS_AT_NOTHING = re.compile(
    r"(?:^|[，,：])(?:它们?|他们?|她们?|这些?|那些?|该|其(?!他|中|余|实)|此(?!外)|前者|后者)|^(?:It|They|He|She|This|That)\b"
)
_REFUSING = re.compile(
    r"(?:无法|不能|没法)(?:从[^，。]{0,12})?(?:回答|得知|确定|判断)|(?:没有|未|并未|未曾)(?:提及|提到|涉及|说明|给出相关)"
    r"|cannot (?:be )?(?:answer|determin)|not (?:mention|stat)ed|does not (?:say|mention)",
    re.IGNORECASE,
)
_NAMES = re.compile(r"[“「『《]([^”」』》]{1,40})[”」』》]|[A-Za-z][A-Za-z0-9]*(?:[-_.][A-Za-z0-9]+)*")
_NEGATED_CHARS = 4
_NEGATED = re.compile("(?:不得|不能|不可以|不应当?|不准|不许|禁止|严禁|不再?)([\u4e00-\u9fff]{1,4})")
_NEGATIONS_BEFORE = ")(?<!".join(
    ("不得", "不能", "不可以", "不应当", "不应", "不准", "不许", "禁止", "严禁", "不", "不再")
)
_NO_LETTER = re.compile(r"[\W_]+")
_ASKING = re.compile(
    "多少|什么时候|什么|哪里|哪些|哪[个种位]|怎么样?|怎样|如何|为什么|是否|多[久长大高重]|何时|请问|根据|几[个点天]"
)
_NAME_TAGS = ("nr", "ns", "nt", "nz", "nrt", "nrfg")


@dataclass(frozen=True, slots=True)
class Limits:
    """How long, in which language, and whether a question must stand without its text."""

    language: str = "zh"
    min_question_chars: int = 5
    max_question_chars: int = 150
    min_answer_chars: int = 1
    max_answer_chars: int = 1200
    stands_alone: bool = True


def plain(text: str) -> str:
    """A text without what readers do not see as different: widths, blanks, kinds of quotes, case."""
    return _NO_LETTER.sub("", unicodedata.normalize("NFKC", text).casefold())


def locate(evidence: str, text: str) -> tuple[int, int] | None:
    """Where a quoted span stands in a text, as [start, end): exactly, else in all but widths, blanks and marks."""
    quoted = evidence.strip()
    if not quoted:
        return None
    if (at := text.find(quoted)) >= 0:
        return at, at + len(quoted)
    wanted = plain(quoted)
    if len(wanted) < 4:
        return None
    letters, places = [], []
    for place, char in enumerate(text):
        for folded in plain(char):
            letters.append(folded)
            places.append(place)
    at = "".join(letters).find(wanted)
    if at < 0:
        return None
    end = places[at + len(wanted) - 1] + 1
    while end < len(text) and text[end] in "。！？；）)”』」》":  # the marks that close what was quoted
        end += 1
    return places[at], end


@dataclass(frozen=True, slots=True)
class Seen:
    """What a text holds, to look things up in."""

    letters: str
    pairs: frozenset[str]
    numbers: frozenset[str]


@lru_cache(maxsize=512)  # many pairs are checked against one passage
def seen_in(text: str) -> Seen:
    """The plain letters of a text, its pairs of characters and its numbers."""
    return Seen(plain(text), frozenset(pairs_of_characters(text)), frozenset(numbers_in(text)))


def pairs_of_characters(text: str) -> set[str]:
    """Neighbouring characters of the plain text; of a single character, itself."""
    letters = plain(text)
    return {letters[i : i + 2] for i in range(len(letters) - 1)} or set(letters)


def question_problem(question: str, limits: Limits) -> str | None:
    """Why a question cannot be kept, whatever its answer; None for a good one."""
    if not limits.min_question_chars <= len(question) <= limits.max_question_chars:
        return "question too short or too long"
    if "\n" in question:
        return "question of several lines"
    if not _is_in(question, limits.language):
        return "question in another language"
    if limits.stands_alone and (_NAMES_TEXT.search(question) or _POINTS_BACK.search(question)):
        return "question points at its text"
    if _POINTS_AT_NOTHING.search(question):
        return "question points at something unnamed"
    return None


def answer_problem(question: str, answer: str, evidence: str, context: str, limits: Limits) -> str | None:
    """Why an answer cannot be kept: it must say what the context says; None for a good one.

    `evidence` is the slice of the context that the answer rests on. Looks at numbers, names, quoted words and
    Latin codes one by one, and at everything else by the characters it shares with the text.
    """
    if not limits.min_answer_chars <= len(answer) <= limits.max_answer_chars:
        return "answer too short or too long"
    if not _is_in(answer, limits.language) and plain(answer) not in seen_in(context).letters:
        return "answer in another language"
    if plain(answer) == plain(question) or (len(plain(answer)) > 5 and plain(answer) in plain(question)):
        return "answer repeats the question"
    if _REFUSING.search(answer) and not _REFUSING.search(context):
        return "answer is a refusal"
    if limits.stands_alone and _NAMES_TEXT.search(answer) and not _NAMES_TEXT.search(evidence):
        return "answer points at its text"
    return ungrounded(question, answer, evidence, context)


def ungrounded(question: str, answer: str, evidence: str, context: str) -> str | None:
    """What of an answer does not stand in the context, or None."""
    known, asked = seen_in(context), seen_in(question)
    if not numbers_in(answer) <= known.numbers | asked.numbers:
        return "ungrounded: number"
    whole, there = known.letters + asked.letters, known.pairs | asked.pairs
    said = pairs_of_characters(answer)
    # Tagging is slow, and a name that stands nowhere has a pair of characters that stands nowhere.
    names = _NAMES.finditer(answer) if said <= there else ()
    if any(plain(found[1] or found[0]) not in whole for found in names):
        return "ungrounded: name"
    if not said <= there and any(plain(name) not in whole for name in names_in(answer)):
        return "ungrounded: name"
    if turned_round(answer, context + "\n" + question):
        return "ungrounded: negation"
    if said and len(said & there) < MIN_COVERED * len(said):
        return "ungrounded: wording"
    if said and len(said & pairs_of_characters(evidence + "\n" + question)) < MIN_SUPPORTED * len(said):
        return "ungrounded: not in the evidence"
    return None


def turned_round(answer: str, context: str) -> bool:
    """Whether an answer forbids what the context does not, or allows what it only forbids.

    Looks at the words right after 不得, 不能, 禁止 and the like: they must be negated in both or in neither.
    """
    if any(found[0] not in context for found in _NEGATED.finditer(answer)):
        return True
    for found in _NEGATED.finditer(context):
        words = found[1]
        bare = re.compile(f"(?<!{_NEGATIONS_BEFORE}){words}")
        if len(words) == _NEGATED_CHARS and bare.search(answer) and not bare.search(context):
            return True
    return False


def names_in(text: str) -> list[str]:
    """Quoted words, Latin words and codes, and the people, places and bodies that a dictionary tagger finds."""
    found = [quoted or match for match, quoted in ((m[0], m[1]) for m in _NAMES.finditer(text))]
    if not any(len(run) > 1 for run in han_runs(text)):
        return found
    return found + [word for word, tag in _tagger().tag(text) if tag in _NAME_TAGS and len(word) > 1]


def unanswerable_problem(question: str, context: str) -> str | None:
    """Why a question cannot stand for one that its text does not answer: it must ask for something unsaid."""
    whole = plain(context)
    if numbers_in(question) - numbers_in(context):
        return None
    asked = [word for word, tag in _tagger().tag(_ASKING.sub("，", question)) if len(word) > 1 and tag[:1] in "nvaelm"]
    new = [word for word in (*asked, *names_in(question)) if plain(word) not in whole]
    return None if new else "question may be answerable"


@cache
def _tagger() -> Any:
    import rjieba

    return rjieba


def _is_in(text: str, language: str) -> bool:
    """Whether enough of the letters are of a language; numbers and codes belong to every one."""
    letters = [c for c in text if c.isalpha()]
    han = sum(map(len, han_runs(text)))
    if not letters or language == "any":
        return True
    share = han / len(letters)
    return share >= MIN_LANGUAGE_SHARE or _is_code(text) if language == "zh" else share <= 1 - MIN_LANGUAGE_SHARE


def _is_code(text: str) -> bool:
    return len(text) <= 24 and len(text.split()) <= 3
