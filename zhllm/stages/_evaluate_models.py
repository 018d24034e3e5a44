"""What gives log-likelihoods to `evaluate`: a model directory with or without an adapter, or a GGUF in llama.cpp."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os.path import commonprefix
from pathlib import Path
from typing import Any

from zhllm.errors import DataError
from zhllm.evals.likelihood import Answer, Ask, Scorer, TorchScorer
from zhllm.infer.llamacpp import SPARE_TOKENS, LlamaServer
from zhllm.infer.writing import choose_format, directory_format
from zhllm.model.directory import check_vocabulary
from zhllm.page import visible
from zhllm.text.prompt_format import PromptFormat
from zhllm.vocab.tokenizer import Tokenizer

# As the engines that answer: llama.cpp takes the memory of the whole context at the start.
MAX_CONTEXT = 8192
# Of a question that llama.cpp refuses and that has no name, enough to find it by.
SHOWN_TOKENS = 24
# Tokens whose probability llama.cpp is asked for first; where an option's is not among them, for all.
LIKELIEST = 2048
# Tokens that llama.cpp makes room for where it only cuts texts.
TOKENIZED_CONTEXT = 256
GIB = 1 << 30


def chat_format_of(model: Path, fallback: str | None) -> PromptFormat:
    """The prompt format of a model's own chat template, else the fallback; DataError where there is neither."""
    if model.is_dir():
        return directory_format(Tokenizer(model), fallback)
    from zhllm.model.gguf_read import GgufFile

    return choose_format(model, GgufFile(model).metadata.get("tokenizer.chat_template"), fallback)


@contextmanager
def open_scorer(
    model: Path, adapter: Path | None, chat: PromptFormat | None, window: int | None = None
) -> Iterator[Scorer]:
    """The scorer of a model directory (with an adapter on it) or of a .gguf file.

    With `chat` its texts are rendered chats of this format, whose special tokens become their ids; without, plain
    texts with BOS before them where the model has one. A directory reads `window` tokens at most (`window_beside`).
    Raises DataError for what is no model.
    """
    if model.is_dir():
        in_torch = torch_scorer(model, adapter, chat)
        in_torch.context = min(in_torch.context, window or in_torch.context)
        yield in_torch
    else:
        check_gguf(model, adapter)
        with _llama_scorer(model, chat) as scorer:
            yield scorer


def check_gguf(model: Path, adapter: Path | None) -> None:
    """DataError where a model is no GGUF file, or has an adapter on it."""
    if model.suffix != ".gguf":
        raise DataError(f"{model}: is neither a model directory nor a .gguf file.")
    if adapter is not None:
        raise DataError(f"--adapter {adapter}: is for model directories; export a GGUF of the merged model.")


def torch_scorer(folder: Path, adapter: Path | None, chat: PromptFormat | None) -> TorchScorer:
    """The scorer of a model directory, with an adapter on it where one is given; `chat` as for `open_scorer`."""
    import torch

    from zhllm.model.transformers_model import open_model

    tokenizer = Tokenizer(folder)
    check_vocabulary(folder, tokenizer)
    on_gpu = torch.cuda.is_available()
    # Float32 on a CPU; as stored on a GPU, whose memory a float32 7B would not fit.
    model = open_model(folder, "auto" if on_gpu else torch.float32)
    model.to("cuda" if on_gpu else "cpu")
    bos = tokenizer.special_id("bos")
    start = [] if bos is None else [bos]

    def encode(texts: Sequence[str]) -> list[list[int]]:
        if chat is not None:
            return [tokenizer.encode_prompt(text, chat.special_tokens) for text in texts]
        return [[*start, *ids] for ids in tokenizer.encode_plain(texts)]

    if adapter is None:
        return TorchScorer(model, encode)
    from zhllm.infer.live_adapters import LiveAdapters

    live = LiveAdapters(model)
    live.add("adapter", adapter)
    return TorchScorer(model, encode, lambda rows: live.choose(["adapter"] * rows))


@contextmanager
def whole_gguf_scorer(file: Path, less: str) -> Iterator[TorchScorer]:
    """The weights of a GGUF file as a Scorer, all in memory in float32; llama.cpp cuts the texts.

    For thousands of short options, of which llama.cpp would be asked token by token. Raises DataError where the memory
    is too small, with what else could be done, `less`.
    """
    from zhllm.infer.gguf_forward import GgufForward
    from zhllm.train.plan.machine import host_memory

    held = GgufForward(file)
    free, needed = host_memory().usable_bytes, held.model.whole_bytes
    if held.model.device.type == "cpu" and free is not None and needed > free:
        raise DataError(
            f"{file}: its weights take {needed / GIB:.1f} GiB in float32, and {free / GIB:.1f} GiB of memory are free. "
            f"{less}"
        )
    metadata = held.file.metadata
    with LlamaServer(file, n_ctx=TOKENIZED_CONTEXT, n_parallel=1) as server:  # only to cut the texts
        start = start_of(metadata)

        def encode(texts: Sequence[str]) -> list[list[int]]:
            return [[*start, *ids] for ids in server.tokenize(texts)]

        yield TorchScorer(held.model.whole(held.weights), encode)


def start_of(metadata: dict[str, Any]) -> list[int]:
    """What llama.cpp puts before a text: BOS, where a file names it and does not say otherwise."""
    bos = metadata.get("tokenizer.ggml.bos_token_id")
    return [] if bos is None or not metadata.get("tokenizer.ggml.add_bos_token", True) else [int(bos)]


def context_of(file: Path) -> int:
    """Tokens that a GGUF file's model reads, as it says; DataError where it says nothing."""
    from zhllm.model.gguf_read import GgufFile

    metadata = GgufFile(file).metadata
    length = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    if length is None:
        raise DataError(f"{file}: names no context_length; is it a language model?")
    return min(int(length), MAX_CONTEXT)


def window_beside(model: Path | None) -> int | None:
    """Tokens that a directory reads beside this model, so that both are asked the same: of a GGUF file what llama.cpp
    takes as a prompt, else as many as it can (None)."""
    if model is None or model.is_dir() or model.suffix != ".gguf":
        return None
    return context_of(model) - SPARE_TOKENS


@contextmanager
def _llama_scorer(file: Path, chat: PromptFormat | None) -> Iterator[LlamaScorer]:
    from zhllm.model.gguf_read import GgufFile

    metadata = GgufFile(file).metadata
    with LlamaServer(file, n_ctx=context_of(file), n_parallel=1, cache_prompt=True) as server:
        yield LlamaScorer(server, metadata, chat)


@contextmanager
def refusals_named(server: LlamaServer, prompt: Sequence[int], name: str = "") -> Iterator[None]:
    """What llama.cpp refuses of a prompt with the file's name and the prompt's: its own, else its last words."""
    try:
        yield
    except DataError as error:
        what = name or f"the prompt that ends in {visible(server.detokenize(prompt[-SHOWN_TOKENS:]), spaces=False)!r}"
        raise DataError(f"{server.model}: {what}: {error}") from None


class LlamaScorer:
    """A GGUF file as a Scorer: llama.cpp keeps what a prompt has in common with the one before it.

    A token's probability is asked for one by one, so scoring full texts takes a request a token. `server` is alive as
    long as the scorer.
    """

    def __init__(self, server: LlamaServer, metadata: dict[str, Any], chat: PromptFormat | None) -> None:
        self.context, self.tokens_computed = server.longest_prompt, 0
        self.server, self._chat = server, chat
        self._vocabulary = len(metadata["tokenizer.ggml.tokens"])
        self._start = start_of(metadata)
        self._last: list[int] = []
        self._controls = {} if chat is None else self._control_ids(chat)

    def _control_ids(self, chat: PromptFormat) -> dict[str, int]:
        found = self.server.tokenize(chat.special_tokens, parse_special=True)
        if wrong := [t for t, ids in zip(chat.special_tokens, found, strict=True) if len(ids) != 1]:
            raise DataError(
                f'{self.server.model}: the format "{chat.name}" writes {wrong[0]!r}, which is not a control token '
                "of this file. Choose another --prompt-format, or score without --chat."
            )
        return {token: ids[0] for token, ids in zip(chat.special_tokens, found, strict=True)}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of texts as llama.cpp reads them."""
        if self._chat is None:
            return [[*self._start, *ids] for ids in self.server.tokenize(texts)]
        parts = [[self._controls.get(part, part) for part in self._chat.split(text)] for text in texts]
        return self.server.tokenize_parts(parts)

    def encode_prompt(self, text: str, adds_special: bool) -> list[int]:
        """Ids of a text that may spell control tokens, with BOS where the file asks for it and this does."""
        return self.server.tokenize([text], add_special=adds_special, parse_special=True)[0]

    def score(self, asks: Sequence[Ask]) -> list[list[float]]:
        """For each question the natural-log likelihood of each option's tokens from the border on."""
        return [[answer.nats for answer in row] for row in self.judge(asks)]

    def judge(self, asks: Sequence[Ask]) -> list[list[Answer]]:
        """The same, and whether the model itself would have written the option."""
        return [self._judge(ask) for ask in asks]

    def _judge(self, ask: Ask) -> list[Answer]:
        with refusals_named(self.server, ask.context, ask.name):
            return self._answers(ask)

    def _answers(self, ask: Ask) -> list[Answer]:
        wanted: dict[tuple[int, ...], set[int]] = {}
        for option in ask.options:
            for place in range(ask.border, len(option)):
                wanted.setdefault(option[:place], set()).add(option[place])
        known = {prompt: self._next(prompt, tokens) for prompt, tokens in sorted(wanted.items())}
        found = []
        for option in ask.options:
            steps = [(known[option[:place]], option[place]) for place in range(ask.border, len(option))]
            likeliest = all(token == next(iter(log_p)) for log_p, token in steps)
            found.append(Answer(sum(log_p[token] for log_p, token in steps), likeliest))
        return found

    def _next(self, prompt: Sequence[int], tokens: set[int]) -> dict[int, float]:
        """Log-probabilities of what follows a prompt, the likeliest first, those of `tokens` among them."""
        self.tokens_computed += max(1, len(prompt) - len(commonprefix([self._last, list(prompt)])))
        self._last = list(prompt)
        if len(tokens) == 1 and (single := self.server.logprob_of(prompt, *tokens)) is not None:
            return single
        found = self.server.logprobs(prompt, min(LIKELIEST, self._vocabulary))
        return found if tokens <= found.keys() else self.server.logprobs(prompt, self._vocabulary)
