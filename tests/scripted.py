"""A Llama that says one text, in every engine: each token names the next one, and no weight can round it away.

The layers add nothing, so the hidden state is the last token's embedding: one axis for each token of the answer,
the first axis for all others. (So no token of the text may come twice, and not the llama2 format, whose answers
begin and end with a space.) The head gives the token that follows on each axis. So whatever is asked is answered
with the text and the end token, in transformers, in llama.cpp at any quantisation, and at any temperature.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from zhllm.text.prompt_format import FORMATS
from zhllm.vocab.tokenizer import Tokenizer

# With the toys' tokenizers 龘 and 🦄 are byte tokens; no token of it comes twice, as a chain asks.
ANSWER = "保修龘🦄"


def answer_ids(tokenizer: Tokenizer, text: str, prompt_format: str) -> list[int]:
    """The tokens with which a model of this format says the text, its end token last."""
    chat_format = FORMATS[prompt_format]
    asked = [{"role": "user", "content": "?"}]
    prompt = tokenizer.encode_prompt(chat_format.render(asked, answer_next=True))
    said = [s.text for s in chat_format.segments([*asked, {"role": "assistant", "content": text}]) if s.learn]
    whole = tokenizer.encode_prompt(chat_format.render(asked, answer_next=True) + said[0])
    assert whole[: len(prompt)] == prompt, "a token straddles the border of the prompt"
    return whole[len(prompt) :]


def scripted_llama(
    out: Path, tokenizer: Path, text: str = ANSWER, prompt_format: str = "plain", width: int = 256
) -> Path:
    """A model directory that answers everything with `text`; width bounds its tokens, 256 suits every GGUF type."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from zhllm.model.directory import copy_tokenizer, set_chat_template

    ids = Tokenizer(tokenizer)
    chain = answer_ids(ids, text, prompt_format)
    assert len(set(chain)) == len(chain) < width, f"{text!r}: a token comes twice, or there are too many: {chain}"
    special = {f"{role}_token_id": ids.special_id(role) for role in ("bos", "eos", "pad")}
    config = LlamaConfig(
        vocab_size=ids.vocab_size, hidden_size=width, intermediate_size=width, num_hidden_layers=1,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=False, **special,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.fill_(1.0 if "norm" in name else 0.0)
        embedding, head = model.model.embed_tokens.weight, model.lm_head.weight
        embedding[:, 0] = 1.0
        head[chain[0], 0] = 2.0
        for axis, (token, following) in enumerate(pairwise(chain), 1):
            embedding[token, 0], embedding[token, axis] = 0.0, 1.0
            head[following, axis] = 2.0
    model.save_pretrained(out)
    copy_tokenizer(tokenizer, out)
    set_chat_template(out, FORMATS[prompt_format].jinja())
    return out
