"""The promise of extend-vocab at full size: real tokenizers, every shared line, every code point, 200,000 strings.

`make test` takes a part of each; ZHLLM_FULL=1 (`make prove`) takes all and prints the counts.
"""

from __future__ import annotations

import gzip
import json
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from strategies import texts_with
from toys import stage
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from zhllm.infer import llamacpp
from zhllm.infer.vocabulary import llama_cpp_encoder
from zhllm.vocab.bases import open_base
from zhllm.vocab.byte_level import ByteLevelBase
from zhllm.vocab.byte_level_files import tiktoken_encode
from zhllm.vocab.proof import Encode, hf_encode
from zhllm.vocab.sentencepiece_model import META_SPACE
from zhllm.vocab.subtokens import base_of

FULL = os.environ.get("ZHLLM_FULL") == "1"
PART = 1 if FULL else 25
GENERAL = Path(__file__).parents[2] / "vocab" / "zh_general"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed"),
]


@dataclass
class Engines:
    """An extended real tokenizer in every engine; the first encoder is the reference."""

    name: str
    base: Any
    extended: Any
    encoders: dict[str, Encode]
    backends: dict[str, str]


@pytest.fixture(scope="module", params=["llama2.model", "llama3.tiktoken"])
def engines(
    request: pytest.FixtureRequest, real_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engines]:
    """zhllm's general pieces on a real base, as extend-vocab writes it."""
    root = tmp_path_factory.mktemp("every-text")
    base = real_data / "tokenizers" / request.param
    folder = stage("extend-vocab", root / "extended", base=base, pieces=[GENERAL])
    auto = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    auto.save_pretrained(root / "saved")
    fast = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    saved = AutoTokenizer.from_pretrained(root / "saved", local_files_only=True)
    extended = open_base(folder)
    with llama_cpp_encoder(folder) as llama_cpp:
        encoders: dict[str, Encode] = {
            "SentencePiece": extended.encode,
            "Hugging Face": hf_encode(auto.backend_tokenizer),
        }
        if isinstance(extended, ByteLevelBase):
            ranks = tiktoken_encode(extended.content)
            assert ranks is not None
            encoders = {"tiktoken": ranks, "Hugging Face": encoders["Hugging Face"]}
        encoders["llama.cpp"] = llama_cpp
        # Equal backends give equal ids, so one of the three speaks for all on the large sets.
        backends = {
            name: tokenizer.backend_tokenizer.to_str()
            for name, tokenizer in {"auto": auto, "fast": fast, "saved": saved}.items()
        }
        yield Engines(request.param, base_of(folder), extended, encoders, backends)


def mismatches(engines: Engines, texts: list[str]) -> list[tuple[str, str]]:
    """Every (engine or promise, text) that breaks equality, the round trip, or the base's own language."""
    broken: list[tuple[str, str]] = []
    (_, reference), *others = engines.encoders.items()
    for start in range(0, len(texts), 100_000):
        block = texts[start : start + 100_000]
        ids = [list(row) for row in reference(block)]
        for name, encode in others:
            broken += [(name, t) for t, a, b in zip(block, ids, encode(block), strict=True) if a != list(b)]
        broken += [("round trip", t) for t, a in zip(block, ids, strict=True) if not came_back(engines, t, a)]
        before = engines.base.encode(block)
        plain = [(t, a, b) for t, a, b in zip(block, ids, before, strict=True) if t.isascii()]
        broken += [("base", t) for t, a, b in plain if a != b]
    return broken


def came_back(engines: Engines, text: str, ids: list[int]) -> bool:
    return META_SPACE in text or "\0" in text or engines.extended.decode(ids) == text


def shared_lines(real_data: Path) -> list[str]:
    """Every different line of the shared corpora."""
    lines: dict[str, None] = {}
    for path in sorted((real_data / "corpus").glob("*.jsonl*")):
        if "labels" not in path.name:
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
            for row in filter(None, text.split("\n")):  # a JSON string may hold U+2028, at which splitlines cuts
                lines.update(dict.fromkeys(json.loads(row)["text"].split("\n")))
    return list(lines)


def say(capsys: pytest.CaptureFixture[str], line: str) -> None:
    if FULL:
        with capsys.disabled():
            print("\n" + line, end="")


def test_every_line_of_the_shared_texts(engines: Engines, real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shared_lines(real_data)[::PART]
    assert mismatches(engines, lines) == []
    assert len(lines) > 500_000 // PART - 1000
    say(capsys, f"{engines.name}: {len(lines):,} lines, 0 mismatches in {', '.join(engines.encoders)}")


def test_every_assigned_code_point(engines: Engines, capsys: pytest.CaptureFixture[str]) -> None:
    """Alone, between Han characters and Latin letters, and repeated among digits and spaces."""
    assigned = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")][::PART]
    texts = [text for c in assigned for text in (c, f"中{c}文a", f"x {c}1{c}")]
    assert mismatches(engines, texts) == []
    say(capsys, f"{engines.name}: {len(assigned):,} code points in 3 texts each, 0 mismatches")


def test_200_000_strings(engines: Engines, capsys: pytest.CaptureFixture[str]) -> None:
    pieces = [t for i in range(engines.base.size, engines.extended.size) if (t := engines.extended.text_of(i))]
    seen = 0

    @settings(max_examples=2100 // PART, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(texts_with(pieces, 100))
    def check(texts: list[str]) -> None:
        nonlocal seen
        seen += len(texts)
        assert mismatches(engines, texts) == []

    check()
    assert seen >= 200_000 // PART
    say(capsys, f"{engines.name}: {seen:,} hypothesis strings, 0 mismatches")


def test_auto_fast_and_saved_are_one_tokenizer(engines: Engines) -> None:
    assert len(set(engines.backends.values())) == 1
