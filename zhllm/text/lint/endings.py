"""Answers that end in the middle: cut at a limit of tokens, or broken off.

Lists, tables, code, titles, verses, signatures and short answers end without a full stop and are whole. What is
looked for is the last line: it must be prose, or the sign left open must be one that is always closed.
"""

from __future__ import annotations

import re

_MIN_CHARS = 40
_MIN_PROSE = 120
_CLOSERS = frozenset("。.！!？?”\"）)…`]}>》」』】〉~～*|_\\'’;；█♪♥♡")
_EMOJI = "\u200d\u2190-\u2bff\u3297\u3299\ufe0f\U0001f000-\U0001faff"
EMOJI = re.compile(f"[{_EMOJI}]")
# What ends so and holds no code fence is whole; for Rust's regular expressions.
WHOLE = "[" + "".join(rf"\x{{{ord(char):x}}}" for char in sorted(_CLOSERS)) + _EMOJI + "]$"
_ATTRIBUTION = re.compile(r"[\"”’'] ?[-—–~]+ ?[\w.·, ]{2,40}\Z")
_FENCE = re.compile(r"^[ \t]*(?:[-*>] |\d+\. )?```", re.MULTILINE)
_LIST = re.compile(
    r"[ \t]*(?:[-*•·●○–—+>#|]|\(?[0-9一二三四五六七八九十]{1,3}[.、)）:：]|[①-⑳]|[A-Za-z][.)、]\s"
    r"|[（(][0-9一二三四五六七八九十]+[)）])"
)
_HAN = re.compile(r"[\u3400-\u9fff]")
_INNER_ZH = re.compile(r"[。，！？；]")
_INNER_EN = re.compile(r"[a-z0-9)\"'][.!?;] +[A-Z\"']|, ")
_LAST_WORD = re.compile(r"(?:^|[\s(])([A-Za-z'’-]+)\Z")
# No sentence ends with one of these.
_OPEN_WORDS = frozenset(
    (
        "a", "an", "the", "of", "to", "and", "or", "but", "with", "for", "from", "by", "in", "on", "at", "as",
        "into", "that", "which", "who", "whose", "because", "while", "although", "if", "than", "is", "are", "was",
        "were", "be", "been", "their", "his", "its", "our", "your", "my", "such", "these", "those", "between",
        "through", "about",
    )
)  # fmt: skip
_OPEN_HAN = re.compile(
    r"(?:的|和|与|及|以及|或|或者|并|并且|而|而且|但|但是|因为|由于|如果|以|在|对于|关于|通过|包括|例如|比如|是|将|把|被|从|向"
    r"|为了|其中)\Z"
)
# However short: what it says will follow is not there.
_ANNOUNCED_CHARS = 60
_ANNOUNCES = re.compile(
    r"(?:(?:以下|下面|下列|如下)[^，。、；：:\n]{0,8}|(?:包括|例如|比如|分别是|主要有))[：:]\Z"
    r"|\b(?:the following|as follows|such as|for example|include|includes)(?: [a-z]+){0,3}:\Z"
)
_SIGNATURE = re.compile(r"\[|【|此致|敬礼|[Rr]egards|[Ss]incerely|[Yy]ours|谢谢|祝|您的|Best,")


def cut_off(text: str) -> str | None:
    """How an answer shows that its end is missing, in words; None where it does not."""
    text = text.rstrip()
    if text.count("```") % 2 and len(_FENCE.findall(text)) % 2:
        return "a code block is not closed"
    if text.endswith((":", "：")) and (announced := _ANNOUNCES.search(text, max(len(text) - _ANNOUNCED_CHARS, 0))):
        return f"ends with “{announced[0]}”"
    if len(text) < _MIN_CHARS:
        return None
    last = text[-1]
    if last in _CLOSERS or EMOJI.match(last) or text.count("```"):
        return None
    line = text[text.rfind("\n") + 1 :]
    if last in ",，、":
        return f"ends with {last}" if not _looks_like_data(text, line) else None
    if last in ":：":
        return f"ends with {last}" if len(text) >= _MIN_PROSE and not _is_verse(text) else None
    if _LIST.match(line) and len(line) < _MIN_CHARS:
        return None
    return _open_sentence(text, line)


def _looks_like_data(text: str, line: str) -> bool:
    """Rows of values with a comma behind each; verses in which each line ends with one."""
    return _is_verse(text) or not re.search(r"[\u3400-\u9fff]{4}|[A-Za-z]{3,} [A-Za-z]{2,}", line)


def _is_verse(text: str) -> bool:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    tail = lines[-6:]
    return len(tail) >= 4 and all(len(line) <= 60 for line in tail) and not any(_LIST.match(line) for line in tail)


def _open_sentence(text: str, line: str) -> str | None:
    """Whether the last line is a sentence without its end."""
    if (
        len(text) < _MIN_PROSE
        or _is_verse(text)
        or _SIGNATURE.search(line)
        or "://" in line[-200:]
        or "#" in line[-40:]
    ):
        return None
    if _HAN.match(line[-1]):
        if _OPEN_HAN.search(line) and len(line) >= 10:
            return f"ends with “{line[-8:]}”"
        is_prose = len(line) >= 20 and _INNER_ZH.search(line) is not None
        return f"ends without a full stop: “{line[-12:]}”" if is_prose else None
    word = _LAST_WORD.search(line)
    if word is None:
        return f"ends without a full stop: “{line[-12:]}”" if _HAN.search(line) and _ends_in_number(line) else None
    if word.group(1).lower() in _OPEN_WORDS:
        return f"ends with “{line[-20:]}”"
    is_prose = len(line) >= 60 and re.search(r"[a-z0-9)\"'][.!?] +[A-Z\"']", line) is not None
    return f"ends without a full stop: “{line[-20:]}”" if is_prose else None


def _ends_in_number(line: str) -> bool:
    """Chinese prose that breaks off in a number: 。并在202."""
    return len(line) >= 30 and re.search(r"[。，；][^。，；=：:]{0,12}[\u3400-\u9fff]\d{1,3}\Z", line) is not None
