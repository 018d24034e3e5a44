"""Content that spells a control token or the frame of a prompt format: the model would learn to say it."""

from __future__ import annotations

import re

# Of Llama-2/3, ChatML, Qwen, GPT, MOSS, ChatGLM, Baichuan, InternLM, DeepSeek, Mistral, Gemma, Phi.
_BARE = (
    "<eoh>", "<eom>", "<eoa>", "<eot>", "<eoc>", "<|Human|>", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<eod>",
    "<reserved_102>", "<reserved_103>", "<reserved_106>", "<reserved_107>", "<start_of_turn>", "<end_of_turn>",
    "<unused0>", "[UNUSED_TOKEN_145]", "[UNUSED_TOKEN_146]", "<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>",
)  # fmt: skip
_PIPED = r"<[|｜][A-Za-z][\w▁ .-]{0,30}[|｜]>"
TOKEN = re.compile(rf"{_PIPED}|{'|'.join(map(re.escape, sorted(_BARE, key=len, reverse=True)))}")
_END = re.compile(
    r"(?:\s*(?:<[|｜](?:im_end|eot_id|eom_id|endoftext|end_of_text|end|eos|end▁of▁sentence|return|assistant_end|endofturn)[|｜]>"
    r"|</s>|<eoh>|<eom>|<eoa>|<eot>|<eod>|<eop>|<end_of_turn>|\[UNUSED_TOKEN_145\]|<[|｜]im_start[|｜]>(?:user|human|assistant)?))+\s*\Z"
)
# A turn of somebody else's, or the frame of an instruction, at the beginning of a line.
_FRAME = re.compile(
    r"^(?:### ?(?:Instruction|Input|Response|Human|Assistant|User|指令|回答|输入)\s?[:：]"
    r"|(?:Human|ASSISTANT|USER|HUMAN)\s?[:：])",
    re.MULTILINE,
)
_FRAME_SIGNS = ("###", "Human", "ASSISTANT", "USER", "HUMAN")
_FRAME_AT_END = re.compile(
    r"\s*^(?:### ?(?:Instruction|Response|Human|Assistant|User)|(?:Human|USER|HUMAN))\s?[:：]\s*\Z", re.MULTILINE
)
TOKEN_SIGNS = (
    "<|", "<｜", "|>", *_BARE, "### ", "###Human", "###Response", "###Instruction",
    "Human:", "Human：", "ASSISTANT:", "USER:", "HUMAN:",
    "{{name}}", "{{ name }}", "{{author}}", "{{ author }}", "<NAME>", "<AUTHOR>",
)  # fmt: skip


def spelt_tokens(text: str, role: str) -> list[str]:
    """The control tokens that a text spells, and in an answer the frames of turns; in order."""
    found = [m.group() for m in TOKEN.finditer(text)] if "<" in text or "[" in text else []
    # <s> and </s> around words are HTML for words struck out.
    if "<s>" in found and text.count("<s>") == text.count("</s>") and not text.lstrip().startswith("<s>"):
        found = [token for token in found if token not in ("<s>", "</s>")]
    is_framed = role == "assistant" and any(sign in text for sign in _FRAME_SIGNS)
    return found + [m.group().strip() for m in _FRAME.finditer(text)] if is_framed else found


def without_end_tokens(text: str) -> str:
    """An answer without the end tokens and empty turns that leaked at its end; idempotent."""
    while True:
        ended = _END.search(text)
        if ended is not None and "<s>" in text[: ended.start()] and ended.group().strip() == "</s>":
            ended = None  # words struck out at the end
        ended = ended or _FRAME_AT_END.search(text)
        if ended is None or not text[: ended.start()].strip():
            return text
        text = text[: ended.start()]
