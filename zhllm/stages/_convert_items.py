"""A chat or a preference as convert handles it: its texts, what tells it from others, how it is shown."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import xxhash

from zhllm.text.chats import Chat, Preference
from zhllm.text.lint.turns import Records, messages_of_pair
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


def lines_and_digests(records: Records, chosen: Sequence[int]) -> tuple[list[bytes], list[bytes]]:
    """`to_json` and `digest` of some records; those of pairs are written all at once."""
    others = [records.others[number] for number in chosen if number in records.others]
    pairs = [number for number in chosen if number not in records.others] if others else chosen
    lines = _lines_of_pairs(records, pairs)
    digests = list(map(_digest_of_pair, lines))
    if not others:
        return lines, digests
    of_pairs, of_others = zip(lines, digests, strict=True), ((item.to_json(), item.digest()) for item in others)
    merged = [next(of_others if number in records.others else of_pairs) for number in chosen]
    return [line for line, _ in merged], [digest for _, digest in merged]


_NEXT, _MESSAGES, _SOURCE = b'},{"id":', b',"messages":', b',"source":'


def _lines_of_pairs(records: Records, pairs: Sequence[int]) -> list[bytes]:
    """The lines of pairs, told apart by their keys: a quote inside a text has a backslash before it."""
    if not pairs:
        return []
    ids, sources, texts, starts = records.ids, records.sources, records.texts, records.starts
    values = [
        {"id": ids[n], "messages": messages_of_pair(texts[starts[n]], texts[starts[n] + 1]), "source": sources[n]}
        for n in pairs
    ]
    written = orjson.dumps(values)[1:-1].replace(_NEXT, b'}\n{"id":')
    return (written + b"\n").splitlines(keepends=True)


def _digest_of_pair(line: bytes) -> bytes:
    """`Chat.digest` of the line of a pair."""
    return xxhash.xxh3_128_digest(line[line.index(_MESSAGES) + len(_MESSAGES) : line.rindex(_SOURCE)])


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
    asked = plain_texts([records.texts[records.starts[number]] for number in chosen if number not in others])
    dumps, digest = orjson.dumps, xxhash.xxh3_128_digest
    of_pairs = (digest(dumps((("user", said),))) for said in asked)
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
