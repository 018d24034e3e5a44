"""The certificate of a tokenizer: every promise tried on texts, each with what broke it or why it was not tried.

Nothing here stops at a strange tokenizer: what cannot be tried becomes a promise with a reason.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from zhllm.errors import DataError, ZhllmError
from zhllm.text.han import han_runs
from zhllm.vocab.byte_level import ByteLevelBase
from zhllm.vocab.extend import FORBIDDEN_SIZES, SentencePieceBase
from zhllm.vocab.proof import PROBE, Encode, fuzz
from zhllm.vocab.sample import CHINESE_LINES, ENGLISH_LINES, OTHER_LINES, Sample, Text
from zhllm.vocab.sentencepiece_model import META_SPACE
from zhllm.vocab.subject import Subject, special_tokens
from zhllm.vocab.tokenizer import read_json

EXAMPLES = 3
FUZZ_STRINGS = 2000
BUILT_IN, PIECES = "probe and fuzz", "pieces"
GROUPS = (CHINESE_LINES, ENGLISH_LINES, OTHER_LINES, BUILT_IN, PIECES)
_BLOCK = 4096


@dataclass
class Promise:
    """One promise: tried and failed by group of texts, the first examples, or why it was not tried."""

    name: str
    not_checked: str | None = None
    tried_of: Counter[str] = field(default_factory=Counter)
    failed_of: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, text: str, holds: bool, detail: str = "", group: str = "") -> None:
        """Count one text; keep the first failures as examples."""
        self.tried_of[group] += 1
        if not holds:
            self.failed_of[group] += 1
            if len(self.examples) < EXAMPLES:
                self.examples.append(f"{text[:60]!r}{detail}")

    @property
    def tried(self) -> int:
        """Texts tried in all."""
        return self.tried_of.total()

    @property
    def failed(self) -> int:
        """Texts that broke the promise."""
        return self.failed_of.total()

    def share(self, group: str) -> float:
        """The share of a group's texts that failed; 0 where none was tried."""
        return self.failed_of[group] / self.tried_of[group] if self.tried_of[group] else 0.0

    def as_json(self) -> dict[str, Any]:
        """The promise as the report writes it."""
        groups = {g: {"tried": n, "failed": self.failed_of[g]} for g, n in self.tried_of.items() if g}
        content: dict[str, Any] = {"name": self.name, "tried": self.tried, "failed": self.failed}
        content |= {"not_checked": self.not_checked, "examples": self.examples}
        return content | ({"by_text": groups} if groups else {})


@dataclass(frozen=True)
class Engine:
    """Another engine on the same tokenizer: its encoder and number of ids, or why it was not asked."""

    name: str
    encode: Encode | None
    size: int | None = None
    not_checked: str | None = None


def attempt(name: str, try_it: Callable[[Promise], None]) -> Promise:
    """The promise after `try_it`; "not checked" with the error where a strange tokenizer raised one."""
    promise = Promise(name)
    try:
        try_it(promise)
    except Exception as error:  # any library may fail on a tokenizer it was not made for
        return Promise(name, not_checked=reason_of(error))
    return promise


def reason_of(error: Exception) -> str:
    """Why something could not be tried: our own message, or a library's first line with its kind."""
    first = str(error).strip().partition("\n")[0]
    return first if isinstance(error, ZhllmError) else f"{type(error).__name__}: {first}"


def texts_for(subject: Subject, judged: Mapping[str, int], sample: Sample) -> list[Text]:
    """What promises are tried on: the sample's lines, the probe, fuzz over `judged`, and each of these and Han pieces.

    Where a tokenizer normalises to NFC, only texts that are NFC: llama.cpp and tiktoken have no normaliser.
    """
    characters = [c for piece in list(judged)[:4000] for c in piece] or list("的一是不了人我在有他这中大来上个国")
    built_in = ((BUILT_IN, text) for text in chain(PROBE, fuzz(characters, FUZZ_STRINGS)))
    pieces = ((PIECES, piece) for piece in dict.fromkeys((*judged, *subject.han_pieces)))
    texts = [*sample.lines, *built_in, *pieces]
    if isinstance(subject.tokenizer, ByteLevelBase) and subject.tokenizer.content.get("normalizer") is not None:
        return [(group, text) for group, text in texts if unicodedata.is_normalized("NFC", text)]
    return texts


def certify(
    subject: Subject, base: Subject | None, engines: Sequence[Engine], judged: Mapping[str, int], sample: Sample
) -> list[Promise]:
    """Every promise; `judged` are the pieces whose reach and scores count (added ones, or all Han pieces)."""
    what = "added pieces" if base is not None else "Han pieces"
    formed = Promise(f"{what} can be formed", subject.unusable)
    if subject.unusable is None:
        formed = attempt(formed.name, lambda p: _formed(p, subject, judged, strict=base is not None))
    promises = [
        attempt("no duplicate pieces", lambda p: _no_duplicates(p, subject)),
        *on_texts(subject, base, engines, texts_for(subject, judged, sample)),
        *(against_base(subject, base) if base is not None else ()),
        formed,
        distinct_scores(subject, judged, what),
        attempt("size", lambda p: _size(p, subject)),
        same_vocabulary(subject),
        specials_inside(subject),
    ]
    for promise in promises:
        if not promise.tried and promise.not_checked is None:
            promise.not_checked = "there is nothing to try it on"
    return promises


Verdict = tuple[str, bool, str]  # a text, whether the promise holds on it, what is wrong
# What a promise makes of a block of texts of one group and the tokenizer's own ids of them.
Judge = Callable[[str, Sequence[str], list[list[int]]], Iterator[Verdict]]


def on_texts(subject: Subject, base: Subject | None, engines: Sequence[Engine], texts: Sequence[Text]) -> list[Promise]:
    """The promises about running text, tried together so that each text is cut once: engines, round trip, base."""
    trials = [_of_engine(engine, subject) for engine in engines]
    trials.append((Promise("round trip"), _lossless(subject)))
    if base is not None:
        why_not = comparable(subject, base)
        trials.append((Promise("ASCII as the base cuts it", why_not), _as_base(base, str.isascii)))
        trials.append((Promise("other texts without Han as the base", why_not), _as_base(base, _is_other)))
    promises = [promise for promise, _ in trials]
    if subject.unusable is not None:
        return [Promise(promise.name, subject.unusable) for promise in promises]
    for group, block in _blocks(texts):
        ids = subject.tokenizer.encode(block)
        for promise, judge in trials:
            if promise.not_checked is None:
                _judge_block(promise, judge, group, block, ids)
    return promises


def _of_engine(engine: Engine, subject: Subject) -> tuple[Promise, Judge]:
    if engine.encode is None:
        return Promise(engine.name, engine.not_checked), _same_ids(subject.tokenizer.encode)
    promise = Promise(engine.name)
    if engine.size is not None and engine.size != subject.size:
        promise.add("size", False, f": {engine.size:,} ids there, {subject.size:,} in the tokenizer")
    return promise, _same_ids(engine.encode)


def _judge_block(promise: Promise, judge: Judge, group: str, block: Sequence[str], ids: list[list[int]]) -> None:
    try:
        for text, holds, detail in judge(group, block, ids):
            promise.add(text, holds, detail, group)
    except Exception as error:  # any library may fail on a tokenizer it was not made for
        promise.not_checked = reason_of(error)


def _blocks(texts: Sequence[Text]) -> Iterator[tuple[str, list[str]]]:
    """The texts of one group after the other, some thousand at a time: ids of all would fill the memory."""
    for group in GROUPS:
        found = [text for g, text in texts if g == group]
        for start in range(0, len(found), _BLOCK):
            yield group, found[start : start + _BLOCK]


def _same_ids(encode: Encode) -> Judge:
    def judge(group: str, block: Sequence[str], ids: list[list[int]]) -> Iterator[Verdict]:
        for text, own, other in zip(block, ids, encode(block), strict=True):
            yield text, own == other, "" if own == other else _difference(own, other)

    return judge


def _difference(left: Sequence[int], right: Sequence[int]) -> str:
    at = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return f" from token {at}: {list(left[at : at + 6])} against {list(right[at : at + 6])}"


def _lossless(subject: Subject) -> Judge:
    """U+2581 aside, which is SentencePiece's own space."""

    def judge(group: str, block: Sequence[str], ids: list[list[int]]) -> Iterator[Verdict]:
        for text, own in zip(block, ids, strict=True):
            if META_SPACE not in text:
                back = subject.tokenizer.decode(own)
                yield text, back == text, "" if back == text else f" came back as {back[:60]!r}"

    return judge


def _as_base(base: Subject, concerns: Callable[[str], bool]) -> Judge:
    """Pieces are left out: those the base lacks it cuts in another way."""
    same = _same_ids(base.tokenizer.encode)

    def judge(group: str, block: Sequence[str], ids: list[list[int]]) -> Iterator[Verdict]:
        chosen = [k for k, text in enumerate(block) if concerns(text)] if group != PIECES else []
        return same(group, [block[k] for k in chosen], [ids[k] for k in chosen])

    return judge


def _is_other(text: str) -> bool:
    return not text.isascii() and not han_runs(text)


def comparable(subject: Subject, base: Subject) -> str | None:
    """Why a tokenizer cannot be compared with a base; None where it can."""
    if base.unusable is not None:
        return base.unusable
    same = type(subject.tokenizer) is type(base.tokenizer)
    return None if same else f"the base is of another kind ({base.kind})"


def _no_duplicates(promise: Promise, subject: Subject) -> None:
    doubled = set(subject.duplicates)
    for piece in subject.ids:
        promise.add(piece, piece not in doubled, " stands in it twice, or shares its id")


def against_base(subject: Subject, base: Subject) -> list[Promise]:
    """What the base had: its ids and scores, and its pieces that could be formed."""
    names = ("base ids", "base pieces still formed")
    why_not = subject.unusable or comparable(subject, base)
    if why_not is not None:
        return [Promise(name, why_not) for name in names]
    return [
        attempt(names[0], lambda p: _base_ids(p, subject, base)),
        attempt(names[1], lambda p: _still_formed(p, subject, base)),
    ]


def _base_ids(promise: Promise, subject: Subject, base: Subject) -> None:
    if isinstance(subject.tokenizer, SentencePieceBase) and isinstance(base.tokenizer, SentencePieceBase):
        pieces = subject.tokenizer.proto.pieces
        for index, piece in enumerate(base.tokenizer.proto.pieces):
            now = pieces[index] if index < len(pieces) else None
            is_it = f"{now.piece!r} with score {now.score:g}, type {now.type}" if now is not None else "missing"
            promise.add(piece.piece, now == piece, f" (id {index}, score {piece.score:g}) is {is_it}")
        return
    for token, index in base.ids.items():
        promise.add(token, subject.ids.get(token) == index, f" (id {index}) is {subject.ids.get(token)} now")


def _still_formed(promise: Promise, subject: Subject, base: Subject) -> None:
    formed = _found_whole(base, base.pieces)
    kept = {text: subject.pieces[text] for text in formed if text in subject.pieces}
    whole = _found_whole(subject, kept)
    for text in formed:
        promise.add(text, text in whole, f" (id {base.pieces[text]}) is never formed any more")


def _formed(promise: Promise, subject: Subject, judged: Mapping[str, int], strict: bool) -> None:
    """Inside a longer text; without `strict` a word of its own is enough (Llama-3 has a short cut for these)."""
    whole = _found_whole(subject, judged)
    alone = subject.tokenizer.encode(list(judged)) if not strict else [[]] * len(judged)
    for (text, index), row in zip(judged.items(), alone, strict=True):
        promise.add(text, text in whole or row == [index], f" (id {index}) is cut in pieces")


def _found_whole(subject: Subject, pieces: Mapping[str, int]) -> set[str]:
    """The pieces whose own text, inside a longer one, becomes that piece."""
    rows = subject.tokenizer.encode_inside(list(pieces))
    return {text for (text, index), row in zip(pieces.items(), rows, strict=True) if row == [index]}


def distinct_scores(subject: Subject, judged: Mapping[str, int], what: str) -> Promise:
    """Whether each of the pieces has a score of its own: engines settle ties in different ways."""
    name = f"scores of {what} differ"
    if not isinstance(subject.tokenizer, SentencePieceBase):
        return Promise(name, not_checked="the tokenizer has no scores, its ids are the ranks")
    if not subject.is_bpe:
        return Promise(name, not_checked="the model is not BPE: its scores do not order joins")
    scores = {text: subject.tokenizer.proto.pieces[i].score for text, i in judged.items()}
    of_score = Counter(scores.values())
    promise = Promise(name)
    for text, score in sorted(scores.items(), key=lambda item: -of_score[item[1]]):
        promise.add(text, of_score[score] == 1, f": {of_score[score]:,} of them have the score {score:g}")
    return promise


def _size(promise: Promise, subject: Subject) -> None:
    fine = subject.size not in FORBIDDEN_SIZES
    promise.add(str(subject.size), fine, " pieces: llama.cpp's converter takes that for another model")


def same_vocabulary(subject: Subject) -> Promise:
    """Whether tokenizer.json and tokenizer.model of a directory hold the same pieces at the same ids."""
    name = "tokenizer.json = tokenizer.model"
    if subject.folder is None or not isinstance(subject.tokenizer, SentencePieceBase):
        return Promise(name, not_checked="there is one of them only, or the model is a rank file")
    file = subject.folder / "tokenizer.json"
    if not file.is_file():
        return Promise(name, not_checked="there is no tokenizer.json")
    promise = Promise(name)
    try:
        content = read_json(file)
        vocab = content["model"]["vocab"]
        ids = dict(vocab) if isinstance(vocab, dict) else {row[0]: i for i, row in enumerate(vocab)}
        ids |= {t["content"]: t["id"] for t in content.get("added_tokens") or ()}
    except (DataError, KeyError, TypeError, IndexError) as error:
        promise.add("tokenizer.json", False, f" cannot be read: {error}")
        return promise
    for piece in dict.fromkeys((*subject.ids, *ids)):
        there, here = ids.get(piece), subject.ids.get(piece)
        promise.add(piece, there == here, f" has id {there} in tokenizer.json, {here} in tokenizer.model")
    return promise


def specials_inside(subject: Subject) -> Promise:
    """Whether an end token is named, and every named special token is in the vocabulary."""
    named = special_tokens(subject)
    if named is None:
        return Promise("special tokens", "there is no file that would name them")
    promise = Promise("special tokens")
    promise.add("eos", "eos" in named, " is not named: a model would never stop")
    for role, token in named.items():
        index = subject.ids.get(token)
        promise.add(token, index is not None, f" is named as {role} and is not in the vocabulary")
        if index is not None and subject.unusable is None and role != "unk":
            ordinary = subject.tokenizer.text_of(index) is not None
            promise.add(token, not ordinary, f" is named as {role} and is an ordinary piece too: engines part at it")
    return promise
