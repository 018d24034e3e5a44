"""LlamaServer against sentencepiece and NumPy; what becomes of its child when things go wrong."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from typing import TypeVar

import gguf
import numpy as np
import pytest
import sentencepiece

from zhllm.errors import DataError, MissingError, StageError
from zhllm.infer import llamacpp
from zhllm.infer.llamacpp import Completion, LlamaServer

pytestmark = pytest.mark.skipif(not llamacpp.available(), reason="xllamacpp is not installed")

ROOT = Path(llamacpp.__file__).parents[2]
WIDTH, FFN = 32, 64
BOS, EOS, FIRST_BYTE = 1, 2, 3
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
SENTENCES = [
    "今天天气很好，我们去公园散步。",
    "人工智能正在改变世界。",
    "中文大语言模型需要合适的词表。",
    "员工手册规定，年假为十天。",
    "The quick brown fox jumps over the lazy dog.",
    "def add(a, b): return a + b",
    "Hello world, this is a small test.",
]
LINES = [
    "今天天气很好，我们去公园散步。",
    "繁體中文：龘靐齉，臺灣。",
    "生僻字𠮷𡃁与全角ＡＢＣ１２３！",
    "混合 mixed 文本 with English，标点。",
    "👨‍👩‍👧‍👦 family, 🏳️‍🌈, 👍🏽",
    "零\u200b宽\ufeff连接\u200d符",
    "def add(a, b):\n\treturn a + b  # 加法\r\n",
    "",
    " ",
    "   leading, inner    and trailing spaces   ",
    "\n\n\t\n",
    "▁ is a piece of its own",
    "</s> and <s> and <0xE4> are only text",
    "nul\x00byte",
    "全角　空格\u00a0and no-break",
]
T = TypeVar("T")
Children = list["subprocess.Popen[bytes]"]
Tensors = dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]


@pytest.fixture(scope="module")
def pieces() -> sentencepiece.SentencePieceProcessor:
    """A BPE model with byte fallback: llama.cpp's "llama" tokeniser merges pieces by score."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=model, model_type="bpe", vocab_size=400,
        byte_fallback=True, hard_vocab_limit=False, normalization_rule_name="identity",
        remove_extra_whitespaces=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def random_tensors(vocab_size: int, layers: int = 2) -> Tensors:
    """A Llama that has learnt nothing."""
    random = np.random.default_rng(0)

    def matrix(rows: int, columns: int) -> np.ndarray:
        values: np.ndarray = random.standard_normal((rows, columns)) * columns**-0.5
        return values.astype(np.float32)

    tensors = {name: matrix(vocab_size, WIDTH) for name in ("token_embd", "output")}
    for layer in range(layers):
        square = ("attn_q", "attn_k", "attn_v", "attn_output")
        tensors |= {f"blk.{layer}.{name}": matrix(WIDTH, WIDTH) for name in square}
        tensors |= {f"blk.{layer}.{name}": matrix(FFN, WIDTH) for name in ("ffn_gate", "ffn_up")}
        tensors[f"blk.{layer}.ffn_down"] = matrix(WIDTH, FFN)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}"] = np.ones(WIDTH, np.float32)
    return tensors | {"output_norm": np.ones(WIDTH, np.float32)}


def scripted_tensors(vocab_size: int, script: Sequence[int]) -> Tensors:
    """A Llama whose layers do nothing and whose head writes each id of `script` after the last."""
    tensors = random_tensors(vocab_size, layers=1)
    for name in ("attn_output", "ffn_down"):
        tensors[f"blk.0.{name}"][:] = 0
    embedding = tensors["token_embd"]
    tensors["output"][:] = 0
    for before, after in zip(script, script[1:], strict=False):
        tensors["output"][after] += embedding[before]
    return tensors


def write_gguf(path: Path, pieces: sentencepiece.SentencePieceProcessor, tensors: Tensors) -> Path:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(sum(name.endswith("attn_q") for name in tensors))
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // 2)
    ids = range(pieces.vocab_size())
    writer.add_tokenizer_model("llama")
    writer.add_token_list([pieces.id_to_piece(i) for i in ids])
    writer.add_token_scores([pieces.get_score(i) for i in ids])
    types = {0: gguf.TokenType.UNKNOWN, BOS: gguf.TokenType.CONTROL, EOS: gguf.TokenType.CONTROL}
    types |= {FIRST_BYTE + byte: gguf.TokenType.BYTE for byte in range(256)}
    writer.add_token_types([types.get(i, gguf.TokenType.NORMAL) for i in ids])
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(True)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in tensors.items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def random_gguf(tmp_path_factory: pytest.TempPathFactory, pieces: sentencepiece.SentencePieceProcessor) -> Path:
    path = tmp_path_factory.mktemp("random") / "random.gguf"
    return write_gguf(path, pieces, random_tensors(pieces.vocab_size()))


@pytest.fixture(scope="module")
def random_server(random_gguf: Path) -> Iterator[LlamaServer]:
    with LlamaServer(random_gguf, n_ctx=512, threads=1) as server:
        yield server


@pytest.fixture(scope="module")
def script(pieces: sentencepiece.SentencePieceProcessor) -> list[int]:
    """BOS, 龘 in three byte tokens, 今, 天, 🦙 in four, 公, EOS: no id twice."""
    now, day, public = (pieces.piece_to_id(piece) for piece in "今天公")
    ids = [BOS, *_byte_ids("龘"), now, day, *_byte_ids("🦙"), public, EOS]
    assert len(set(ids)) == len(ids) and 0 not in ids
    return ids


def _byte_ids(text: str) -> list[int]:
    return [FIRST_BYTE + byte for byte in text.encode()]


@pytest.fixture(scope="module")
def scripted(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: sentencepiece.SentencePieceProcessor,
    script: list[int],
) -> Iterator[LlamaServer]:
    """A server whose greedy answer to [BOS] is "龘今天🦙公"."""
    tensors = scripted_tensors(pieces.vocab_size(), script)
    path = write_gguf(tmp_path_factory.mktemp("scripted") / "scripted.gguf", pieces, tensors)
    with LlamaServer(path, n_ctx=256, threads=1) as server:
        yield server


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Children:
    """Every child that the test starts."""
    started: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)  # type: ignore[call-overload]
            started.append(self)

    monkeypatch.setattr("zhllm.infer.llama_http.subprocess.Popen", Recorded)
    return started


def wait_for(condition: Callable[[], T | None], limit_s: float = 10.0) -> T:
    end = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {limit_s} s"
        time.sleep(0.02)
    return found


def open_to_write(fifo: Path) -> int | None:
    """A descriptor once somebody reads the FIFO."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def is_running(pid: int) -> bool:
    """A zombie that only waits for init does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# --- tokens


def test_tokenize_equals_sentencepiece(
    random_server: LlamaServer, pieces: sentencepiece.SentencePieceProcessor
) -> None:
    for line, ids in zip(LINES, random_server.tokenize(LINES), strict=True):
        assert ids == pieces.encode(line), line


def test_tokenize_in_batches_equals_one_by_one(random_server: LlamaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    together = random_server.tokenize(LINES)
    monkeypatch.setattr(llamacpp, "TOKENIZE_BATCH_CHARS", 20)
    assert random_server.tokenize(LINES) == together
    assert [random_server.tokenize([line])[0] for line in LINES] == together
    assert random_server.tokenize([]) == []


def test_tokenize_adds_bos_and_parses_control_tokens_on_request(random_server: LlamaServer) -> None:
    plain = random_server.tokenize(LINES)
    assert random_server.tokenize(LINES, add_special=True) == [[BOS, *ids] for ids in plain]
    (literal,), (parsed,) = (random_server.tokenize(["好</s>"], parse_special=parse) for parse in (False, True))
    assert EOS not in literal
    assert parsed[-1] == EOS


def test_detokenize_gives_the_text_back_with_the_space_prefix(random_server: LlamaServer) -> None:
    for line, ids in zip(LINES, random_server.tokenize(LINES), strict=True):
        assert random_server.detokenize(ids) == (" " + line.replace("▁", " ") if line else "")


def test_one_str_is_not_a_list_of_texts(random_server: LlamaServer) -> None:
    with pytest.raises(TypeError, match="list of texts"):
        random_server.tokenize("今天")


# --- generation


def test_greedy_is_deterministic(random_server: LlamaServer) -> None:
    prompts = [[BOS, *range(280 + 3 * n, 290 + 4 * n)] for n in range(12)]
    first = random_server.complete_many(prompts, 12)
    assert random_server.complete_many(prompts, 12) == first
    assert len({tuple(answer.tokens) for answer in first}) > 6
    alone = [random_server.complete(prompt, 12) for prompt in prompts]
    assert [random_server.complete(prompt, 12) for prompt in reversed(prompts)] == alone[::-1]


def test_draws_follow_the_seed(random_server: LlamaServer) -> None:
    drawn = [random_server.complete([BOS], 12, temperature=1.0, seed=seed).tokens for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]


def test_complete_returns_the_script(scripted: LlamaServer, script: list[int]) -> None:
    assert scripted.complete([BOS], 50) == Completion("龘今天🦙公", script[1:], "eos")
    assert scripted.complete([BOS], 5) == Completion("龘今天", script[1:6], "limit")
    stopped = scripted.complete([BOS], 50, stop=["天"])
    assert stopped == Completion("龘今", script[1:6], "word")


def test_a_full_context_ends_the_answer(random_server: LlamaServer) -> None:
    answer = random_server.complete([BOS] + [300] * 499, 50)
    assert (len(answer.tokens), answer.stop_reason) == (12, "limit")


def test_complete_many_keeps_the_order(scripted: LlamaServer, script: list[int]) -> None:
    prompts = [script[:length] for length in range(1, len(script) - 1)] * 2
    answers = scripted.complete_many(prompts, 50)
    assert [answer.tokens for answer in answers] == [script[len(p) :] for p in prompts]
    assert answers == [scripted.complete(prompt, 50) for prompt in prompts]
    assert scripted.complete_many([], 5) == []
    mixed = scripted.complete_many(["今天", script[:4]], 1)
    assert [answer.tokens for answer in mixed] == [[script[6]], [script[4]]]


@pytest.mark.parametrize("stop", [[], ["天"], ["天🦙"], ["今天好"], ["公", "龘今"], ["🦙公x"]])
def test_stream_is_the_complete_text(scripted: LlamaServer, script: list[int], stop: list[str]) -> None:
    for max_tokens in range(1, len(script)):
        chunks = list(scripted.stream([BOS], max_tokens, stop=stop))
        assert "".join(chunks) == scripted.complete([BOS], max_tokens, stop=stop).text
        assert "\ufffd" not in "".join(chunks)
        assert all(chunks)


def test_stream_yields_a_byte_fallback_character_whole(scripted: LlamaServer) -> None:
    assert list(scripted.stream([BOS], 50)) == ["龘", "今", "天", "🦙", "公"]
    stream = scripted.stream([BOS], 50)
    assert next(stream) == "龘"
    stream.close()  # type: ignore[attr-defined]
    assert scripted.complete([BOS], 1).stop_reason == "limit"


def test_a_cached_prefix_gives_the_same_answer(scripted: LlamaServer, script: list[int]) -> None:
    def reused_tokens(server: LlamaServer) -> int:
        body = {"prompt": script[:6], **server._generation(1, {})}
        return int(server._post("/completion", body)["timings"]["cache_n"])

    with LlamaServer(scripted.model, n_ctx=64, threads=1, cache_prompt=True) as cached:
        for length in (4, 6, 6, 2):
            assert cached.complete(script[:length], 50).tokens == script[length:]
        assert reused_tokens(cached) > 0
    assert reused_tokens(scripted) == 0


@pytest.mark.parametrize(
    ("data", "inside"),
    [
        (b"", False),
        ("今".encode(), False),
        ("\ufffd".encode(), False),
        (b"\xff", False),
        (b"\xa6\x99", False),
        ("今".encode()[:2], True),
        ("天🦙".encode()[:-1], True),
    ],
)
def test_ends_inside_character(data: bytes, inside: bool) -> None:
    assert llamacpp._ends_inside_character(data) == inside


def test_logprobs_equal_numpy(
    scripted: LlamaServer, pieces: sentencepiece.SentencePieceProcessor, script: list[int]
) -> None:
    size = pieces.vocab_size()
    tensors = scripted_tensors(size, script)
    for before in (BOS, script[4], script[-2]):
        hidden = tensors["token_embd"][before].astype(np.float64)
        logits = tensors["output"] @ (hidden / np.sqrt((hidden**2).mean() + 1e-5))
        expected = logits - np.log(np.exp(logits).sum())
        found = scripted.logprobs([BOS, before], size)
        np.testing.assert_allclose([found[i] for i in range(size)], expected, atol=1e-5)


def test_logprobs_are_a_distribution_with_the_likeliest_first(
    random_server: LlamaServer, pieces: sentencepiece.SentencePieceProcessor
) -> None:
    every = random_server.logprobs([BOS, 300], pieces.vocab_size())
    assert sorted(every) == list(range(pieces.vocab_size()))
    assert sum(np.exp(list(every.values()))) == pytest.approx(1, abs=1e-5)
    assert list(every.values()) == sorted(every.values(), reverse=True)
    assert random_server.complete([BOS, 300], 1).tokens == [next(iter(every))]
    few = random_server.logprobs([BOS, 300], 5)
    assert list(few) == list(every)[:5]
    # Not equal: llama.cpp sums the softmax after sorting only as many as it shows.
    assert list(few.values()) == pytest.approx(list(every.values())[:5], abs=1e-5)


def test_chat_is_the_rendered_template_completed(random_server: LlamaServer) -> None:
    messages = [
        {"role": "system", "content": "你是助手。"},
        {"role": "user", "content": "年假几天？"},
    ]
    rendered = random_server.apply_template(messages)
    assert rendered == "[system] 你是助手。\n[user] 年假几天？\n[assistant] "
    answer = random_server.chat(messages, 8)
    assert len(answer.tokens) == 8
    assert answer == random_server.complete(rendered, 8)
    (ids,) = random_server.tokenize([rendered], add_special=True, parse_special=True)
    assert answer == random_server.complete(ids, 8)


def test_props_tell_the_model_and_the_context_of_one_sequence(random_server: LlamaServer) -> None:
    props = random_server.props()
    assert props["model_path"] == str(random_server.model)
    assert (props["total_slots"], props["default_generation_settings"]["n_ctx"]) == (4, 512)
    assert props["chat_template"] == TEMPLATE


# --- errors


def test_a_refused_request_is_a_data_error(random_server: LlamaServer) -> None:
    too_long = "今天天气" * 200
    with pytest.raises(DataError, match="exceeds the available context size"):
        random_server.complete(too_long, 1)
    with pytest.raises(DataError, match="exceeds the available context size"):
        list(random_server.stream(too_long, 1))
    with pytest.raises(DataError, match="invalid tokens"):
        random_server.complete_many([[BOS], [10**6]], 1)
    with pytest.raises(DataError, match="surrogate"):
        random_server.tokenize(["\ud800"])


def test_options_are_checked(random_server: LlamaServer) -> None:
    with pytest.raises(TypeError, match="unknown sampling option.*temprature"):
        random_server.complete([BOS], 1, temprature=1.0)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="max_tokens must be at least 1, got 0"):
        random_server.complete([BOS], 0)
    with pytest.raises(ValueError, match="n must be at least 1"):
        random_server.logprobs([BOS], 0)
    with pytest.raises(RuntimeError, match="with"):
        LlamaServer("model.gguf").props()


def test_a_stranger_without_the_key_gets_nothing(random_server: LlamaServer) -> None:
    connection = HTTPConnection("127.0.0.1", random_server._port)
    connection.request("POST", "/completion", json.dumps({"prompt": "今天", "n_predict": 1}))
    assert connection.getresponse().status == 401
    connection.close()


def test_a_broken_file_says_why_and_leaves_no_child(tmp_path: Path, random_gguf: Path, children: Children) -> None:
    broken = tmp_path / "截断.gguf"
    broken.write_bytes(random_gguf.read_bytes()[:-5000])
    with pytest.raises(DataError, match=r"截断.gguf: llama.cpp could not load(.|\n)*file bounds"):
        LlamaServer(broken).__enter__()
    broken.write_bytes(b"no model at all")
    with pytest.raises(DataError, match="invalid magic"), LlamaServer(broken):
        pass
    assert [child.returncode for child in children] == [DataError.exit_code] * 2
    with pytest.raises(DataError, match="no such GGUF file"), LlamaServer(tmp_path / "none.gguf"):
        pass


def test_a_vocabulary_alone_does_not_load(tmp_path: Path, pieces: sentencepiece.SentencePieceProcessor) -> None:
    """llama.cpp's server has no vocabulary-only mode."""
    path = write_gguf(tmp_path / "vocab.gguf", pieces, {})
    with pytest.raises(DataError, match="could not load it"), LlamaServer(path):
        pass


def test_start_has_a_time_limit(random_gguf: Path, children: Children) -> None:
    with (
        pytest.raises(StageError, match="not ready after 0 s"),
        LlamaServer(random_gguf, start_timeout_s=0),
    ):
        pass
    assert children[0].returncode == -signal.SIGKILL


def test_a_child_that_dies_is_reported(random_gguf: Path) -> None:
    with LlamaServer(random_gguf, n_ctx=64, threads=1) as server:
        assert server._child is not None
        server._child.kill()
        with pytest.raises(StageError, match="exit code -9"):
            server.complete([BOS], 1)
        with pytest.raises(StageError, match="exit code -9"):
            list(server.stream([BOS], 1))


def test_closing_takes_the_child_along(random_gguf: Path, children: Children) -> None:
    with pytest.raises(KeyError), LlamaServer(random_gguf, n_ctx=64, threads=1):
        raise KeyError
    assert children[0].returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_killed_parent_leaves_no_orphan(random_gguf: Path) -> None:
    code = (
        "import sys, time\n"
        "from zhllm.infer.llamacpp import LlamaServer\n"
        "with LlamaServer(sys.argv[1], n_ctx=64, threads=1) as server:\n"
        "    sys.stdout.write(f'{server._child.pid}\\n'); sys.stdout.flush(); time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(random_gguf)], stdout=subprocess.PIPE, cwd=ROOT)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not is_running(child))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel sends SIGIO on Linux only")
def test_a_child_that_still_loads_dies_with_its_parent(tmp_path: Path) -> None:
    """A FIFO nobody writes to stands for a slow disk: C++ waits in read() and holds the GIL."""
    model = tmp_path / "slow.gguf"
    os.mkfifo(model)
    command = [sys.executable, "-m", "zhllm.infer.llama_child", str(model)]
    command += ["--n_ctx=64", "--n_parallel=1", "--threads=1"]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    child = subprocess.Popen(command, stdin=pipe, stdout=null, stderr=null, cwd=ROOT)
    assert child.stdin is not None
    disk = wait_for(lambda: open_to_write(model))
    child.stdin.close()
    assert child.wait(10) == -signal.SIGIO
    os.close(disk)


def test_the_parent_does_not_import_xllamacpp() -> None:
    code = "import sys, zhllm.infer.llamacpp as m\nassert m.available() and 'xllamacpp' not in sys.modules\n"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_missing_package_is_named(random_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zhllm.infer.llama_http.available", lambda: False)
    with pytest.raises(MissingError, match=r"zhllm\[llama\]"), LlamaServer(random_gguf):
        pass


def test_a_package_that_cannot_be_imported_is_named(
    tmp_path: Path, random_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xllamacpp.py").write_text("raise ImportError('GLIBC_2.99 not found')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MissingError, match="GLIBC_2.99"), LlamaServer(random_gguf):
        pass


def test_the_options_of_the_server_are_checked() -> None:
    with pytest.raises(ValueError, match="n_ctx 0"):
        LlamaServer("model.gguf", n_ctx=0)
