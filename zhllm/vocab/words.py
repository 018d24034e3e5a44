"""Words that pieces shall respect: lists of terms that become single pieces, and jieba's word borders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from zhllm.errors import DataError
from zhllm.text.han import is_han

_SHOWN = 5


def read_terms(paths: Sequence[Path], borders: str = "") -> list[str]:
    """The terms of some files, each once, in order: one a line, or the first column of a tsv.

    Empty lines, lines that begin with # and the header of a pieces.tsv are passed over. Raises DataError,
    naming file, line and term, where a term is not Han or holds one of `borders`, the characters at which
    the base parts every text.
    """
    terms: dict[str, None] = {}
    bad = []
    for path in paths:
        for number, term in _lines(path):
            reason = _why_not(term, borders)
            if reason is None:
                terms[term] = None
            else:
                bad.append(f'{path}:{number}: "{term}" cannot be one piece: {reason}')
    if bad:
        more = [f"... and {len(bad) - _SHOWN} more"] * (len(bad) > _SHOWN)
        advice = "Leave such terms out, or give the Han words in them."
        count = f"{len(bad)} of {len(bad) + len(terms)} terms cannot be pieces."
        raise DataError("\n".join([*bad[:_SHOWN], *more, f"{count} {advice}"]))
    return list(terms)


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    if path.is_dir():
        raise DataError(f"{path}: is a folder. Give text files with one term a line.")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    for number, line in enumerate(lines, 1):
        term = line.split("\t")[0].strip()
        is_header = number == 1 and "\t" in line and term in ("piece", "term")
        if term and not term.startswith("#") and not is_header:
            yield number, term


def _why_not(term: str, borders: str) -> str | None:
    other = next((char for char in term if not is_han(char)), None)
    if other is not None:
        return f'"{other}" (U+{ord(other):04X}) is not Han, and other pieces make engines cut texts in different ways.'
    border = next((char for char in term if char in borders), None)
    if border is not None and len(term) > 1:
        return f'the base parts every text at "{border}".'
    return None


def jieba_words(terms: Sequence[str] = ()) -> Callable[[Sequence[str]], list[str]]:
    """A function that gives the words of Han runs as jieba cuts them without guessing new ones (HMM off).

    `terms` count as words of the dictionary.
    """
    import rjieba

    jieba = rjieba.Jieba()
    for term in terms:
        jieba.add_word(term, None, None)  # jieba then chooses a frequency that keeps the term whole

    def cut(runs: Sequence[str]) -> list[str]:
        return [word for word in jieba.cut("\n".join(runs), False) if word != "\n"]

    return cut
