"""llama.cpp as a child process: a GGUF file served on a loopback port for this process alone.

xllamacpp runs in the child alone: in-process its callbacks swallow exceptions, a malformed message
hangs the interpreter at exit, and a failed assertion in C++ would take the whole program down.
The child never outlives its parent, and what llama.cpp prints shows only inside an error.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import importlib.util
import json
import os
import secrets
import select
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import IO, Any, Literal, Self, TypedDict, Unpack

from zhllm.errors import DataError, MissingError, StageError, ZhllmError

Prompt = str | Sequence[int]
StopReason = Literal["eos", "limit", "word"]

LOG_LINES_SHOWN = 12
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
    "seed": 0,
    "stop": [],
}


def available() -> bool:
    """Whether xllamacpp is installed; does not import it."""
    return importlib.util.find_spec("xllamacpp") is not None


class LlamaServer:
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
    ) -> None:
        """Set the options; the child starts on entering the block.

        `n_ctx` tokens is what each of the `n_parallel` sequences may hold, prompt and answer
        together (llama.cpp rounds it up to a multiple of 256); memory for all of them is taken at
        the start. `cache_prompt` keeps the computed prefix of the last prompt of each sequence:
        much faster for a growing conversation, but the batch sizes then depend on earlier calls,
        and with them the last bits of the logits and the outcome of near-ties.

        `threads` None takes all cores of this process but one. The threads wait for each other
        after every operation, so one too many beside another busy process is worse than one too
        few: on two cores, one of them busy, a 60 M model gave 5.5 answers of 10 tokens a second
        with one thread and 0.5 with two (single ones took 4 s); on idle cores 9 and 12.
        """
        if min(n_ctx, n_parallel) < 1:
            raise ValueError(f"n_ctx {n_ctx} and n_parallel {n_parallel} must be at least 1.")
        self.model = Path(model)
        self._options = {"n_ctx": n_ctx, "n_parallel": n_parallel, "threads": threads or 0}
        self._cache_prompt = cache_prompt
        self._start_timeout_s = start_timeout_s
        self._child: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._port = 0
        self._headers: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Start the child and wait until it answers.

        Raises `MissingError` without a working xllamacpp, `DataError` where llama.cpp cannot load the file,
        `StageError` where it is killed or not ready within `start_timeout_s`.
        """
        if not available():
            raise MissingError(
                'xllamacpp is not installed, and running GGUF files needs it: pip install "zhllm[llama]".'
            )
        if not self.model.is_file():
            raise DataError(f"{self.model}: there is no such GGUF file.")
        try:
            self._start()
            self._wait_until_healthy(time.monotonic() + self._start_timeout_s)
        except BaseException:  # Ctrl-C too: `__exit__` does not run when `__enter__` raises
            self.close()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop the child."""
        self.close()

    def close(self) -> None:
        """Kill the child and take its exit code; calling it again does nothing.

        The child holds nothing worth saving, so there is no polite request it could ignore.
        """
        child, log = self._child, self._log
        self._child = self._log = None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    pipe.close()
        if log is not None:
            log.close()

    def tokenize(
        self, texts: Sequence[str], add_special: bool = False, parse_special: bool = False
    ) -> list[list[int]]:
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

    def detokenize(self, ids: Sequence[int]) -> str:
        """Text of the ids; control tokens are spelt out, invalid bytes become U+FFFD.

        A first piece "▁今" gives " 今" with the space, where sentencepiece's decode strips it.
        """
        return str(self._post("/detokenize", {"tokens": list(ids)})["content"])

    def apply_template(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Render {role, content} messages with the GGUF's chat template, ready for an answer.

        A leading BOS is left out, because `complete` and `stream` add it to every `str` prompt.
        """
        return str(self._post("/apply-template", {"messages": list(messages)})["prompt"])

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
            yield from _until_stop((str(event.get("content", "")) for event in events), stops)

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

    def _start(self) -> None:
        root = Path(__file__).resolve().parents[2]
        path = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        env["GGML_NO_BACKTRACE"] = "1"  # else a failed assertion starts gdb to print the stack
        env.pop("AIP_MODE", None)  # Vertex AI's variable would override the port
        flags = [f"--{name}={value}" for name, value in self._options.items()]
        # A file without a name: nothing is left behind even when this process is killed.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "zhllm.infer.llamacpp", str(self.model.resolve()), *flags],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=env,
            start_new_session=True,  # Ctrl-C is for the parent, which then closes the child
        )

    def _wait_until_healthy(self, deadline: float) -> None:
        assert self._child is not None and self._child.stdout is not None
        line = _read_line(self._child.stdout.fileno(), deadline)
        if line is None:
            limit = f"was not ready after {self._start_timeout_s:g} s (start_timeout_s)"
            raise self._dead(limit, StageError)
        if not line.endswith(b"\n"):
            code = self._child.wait()
            # A broken file may also trip an assertion (-6). SIGKILL is likely for want of memory, 1
            # is Python's own for an exception that nobody caught.
            kinds: dict[int, type[ZhllmError]] = {1: StageError, -signal.SIGKILL: StageError}
            kinds[MissingError.exit_code] = MissingError
            raise self._dead(f"could not load it (exit code {code})", kinds.get(code, DataError))
        ready = json.loads(line)
        self._port = int(ready["port"])
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {ready['key']}",
        }
        with contextlib.closing(self._connect()) as connection:
            self._request(connection, "GET", "/health", None)

    def _dead(self, what: str, kind: type[ZhllmError] = StageError) -> ZhllmError:
        said = ""
        if self._log is not None:
            # pread, because the child writes at the file position that both share.
            size = os.fstat(self._log.fileno()).st_size
            tail = os.pread(self._log.fileno(), 16384, max(0, size - 16384))
            lines = tail.decode("utf-8", "replace").splitlines()[-LOG_LINES_SHOWN:]
            said = "".join(f"\n  {line}" for line in lines)
        return kind(f"{self.model}: llama.cpp {what}. Its last lines:{said or ' (none)'}")

    def _connect(self) -> HTTPConnection:
        if self._child is None:
            raise RuntimeError("LlamaServer works inside its `with` block only.")
        # No time limit on an answer: a long generation on a CPU takes hours, and a dead child
        # closes the connection.
        return HTTPConnection("127.0.0.1", self._port)

    def _post(self, path: str, body: object, connection: HTTPConnection | None = None) -> Any:
        if connection is not None:
            return self._request(connection, "POST", path, body)
        with contextlib.closing(self._connect()) as once:
            return self._request(once, "POST", path, body)

    def _request(self, connection: HTTPConnection, method: str, path: str, body: object) -> Any:
        with self._dead_child_reported(path):
            answer = self._answer(connection, method, path, body).read()
        return json.loads(answer)

    def _answer(self, connection: HTTPConnection, method: str, path: str, body: object) -> HTTPResponse:
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, self._headers)
        response = connection.getresponse()
        if response.status != 200:
            raise _refusal(path, response.status, response.read())
        return response

    def _events(self, path: str, body: object) -> Generator[dict[str, Any]]:
        """Server-sent events of one request; closing the iterator drops the connection."""
        with contextlib.closing(self._connect()) as connection, self._dead_child_reported(path):
            for line in self._answer(connection, "POST", path, body):
                name, _, data = line.partition(b": ")
                if name == b"error":
                    raise _refusal(path, 500, data)
                if name == b"data" and data.strip() != b"[DONE]":
                    event = json.loads(data)
                    if "error" in event:
                        raise _refusal(path, int(event["error"].get("code", 500)), data)
                    yield event

    @contextlib.contextmanager
    def _dead_child_reported(self, path: str) -> Iterator[None]:
        """Turn a broken connection into a `StageError` with what the child said last."""
        try:
            yield
        except (OSError, HTTPException) as error:
            code: int | None = None
            if self._child is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = self._child.wait(1.0)
            state = "is still running" if code is None else f"has exit code {code}"
            raise self._dead(f"broke off {path} ({error!r}; the child {state})") from error

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


def _until_stop(chunks: Iterator[str], stops: Sequence[str]) -> Iterator[str]:
    """The chunks up to the first stop string; what may become one is held back until it is not."""
    held = ""
    for chunk in chunks:
        held += chunk
        found = [place for stop in stops if (place := held.find(stop)) >= 0]
        if found:
            held = held[: min(found)]
            break
        ready = len(held) - max((_overlap(held, stop) for stop in stops), default=0)
        if ready:
            yield held[:ready]
            held = held[ready:]
    if held:
        yield held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)


def _refusal(path: str, status: int, data: bytes) -> ZhllmError:
    try:
        message = str(json.loads(data)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = data.decode("utf-8", "replace")
    kind = DataError if 400 <= status < 500 else StageError
    return kind(f"llama.cpp refused {path} (HTTP {status}): {message}")


def _read_line(fd: int, deadline: float) -> bytes | None:
    """Bytes of `fd` up to a newline, or up to its end; None where `deadline` passes first."""
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        byte = os.read(fd, 1)
        if not byte:
            break
        line += byte
    return line


def main(argv: Sequence[str] | None = None) -> int:
    """The child: load a GGUF, write {"port", "key"} as a line to stdout, live until stdin ends.

    Returns only where it failed: `MissingError`'s exit code without a working xllamacpp,
    `DataError`'s where llama.cpp could not load the file.
    """
    parser = argparse.ArgumentParser("python -m zhllm.infer.llamacpp", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--n_ctx", type=int, required=True, help="tokens of each sequence")
    parser.add_argument("--n_parallel", type=int, required=True, help="sequences")
    parser.add_argument("--threads", type=int, required=True, help="0: all cores but one")
    args = parser.parse_args(argv)
    answer = os.dup(1)
    os.dup2(2, 1)  # part of what llama.cpp prints goes to stdout
    _die_with_parent()
    try:
        server, key = _serve(args)
    except (ImportError, RuntimeError) as error:  # the reason stands in llama.cpp's lines above
        sys.stderr.write(f"{error}\n")
        return MissingError.exit_code if isinstance(error, ImportError) else DataError.exit_code
    port = int(server.listening_address.rpartition(":")[2])
    os.write(answer, json.dumps({"port": port, "key": key}).encode() + b"\n")
    os.close(answer)
    while os.read(0, 4096):
        pass
    os._exit(0)  # no C++ destructor runs, so none can hang


def _serve(args: argparse.Namespace) -> tuple[Any, str]:
    """A loaded, listening `xllamacpp.Server` and its API key."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.n_parallel = args.n_parallel
    params.n_ctx = args.n_ctx * args.n_parallel  # llama.cpp divides it among the sequences
    threads = args.threads or _cores_but_one()
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.port = 0  # the kernel gives a free one
    # Any page in a browser can send requests to 127.0.0.1; without the key they get nothing.
    key = secrets.token_urlsafe(32)
    params.api_keys = [key]
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 1  # errors only: the log must not grow with the requests
    params.fit_params = False  # else the model is opened twice, to change our n_ctx if it likes
    params.warmup = False  # else the whole model is read before the first answer
    params.cache_ram_mib = 0  # else up to 8 GiB of old prompts stay in memory
    params.force_pure_content_parser = True  # else an answer no tool-call grammar fits is an error
    return xllamacpp.Server(params), key


def _cores_but_one() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only; knows about taskset and cpusets
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores - 1)


def _die_with_parent() -> None:
    """End this process when the other end of stdin closes, also while C++ code holds the GIL.

    xllamacpp holds it while it loads, so no thread of ours could look. The kernel sends SIGIO,
    which ends a Linux process; elsewhere the end of stdin is seen when loading is done.
    """
    if sys.platform != "linux" or not stat.S_ISFIFO(os.fstat(0).st_mode):
        return
    import fcntl

    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(0, 0)
    if poll.poll(0):  # the parent died before the kernel was asked
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())  # an orderly end: llama.cpp's log thread still has to write why it failed
