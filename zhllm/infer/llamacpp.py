"""llama.cpp's tokens, answers and probabilities for a GGUF file (the child process: `llama_http`)."""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from zhllm.errors import StageError
from zhllm.infer.llama_http import LlamaHttp, available
from zhllm.infer.sampling import until_stop

__all__ = ["Completion", "LlamaServer", "Sampling", "available"]

Prompt = str | Sequence[int]
StopReason = Literal["eos", "limit", "word"]

# llama.cpp refuses a prompt that fills its context, as it wants room for one token more, and it makes no context larger
# than what the file names.
SPARE_TOKENS = 1
TOKENIZE_BATCH_CHARS = 1 << 20  # one request's share, so that neither side holds all in memory
# No token has this id. /tokenize copies integers of a mixed list to its answer as they stand, so
# one request can tokenise many texts with this id between them: 62,000 short lines a second
# against 3,700 one by one.
SEPARATOR_ID = -1


@dataclass(frozen=True)
class Completion:
    """What a model wrote after one prompt.

    `tokens` holds every generated id, the end token and the tokens of a matched stop string too;
    `text` has neither, and never ends in half a character. `stop_reason`: "eos" the model ended by
    itself, "limit" it reached `max_tokens` or the context is full, "word" it wrote a stop string.
    """

    text: str
    tokens: list[int]
    stop_reason: StopReason


class Sampling(TypedDict, total=False):
    """How the next token is drawn; what is left out has the value of `SAMPLING_DEFAULTS`."""

    temperature: float  # 0 takes the likeliest token
    top_p: float  # 1 is off
    top_k: int  # 0 is off
    min_p: float  # 0 is off
    repeat_penalty: float  # 1 is off; looks at the last 64 tokens
    presence_penalty: float  # 0 is off
    frequency_penalty: float  # 0 is off
    seed: int  # equal seeds give equal draws; -1 is a new one each time
    stop: list[str]


# llama.cpp's own defaults cut the distribution (top_k 40, top_p 0.95, min_p 0.05) and draw a new
# seed each time; here nothing is cut unless asked for and the same call gives the same text.
SAMPLING_DEFAULTS: Sampling = {
    "temperature": 0.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repeat_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "seed": 0,
    "stop": [],
}


class LlamaServer(LlamaHttp):
    """A GGUF model behind llama.cpp's HTTP API on 127.0.0.1, alive inside a `with` block.

    Methods may be called from several threads. A request that llama.cpp refuses (prompt too long,
    unknown token id in a prompt, broken template) raises `DataError`; a child that died raises
    `StageError` with its last lines.
    """

    def __init__(
        self,
        model: Path | str,
        *,
        n_ctx: int = 2048,
        n_parallel: int = 4,
        threads: int | None = None,
        cache_prompt: bool = False,
        start_timeout_s: float = 300.0,
        lora: Sequence[Path] = (),
        embeddings: bool = False,
        float32_cache: bool = False,
    ) -> None:
        """Set the options; the child starts on entering the block.

        `n_ctx` tokens is what each of the `n_parallel` sequences may hold, prompt and answer
        together (llama.cpp rounds it up to a multiple of 256); memory for all of them is taken at
        the start; `longest_prompt` is what a prompt may have of them. `cache_prompt` keeps the
        computed prefix of the last prompt of each sequence: much faster for a growing conversation,
        but the batch sizes then depend on earlier calls, and with them the last bits of the logits
        and the outcome of near-ties.

        `lora` are adapters (GGUF files) that requests may ask for. With `embeddings` the child gives those
        instead of text.

        `float32_cache` keeps keys and values in float32 and leaves flash attention out, for comparisons: of float32
        weights the log-probabilities are then within 1e-4 of transformers', else within 0.05, and a token that
        leads by less than that may lose its place.

        `threads` None takes all cores of this process but one. The threads wait for each other
        after every operation, so one too many beside another busy process is worse than one too
        few: on two cores, one of them busy, a 60 M model gave 5.5 answers of 10 tokens a second
        with one thread and 0.5 with two (single ones took 4 s); on idle cores 9 and 12.
        """
        if min(n_ctx, n_parallel) < 1:
            raise ValueError(f"n_ctx {n_ctx} and n_parallel {n_parallel} must be at least 1.")
        options: dict[str, Any] = {"n_ctx": n_ctx, "n_parallel": n_parallel, "threads": threads or 0}
        options |= {"lora": [str(path.resolve()) for path in lora], "embeddings": int(embeddings)}
        options["float32_cache"] = int(float32_cache)
        self._lora_count = len(lora)
        self.longest_prompt = n_ctx - SPARE_TOKENS
        super().__init__(Path(model), options, start_timeout_s)
        self._cache_prompt = cache_prompt

    def tokenize(self, texts: Sequence[str], add_special: bool = False, parse_special: bool = False) -> list[list[int]]:
        """Token ids of each text, as llama.cpp's own tokeniser cuts it.

        `add_special` adds BOS (and EOS) where the GGUF's metadata asks for it. `parse_special`
        reads the spelling of a control token ("</s>") as that token instead of as text.
        """
        if isinstance(texts, str):
            raise TypeError("tokenize takes a list of texts, not one str.")
        options = {"add_special": add_special, "parse_special": parse_special}
        with contextlib.closing(self._connect()) as connection:
            if add_special:  # the server adds BOS to the first part of a mixed list only
                bodies = [{"content": text, **options} for text in texts]
                return [self._post("/tokenize", body, connection)["tokens"] for body in bodies]
            found: list[list[int]] = []
            for batch in _batches(texts):
                content: list[str | int] = [p for text in batch for p in (text, SEPARATOR_ID)]
                body = {"content": content, **options}
                found += _split(self._post("/tokenize", body, connection)["tokens"])
        if len(found) != len(texts):
            raise StageError(f"llama.cpp tokenised {len(found)} of {len(texts)} texts.")
        return found

    def tokenize_parts(self, prompts: Sequence[Sequence[str | int]]) -> list[list[int]]:
        """Token ids of prompts in parts: ids stand as they are, text between them never becomes a control token.

        A text is cut as behind a control token, with the leading space that a SentencePiece model adds there.
        """
        content = [part for parts in prompts for part in (*parts, SEPARATOR_ID)]
        body = {"content": content, "add_special": False, "parse_special": False}
        return _split(self._post("/tokenize", body)["tokens"]) if prompts else []

    def detokenize(self, ids: Sequence[int]) -> str:
        """Text of the ids; control tokens are spelt out, invalid bytes become U+FFFD.

        A first piece "▁今" gives " 今" with the space, where sentencepiece's decode strips it.
        """
        return str(self._post("/detokenize", {"tokens": list(ids)})["content"])

    def apply_template(self, messages: Sequence[Mapping[str, str]], settings: Mapping[str, Any] | None = None) -> str:
        """Render {role, content} messages with the GGUF's chat template and its switches, ready for an answer.

        A leading BOS is left out, because `complete` and `stream` add it to every `str` prompt.
        """
        body = {"messages": list(messages)} | ({"chat_template_kwargs": settings} if settings else {})
        return str(self._post("/apply-template", body)["prompt"])

    def complete(self, prompt: Prompt, max_tokens: int, **sampling: Unpack[Sampling]) -> Completion:
        """Continue one prompt; greedy unless `temperature` is given, and then seeded.

        Ids are taken exactly as given. A `str` is tokenised with BOS where the model asks for it,
        with a leading space where the tokeniser adds one, and with control tokens parsed: right
        for a rendered template, wrong for text of unknown origin (give ids).
        """
        return self.complete_many([prompt], max_tokens, **sampling)[0]

    def complete_many(
        self, prompts: Sequence[Prompt], max_tokens: int, **sampling: Unpack[Sampling]
    ) -> list[Completion]:
        """`complete` for each prompt, `n_parallel` at a time in shared batches; order is kept.

        One request queues all prompts, so the batches do not depend on timing and, with nobody
        else asking, the same call gives the same answers. They may differ from `complete`'s at
        near-ties: another batch size takes another matrix kernel. One prompt that is refused fails
        the whole call.
        """
        if not prompts:
            return []
        plain = [_plain(prompt) for prompt in prompts]
        body = {"prompt": plain, **self._generation(max_tokens, sampling)}
        # Without `response_fields` each answer repeats its prompt and 50 settings.
        body |= {"return_tokens": True}
        body |= {"response_fields": ["index", "content", "tokens", "stop_type"]}
        data = self._post("/completion", body)
        answers = [data] if isinstance(data, dict) else sorted(data, key=lambda a: int(a["index"]))
        return [self._completion(answer) for answer in answers]

    def stream(self, prompt: Prompt, max_tokens: int, **sampling: Unpack[Sampling]) -> Iterator[str]:
        """Yield the text of `complete` as it is written, in whole characters.

        A character made of several byte-fallback tokens arrives when its last byte is there.
        Closing the iterator stops the generation. Chat: `stream(apply_template(messages), ...)`.
        """
        options = self._generation(max_tokens, sampling)
        # llama.cpp loses the held-back beginning of a stop string when a stream ends at the limit.
        stops = options.pop("stop")
        body = {"prompt": _plain(prompt), "stream": True, **options}
        with contextlib.closing(self._events("/completion", body)) as events:
            yield from until_stop((str(event.get("content", "")) for event in events), stops)

    def events(
        self, prompt: Sequence[int], max_tokens: int, adapter: int | None = None, **sampling: Unpack[Sampling]
    ) -> Generator[dict[str, Any]]:
        """llama.cpp's own events of a stream: "content", "tokens", and at the end "stop_type" and the counts.

        What is computed of the prompt is kept for the next one that begins like it. `adapter` is the place of
        an adapter in `lora`; None is the base alone. Stop strings are the caller's to look for.
        """
        body = {
            "prompt": _plain(prompt),
            "stream": True,
            "return_tokens": True,
            **self._generation(max_tokens, sampling),
        }
        body |= {"cache_prompt": True, "stop": []}
        if self._lora_count:
            body["lora"] = [{"id": i, "scale": float(i == adapter)} for i in range(self._lora_count)]
        return self._events("/completion", body)

    def embed(self, prompts: Sequence[Sequence[int]]) -> tuple[list[list[float]], int]:
        """A vector of length 1 for each prompt (ids, taken as they are), and the tokens read."""
        found = self._post("/v1/embeddings", {"input": [_plain(prompt) for prompt in prompts]})
        vectors = [entry["embedding"] for entry in sorted(found["data"], key=lambda entry: int(entry["index"]))]
        return vectors, int(found["usage"]["prompt_tokens"])

    def logprobs(self, prompt: Prompt, n: int) -> dict[int, float]:
        """Natural-log probabilities of the `n` likeliest next tokens, the likeliest first.

        They are those of the whole vocabulary (before any sampling), so with `n` at least its
        size they sum to 1. A probability below float32's smallest number gives -inf.
        """
        if n < 1:
            raise ValueError(f"n must be at least 1, got {n}.")
        body = {"prompt": _plain(prompt), "n_probs": n, **self._generation(1, {})}
        body |= {"response_fields": ["completion_probabilities"]}
        # llama.cpp drops the probabilities of a position where it writes the beginning of a
        # character, so it is made to write an "a"; the bias does not touch what it reports.
        body |= {"logit_bias": [[self.tokenize(["a"])[0][-1], 1e9]]}
        data = self._post("/completion", body)
        answer = data[0] if isinstance(data, list) else data
        (position,) = answer["completion_probabilities"]
        # llama.cpp writes the logarithm of 0 as -3.4e38, because JSON has no infinity.
        return {
            int(top["id"]): float(top["logprob"]) if top["logprob"] > -3e38 else float("-inf")
            for top in position["top_logprobs"]
        }

    def logprob_of(self, prompt: Prompt, token: int) -> dict[int, float] | None:
        """Natural-log probabilities of the likeliest next token and of `token`, in this order.

        None where llama.cpp does not tell them: of a token that begins a character and does not end it. Forty times
        as fast as all of a vocabulary of 32,000.
        """
        body = {"prompt": _plain(prompt), "n_probs": 1, **self._generation(1, {})}
        body |= {"response_fields": ["completion_probabilities"], "logit_bias": [[token, 1e9]]}
        data = self._post("/completion", body)
        answer = data[0] if isinstance(data, list) else data
        told = next(iter(answer.get("completion_probabilities") or ()), None)
        if told is None or int(told["id"]) != token:
            return None
        best = told["top_logprobs"][0]
        return {
            int(one["id"]): float(one["logprob"]) if one["logprob"] > -3e38 else float("-inf") for one in (best, told)
        }

    def chat(
        self,
        messages: Sequence[Mapping[str, str]],
        max_tokens: int,
        **sampling: Unpack[Sampling],
    ) -> Completion:
        """Answer {role, content} messages through the GGUF's own chat template.

        The text is what the model wrote: a reasoning part is not cut out, no tool call is parsed.
        """
        body = {"messages": list(messages), **self._generation(max_tokens, sampling)}
        # The OpenAI answer has no token ids; "verbose" adds the native one.
        body |= {"return_tokens": True, "verbose": True}
        return self._completion(self._post("/v1/chat/completions", body)["__verbose"])

    def props(self) -> dict[str, Any]:
        """What llama.cpp says about the model and its settings (GET /props)."""
        with contextlib.closing(self._connect()) as connection:
            found: dict[str, Any] = self._request(connection, "GET", "/props", None)
        return found

    def _generation(self, max_tokens: int, sampling: Sampling) -> dict[str, Any]:
        if max_tokens < 1:  # llama.cpp writes one token for 0 and endlessly for -1
            raise ValueError(f"max_tokens must be at least 1, got {max_tokens}.")
        unknown = sorted(sampling.keys() - SAMPLING_DEFAULTS.keys())
        if unknown:  # llama.cpp accepts misspelt keys in silence
            raise TypeError(f"unknown sampling option {unknown}; there are {[*SAMPLING_DEFAULTS]}.")
        options: dict[str, Any] = {**SAMPLING_DEFAULTS, **sampling}
        options["stop"] = [word for word in options["stop"] if word]
        return {**options, "max_tokens": max_tokens, "cache_prompt": self._cache_prompt}

    def _completion(self, answer: Mapping[str, Any]) -> Completion:
        text, tokens, reason = answer["content"], list(answer["tokens"]), answer["stop_type"]
        if reason != "word" and text.endswith("\ufffd"):
            tail = tokens[:-1] if reason == "eos" else tokens
            # At most three bytes can wait for a fourth, and each token has at least one.
            if _ends_inside_character(self._bytes(tail[-3:])):
                text = text[:-1]
        return Completion(text, tokens, reason)

    def _bytes(self, ids: list[int]) -> bytes:
        pieces = self._post("/tokenize", {"content": ids, "with_pieces": True})["tokens"]
        parts = (found["piece"] for found in pieces)
        return b"".join(p.encode() if isinstance(p, str) else bytes(p) for p in parts)


def _plain(prompt: Prompt) -> str | list[int]:
    return prompt if isinstance(prompt, str) else [int(token) for token in prompt]


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    chars = 0
    for text in texts:
        batch.append(text)
        chars += len(text) + 1
        if chars >= TOKENIZE_BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _split(ids: list[int]) -> list[list[int]]:
    """The runs that `SEPARATOR_ID` ends."""
    runs: list[list[int]] = []
    start = 0
    for place, token in enumerate(ids):
        if token == SEPARATOR_ID:
            runs.append(ids[start:place])
            start = place + 1
    return runs


def _ends_inside_character(data: bytes) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    return bool(decoder.getstate()[0])
