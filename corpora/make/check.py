"""Measure the sample documents: size, distinct lines and sentences, facts found.

``python -m corpora.make.check`` prints the figures; it ends with status 1 when a
fact is missing from the documents of its source.
"""

from __future__ import annotations

import html
import io
import json
import re
import sys
import zipfile
from collections import Counter
from pathlib import Path

from corpora.make.documents import COMPANY, FOLDERS
from corpora.make.facts import FACTS
from corpora.make.grammar import sentences

_CHINESE = re.compile(r"[\u3000-\u303f\u3400-\u9fff\uf900-\ufaff\uff00-\uffef“”‘’—…]")
_NOISE = re.compile(r"(?is)<(script|style|noscript|nav|aside|footer)\b.*?</\1>|<!--.*?-->")
_TAG = re.compile(r"<[^>]+>")
_HIDDEN = re.compile("[\u200b\u200d\ufeff\x00-\x08\x0b-\x1f]")


def text_of(path: Path) -> str:
    """The text of one file, without markup."""
    data = path.read_bytes()
    if path.suffix == ".docx":
        return _docx_text(data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("gb18030")
    if path.suffix == ".jsonl":
        return "\n".join(json.loads(line)["text"] for line in text.splitlines())
    if path.suffix == ".html":
        return html.unescape(_TAG.sub("", _NOISE.sub("", text)))
    return text


def _docx_text(data: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        body = archive.read("word/document.xml").decode("utf-8")
    return html.unescape(_TAG.sub("", body.replace("</w:p>", "\n")))


def folder_text(folder: str) -> str:
    """The text of all files of one folder, in order of name."""
    return "\n".join(text_of(path) for path in sorted((COMPANY / folder).iterdir()))


def distinct(parts: list[str]) -> str:
    """How many of the parts are distinct."""
    kinds = len(Counter(parts))
    return f"{kinds} of {len(parts)} ({100 * kinds / max(len(parts), 1):.1f} %)"


def missing_facts(texts: dict[str, str]) -> list[str]:
    """Facts whose sentence, or a second mention in other words, is not in their source."""
    found: list[str] = []
    for fact in FACTS:
        text = texts[fact.source]
        others = text.replace(fact.sentence, "")
        said = any(
            fact.value in line and (fact.entity in line or fact.attribute in line)
            for line in others.splitlines()
        )
        if fact.sentence not in text or not said:
            found.append(fact.id)
    return found


def main() -> None:
    """Print the figures."""
    texts = {folder: _HIDDEN.sub("", folder_text(folder)) for folder in FOLDERS}
    for folder, text in texts.items():
        count = len(_CHINESE.findall(text))
        print(f"{folder}: {count} Chinese characters, {3 * count} bytes")
    whole = "\n".join(texts.values())
    lines = [line.strip() for line in whole.splitlines() if line.strip()]
    print(f"all: {3 * len(_CHINESE.findall(whole))} bytes of Chinese")
    print(f"distinct lines: {distinct(lines)}")
    print(f"distinct sentences: {distinct(sentences(whole))}")
    missing = missing_facts(texts)
    print(f"facts: {len(FACTS)}, not said twice: {missing or 'none'}")
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
