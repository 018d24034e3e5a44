"""Whether a GGUF file is the model it was made from: ids, rendered chat, logits, in transformers and llama.cpp.

n tokens of a text, H hidden size, V vocabulary rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zhllm.errors import DataError
from zhllm.infer.divergence import Divergence, divergence, targets_of
from zhllm.infer.llamacpp import LlamaServer
from zhllm.infer.streamed import StreamedModel
from zhllm.infer.writing import template_tokens
from zhllm.model.gguf_file import Source
from zhllm.model.gguf_proof import FileWeights, SourceWeights
from zhllm.model.gguf_read import GgufFile
from zhllm.model.gguf_stream import check_finite
from zhllm.model.llama import EMBED
from zhllm.text.prompt_format import Message, PromptFormat
from zhllm.vocab.proof import PROBE, Check, engines_agree, raise_broken
from zhllm.vocab.sentencepiece_model import load
from zhllm.vocab.tokenizer import Tokenizer, read_json

# Tokens of one window of text, the BOS among them.
WINDOW = 512
# Tokens whose probability llama.cpp is asked for; half a second for 36,000 of them, most of it JSON.
LIKELIEST = 2048
# Of how many texts llama.cpp's next token is compared, and how many tokens it continues each greedily.
ASKED, CONTINUED = 4, 12
CHAT: tuple[Message, ...] = (
    {"role": "system", "content": "你是一个助手。"},
    {"role": "user", "content": '保修期多长？"引号" {括号} 👍🏽'},
    {"role": "assistant", "content": "三年。\n另起一行。"},
    {"role": "user", "content": "Thanks, 谢谢！"},
)
# Also without a system prompt, where a template may have one of its own.
CHATS = (CHAT, CHAT[1:])


@dataclass(frozen=True)
class Sample:
    """Windows of text as ids, BOS first; `chars` are the characters they spell, `is_own` says whose text it is."""

    ids: list[list[int]]
    chars: int
    is_own: bool

    @property
    def tokens(self) -> int:
        """Tokens to predict."""
        return sum(len(row) - 1 for row in self.ids)


def sample_of(tokenizer: Tokenizer, paths: Sequence[Path], tokens: int, window: int) -> Sample:
    """The first `tokens` tokens of the held-out documents under `paths`, or all of a fixed probe without any.

    Whole documents, but for the last one, which is cut at a character. DataError when there is no text.
    """
    from zhllm.text.read.shards import held_out

    bos = tokenizer.special_id("bos")
    start = tokenizer.eos_id if bos is None else bos
    rows: list[list[int]] = []
    chars, left = 0, tokens
    for text in (document.text for document in held_out(paths)) if paths else PROBE:
        ids = tokenizer.encode_plain([text])[0]
        if paths and len(ids) > left:
            text = text[: len(text) * left // len(ids)]
            ids = tokenizer.encode_plain([text])[0]
        rows += [[start, *ids[i : i + window - 1]] for i in range(0, len(ids), window - 1)]
        chars, left = chars + len(text) * bool(ids), left - len(ids)
        if paths and left <= 0:
            break
    if not rows:
        raise DataError(f"--text {', '.join(map(str, paths))}: holds no text to measure on.")
    return Sample(rows, chars, bool(paths))


class Reference:
    """The source model's hidden states on a sample, computed once; its logits are formed as they are compared."""

    def __init__(self, source: Source, tokenizer: Tokenizer, paths: Sequence[Path] = (), tokens: int = 2048) -> None:
        self.source, self.tokenizer, self.folder = source, tokenizer, source.folder
        self.model = StreamedModel(source.folder, source.tied)
        try:
            self.model.check_names(set(source.names))
        except DataError as error:
            raise DataError(f"{source.folder}: {error}") from error
        window = min(WINDOW, source.context_tokens - CONTINUED - 1)
        if window < 2:
            raise DataError(
                f"{source.folder}: reads {source.context_tokens} tokens (sliding_window, max_position_embeddings); "
                f"the proof needs {CONTINUED + 3}."
            )
        self.sample = sample_of(tokenizer, paths, tokens, window)
        self.weights = SourceWeights(source)
        self.hidden = self.model.hidden(self.sample.ids, self.weights)
        if not all(bool(torch.isfinite(row).all()) for row in self.hidden):
            check_finite(source)
            raise DataError(f"{source.folder}: its answers are not finite numbers, though every weight is one.")
        self.rows = source.weights.specs[EMBED].shape[0]

    def last_logits(self) -> list[Tensor]:
        """(V,) logits of the token after each of the first ASKED windows."""
        last = torch.stack([row[-1] for row in self.hidden[:ASKED]])
        blocks = [self.model.logits(last, self.weights, rows).cpu() for rows in self.model.vocabulary(self.rows)]
        return list(torch.cat(blocks, dim=1))

    def figures(self) -> dict[str, float]:
        """The source's own numbers on the sample."""
        return self._compared(self.weights, self.hidden, self.sample.ids).figures(self.sample.chars)

    def _compared(self, weights: Any, hidden: list[Tensor], ids: Sequence[Sequence[int]]) -> Divergence:
        # Rows beyond the sample's are compared with themselves.
        own = torch.cat([*self.hidden, *hidden[len(self.hidden) :]])
        return divergence(self.model, targets_of(ids), (own, self.weights), (torch.cat(hidden), weights), self.rows)

    def compare(self, file: GgufFile, continued: Sequence[tuple[int, list[int]]] = ()) -> tuple[Divergence, float]:
        """The file against the source on the sample; and of llama.cpp's greedy `continued` ids (after which
        window, what it wrote) how far the least likely stands below the likeliest, in nats."""
        weights = FileWeights(file, self.source)
        longer = [[*self.sample.ids[index], *written] for index, written in continued]
        ids = [*self.sample.ids, *longer]
        found = self._compared(weights, self.model.hidden(ids, weights), ids)
        at, worst = sum(map(len, self.sample.ids)), 0.0
        own = found.first(at)
        for row, (_, written) in zip(longer, continued, strict=True):
            margins = found.margin[at : at + len(row) - 1]
            worst = max(worst, float(margins[len(margins) - len(written) :].max()))
            at += len(row)
        return own, worst


def prove_vocabulary(file: GgufFile, reference: Reference) -> None:
    """ProofError unless the file's tokens, with scores and types or with merges, are the source's."""
    tokens = file.metadata["tokenizer.ggml.tokens"]
    if (reference.folder / "tokenizer.model").is_file():
        pieces = load(reference.folder).pieces
        wanted: list[Any] = [(p.piece, p.score, p.type) for p in pieces]
        scores, types = (file.metadata[f"tokenizer.ggml.{name}"] for name in ("scores", "token_type"))
        found: list[Any] = list(zip(tokens, scores, types, strict=True))[: len(wanted)]
    else:
        content = read_json(reference.folder / "tokenizer.json")
        vocab = reference.tokenizer.fast.get_vocab(with_added_tokens=True)
        wanted = [piece for piece, _ in sorted(vocab.items(), key=lambda item: item[1])]
        found = [tokens[i] for i in sorted(vocab.values())]
        wanted += [m if isinstance(m, str) else " ".join(m) for m in content["model"]["merges"]]
        found += file.metadata["tokenizer.ggml.merges"]
    check = Check("tokens of the file")
    for a, b in zip_longest(wanted, found):
        check.add(str(a), a == b, f" is {b!r} there")
    raise_broken([check])


def prove_chat(file: GgufFile, chat_format: PromptFormat, tokenizer: Tokenizer) -> None:
    """ProofError unless the file's template renders chats as training did, whose ids begin with exactly one BOS."""
    from transformers.utils.chat_template_utils import render_jinja_template

    template, tokens = file.metadata.get("tokenizer.chat_template", ""), template_tokens(tokenizer)
    chats = [[dict(message) for message in chat] for chat in CHATS]
    known = tokens | dict(chat_format.settings)
    rendered, _ = render_jinja_template(chats, chat_template=template, add_generation_prompt=True, **known)
    check = Check("rendered chat of the file")
    for chat, found in zip(CHATS, rendered, strict=True):
        wanted = chat_format.render(chat, answer_next=True)
        check.add(found, found == wanted, f" against {wanted!r}")
    if file.metadata.get("tokenizer.ggml.add_bos_token"):
        # An engine takes a BOS that is written out away, and adds one of its own.
        bos_id = int(file.metadata["tokenizer.ggml.bos_token_id"])
        rest = wanted.removeprefix(tokenizer.decode([bos_id], keep_special=True))
        ids = [bos_id, *tokenizer.encode_prompt(rest)]
        check.add(wanted, ids[1:2] != [bos_id], f": it begins with two BOS, ids {ids[:4]}")
    raise_broken([check])


@dataclass(frozen=True)
class Answers:
    """What llama.cpp said: its largest next-token KL from the source, and its greedy continuations."""

    kl_max: float
    continued: list[tuple[int, list[int]]]


def ask_llama_cpp(path: Path, reference: Reference, chat_format: PromptFormat | None) -> Answers:
    """Ask llama.cpp itself: ids, the rendered chat, next-token probabilities, and to go on. Raises ProofError."""
    sample, tokenizer = reference.sample, reference.tokenizer
    texts = [*PROBE, *(tokenizer.decode(row[1:]) for row in sample.ids)]
    with LlamaServer(path, n_ctx=WINDOW + CONTINUED + 8, n_parallel=1) as server:
        checks = [engines_agree("ids in llama.cpp", server.tokenize, tokenizer.encode_plain, texts)]
        if chat_format is not None:
            checks.append(_chat_agrees(server, chat_format, tokenizer))
        raise_broken(checks)
        asked = sample.ids[:ASKED]
        kls = [_next_token_kl(server, ids, row) for ids, row in zip(asked, reference.last_logits(), strict=True)]
        answers = [server.complete(ids, CONTINUED) for ids in asked]
    return Answers(max(kls), [(i, a.tokens) for i, a in enumerate(answers) if a.tokens])


def _chat_agrees(server: LlamaServer, chat_format: PromptFormat, tokenizer: Tokenizer) -> Check:
    check = Check("rendered chat in llama.cpp")
    bos_id = tokenizer.special_id("bos")
    bos = "" if bos_id is None else tokenizer.decode([bos_id], keep_special=True)
    for chat in CHATS:
        wanted = chat_format.render(chat, answer_next=True)
        rendered = server.apply_template(chat, dict(chat_format.settings))
        check.add(rendered, rendered.removeprefix(bos) == wanted.removeprefix(bos), f" against {wanted!r}")
        ids = server.tokenize([wanted], parse_special=True)[0]
        check.add(wanted, ids == tokenizer.encode_prompt(wanted), f": ids {ids[:12]}")
        if bos_id is not None:  # as a chat is read: exactly one BOS, whoever writes it
            ids = server.tokenize([rendered], add_special=True, parse_special=True)[0]
            check.add(wanted, ids[:1] == [bos_id] and ids[1:2] != [bos_id], f": not one BOS, ids {ids[:4]}")
    return check


def _next_token_kl(server: LlamaServer, ids: Sequence[int], logits: Tensor) -> float:
    """KL(source || llama.cpp) in nats of the token after `ids`, what is beyond the likeliest taken as one."""
    found = server.logprobs(list(ids), min(len(logits), LIKELIEST))
    p = logits.double().softmax(-1)[torch.tensor(list(found))]
    q = torch.tensor(list(found.values()), dtype=torch.float64).exp()
    p, q = (torch.cat([x, (1 - x.sum()).clamp(min=0)[None]]).clamp(min=1e-12) for x in (p, q))
    return float((p * (p / q).log()).sum().clamp(min=0))
