"""Multiple-choice sets from local files: C-Eval and CMMLU folders, MMLU-like CSV, any CSV or JSON lines.

A subject is a file. Every question is checked as it is read, so that a broken set is refused before a model
is opened.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from unicodedata import normalize

from zhllm.errors import DataError
from zhllm.text.document import Rejected
from zhllm.text.read.records import open_bytes, read_records
from zhllm.text.read.tables import Row, read_csv

LETTERS = string.ascii_uppercase
SPLITS = ("test", "val", "dev", "train")
TABLES = (".csv", ".tsv")
KINDS = (*TABLES, ".jsonl", ".json")
# Names that the sets of the field give to what a question is made of.
NAMES = {
    "question": ("question", "题目", "问题", "题干", "query", "input", "stem", "prompt"),
    "answer": ("answer", "答案", "正确答案", "label", "gold", "target", "answerkey"),
    "options": ("options", "choices", "选项"),
}
LETTERED = ("{}", "option_{}", "option{}", "op{}", "选项{}", "choice_{}")


@dataclass(frozen=True)
class Choice:
    """A question, its options in order, the index of the right one, and where it stands."""

    question: str
    options: tuple[str, ...]
    answer: int
    where: str

    @property
    def letter(self) -> str:
        """The letter of the right option."""
        return LETTERS[self.answer]


@dataclass(frozen=True)
class Subject:
    """The questions of one subject, and worked examples for few-shot prompts."""

    name: str
    questions: tuple[Choice, ...]
    examples: tuple[Choice, ...] = ()


@dataclass(frozen=True)
class Columns:
    """Which columns hold what; what is None is found by the names of NAMES and LETTERED."""

    question: str | None = None
    answer: str | None = None
    options: tuple[str, ...] = field(default=())

    @classmethod
    def parse(cls, given: Sequence[str]) -> Columns:
        """From question=NAME, answer=NAME and options=NAME,NAME,...; DataError for anything else."""
        named = dict(part.partition("=")[::2] for part in given)
        if wrong := [part for part in given if part.partition("=")[0] not in NAMES or not part.partition("=")[2]]:
            raise DataError(f"--columns {wrong[0]}: give question=NAME, answer=NAME or options=NAME,NAME,...")
        options = tuple(name.strip() for name in named.get("options", "").split(",") if name.strip())
        return cls(named.get("question"), named.get("answer"), options)


def read_sets(paths: Sequence[Path], columns: Columns, examples: Sequence[Path] = ()) -> list[Subject]:
    """Every subject under the paths, sorted by name; `examples` are files or folders of worked examples.

    A folder with test/, val/ and dev/ gives the questions of test/ (val/ where test/ has no answers, as C-Eval's)
    with the examples of dev/. Raises DataError for a set that is empty or a question that is not whole.
    """
    found: dict[str, list[Choice]] = {}
    shown: dict[str, list[Choice]] = {}
    for path in examples:
        for name, file in _files(path, path):
            shown.setdefault(name, []).extend(_read(file, columns))
    for path in paths:
        split = _split_folder(path, columns)
        for name, file in _files(split, path):
            found.setdefault(name, []).extend(_read(file, columns))
        if split != path and (path / "dev").is_dir() and not examples:
            for name, file in _files(path / "dev", path):
                shown.setdefault(name, []).extend(_read(file, columns))
    # One file of examples serves every subject; several are told apart by their names.
    common = next(iter(shown.values())) if len(shown) == 1 and examples else []
    return [Subject(name, tuple(qs), tuple(shown.get(name, common))) for name, qs in sorted(found.items())]


def is_choice_data(path: Path) -> bool:
    """Whether a path looks like multiple choice: a table, a folder of tables, or records with options."""
    if path.is_dir():
        folders = [path, *(path / split for split in SPLITS if (path / split).is_dir())]
        return any(file.suffix in TABLES for folder in folders for file in folder.iterdir())
    if path.suffix in TABLES:
        return True
    if path.suffix not in KINDS:
        return False
    record = next(iter(read_records(path, str(path))), None)
    if record is None or isinstance(record, Rejected):
        return False
    names = {name.lower() for name in record.value}
    return bool(names & set(NAMES["options"])) or {"a", "b"} <= names


def _split_folder(path: Path, columns: Columns) -> Path:
    """The folder whose questions are scored."""
    if not path.is_dir():
        return path
    there = [path / split for split in ("test", "val") if (path / split).is_dir()]
    for folder in there:
        first = next(iter(sorted(f for f in folder.iterdir() if f.suffix in KINDS)), None)
        if first is not None and (folder == there[-1] or _has_answers(first, columns)):
            return folder
    return path


def _has_answers(file: Path, columns: Columns) -> bool:
    """Whether a file's questions come with answers (C-Eval keeps those of test/ back)."""
    if file.suffix not in TABLES:
        return True
    rows = [
        row for row in read_csv(partial(open_bytes, file), str(file), file.suffix == ".tsv") if isinstance(row, Row)
    ]
    header = [cell.strip().lower() for cell in rows[0].cells] if rows else []
    wanted = {columns.answer.lower()} if columns.answer else set(NAMES["answer"])
    return bool(wanted & set(header)) or not set(NAMES["question"]) & set(header)


def _files(path: Path, given: Path) -> Iterator[tuple[str, Path]]:
    """(subject, file) under a path; DataError where there is none."""
    files = sorted(f for f in path.iterdir() if f.suffix in KINDS) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{given}: holds no questions (csv, tsv or jsonl, or folders test/, val/ and dev/ of them).")
    for file in files:
        name = file.stem
        for split in SPLITS:
            name = name.removesuffix(f"_{split}")
        yield name, file


def _read(file: Path, columns: Columns) -> list[Choice]:
    records: Iterable[tuple[str, Mapping[str, Any]]]
    if file.suffix in TABLES:
        records = _table(file, columns)
    else:
        records = ((f"{file}:{r.line}", r.value) for r in map(_whole, read_records(file, str(file))))
    questions = [_choice(record, columns, where) for where, record in records]
    if not questions:
        raise DataError(f"{file}: holds no question.")
    return questions


def _whole(item: Any) -> Any:
    if isinstance(item, Rejected):
        raise DataError(f"{item.where()}: {item.reason}.")
    return item


def _table(file: Path, columns: Columns) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Records of a table; one without a header is read as MMLU's: question, options, answer."""
    names: list[str] | None = None
    for row in map(_whole, read_csv(partial(open_bytes, file), str(file), file.suffix == ".tsv")):
        cells = [cell.strip() for cell in row.cells]
        if not any(cells):
            continue
        if names is None:
            count = len(cells) - 2
            is_named = not set(NAMES["question"]).isdisjoint(cell.lower() for cell in cells)
            has_none = count >= 2 and len(cells[-1]) == 1 and cells[-1] in LETTERS[:count] and not is_named
            names = ["question", *LETTERS[:count], "answer"] if has_none else cells
            if not has_none:
                _check_header(names, columns, file)
                continue
        if len(cells) != len(names):
            raise DataError(f"{file}:{row.line}: has {len(cells)} cells, the header {len(names)}. Quote its commas.")
        yield f"{file}:{row.line}", dict(zip(names, cells, strict=True))


def _check_header(names: list[str], columns: Columns, file: Path) -> None:
    known = {name.lower() for name in names}
    for part, given in (("question", columns.question), ("answer", columns.answer)):
        wanted = [given.lower()] if given else NAMES[part]
        if not known & set(wanted):
            raise DataError(
                f"{file}: has no column for the {part} (columns: {', '.join(names)}). "
                f"Name it: --columns {part}=NAME{'' if given is None else f', not {given}'}."
            )


def _choice(record: Mapping[str, Any], columns: Columns, where: str) -> Choice:
    """A checked question; DataError that says what is missing."""
    folded = {str(name).strip().lower(): value for name, value in record.items()}
    question = _value(folded, "question", columns.question, where)
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{where}: the question is empty.")
    options = _options(folded, columns, where)
    if len(options) < 2:
        names = ", ".join(map(str, record))
        raise DataError(f"{where}: has {len(options)} options (columns: {names}). Name them: --columns options=A,B,...")
    if empty := [LETTERS[i] for i, option in enumerate(options) if not option]:
        raise DataError(f"{where}: option {', '.join(empty)} is empty.")
    answer = _value(folded, "answer", columns.answer, where)
    return Choice(question.strip(), options, _index(answer, options, where), where)


def _value(record: Mapping[str, Any], part: str, given: str | None, where: str) -> Any:
    for name in [given.lower()] if given else NAMES[part]:
        if name in record:
            return record[name]
    raise DataError(f"{where}: has no {part} (keys: {', '.join(record)}). Name it: --columns {part}=NAME.")


def _options(record: Mapping[str, Any], columns: Columns, where: str) -> tuple[str, ...]:
    """The options, in the order of their letters."""
    if columns.options:
        if missing := [name for name in columns.options if name.lower() not in record]:
            raise DataError(f"{where}: has no option {', '.join(missing)} (keys: {', '.join(record)}).")
        return tuple(str(record[name.lower()]).strip() for name in columns.options)
    for name in NAMES["options"]:
        if isinstance(value := record.get(name), Mapping):
            value = value.get("text", [value[key] for key in sorted(value)])  # the second is {"A": ..., "B": ...}
        if isinstance(value, list):
            return tuple(str(option).strip() for option in value)
    for style in LETTERED:
        names = [style.format(letter.lower()) for letter in LETTERS]
        present = [name for name in names if name in record]
        if present:
            count = names.index(present[-1]) + 1
            return tuple(str(record.get(name, "")).strip() for name in names[:count])
    return ()


def _index(answer: Any, options: Sequence[str], where: str) -> int:
    """Which option the answer names: a letter, an index from 0 (JSON numbers only), or the option's text."""
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return answer
    written = str(answer).strip()
    if len(written) == 1 and written.upper() in LETTERS[: len(options)]:
        return LETTERS.index(written.upper())
    if options.count(written) == 1:
        return options.index(written)
    letter = normalize("NFKC", written).strip("()[].、。 ").upper()  # （C）, Ｃ, C.
    if len(letter) == 1 and letter in LETTERS[: len(options)]:
        return LETTERS.index(letter)
    raise DataError(f"{where}: the answer {answer!r} is no option (A to {LETTERS[len(options) - 1]}).")
