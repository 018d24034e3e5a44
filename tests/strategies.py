"""Texts on which tokenizer engines were seen to differ, as hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

AWKWARD = (
    ["▁", "▁▁人", " ", "  ", "\t", "\n", "\r\n", "\u3000", "\u00a0", "\u200b", "\u200d", "\ufeff", "\u202e", "\x00"]
    + ["\x1f", "\x7f", "👩‍👩‍👧‍👦", "👍🏽", "🇨🇳", "❤️‍🔥", "שלום עולם", "مرحبا", "né", "é", "Ｆｕｌｌ１２", "①"]
    + ["<s>", "</s>", "<unk>", "<pad>", "<0x0A>", "[INST]", "𠮷", "々", "〇", "㐂", "か", "한", "豈", "the "]
    + ["<|im_start|>", "<|eot_id|>", "。", "，", "“", "—", "Don't", "x=1;"]
)


def texts_with(pieces: list[str], count: int = 20) -> st.SearchStrategy[list[str]]:
    """`count` texts at once, because one text at a time is mostly overhead."""
    han = st.text(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), max_size=4)
    latin = st.text("abcdefgXYZ .,'-_/()=", max_size=8)
    # A code point that is assigned in one engine's Unicode tables and not in another's is a letter to one only,
    # and byte-level pre-tokenizers part there: in the base as in the extension.
    anything = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=4)
    digits = st.text("0123456789０１.,-%", max_size=6)
    part = st.one_of(st.sampled_from(pieces), st.sampled_from(AWKWARD), han, latin, anything, digits)
    return st.lists(st.lists(part, max_size=8).map("".join), min_size=count, max_size=count)
