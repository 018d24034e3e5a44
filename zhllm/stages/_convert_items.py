"""A chat or a preference as convert handles it: its texts, what tells it from others, how it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import orjson
import xxhash

from zhllm.text.chats import Chat, Preference
from zhllm.text.lint.turns import Records
from zhllm.text.prompt_keys import plain_texts, prompt_text

CHATS, PREFERENCES = "chats", "preferences"
KINDS = (CHATS, PREFERENCES)
CASE_CHARS = 160
Item = Chat | Preference


def texts_of(item: Item) -> list[str]:
    """The texts of a chat or a preference, in order."""
    if isinstance(item, Chat):
        return [message["content"] for message in item.messages]
    texts = [message["content"] for message in item.prompt]
    return texts + [text for text in (item.chosen, item.rejected) if text is not None]


Value = TypeVar("Value")


def some(values: Sequence[Value], chosen: Sequence[int]) -> Sequence[Value]:
    """The values of some records, of those of all, in order."""
    return values if len(chosen) == len(values) else [values[number] for number in chosen]


class Written(NamedTuple):
    """Canonical lines one after the other, the bytes of each, and `digest` of each record."""

    lines: bytes
    sizes: npt.NDArray[np.int64]
    digests: list[bytes]


def written(records: Records, chosen: Sequence[int]) -> Written:
    """`to_json` and `digest` of some records; those of pairs are written all at once."""
    others = records.others
    if others.keys().isdisjoint(chosen):
        return _written_pairs(records, chosen)
    pairs = _written_pairs(records, [number for number in chosen if number not in others])
    ends = np.cumsum(pairs.sizes).tolist()
    of_pairs = zip((pairs.lines[start:end] for start, end in pairwise([0, *ends])), pairs.digests, strict=True)
    merged = [
        (others[number].to_json(), others[number].digest()) if number in others else next(of_pairs) for number in chosen
    ]
    lines = [line for line, _ in merged]
    return Written(b"".join(lines), np.array(list(map(len, lines))), [digest for _, digest in merged])


_HEAD, _TAIL = b'{"id":%b,"messages":', b',"source":%b}\n'
_SAID = b'[{"role":"user","content":%b},{"role":"assistant","content":%b}]'


def _written_pairs(records: Records, pairs: Sequence[int]) -> Written:
    """The lines of pairs, put together of their texts in JSON: `Chat.to_json` and `digest` byte for byte."""
    sources = some(records.sources, pairs)
    asked, answers = (map(orjson.dumps, texts) for texts in records.pairs(pairs))
    said = list(map(_SAID.__mod__, zip(asked, answers, strict=True)))
    tails = {source: _TAIL % orjson.dumps(source) for source in dict.fromkeys(sources)}
    pieces = [b""] * (3 * len(pairs))
    pieces[::3] = map(_HEAD.__mod__, map(orjson.dumps, some(records.ids, pairs)))
    pieces[1::3], pieces[2::3] = said, map(tails.__getitem__, sources)
    sizes = np.array(list(map(len, pieces)), np.int64).reshape(-1, 3).sum(axis=1)
    return Written(b"".join(pieces), sizes, list(map(xxhash.xxh3_128_digest, said)))


def id_digest(name: str) -> int:
    """A hash of an id: of equal ones it is the same."""
    return xxhash.xxh3_64_intdigest(name.encode())


def key_of(item: Item) -> bytes:
    """16 bytes, equal for chats of one prompt, and for preferences between the same answers to one prompt."""
    if isinstance(item, Chat):
        return item.prompt_digest()
    asked = prompt_text(item.prompt)
    answers = (text for text in (item.chosen, item.rejected) if text is not None)
    total = sum(xxhash.xxh3_128_intdigest(asked + b"\0" + text.strip().encode()) for text in answers)
    return (total % (1 << 128)).to_bytes(16, "little")


def keys_of(records: Records, chosen: Sequence[int]) -> list[bytes]:
    """`key_of` of some records; the prompts of pairs are looked at all at once."""
    others = records.others
    asked, _ = records.pairs([number for number in chosen if number not in others] if others else chosen)
    of_pairs = map(xxhash.xxh3_128_digest, plain_texts(asked))
    if not others:
        return list(of_pairs)
    return [key_of(others[number]) if number in others else next(of_pairs) for number in chosen]


def sample_of_item(item: Item) -> str:
    """How an item begins: what is asked last, and the answer."""
    said = texts_of(item)
    if isinstance(item, Chat):
        said = said[-2:]
    return " → ".join(text[:CASE_CHARS].replace("\n", "⏎") for text in said[-3:])


def read_item(kind: str, line: bytes) -> Item:
    """A canonical line as what it was."""
    value = orjson.loads(line)
    more = (value["source"], value.get("meta", {}))
    if kind == CHATS:
        return Chat(value["id"], tuple(value["messages"]), *more)
    return Preference(value["id"], tuple(value["prompt"]), value["chosen"], value["rejected"], *more)
