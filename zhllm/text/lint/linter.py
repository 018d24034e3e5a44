"""The linter: a block of canonical chats and preferences is put right, and what was found in each is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zhllm.text.chats import Chat, Preference
from zhllm.text.clean.blocks import block_of, block_ranges, normalise_all
from zhllm.text.clean.contamination import EvaluationGrams, plain_ink
from zhllm.text.clean.pii import KINDS, Kind
from zhllm.text.lint.endings import EMOJI, WHOLE, cut_off
from zhllm.text.lint.findings import DROPPED, Finding
from zhllm.text.lint.garbled import lost_in, mended, mending
from zhllm.text.lint.identity import claims, placeholders
from zhllm.text.lint.language import KNOWN, is_switch, languages_of
from zhllm.text.lint.looks import Looks, Numbers
from zhllm.text.lint.masking import masked_texts, with_identity_to_mask, with_masked_identity
from zhllm.text.lint.rewriting import Identity
from zhllm.text.lint.tokens import spelt_tokens, without_end_tokens
from zhllm.text.lint.turns import ASSISTANT, USER, Records, Turns, place_in, turns_of
from zhllm.text.prompt_format import Message

Lengths = Callable[[Sequence[Sequence[Message]]], Sequence[int]]
Findings = dict[int, list[Finding]]
SHOWN_CHARS = 60
MIN_REPEATED_CHARS = 30


@dataclass(frozen=True, slots=True)
class LintSettings:
    """What to look for and what to do with it.

    `identity` and `creator`: the own name and maker that take another assistant's place. `language`: zh (takes
    zh-Hant too), zh-Hant or en. `lengths` gives the tokens of conversations, `max_tokens` how many there may be.
    `drop`: names of findings that drop a record.
    """

    identity: str | None = None
    creator: str | None = None
    masked: tuple[Kind, ...] = KINDS
    against: EvaluationGrams | None = None
    language: str | None = None
    lengths: Lengths | None = None
    max_tokens: int | None = None
    drop: frozenset[str] = DROPPED


@dataclass(frozen=True, slots=True)
class Linted:
    """Records after mending; by number what was found in those that have findings, and the finding that drops one.

    `language_codes` are the languages of the records as places in KNOWN, [R]; `chars` the characters of each of their
    texts, [D]. `counts` are of values, by kind: pii_mobile, token_<|im_end|>, stripped_tokens, rewritten_records,
    mended_texts.
    """

    records: Records
    findings: Findings
    language_codes: npt.NDArray[np.uint8]
    dropped: dict[int, str]
    chars: Numbers
    counts: Counter[str]

    @property
    def languages(self) -> list[str]:
        """The language of each record."""
        return [KNOWN[code] for code in self.language_codes.tolist()]


class _Block:
    """Records while they are looked at: their texts mended one after the other, findings by record."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.turns: Turns = turns_of(records)
        self.texts = records.texts
        self.changed: set[int] = set()
        self.findings: Findings = {}
        self.counts: Counter[str] = Counter()

    def add(self, name: str, number: int, detail: str) -> None:
        """Note a finding in text `number`."""
        owner = self.turns.owner(number)
        place = place_in(self.records[owner], number - self.records.starts[owner])
        self.add_to_record(name, owner, f"{place}: {_shown(detail)}")

    def add_to_record(self, name: str, record: int, detail: str) -> None:
        """Note a finding of a whole record."""
        self.findings.setdefault(record, []).append(Finding(name, detail))

    def is_rejected(self, number: int) -> bool:
        """Whether text `number` is the worse answer of a preference."""
        record = self.records.others.get(owner := self.turns.owner(number))
        is_last = number == self.records.starts[owner + 1] - 1
        return is_last and isinstance(record, Preference) and record.rejected is not None

    def suspects(self, found: Sequence[int]) -> list[int]:
        """Texts that a search marked, and those that are no more what was searched."""
        return sorted({*found, *self.changed})

    def put(self, number: int, text: str) -> None:
        """Replace text `number`."""
        self.texts[number] = text
        self.changed.add(number)


def _shown(detail: str) -> str:
    line = " ".join(detail.split())
    return line if len(line) <= SHOWN_CHARS else line[: SHOWN_CHARS - 1] + "…"


def lint(records: Records, settings: LintSettings) -> Linted:
    """Look at a block of records (a few thousand), mend in place what is certain and say what was found.

    The result for a record does not depend on the others of its block.
    """
    block = _Block(records)
    if not block.texts:
        return Linted(records, {}, np.zeros(0, np.uint8), {}, np.zeros(0, np.int64), block.counts)
    own = Identity(settings.identity, settings.creator) if settings.identity else None
    looks = Looks(block.texts)
    _mend(block, looks)
    _strip_tokens(block, looks)
    _identities(block, looks, own)
    _mask(block, looks, settings.masked)
    looks = looks.after(block.texts, block.changed) if block.changed else looks
    _judge_texts(block, looks)
    if settings.against is not None:
        _contaminated(block, settings.against)
    languages = _judge_records(block, looks, settings)
    for number in {block.turns.owner(changed) for changed in block.changed}:
        records.put_texts(number)
    if settings.lengths is not None and settings.max_tokens is not None:
        _too_long(block, settings.lengths, settings.max_tokens)
    drops = {
        number: [finding.name for finding in found if finding.name in settings.drop]
        for number, found in sorted(block.findings.items())
    }
    dropped = {number: names[0] for number, names in drops.items() if names}
    return Linted(records, block.findings, languages, dropped, looks.sizes[1], block.counts)


def _mend(block: _Block, looks: Looks) -> None:
    """Broken encodings, where it is certain what was meant."""
    for number in looks.garbled:
        text = block.texts[number]
        if (meant := mended(text)) != text:
            block.put(number, meant)
            block.counts["mended_texts"] += 1
            block.add("garbled", number, f"mended: {mending(text, meant)}")
        if (lost := lost_in(meant)) is not None:
            block.add("garbled", number, lost)


def _strip_tokens(block: _Block, looks: Looks) -> None:
    """Control tokens at the end of answers."""
    for number in block.suspects(looks.tokened):
        role, text = block.turns.role(number), block.texts[number]
        tokens = spelt_tokens(text, role)
        if not tokens:
            continue
        block.counts.update(f"token_{token}" for token in tokens)
        block.add("special-token", number, " ".join(dict.fromkeys(tokens)))
        if role == "assistant" and (kept := without_end_tokens(text)) != text:
            block.put(number, kept)
            block.counts["stripped_tokens"] += 1


def _identities(block: _Block, looks: Looks, own: Identity | None) -> None:
    """Claims to be another assistant, and names not filled in; rewritten record by record.

    A rejected answer may say so: it is what the model shall not say.
    """
    found: set[int] = set()
    for number in [number for number in block.suspects(looks.claiming) if not block.is_rejected(number)]:
        role, text = block.turns.role(number), block.texts[number]
        if claimed := claims(text, role) if own is None else own.claims(text, role):
            block.add("identity", number, claimed[0].said)
            found.add(block.turns.owner(number))
    for number in [number for number in block.suspects(looks.tokened) if not block.is_rejected(number)]:
        if unfilled := placeholders(block.texts[number], block.turns.role(number)):
            block.add("placeholder", number, " ".join(dict.fromkeys(unfilled)))
            found.add(block.turns.owner(number))
    if own is not None:
        for record in sorted(found):
            _rewrite(block, record, own)


def _rewrite(block: _Block, record: int, own: Identity) -> None:
    span = block.records.span(record)
    if block.is_rejected(span.stop - 1):
        span = slice(span.start, span.stop - 1)
    texts, left = own.rewritten(block.texts[span], block.turns.roles_of(span))
    if left is not None:
        hint = "" if own.maker else ", no maker is given"
        block.add_to_record("identity-left", record, _shown(left) + hint)
        return
    for number, text in enumerate(texts, span.start):
        if text != block.texts[number]:
            block.put(number, text)
    block.counts["rewritten_records"] += 1


def _mask(block: _Block, looks: Looks, kinds: tuple[Kind, ...]) -> None:
    """Mask personal data in texts and in what comes with the records."""
    if not kinds:
        return
    suspects = block.suspects(looks.personal)
    for number, (text, counts) in zip(suspects, masked_texts([block.texts[i] for i in suspects], kinds), strict=True):
        if counts:
            block.put(number, text)
            block.counts.update({f"pii_{kind}": n for kind, n in counts.items()})
            block.add("pii", number, ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())))
    for number in with_identity_to_mask(block.records):
        record = block.records[number]
        masked = with_masked_identity(record, kinds)
        if masked != record:
            block.records.put_identity(number, masked)
            block.add_to_record("pii", number, "in id, source or metadata")


_NOTHING = frozenset(
    (
        "nan",
        "none",
        "null",
        "n/a",
        "<noinput>",
        "<nooutput>",
        "<no input>",
        "<no output>",
        "undefined",
        "无输出",
        "无输入",
    )
)
_MAX_NOTHING = max(map(len, _NOTHING)) + 2
_LETTER = r"[\p{L}\p{N}]"


def _judge_texts(block: _Block, looks: Looks) -> None:
    """Empty and truncated turns."""
    for number in looks.lacking(_LETTER, looks.without_words):
        text = block.texts[number]
        if not EMOJI.search(text):
            block.add("empty-turn", number, text.strip() or "no text")
    texts, chars = block.texts, looks.sizes[1]
    for number in np.flatnonzero(chars <= _MAX_NOTHING).tolist():
        if texts[number].strip().lower() in _NOTHING:
            block.add("empty-turn", number, texts[number].strip())
    answers = np.flatnonzero(block.turns.roles == ASSISTANT)
    fenced = np.intersect1d(looks.matching("```", looks.signed), answers).tolist()
    for number in sorted({*fenced, *looks.lacking(WHOLE, answers)}):
        if (how := cut_off(texts[number])) is not None:
            block.add("truncated", number, how)


def _contaminated(block: _Block, against: EvaluationGrams) -> None:
    # plain_ink folds case, script and punctuation; normal forms make full-width digits and letters plain too.
    texts = normalise_all(block.texts)
    for some in block_ranges(texts):
        for doc, shares in against.found_in(plain_ink(block_of(texts[some]))).items():
            block.add("contaminated", some.start + doc, against.refusal(shares).detail)
            block.counts.update(f"item_{item}" for item in shares)


def _order_problem(roles: Sequence[str], ends_with: str) -> str | None:
    turns = roles[1:] if roles and roles[0] == "system" else roles
    if any(role != ("user", "assistant")[i % 2] for i, role in enumerate(turns)):
        return ", ".join(roles[:6])
    return None if turns and turns[-1] == ends_with else f"the last is not the {ends_with}'s"


def _judge_records(block: _Block, looks: Looks, settings: LintSettings) -> npt.NDArray[np.uint8]:
    """What only shows over a whole record: the order of roles, repetitions, languages; the language of each, [R]."""
    _ordered(block)
    _repeated(block, looks)
    of_texts = languages_of(looks)
    _switched(block, of_texts)
    languages = _of_records(of_texts, block.turns.starts)
    if settings.language:
        is_of = np.array([_is_of(language, settings.language) for language in KNOWN])
        for number in np.flatnonzero(~is_of[languages]).tolist():
            block.add_to_record("language", number, KNOWN[languages[number]])
    return languages


def _ordered(block: _Block) -> None:
    """Records whose roles do not take turns; a pair's do."""
    for number, record in sorted(block.records.others.items()):
        messages, ends = (record.messages, "assistant") if isinstance(record, Chat) else (record.prompt, "user")
        if problem := _order_problem([message["role"] for message in messages], ends):
            block.add_to_record("role-order", number, problem)


def _of_records(of_texts: npt.NDArray[np.uint8], starts: Numbers) -> npt.NDArray[np.uint8]:
    """The language of each record from those of its texts, [R]: the one they all have, or mixed."""
    most = np.maximum.reduceat(of_texts, starts[:-1])
    least = np.minimum.reduceat(np.where(of_texts == 0, len(KNOWN), of_texts), starts[:-1])
    most[least < most] = KNOWN.index("mixed")
    return most


# Chinese and English, between which answers switch.
_SIDES = np.array([{"zh": 1, "en": -1}.get(language[:2], 0) for language in KNOWN])


def _switched(block: _Block, of_texts: npt.NDArray[np.uint8]) -> None:
    roles, _, owners, _ = block.turns
    before, after = _SIDES[of_texts[:-1]], _SIDES[of_texts[1:]]
    # Of answers to one question the second may switch where the first did not.
    differs = (before * after < 0) | ((roles[:-1] == ASSISTANT) & (of_texts[1:] != of_texts[:-1]) & (after != 0))
    differs &= (roles[1:] == ASSISTANT) & (owners[1:] == owners[:-1])
    for at in (np.flatnonzero(differs) + 1).tolist():
        asked = at - 1
        while roles[asked] == ASSISTANT and owners[asked] == owners[at] and asked:
            asked -= 1
        if roles[asked] != USER or owners[asked] != owners[at]:
            continue
        if is_switch(block.texts[asked], (said := KNOWN[of_texts[asked]]), block.texts[at], KNOWN[of_texts[at]]):
            block.add("language-switch", at, f"{said} asked, {KNOWN[of_texts[at]]} answered")


def _is_of(language: str, wanted: str) -> bool:
    return language in ("", wanted) or (wanted == "zh" and language == "zh-Hant")


def _repeated(block: _Block, looks: Looks) -> None:
    """An answer that is the question, or an answer of before; the two answers of a preference that are one."""
    texts, (roles, _, owners, starts) = block.texts, block.turns
    bytes_, chars = looks.sizes
    alike = (bytes_[1:] == bytes_[:-1]) & (chars[1:] > 1) & (roles[1:] == ASSISTANT) & (owners[1:] == owners[:-1])
    for at in (np.flatnonzero(alike) + 1).tolist():
        if texts[at] == texts[at - 1]:
            same = roles[at - 1] == ASSISTANT
            block.add("repeated-turn", at, "both answers are the same" if same else f"says the question: {texts[at]}")
    for number in np.flatnonzero(np.diff(starts) > 3).tolist():
        if not isinstance(block.records[number], Chat):
            continue
        said: set[str] = set()
        answers = np.flatnonzero(roles[block.records.span(number)] == ASSISTANT) + starts[number]
        for at in [at for at in answers.tolist() if len(texts[at]) >= MIN_REPEATED_CHARS]:
            if texts[at] in said:
                block.add("repeated-turn", at, f"said before: {texts[at]}")
            said.add(texts[at])


def _too_long(block: _Block, lengths: Lengths, most: int) -> None:
    conversations: list[Sequence[Message]] = []
    owners: list[int] = []
    for number, record in enumerate(block.records):
        if isinstance(record, Chat):
            said: list[Sequence[Message]] = [record.messages]
        else:
            answers = [text for text in (record.chosen, record.rejected) if text is not None]
            said = [(*record.prompt, {"role": "assistant", "content": text}) for text in answers]
        conversations += said
        owners += [number] * len(said)
    longest: dict[int, int] = {}
    for number, tokens in zip(owners, lengths(conversations), strict=True):
        longest[number] = max(tokens, longest.get(number, 0))
    for number, tokens in longest.items():
        if tokens > most:
            block.add_to_record("too-long", number, f"{tokens:,} tokens of {most:,}")
