"""Answers that claim to be another assistant say the own name and maker instead, grammatically, or are given up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from zhllm.text.han import HAN
from zhllm.text.lint.assistants import FAMILIES, MAKERS, NAMES, PLACEHOLDER_MAKER, PLACEHOLDER_NAME
from zhllm.text.lint.identity import MADE_ZH, OWNED, Claim, Grammar, claims, placeholders

_DENIED = re.compile(
    r"不是|不[係系]|可不是|[并並]非|[不没沒]叫|不[属屬][于於]|[没沒]有|[无無][关關]|不同[于於]|[区區][别別]"
    r"|\bnot\b|n['’]t\b|\bNo\b|unrelated|different from"
)
# A full stop before a letter or digit ends no sentence: 3.5, example.com.
_SENTENCE = re.compile(r"(?:[^。！？!?\n.]|\.(?=\w))*(?:[。！？!?\n.]|\Z)")
_YES = re.compile(
    r"\A(?:是的|[对對]的|[对對]|[没沒][错錯]|[当當]然|正是|是啊|嗯)(?=[，,。！!])"
    r"|\A(?:Yes|Yeah|Correct|Right|Indeed|That's right|Sure)\b"
)
_ASKED = re.compile(
    rf"(?:你|您|你们)(?:就|难道|到底|其实|究竟)?(?:是(?:不是)?|叫|不是)\s?(?:{NAMES}|{MAKERS})|是不是|区别|不同"
    rf"|\b(?:[Aa]re\syou|[Yy]ou\sare)\s(?:{NAMES}|{MAKERS})|differ"
)
_OWN, _MAKER = "\ue0f0", "\ue0f1"
_END = r"(?=\s*(?:[。，,！!；;)）]|\.(?!\d)|\Z))"


@dataclass(frozen=True)
class Identity:
    """The own name of the model and its maker; without a maker nobody is named in the place of another one."""

    name: str
    maker: str | None = None

    def claims(self, text: str, role: str) -> list[Claim]:
        """The claims of a text to be somebody else."""
        return claims(self._hidden(text), role)

    def _hidden(self, text: str) -> str:
        """A text with signs for the own name and maker, which may hold another's."""
        text = text.replace(self.name, _OWN)
        return text.replace(self.maker, _MAKER) if self.maker else text

    def rewritten(self, texts: Sequence[str], roles: Sequence[str]) -> tuple[list[str], str | None]:
        """The texts of a chat with the own identity, and who else is left in them, or None."""
        done = list(texts)
        for number, (text, role) in enumerate(zip(texts, roles, strict=True)):
            claimed = self.claims(text, role)
            is_claim = bool(claimed)
            if is_claim and (left := _third(self._hidden(text), claimed)):
                return list(texts), left
            if not is_claim and not placeholders(text, role):
                continue
            done[number] = self._introduced(text, self._all if is_claim else self._unfilled)
            if is_claim and number and roles[number - 1] == "user":
                done[number - 1], done[number] = self._answered(done[number - 1], done[number])
            if left := self._left(done[number], role, is_claim):
                return list(texts), left
        return done, None

    @cached_property
    def _all(self) -> _Swap:
        return _Swap(self, rf"(?:{NAMES}|{PLACEHOLDER_NAME})", rf"(?:{MAKERS}|{PLACEHOLDER_MAKER})")

    @cached_property
    def _unfilled(self) -> _Swap:
        return _Swap(self, PLACEHOLDER_NAME, PLACEHOLDER_MAKER)

    def _introduced(self, text: str, swap: _Swap) -> str:
        parts = _SENTENCE.findall(text)
        text = "".join((self._unfilled if _is_denial(part) else swap).of(part) for part in parts)
        for own in filter(None, (self.name, self.maker)):
            text = _closed_up(text, own)
        return text

    def _answered(self, question: str, answer: str) -> tuple[str, str]:
        """A question that names the other one: a "yes" to it becomes a "no", a call by its name the own one."""
        if not _OTHER.search(question):
            return question, answer
        if _ASKED.search(question):
            return question, _YES.sub(lambda yes: "No" if yes[0].isascii() else "不是", answer)
        return _closed_up(re.sub(NAMES, lambda _: self.name, question), self.name), answer

    def _left(self, text: str, role: str, is_claim: bool) -> str | None:
        """Who else a rewritten text still names, other than to say that it is not the speaker."""
        if found := placeholders(text, role):
            return found[0]
        text = self._hidden(text)
        if is_claim:
            named = (_OTHER.search(part) for part in _SENTENCE.findall(text) if not _is_denial(part))
            return next((match.group() for match in named if match), None) or _broken_in(text)
        return next((claim.said for claim in claims(text, role)), None) or _broken_in(text)


_OTHER = re.compile(f"{NAMES}|{MAKERS}")
_BROKEN = re.compile(r"\bI\s(?:was|have\sbeen)(?=\s?[.,!])|我(?:[来來]自|由)(?=[，。])|(?:作品|产品)(?<=是 的..)")


def _broken_in(text: str) -> str | None:
    found = _BROKEN.search(text)
    return None if found is None else f"{found.group()} (no maker)"


def _third(text: str, claimed: Sequence[Claim]) -> str | None:
    """Who a text names that its speaker does not claim to be or to be of: it would be taken for the own one."""
    said = "\n".join(claim.said for claim in claimed)
    foreign = [family for family in map(re.compile, FAMILIES) if not family.search(said)]
    parts = [part for part in _SENTENCE.findall(text) if not _is_denial(part)]
    return next((found.group() for part in parts for family in foreign if (found := family.search(part))), None)


def _is_denial(sentence: str) -> bool:
    return _DENIED.search(sentence) is not None and not claims(sentence, "assistant")


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


class _Swap:
    """Names and makers by patterns, and what takes their places."""

    def __init__(self, own: Identity, name: str, maker: str) -> None:
        self._own = own
        self._name = re.compile(name)
        grammar = Grammar(name, maker)
        org = grammar.organisation
        self._organisations = re.compile(rf"{org}(?:\s?(?:和|与|、|及|,\s|and\s)\s?{org})*(?:\s?于\s?\d{{4}}\s?年)?")
        based = rf"(?:which\sis\s|that\sis\s)?(?:{grammar.based_on})"
        self._based = re.compile(rf"[，,]?\s?(?<!我)是?{based}{_END}|\s?{based}")
        # 是 stays before what 由 … 开发的 describes.
        made_zh = rf"(?:由|被|来自于?|出自)\s?{org}等?\s?{MADE_ZH}(?!了?我)|{org}\s?(?:{MADE_ZH}(?!了?我)|{OWNED})"
        self._made = re.compile(
            rf"[，,]?\s?(?<!我)是?(?:{made_zh}){_END}|,?\s?(?:{grammar.made_by_en})|(?P<zh>\s?(?:{made_zh}))(?=\s?(?P<next>.))"
        )

    def of(self, text: str) -> str:
        """A sentence with the own name and maker; another maker stays where there is no own one and it must be said."""
        text = self._based.sub("", text)
        if self._own.maker is None:
            text = self._made.sub(self._unmade, text)
        # Signs stand for the own names until the end: an own name may hold another's.
        text = self._name.sub(_OWN, text)
        if self._own.maker is not None:
            text = self._organisations.sub(_MAKER, text)
        text = re.sub(rf"{_MAKER}的?(?={_OWN})", "", text) if self._own.maker else text
        text = re.sub(r"(我就?是|我叫)(?=[，。,！!]|\Z)", rf"\1{_OWN}", text)
        text = re.sub(r"\b(I\sam|I['’]m)(?=[,.!]|\Z)", rf"\1 {_OWN}", text)
        return text.replace(_OWN, self._own.name).replace(_MAKER, self._own.maker or "")

    def _unmade(self, clause: re.Match[str]) -> str:
        """What stands for a clause on the maker: 一个 where a kind follows that has no numeral."""
        before = clause.string[clause.start() - 1 : clause.start()]
        if not clause["zh"] or before not in ("是", "，", ",") or clause["next"] == "一":
            return ""
        one = "一個" if re.search("[開訓創設發製構語慧]", clause.string) else "一个"
        return "" if self._name.match(clause.string, clause.start("next")) else one
