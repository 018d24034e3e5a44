"""Answers that claim to be another assistant say the own name and maker instead, grammatically, or are given up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby
from operator import itemgetter

from zhllm.text.han import HAN
from zhllm.text.lint.assistants import FAMILIES, MAKERS, NAMES, PLACEHOLDER_MAKER, PLACEHOLDER_NAME
from zhllm.text.lint.identity import Claim, claims, placeholders
from zhllm.text.lint.swapping import MAKER, OWN, Swap, wrong

_DENIED = re.compile(
    r"不是|不[係系]|可不是|[并並]非|[不没沒]叫|不[属屬][于於]|[没沒]有|[无無][关關]|不同[于於]|[区區][别別]"
    r"|\bnot\b|n['’]t\b|\bNo\b|unrelated|different from"
)
# A full stop before a letter or digit ends no sentence: 3.5, example.com.
_SENTENCE = re.compile(r"(?:[^。！？!?\n.]|\.(?=\w))*(?:[。！？!?\n.]|\Z)")
_CLAUSE = re.compile(r"[^，,；;]*(?:[，,；;]|\Z)")
_YES = re.compile(
    r"\A(?:是的|[对對]的|[对對]|[没沒][错錯]|[当當]然|正是|是啊|嗯)(?=[，,。！!])"
    r"|\A(?:Yes|Yeah|Correct|Right|Indeed|That's right|Sure)\b"
)


@dataclass(frozen=True)
class Identity:
    """The own name of the model and its maker; without a maker nobody is named in the place of another one."""

    name: str
    maker: str | None = None

    def claims(self, text: str, role: str) -> list[Claim]:
        """The claims of a text to be somebody else."""
        return claims(self._hidden(text), role)

    def _hidden(self, text: str) -> str:
        """A text with signs for the own name and maker, which may hold another's, or one the other."""
        own = ((self.name, OWN), *([(self.maker, MAKER)] if self.maker else ()))
        for said, sign in sorted(own, key=lambda pair: -len(pair[0])):
            text = text.replace(said, sign)
        return text

    def rewritten(self, texts: Sequence[str], roles: Sequence[str]) -> tuple[list[str], str | None]:
        """The texts of a chat with the own identity, and who else is left in them, or None."""
        done = list(texts)
        for number, (text, role) in enumerate(zip(texts, roles, strict=True)):
            hidden = self._hidden(text)
            claimed = claims(hidden, role)
            if not claimed and not placeholders(text, role):
                continue
            families = _families_in("\n".join(claim.said for claim in claimed))
            if claimed and (left := _third(hidden, families)):
                return list(texts), left
            signed = self._introduced(hidden, self._all if claimed else self._unfilled, families)
            if self.name != self.maker and (found := wrong().search(signed)):
                return list(texts), f"{self._filled(found.group())} (reads wrong)"
            done[number] = self._filled(signed)
            if claimed and number and roles[number - 1] == "user":
                done[number - 1], done[number] = self._answered(done[number - 1], done[number])
            if left := self._left(done[number], role, bool(claimed)):
                return list(texts), left
        return done, None

    @cached_property
    def _all(self) -> Swap:
        return Swap(self.maker is not None, rf"(?:{NAMES}|{PLACEHOLDER_NAME})", rf"(?:{MAKERS}|{PLACEHOLDER_MAKER})")

    @cached_property
    def _unfilled(self) -> Swap:
        return Swap(self.maker is not None, PLACEHOLDER_NAME, PLACEHOLDER_MAKER)

    def _introduced(self, text: str, swap: Swap, families: Sequence[re.Pattern[str]]) -> str:
        return "".join((self._unfilled if denies else swap).of(part) for part, denies in _parts(text, families))

    def _filled(self, text: str) -> str:
        for sign, own in ((OWN, self.name), (MAKER, self.maker or "")):
            n = "n" if own[:1] in tuple("aeiouAEIOU") else ""
            text = re.sub(rf"\b([Aa])n?(?=\s{sign})", rf"\1{n}", text)
        text = text.replace(OWN, self.name).replace(MAKER, self.maker or "")
        for own in filter(None, (self.name, self.maker)):
            text = _closed_up(text, own)
        return text

    def _answered(self, question: str, answer: str) -> tuple[str, str]:
        """A question that names the other one: a "yes" to it becomes a "no", a call by its name the own one."""
        if not _other().search(question):
            return question, answer
        if _asked().search(question):
            return question, _YES.sub(lambda yes: "No" if yes[0].isascii() else "不是", answer)
        return _closed_up(re.sub(NAMES, lambda _: self.name, question), self.name), answer

    def _left(self, text: str, role: str, is_claim: bool) -> str | None:
        """Who else a rewritten text still names, other than to say that it is not the speaker."""
        if found := placeholders(text, role):
            return found[0]
        text = self._hidden(text)
        if is_claim:
            named = (_other().search(part) for part, denies in _parts(text, ()) if not denies)
            return next((match.group() for match in named if match), None) or _broken_in(text)
        return next((claim.said for claim in claims(text, role)), None) or _broken_in(text)


@cache
def _other() -> re.Pattern[str]:
    return re.compile(f"{NAMES}|{MAKERS}")


@cache
def _asked() -> re.Pattern[str]:
    """Questions whether it is another one."""
    return re.compile(
        rf"(?:你|您|你们)(?:就|难道|到底|其实|究竟)?(?:是(?:不是)?|叫|不是)\s?(?:{NAMES}|{MAKERS})|是不是|区别|不同"
        rf"|\b(?:[Aa]re\syou|[Yy]ou\sare)\s(?:{NAMES}|{MAKERS})|differ"
    )


@cache
def _not_him() -> re.Pattern[str]:
    """Who the speaker is not, or is compared with."""
    return re.compile(
        rf"(?:不[是叫係系]|[并並]非|[无無][关關]|不同|[区區][别別]|\bnot\b|n['’]t\b|\bNo\b)[^，,。.]{{0,12}}(?:{NAMES}|{MAKERS})|(?:和|[与與跟])\s?(?:{NAMES}|{MAKERS})"
    )


_BROKEN = re.compile(r"\bI\s(?:was|have\sbeen)(?=\s?[.,!])|我(?:[来來]自|由)(?=[，。])|(?:作品|产品)(?<=是 的..)")


def _broken_in(text: str) -> str | None:
    found = _BROKEN.search(text)
    return None if found is None else f"{found.group()} (no maker)"


@cache
def _families() -> tuple[re.Pattern[str], ...]:
    return tuple(map(re.compile, FAMILIES))


def _families_in(said: str) -> list[re.Pattern[str]]:
    """Whom a claim names, each as the pattern of all its names."""
    return [family for family in _families() if family.search(said)]


def _third(text: str, families: Sequence[re.Pattern[str]]) -> str | None:
    """Who a text names that its speaker does not claim to be or to be of: it would be taken for the own one."""
    foreign = [family for family in _families() if family not in families]
    parts = [part for part, denies in _parts(text, families) if not denies]
    return next((found.group() for part in parts for family in foreign if (found := family.search(part))), None)


def _parts(text: str, families: Sequence[re.Pattern[str]]) -> Iterator[tuple[str, bool]]:
    """The text in order, and whether a part only says who the speaker is not: a sentence, or some clauses of one."""
    for sentence in _SENTENCE.findall(text):
        if not _DENIED.search(sentence):
            yield sentence, False
        elif _is_denial(sentence, families):
            yield sentence, True
        else:
            clauses = ((_is_denial(clause, families), clause) for clause in _CLAUSE.findall(sentence))
            for denies, some in groupby(clauses, key=itemgetter(0)):
                yield "".join(clause for _, clause in some), denies


def _is_denial(part: str, families: Sequence[re.Pattern[str]]) -> bool:
    """Whether it says who the speaker is not; not what the claimed one is not ("ChatGPT is no human")."""
    if not _DENIED.search(part) or claims(part, "assistant"):
        return False
    return _not_him().search(part) is not None or not any(family.search(part) for family in families)


def _closed_up(text: str, own: str) -> str:
    """No spaces between Chinese and an own name in Chinese; a name that follows itself once."""
    name = re.escape(own)
    text = re.sub(rf"{name}\s?[（(]\s?{name}\s?[)）]|{name}\s?(?:和|与|、|/|,\s|and\s)\s?{name}", lambda _: own, text)
    if own.endswith("."):
        text = text.replace(own + ".", own)
    if re.match(f"[{HAN}]", own):
        text = re.sub(rf"(?<=[{HAN}，。！：]) (?={name})", "", text)
    if re.search(f"[{HAN}]\\Z", own):
        text = re.sub(rf"(?<={name}) (?=[{HAN}])", "", text)
    return text
