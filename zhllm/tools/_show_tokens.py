"""Chats and packed rows token by token: what is learnt, what is cut off, where answers and documents end."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from zhllm.errors import ConfigError, DataError
from zhllm.infer.writing import template_tokens
from zhllm.model.chat_templates import additions, recognise
from zhllm.model.directory import chat_template
from zhllm.text.prompt_format import FORMATS, PromptFormat
from zhllm.tools._show_view import Block, Heading, Span, Tokens, Words
from zhllm.train.chats import Fitting, TokenChat, end_of_turn_id, fit, tokenize
from zhllm.train.pack.info import STARTS_DTYPE, PackInfo, read_info
from zhllm.train.pack.store import TokenSet
from zhllm.vocab.bases import open_base
from zhllm.vocab.extend import SentencePieceBase
from zhllm.vocab.hf_files import write_tokenizer
from zhllm.vocab.token_sizes import token_bytes
from zhllm.vocab.tokenizer import Tokenizer


@dataclass(frozen=True)
class Place:
    """One id, and what becomes of it."""

    id: int
    kind: str = ""
    is_end: bool = False
    starts_document: bool = False


class Speller:
    """Ids as spans of text; tokens that write only parts of a character stand together as that character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._fast = tokenizer.fast
        self._special, self._byte_level = tokenizer.special_ids, tokenizer.is_byte_level

    def spans(self, places: Sequence[Place]) -> list[Span]:
        """The places as spans; a character's tokens are one span where all have the same fate."""
        spans: list[Span] = []
        pending: list[Place] = []
        data = b""
        for place in places:
            if pending and place.kind != pending[0].kind:
                spans.append(_span(pending, data.decode("utf-8", "backslashreplace")))
                pending, data = [], b""
            pending.append(place)
            data += self._bytes(place.id)
            if (text := _whole(data)) is not None:
                spans.append(_span(pending, text))
                pending, data = [], b""
        if pending:
            spans.append(_span(pending, data.decode("utf-8", "backslashreplace")))
        return spans

    def _bytes(self, index: int) -> bytes:
        token = self._fast.id_to_token(index)
        if token is None:
            return f"[{index}]".encode()
        return token.encode() if index in self._special else token_bytes(token, self._byte_level) or token.encode()


def _whole(data: bytes) -> str | None:
    """The text of bytes; None while they are the beginning of a character."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        is_begun = error.end == len(data) and error.reason == "unexpected end of data"
        return None if is_begun else data.decode("utf-8", "backslashreplace")


def _span(places: Sequence[Place], text: str) -> Span:
    first, count = places[0], len(places)
    ids = " ".join(str(place.id) for place in places)
    is_end = any(place.is_end for place in places)
    return Span(text, first.kind, f"{'ids' if count > 1 else 'id'} {ids}", count, is_end, first.starts_document)


def _written_out(path: Path) -> TemporaryDirectory[str]:
    """All files of a tokenizer of which there is only the SentencePiece model; DataError for any other."""
    base = open_base(path)
    if not isinstance(base, SentencePieceBase):
        raise DataError(
            f"--tokenizer {path}: has no tokenizer.json, and is no SentencePiece model. Give a tokenizer directory; "
            f"zhllm extend-vocab --base {path} writes one."
        )
    made = TemporaryDirectory(prefix="zhllm-")
    write_tokenizer(Path(made.name), base.proto)
    return made


def format_for(folder: Path, name: str | None) -> PromptFormat:
    """The format asked for, or that of the directory's own chat template; ConfigError where there is none."""
    if name is not None:
        return FORMATS[name]
    template = chat_template(folder)
    found = None if template is None else recognise(template, template_tokens(Tokenizer(folder)))
    if found is None:
        why = "has no chat template" if template is None else "has a chat template of a format that zhllm does not know"
        raise ConfigError(f"--tokenizer {folder}: {why}; give --prompt-format ({', '.join(FORMATS)}).")
    return found


class ChatTokens:
    """Chats as `sft` would learn them, with this tokenizer, format and row length (None: nothing is cut)."""

    def __init__(self, folder: Path, format_name: str | None, seq_len: int | None) -> None:
        self.format = format_for(folder, format_name)
        self._made: TemporaryDirectory[str] | None = None
        if folder.is_file() or not (folder / "tokenizer.json").is_file():
            self._made = _written_out(folder)
        self.tokenizer = Tokenizer(folder if self._made is None else Path(self._made.name))
        self.seq_len = seq_len
        self.end_id = end_of_turn_id(self.format, self.tokenizer)
        self._speller = Speller(self.tokenizer)

    def legend(self) -> list[Block]:
        """What the kinds of tokens look like, to stand above the chats."""
        row = "rows of any length" if self.seq_len is None else f"rows of {self.seq_len:,} tokens"
        samples = [Span("only read"), Span("learnt", "learnt"), Span("end token, learnt", "learnt", is_end=True),
                   Span("an answer of weight 0, only read", "context"), Span("cut off", "cut"),
                   Span("字", "", "", 3)]  # fmt: skip
        words = Words(
            f'format "{self.format.name}"{additions(self.format)}, {row}; 字(3) is a character written in 3 tokens'
        )
        return [words, Tokens("legend", samples)]

    def blocks(self, messages: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
        """Counts, a verdict in words, and the tokens; `messages` are canonical."""
        full = tokenize(messages, self.format, self.tokenizer)
        fitting = Fitting()
        seq_len = len(full.ids) if self.seq_len is None else self.seq_len
        fitted = fit(messages, self.format, self.tokenizer, seq_len, fitting)
        context = self._context(messages, full)
        has_rest = messages[-1].get("weight", 1) == 0
        places = self._places(full, fitted, context, has_rest)
        yield Words(_counts(full, fitted, places))
        yield from self._verdict(full, fitted, fitting, has_rest)
        yield Tokens("", self._speller.spans(places))

    def _context(self, messages: Sequence[Mapping[str, Any]], full: TokenChat) -> list[bool]:
        """Whether each token is of an answer that is not learnt: learnt if only its turn had no weight."""
        if all("weight" not in message for message in messages):
            return [False] * len(full.ids)
        bare = [{key: value for key, value in message.items() if key != "weight"} for message in messages]
        every = tokenize(bare, self.format, self.tokenizer).learn
        return [would and not does for would, does in zip(every, full.learn, strict=True)]

    def _places(
        self, full: TokenChat, fitted: TokenChat | None, context: Sequence[bool], has_rest: bool
    ) -> list[Place]:
        whole = [Place(i, "context" if c else "") for i, c in zip(full.ids, context, strict=True)]
        if fitted is None:
            return [Place(place.id, "cut") for place in whole]
        shown: list[Place] = []
        for is_kept, old, new in _alignment(full.ids, fitted.ids, has_rest):
            if not is_kept:
                shown += (Place(place.id, "cut") for place in whole[old])
            kept = whole[old] if is_kept else [Place(i) for i in fitted.ids[new]]
            shown += map(self._fate, kept, fitted.learn[new])
        return shown

    def _fate(self, place: Place, learn: bool) -> Place:
        return Place(place.id, "learnt", place.id == self.end_id) if learn else place

    def _verdict(self, full: TokenChat, fitted: TokenChat | None, fitting: Fitting, has_rest: bool) -> Iterator[Block]:
        if not any(full.learn):
            yield Words("left out: no answer in it is to be learnt", is_alarm=True)
        elif fitted is None:
            yield Words(
                f"left out: {len(full.ids):,} tokens, and its last answer with the end token does not fit into "
                f"--seq-len {self.seq_len}",
                is_alarm=True,
            )
        else:
            lost = len(full.ids) - len(fitted.ids)
            turns = f"{fitting.cut_turns} oldest exchanges" if fitting.cut_turns > 1 else "the oldest exchange"
            what = [turns] * bool(fitting.cut_turns) + ["the beginning of the prompt"] * bool(fitting.cut_prompts)
            what += ["what stands behind the last answer to learn"] * has_rest
            if lost:
                yield Words(f"cut: {' and '.join(what) or 'the beginning'} ({lost:,} tokens)")
            last = max(i for i, learnt in enumerate(fitted.learn) if learnt)
            if fitted.ids[last] != self.end_id:
                yield Words("the last answer that is learnt has no end token: the model would not stop", is_alarm=True)


def _alignment(full: Sequence[int], fitted: Sequence[int], has_rest: bool) -> Iterator[tuple[bool, slice, slice]]:
    """(kept?, where in the whole chat, where in what is left of it), in order.

    What is left ends as the chat does, unless the chat goes on behind its last answer to learn (`has_rest`). The
    others are compared, for a text that has lost its beginning may be cut into other tokens.
    """
    from difflib import SequenceMatcher

    tail = 0 if has_rest else _common(full[::-1], fitted[::-1])
    head = full[: len(full) - tail], fitted[: len(fitted) - tail]
    for tag, a, b, c, d in SequenceMatcher(None, *head, autojunk=False).get_opcodes() if any(head) else ():
        yield tag == "equal", slice(a, b), slice(c, d)
    yield True, slice(len(full) - tail, len(full)), slice(len(fitted) - tail, len(fitted))


def _common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two rows have in common at their beginning."""
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return min(len(one), len(other)) if same is None else same


def _counts(full: TokenChat, fitted: TokenChat | None, places: Sequence[Place]) -> str:
    learnt, kept = (0, 0) if fitted is None else (sum(fitted.learn), len(fitted.ids))
    context = sum(place.kind == "context" for place in places)
    ends = sum(place.is_end for place in places)
    weightless = f", {context:,} of weight 0" if context else ""
    count, cut = len(full.ids), len(full.ids) - kept
    return f"{count:,} tokens: {learnt:,} learnt{weightless}, {cut:,} cut; end tokens learnt: {ends}"


def packed_blocks(folder: Path, tokenizer: Path | None, count: int, seed: int | None) -> Iterator[Block]:
    """Rows of each set of a packed folder, as training reads them."""
    info = read_info(folder)
    speller = None if tokenizer is None else Speller(_tokenizer_of(info, tokenizer, folder))
    if speller is None:
        yield Words("give --tokenizer, the directory it was packed with, to read the rows as text")
    yield Words("¶ begins a document; each row is read by itself, and a document's first token is not predicted")
    for name, counts in info.sets.items():
        rows = TokenSet(folder, name, info)
        yield Heading(f"{folder / name} ({len(rows):,} rows of {info.seq_len:,}, {counts.docs:,} documents)")
        starts = np.memmap(folder / f"{name}.starts.bin", STARTS_DTYPE, "r") if len(rows) else np.zeros(0, np.int64)
        every = range(len(rows))
        wanted = every[:count] if seed is None else sorted(random.Random(seed).sample(every, min(count, len(rows))))
        for index in wanted:
            yield from _row(rows, index, starts, speller)


def _row(rows: TokenSet, index: int, starts: Any, speller: Speller | None) -> Iterator[Block]:
    first, size = index * rows.seq_len, rows.seq_len
    held = min(size, rows.info.tokens - 1 - first)
    ids = rows.row(index)[0][:held].tolist()
    low, high = np.searchsorted(starts, (first, first + held))
    begins = set((starts[low:high] - first).tolist())
    places = [Place(i, starts_document=at in begins) for at, i in enumerate(ids)]
    if speller is None:
        spans = [Span(str(p.id), starts_document=p.starts_document) for p in places]
    else:
        spans = speller.spans(places)
    padding = [Span(f"[padding: {size - held}]", "pad", tokens=1)] if held < size else []
    begun = "begins with a document" if 0 in begins else "goes on with a document"
    yield Words(f"row {index}: {begun}, {len(begins)} begin in it, {size - held} places of padding")
    yield Tokens("", [*spans, *padding])


def _tokenizer_of(info: PackInfo, folder: Path, packed: Path) -> Tokenizer:
    tokenizer = Tokenizer(folder)
    if tokenizer.digest != info.tokenizer:
        raise DataError(f"--tokenizer {folder}: is not the tokenizer that {packed} was packed with.")
    return tokenizer
