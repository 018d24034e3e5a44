"""Personal data in contents and in what comes with them, masked as `clean` masks it.

Full-width digits, letters and signs count as ASCII ones; the text keeps its own everywhere else.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import orjson

from zhllm.text.clean.identity import masked_identity
from zhllm.text.clean.measures import scan
from zhllm.text.clean.pii import PLACEHOLDERS, Kind, find
from zhllm.text.clean.pii_signs import with_personal_data
from zhllm.text.document import Document
from zhllm.text.lint.looks import Looks
from zhllm.text.lint.turns import Record, Records

# One character for one: places in the folded text are places in the text.
_FOLDED = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F) if chr(code - 0xFEE0).isalnum()} | {
    0xA0: 0x20,
    0x3000: 0x20,
}
_WIDE = "[" + "".join(map(chr, sorted(_FOLDED))) + "]"
_WIDE_CHAR = re.compile(_WIDE)


def masked_texts(texts: Sequence[str], kinds: Collection[Kind]) -> list[tuple[str, Counter[Kind]]]:
    """Each text with its personal data masked, line by line, and how many of each kind; idempotent."""
    if not texts or not kinds:
        return [(text, Counter()) for text in texts]
    folded, wide = list(texts), Looks(texts).matching(_WIDE)
    for number in wide:
        folded[number] = texts[number].translate(_FOLDED)
    scanned = scan(folded)
    done = [(text, Counter[Kind]()) for text in texts]
    for number, offset, length in reversed(list(scanned.places_of(with_personal_data(scanned)))):
        text, counts = done[number]
        line, found = _masked_line(text[offset : offset + length], kinds)
        if found:
            done[number] = text[:offset] + line + text[offset + length :], counts + found
    return done


def _folded(text: str) -> str:
    return text.translate(_FOLDED) if _WIDE_CHAR.search(text) else text


def _masked_line(line: str, kinds: Collection[Kind]) -> tuple[str, Counter[Kind]]:
    counts: Counter[Kind] = Counter()
    # Again until nothing is left, as `pii.mask` does, and for the same reason.
    while found := find(_folded(line), kinds):
        for one in reversed(found):
            line = line[: one.start] + PLACEHOLDERS[one.kind] + line[one.end :]
        counts.update(one.kind for one in found)
    return line, counts


def with_identity_to_mask(records: Records) -> list[int]:
    """The numbers of records that may have personal data in id, source or metadata, in order."""
    ids, sources = records.ids, list(dict.fromkeys(records.sources))
    found = set[int]()
    if len(sources) != 1 or not _are_lines_of(sources[0], ids):
        named = Looks(ids).personal
        scanned = scan([ids[number] for number in named])
        found = {named[doc] for doc, _, _ in scanned.places_of(with_personal_data(scanned))} if named else found
    if suspects := set(filter(_may_be_personal, sources)):
        found.update(number for number, source in enumerate(records.sources) if source in suspects)
    if described := [number for number, record in records.others.items() if record.meta]:
        metas = [orjson.dumps(records[number].meta, default=dict).decode() for number in described]
        found.update(described[number] for number in Looks(metas).personal)
    return sorted(found)


@lru_cache(maxsize=256)
def _may_be_personal(source: str) -> bool:
    return bool(Looks([source]).personal)


def _are_lines_of(source: str, ids: Sequence[str]) -> bool:
    """Whether the ids are `source#123`, of eight digits at most: nothing that is not in the source is in them."""
    prefix, joined = f"{source}#", "\n".join(ids)
    if not joined.startswith(prefix) or max(map(len, ids)) > len(prefix) + 8:
        return False
    rest = joined.replace(f"\n{prefix}", "")
    are_all = len(joined) - len(rest) == (len(ids) - 1) * (len(prefix) + 1)
    return are_all and "\n" not in rest and rest[len(prefix) :].isdigit()


def with_masked_identity(record: Record, kinds: tuple[Kind, ...]) -> Record:
    """A record with personal data in id, source and metadata masked; an id that changes stays its own."""
    meta = orjson.dumps(record.meta, default=dict).decode() if record.meta else ""
    masked = masked_identity(Document(record.id, "", record.source, meta), kinds)
    values: Mapping[str, Any] = record.meta if masked.meta == meta else orjson.loads(masked.meta)
    return replace(record, id=masked.id, source=masked.source, meta=values)
