"""Proving that tokenizer engines agree, line by line, and that a base's own behaviour is kept."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from zhllm.errors import ProofError
from zhllm.vocab.sentencepiece_model import META_SPACE, NORMAL, bare_processor, processor

Encode = Callable[[Sequence[str]], list[list[int]]]

# One line for each way in which engines were seen to differ.
PROBE = (
    "人工智能是研究、开发用于模拟人的智能的技术科学。",
    "的的的的的 一一一一 哈哈哈哈哈哈哈 谢谢谢谢",
    "全角：ＡＢＣ１２３，。！？「引号」『书名』《法》—— …",
    "繁體中文：臺灣與香港的電腦軟體、憂鬱的烏龜。",
    "生僻字：𠮷野家 㐂 䶮 犇骉鱻 々〇 二〇二六年",
    "混排 mixed 文本 with English词 and数字123，version2.0版",
    "  leading spaces,   inner   runs and trailing   ",
    "\ttab\tseparated\t值\n\nnew\nlines\r\nand windows",
    "def f(x):\n    return {'键': x ** 2}  # 注释\n",
    "👩‍👩‍👧‍👦 👍🏽 🇨🇳 ❤️‍🔥 emoji 家庭",
    "שלום עולם مرحبا بالعالم Привет мир नमस्ते こんにちは 안녕하세요",
    "zero\u200bwidth\u200dand\ufeffbom \u00a0nbsp\u3000ideographic",
    "https://example.com/路径?q=值&x=1#片段 user@example.cn",
    "∑∫√π≈≠ ①②③ ㎡ ℃ ½ ² 1,234.56 -1e-9 100%",
    "<|im_start|> [INST] </s> <s> <unk> <pad> <0x0A>",
    "a" * 40 + " " + "中" * 40 + " " + "=" * 40,
)


@dataclass
class Check:
    """One promise: how many texts were tried, and the first that broke it."""

    name: str
    tried: int = 0
    failed: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, text: str, holds: bool, detail: str = "") -> None:
        """Count one text; keep the first three failures as examples."""
        self.tried += 1
        if not holds:
            self.failed += 1
            if len(self.examples) < 3:
                self.examples.append(f"{text[:60]!r}{detail}")


def fuzz(characters: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """`count` random strings that mix `characters` with Latin, digits, spaces, emoji and controls."""
    rng = random.Random(seed)
    other = list("abcXYZ019 .,:\n\t-_=/'\"()，。“”") + [" ", "  ", "é", "ß", "Ж", "א", "한", "👍🏽", "\u200d"]
    strings = []
    for _ in range(count):
        share = rng.random()
        length = rng.randint(1, 24)
        strings.append("".join(rng.choice(characters if rng.random() < share else other) for _ in range(length)))
    return strings


def hf_encode(tokenizer: Tokenizer) -> Encode:
    """Ids without specials, special-token text encoded as text (as SentencePiece does)."""
    tokenizer.encode_special_tokens = True
    return lambda texts: [e.ids for e in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]


def engines_agree(name: str, a: Encode, b: Encode, texts: Sequence[str]) -> Check:
    """Whether two engines give the same ids on every text."""
    check = Check(name)
    for text, left, right in zip(texts, a(texts), b(texts), strict=True):
        check.add(text, left == right, f": {left[:12]} against {right[:12]}")
    return check


def is_lossless(encode: Encode, decode: Callable[[list[int]], str], texts: Sequence[str]) -> Check:
    """Whether decoding gives the text back (U+2581 aside, which is SentencePiece's own space)."""
    check = Check("round trip")
    texts = [t for t in texts if META_SPACE not in t and "\0" not in t]
    for text, ids in zip(texts, encode(texts), strict=True):
        back = decode(ids)
        check.add(text, back == text, f" came back as {back[:60]!r}")
    return check


def base_is_kept(model: Any, base: Any) -> Check:
    """Whether the base's pieces stand at their ids with their scores and types."""
    check = Check("base ids")
    for index, piece in enumerate(base.pieces):
        now = model.pieces[index] if index < len(model.pieces) else None
        check.add(piece.piece, now == piece, f" (id {index}) is {now.piece if now else None!r} now")
    return check


def proof_texts(added: Sequence[str], texts: Iterable[str]) -> list[str]:
    """The fixed probe, seeded fuzz over the added characters, every added piece, and `texts`."""
    characters = [c for p in added[:4000] for c in p] or list("的一是不了人我在有他这中大来上个国")
    return [*PROBE, *fuzz(characters, 2000), *added, *texts]


def base_language(encode: Encode, base: Encode, untouched: Sequence[str]) -> Check:
    """Whether texts that the added pieces have no part in are cut as the base cuts them."""
    return engines_agree("base language", encode, base, untouched)


def all_reachable(encode: Encode, ids: Mapping[str, int]) -> Check:
    """Whether each added piece, with nothing around it, is cut as that one piece (`encode` adds no `▁`)."""
    check = Check("reachable pieces")
    for (piece, index), found in zip(ids.items(), encode(list(ids)), strict=True):
        check.add(piece, found == [index], f" (id {index}) is cut as {found}")
    return check


def added_pieces(model: Any, base_size: int) -> dict[str, int]:
    """The ordinary pieces behind the base's, with their ids."""
    return {p.piece: base_size + k for k, p in enumerate(model.pieces[base_size:]) if p.type == NORMAL}


def prove_tokenizer(folder: Path, model: Any, base: Any | None, texts: Iterable[str]) -> list[Check]:
    """Every promise of a SentencePiece tokenizer directory, tried on the probe, on fuzz and on `texts`.

    SentencePiece = Hugging Face fast; lossless; with `base`: its pieces at their ids, every text that
    is ASCII or has no added character tokenised as by the base, and no added piece that is never
    formed. Raises ProofError with examples.
    """
    added = added_pieces(model, len(base.pieces)) if base is not None else {}
    every = proof_texts(list(added), texts)
    sp = processor(model)
    hf = hf_encode(Tokenizer.from_file(str(folder / "tokenizer.json")))
    checks = [
        engines_agree("SentencePiece = Hugging Face", sp.encode, hf, every),
        is_lossless(sp.encode, sp.decode, every),
    ]
    if base is not None:
        checks.append(base_is_kept(model, base))
        new = {c for piece in added for c in piece}
        checks.append(
            base_language(sp.encode, processor(base).encode, [t for t in every if t.isascii() or new.isdisjoint(t)])
        )
        checks.append(all_reachable(bare_processor(model).encode, added))
    raise_broken(checks)
    return checks


def raise_broken(checks: Sequence[Check]) -> None:
    """Raise ProofError that names every broken promise with examples."""
    broken = [c for c in checks if c.failed]
    if broken:
        lines = [f"{c.name}: {c.failed} of {c.tried} texts fail, e.g. {'; '.join(c.examples)}" for c in broken]
        raise ProofError("the tokenizer does not keep its promises:\n" + "\n".join(lines))


def chars_per_token(encode: Encode, texts: Sequence[str]) -> float:
    """Characters per token over all texts together; 0 when there are none."""
    tokens = sum(map(len, encode(texts)))
    return sum(map(len, texts)) / tokens if tokens else 0.0
