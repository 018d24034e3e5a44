"""A chat or a preference as convert handles it: its texts, what tells it from others, how it is shown."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
import xxhash

from zhllm.text.chats import Chat, Preference
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


def lines_and_digests(items: Sequence[Item]) -> tuple[list[bytes], list[bytes]]:
    """`to_json` and `digest` of each item; the messages of a chat are written once for both."""
    lines, digests, sources = list[bytes](), list[bytes](), dict[str, bytes]()
    for item in items:
        if isinstance(item, Preference) or item.meta:
            lines.append(item.to_json())
            digests.append(item.digest())
            continue
        said = orjson.dumps(item.messages, default=dict)
        source = sources.get(item.source) or sources.setdefault(item.source, orjson.dumps(item.source))
        lines.append(b'{"id":%b,"messages":%b,"source":%b}\n' % (orjson.dumps(item.id), said, source))
        digests.append(xxhash.xxh3_128_digest(said))
    return lines, digests


def key_of(item: Item) -> bytes:
    """16 bytes, equal for chats of one prompt, and for preferences between the same answers to one prompt."""
    if isinstance(item, Chat):
        return item.prompt_digest()
    asked = prompt_text(item.prompt)
    answers = (text for text in (item.chosen, item.rejected) if text is not None)
    total = sum(xxhash.xxh3_128_intdigest(asked + b"\0" + text.strip().encode()) for text in answers)
    return (total % (1 << 128)).to_bytes(16, "little")


def keys_of(items: Sequence[Item]) -> list[bytes]:
    """`key_of` each item."""
    pairs = [item for item in items if isinstance(item, Chat) and len(item.messages) == 2]
    if len(pairs) < len(items):
        return [key_of(item) for item in items]
    asked = plain_texts([item.messages[0]["content"] for item in pairs])
    dumps, digest = orjson.dumps, xxhash.xxh3_128_digest
    return [digest(dumps(((item.messages[0]["role"], said),))) for item, said in zip(pairs, asked, strict=True)]


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
