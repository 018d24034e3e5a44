"""Documents in, cleaned or refused documents out: the work of `clean` that needs no other document.

`clean_text` is what happens to one text. `clean_documents` does the same to many at once: what every text
needs runs on arrays, and only texts with a sign of something rare pass through `clean_text`'s rules.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import xxhash

from zhllm.text.clean.blocks import Block, block_of, block_ranges, normal_block
from zhllm.text.clean.boilerplate import reason_of, remove_lines
from zhllm.text.clean.charclass import CharCounts, count_chars
from zhllm.text.clean.contamination import EvaluationGrams, plain_ink
from zhllm.text.clean.furniture import remove_furniture
from zhllm.text.clean.grams import Hashes
from zhllm.text.clean.measures import Scan, repeated_shares, scan, scan_block
from zhllm.text.clean.normalise import normalise, repair_mojibake
from zhllm.text.clean.pii import KINDS, Kind, find, mask
from zhllm.text.clean.pii_signs import with_personal_data
from zhllm.text.clean.profiles import PROFILES, Profile
from zhllm.text.clean.quality import Language, Refusal, Shape, is_too_long, judge, may_be_garbled, mojibake_share
from zhllm.text.clean.signs import may_be_mojibake, with_furniture, with_traditional, with_triggers
from zhllm.text.clean.sketches import PLACES, Sketches, sketches
from zhllm.text.document import Document
from zhllm.text.script import simplify

Traditional = Literal["keep", "simplify"]
Punctuation = Literal["keep", "chinese"]


@dataclass(frozen=True, slots=True)
class Rules:
    """How to clean: the settings of the stage that the work on one document needs."""

    profile: Profile = PROFILES["document"]
    language: Language = "zh"
    traditional: Traditional = "keep"
    punctuation: Punctuation = "keep"
    masked: tuple[Kind, ...] = KINDS
    sensitive_words: tuple[str, ...] = ()
    against: EvaluationGrams | None = None
    near_duplicates: bool = True
    only_duplicates: bool = False  # leave every text as it is
    advertisements_out: bool = True


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A text after the rules that change it, and what they did."""

    text: str
    effects: Counter[str] = field(default_factory=Counter)  # lines, values and documents changed, by rule
    contents_share: float = 0.0
    boilerplate_share: float = 0.0


@dataclass(frozen=True, slots=True)
class CleanedDocs:
    """Documents after cleaning, in order; D of them.

    `refusals` say why one goes, or None. `digests` are equal for texts that differ in white space only;
    `sketches` [D, 128]; `paragraphs` the hashes of each text's long lines in order.
    """

    documents: list[Document]
    refusals: list[Refusal | None]
    effects: list[Counter[str]]
    counts: list[CharCounts]
    digests: list[bytes]
    sketches: Sketches
    paragraphs: list[Hashes]


Sign = Literal["mojibake", "boilerplate", "furniture", "script", "punctuation"]
# Memory grows by 100 bytes a character of the longest text; a long novel has a million.
MAX_TEXT_CHARS = 4_000_000
SHOWN_CHARS = 300  # of a text that is not looked at
# Between lines that are looked at together: nothing that one says is about the next.
_APART = "\n。\n"
ALL_SIGNS: frozenset[Sign] = frozenset(get_args(Sign))


class Known(NamedTuple):
    """What is known of a text already: its normal form, the signs it has, its lines with boilerplate's triggers."""

    normal: str
    signs: frozenset[Sign]
    suspects: Collection[str] | None


def clean_text(text: str, rules: Rules, known: Known | None = None, masked: bool = True) -> Cleaned:
    """One text through every rule that changes texts; a rule whose sign is missing would change nothing.

    With `masked` False personal data stays.
    """
    normal, signs, suspects = known or Known(normalise(text), ALL_SIGNS, None)
    effects: Counter[str] = Counter()
    if "mojibake" in signs and may_be_mojibake(count_chars(normal)) and (meant := repair_mojibake(text)) is not None:
        normal, signs, suspects = normalise(meant), ALL_SIGNS, None
        effects["repaired_docs"] = 1
    final, boilerplate, contents = normal, 0.0, 0.0
    if "boilerplate" in signs and rules.advertisements_out:
        final, removed = remove_lines(normal, suspects)
        boilerplate = 1 - len(final) / max(len(normal), 1)
        effects.update({f"lines_{group}": n for group, n in removed.items()})
    if "furniture" in signs:
        furniture = remove_furniture(final)
        final = furniture.text
        contents = furniture.contents_lines / (normal.count("\n") + 1)
        for name in ("page_lines", "header_lines", "contents_lines"):
            effects[name] += getattr(furniture, name)
    if rules.traditional == "simplify" and "script" in signs:
        simplified = simplify(final)
        effects["simplified_docs"] = int(simplified != final)
        final = simplified
    if rules.punctuation == "chinese":
        from zhllm.text.clean.punctuation import to_chinese_punctuation  # its patterns take 50 ms to compile

        final = to_chinese_punctuation(final)
    if masked and rules.masked:
        final, kinds = _mask_lines(final, rules.masked)
        effects.update({f"pii_{kind}": n for kind, n in kinds.items()})
    return Cleaned(final, +effects, contents, boilerplate)


def _mask_lines(text: str, kinds: tuple[Kind, ...]) -> tuple[str, Counter[Kind]]:
    """A text with the personal data of each line masked; a value and the words that tell it stand on one line."""
    lines = [mask(line, kinds) for line in text.split("\n")]
    return "\n".join(line for line, _ in lines), sum((found for _, found in lines), Counter())


def digest_of(text: str) -> bytes:
    """Equal for texts that differ in white space only (ASCII's, which is all that `normalise` leaves); 16 bytes."""
    return digest_of_utf8(text.encode("utf-8", "surrogatepass"))


def digest_of_utf8(data: bytes) -> bytes:
    """`digest_of` for the bytes of a text."""
    return xxhash.xxh3_128_digest(data.translate(None, b" \t\n\r"))


def clean_documents(documents: Sequence[Document], rules: Rules) -> CleanedDocs:
    """Clean some documents; the result does not depend on which others stand beside them."""
    too_long = {i: len(document.text) for i, document in enumerate(documents) if len(document.text) > MAX_TEXT_CHARS}
    raw = [document.text[: SHOWN_CHARS if i in too_long else None] for i, document in enumerate(documents)]
    as_block = block_of if rules.only_duplicates else normal_block
    blocks = [(some, as_block(raw[some])) for some in block_ranges(raw)]
    normal = [text for _, codes in blocks for text in codes.texts()]
    sensitive = _hits(normal, rules.sensitive_words)
    joined = CleanedDocs([], [], [], [], [], np.zeros((0, PLACES), dtype=np.uint16), [])
    rows = [joined.sketches]
    for some, codes in blocks:
        block = _Block(documents[some], raw[some], normal[some], codes, sensitive[some])
        part = _clean_block(block, rules)
        rows.append(part.sketches)
        for name in ("documents", "refusals", "effects", "counts", "digests", "paragraphs"):
            getattr(joined, name).extend(getattr(part, name))
    for i, chars in too_long.items():
        joined.refusals[i] = is_too_long(chars, MAX_TEXT_CHARS)
    return replace(joined, sketches=np.concatenate(rows))


@dataclass(frozen=True, slots=True)
class _Block:
    """Some documents: as they came, in normal form as texts and as codes, and what a search for words found in each."""

    documents: Sequence[Document]
    raw: Sequence[str]
    normal: Sequence[str]
    codes: Block
    sensitive: Sequence[int]


@dataclass(frozen=True, slots=True)
class _View:
    """A scan of some of a block's texts and their numbers in the block; a later one replaces an earlier."""

    scanned: Scan
    numbers: Sequence[int]


def _clean_block(block: _Block, rules: Rules) -> CleanedDocs:
    cleaned = [Cleaned(text) for text in block.normal]
    views = [_View(scan_block(block.codes), range(len(cleaned)))]
    if not rules.only_duplicates:
        changed = []
        suspects = _suspects(block, views[0].scanned) if rules.advertisements_out else {}
        for i, signs in sorted(_signs(block, views[0].scanned, suspects, rules).items()):
            known = Known(block.normal[i], frozenset(signs), suspects.get(i, ()))
            cleaned[i] = clean_text(block.raw[i], rules, known, masked=False)
            if cleaned[i].text != block.normal[i]:
                changed.append(i)
        if changed:
            views.append(_View(scan([cleaned[i].text for i in changed]), changed))
    return _judged(block, cleaned, views, rules)


def _suspects(block: _Block, scanned: Scan) -> dict[int, set[str]]:
    """The boilerplate lines of each text that has some."""
    found: dict[int, set[str]] = defaultdict(set)
    for doc, offset, length in scanned.places_of(with_triggers(scanned)):
        line = block.normal[doc][offset : offset + length]
        if reason_of(line) is not None:
            found[doc].add(line)
    return found


def _signs(block: _Block, scanned: Scan, suspects: Collection[int], rules: Rules) -> dict[int, set[Sign]]:
    """For each text that some rule might change the signs of these rules."""
    found: dict[int, set[Sign]] = defaultdict(set)
    numbers: dict[Sign, Iterable[int]] = {
        "mojibake": (i for i, counts in enumerate(scanned.counts) if may_be_mojibake(counts)),
        "boilerplate": suspects,
        "furniture": with_furniture(scanned, suspects),
        "script": with_traditional(scanned) if rules.traditional == "simplify" else (),
        "punctuation": range(len(block.normal)) if rules.punctuation == "chinese" else (),
    }
    for sign, marked in numbers.items():
        for i in marked:
            found[i].add(sign)
    return found


def _hits(texts: Sequence[str], words: tuple[str, ...]) -> list[int]:
    """How often any of the words stands in each text."""
    if not words:
        return [0] * len(texts)
    found: list[int] = _strings(texts).str.extract_many(list(words), leftmost=True).list.len().to_list()
    return found


def _strings(texts: Sequence[str]) -> Any:
    polars = _polars()
    return polars.Series(texts, dtype=polars.String)


@lru_cache(maxsize=1)
def _polars() -> Any:
    import polars

    return polars


def _judged(block: _Block, cleaned: Sequence[Cleaned], views: Sequence[_View], rules: Rules) -> CleanedDocs:
    """Measure the cleaned texts, judge each, and mask personal data in them."""
    texts = [c.text for c in cleaned]
    measured = [_Measures(views[0].scanned.counts[0])] * len(texts)
    rows = np.zeros((len(texts), PLACES), dtype=np.uint16)
    for view in views:
        if rules.near_duplicates:
            rows[list(view.numbers)] = sketches(view.scanned.ink)
        for number, measures in zip(view.numbers, _measure(view.scanned, rules), strict=True):
            measured[number] = measures
    refusals = []
    if rules.masked and not rules.only_duplicates:
        _mask(cleaned, texts, views, rules.masked)
    for c, m, hits in zip(cleaned, measured, block.sensitive, strict=True):
        refusals.append(_refusal(c, m, hits, rules))
        if m.items:
            c.effects.update(f"item_{item}" for item in m.items)
        if hits:
            c.effects["sensitive_hits"] = hits
    documents = [
        d if d.text == text else Document(d.id, text, d.source, d.meta)
        for d, text in zip(block.documents, texts, strict=True)
    ]
    digests = [digest_of(text) for text in texts]
    return CleanedDocs(
        documents, refusals, [c.effects for c in cleaned], [m.counts for m in measured], digests, rows,
        [m.paragraphs for m in measured],
    )  # fmt: skip


def _mask(cleaned: Sequence[Cleaned], texts: list[str], views: Sequence[_View], kinds: tuple[Kind, ...]) -> None:
    """Mask personal data in `texts`, line by line: only in lines with a sign of it, many lines at a time."""
    replaced = set(views[1].numbers) if len(views) > 1 else set()
    where: list[tuple[int, int, str]] = []  # text, offset of the line, line
    for view in views:
        for doc, offset, length in view.scanned.places_of(with_personal_data(view.scanned)):
            number = view.numbers[doc]
            if view is views[-1] or number not in replaced:
                where.append((number, offset, texts[number][offset : offset + length]))
    if not where:
        return
    for number, offset, line in reversed(_with_finds(where, kinds)):
        masked, found = mask(line, kinds)
        texts[number] = texts[number][:offset] + masked + texts[number][offset + len(line) :]
        cleaned[number].effects.update({f"pii_{kind}": n for kind, n in found.items()})


def _with_finds(where: list[tuple[int, int, str]], kinds: tuple[Kind, ...]) -> list[tuple[int, int, str]]:
    """Those of some lines in which there is something to mask; all are looked at together."""
    ends = np.cumsum([len(line) + len(_APART) for _, _, line in where])
    found = find(_APART.join(line for _, _, line in where), kinds)
    return [where[i] for i in np.unique(np.searchsorted(ends, [f.start for f in found], side="right")).tolist()]


class _Measures(NamedTuple):
    """What is measured on one text's final form; `items` are those of evaluation files that it holds."""

    counts: CharCounts
    repeated_lines: float = 0.0
    repeated_grams: float = 0.0
    paragraphs: Hashes = np.zeros(0, dtype=np.uint64)
    items: dict[int, float] = {}  # noqa: RUF012


def _measure(scanned: Scan, rules: Rules) -> Iterator[_Measures]:
    nothing = [0.0] * scanned.block.docs
    limit = rules.profile.max_repeated_grams_share
    lines, grams = (nothing, nothing) if rules.only_duplicates else repeated_shares(scanned, limit)
    paragraphs = _paragraphs(scanned, None if rules.only_duplicates else rules.profile.min_repeated_paragraph_chars)
    items = rules.against.found_in(plain_ink(scanned.block)) if rules.against is not None else {}
    for i, counts in enumerate(scanned.counts):
        yield _Measures(counts, lines[i], grams[i], paragraphs[i], items.get(i, {}))


def _refusal(cleaned: Cleaned, measures: _Measures, sensitive_hits: int, rules: Rules) -> Refusal | None:
    refusal = None
    if not rules.only_duplicates:
        shares = (measures.repeated_lines, measures.repeated_grams, cleaned.contents_share, cleaned.boilerplate_share)
        mojibake = mojibake_share(cleaned.text, measures.counts.ink) if may_be_garbled(measures.counts) else 0.0
        refusal = judge(measures.counts, Shape(*shares, sensitive_hits, mojibake), rules.profile, rules.language)
    if refusal is None and measures.items and rules.against is not None:
        refusal = rules.against.refusal(measures.items)
    return refusal


def _paragraphs(scanned: Scan, min_chars: int | None) -> list[Hashes]:
    """Hashes of each document's lines that are long enough to be looked for in other documents."""
    docs = scanned.block.docs
    if min_chars is None:
        return [np.zeros(0, dtype=np.uint64)] * docs
    lines = scanned.lines
    long = lines.lengths >= min_chars
    ends = np.cumsum(np.bincount(lines.docs[long], minlength=docs))
    return np.split(lines.hashes[long], ends[:-1])
