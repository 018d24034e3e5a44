"""Q8_0 blocks from float32 and from bfloat16 against llama.cpp's quantiser and gguf-py's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize, quantize
from toys import Toy, random_model

from zhllm.model import gguf_blocks, gguf_q8_0, gguf_stream, kquants
from zhllm.model.gguf_file import open_source
from zhllm.model.gguf_read import GgufFile
from zhllm.model.gguf_stream import Encoder, write_gguf
from zhllm.model.tensors import F32, Array, from_f32, to_f32
from zhllm.vocab.tokenizer import Tokenizer

needs_llama = pytest.mark.skipif(kquants.llama_quantize_chunk() is None, reason="xllamacpp is not installed")


def gaussian(scale: float) -> Callable[[], F32]:
    return lambda: (np.random.default_rng(0).standard_normal((32, 4096)) * scale).astype(np.float32)


def of_all_sizes() -> F32:
    """Blocks from the largest that float16 scales hold down to the least numbers of float32."""
    powers = np.exp2(np.random.default_rng(1).integers(-149, 14, (64, 128, 1)).astype(np.float32))
    return (gaussian(1)()[:, None, :].repeat(2, 1).reshape(64, 128, 32) * powers).reshape(64, 4096)


def halves() -> F32:
    """Every code, every half between two codes and what lies beside it, both signs, with steps of 1 and 1/4."""
    wanted = np.arange(-127, 127.5, 0.5, dtype=np.float32)
    beside = [np.nextafter(wanted, np.float32(towards)) for towards in (0, -200, 200)]
    rows = np.zeros((2, 4 * len(wanted), 32), np.float32)
    rows[..., 0], rows[..., 1] = 127, np.clip(np.concatenate([wanted, *beside]), -127, 127)
    rows[1] /= 4
    return rows.reshape(-1, 32)


INPUTS: dict[str, Callable[[], F32]] = {
    "weights": gaussian(0.02),
    "large": gaussian(1.2e4),
    "subnormal scales": gaussian(1e-6),
    "unused tokens of real models": gaussian(1e-38),
    "factors beyond float32": gaussian(3e-39),
    "subnormal values": gaussian(1e-42),
    "all sizes": of_all_sizes,
    "halves": halves,
    "zeros of both signs": lambda: np.tile(np.float32([0, -0.0]), (8, 32)),
    "more than one part": lambda: gaussian(0.02)().repeat(3, 0)[:, ::-1].copy(),
}


# With quotients that are infinite in gguf-py; what numpy casts those to is no rule.
UNDEFINED = ("unused tokens of real models", "factors beyond float32", "subnormal values", "all sizes")


def stored_and_exact(name: str, dtype: str) -> tuple[Array, F32]:
    """Rows in storage dtype, and the float32 values that they are."""
    stored = from_f32(INPUTS[name](), dtype)
    return stored, np.ascontiguousarray(to_f32(stored, dtype))


def written(stored: Array) -> Array:
    blocks = stored.reshape(-1, 32)
    return gguf_q8_0.quantize(blocks, gguf_q8_0.magnitudes(blocks)).reshape(len(stored), -1)


@needs_llama
@pytest.mark.parametrize("dtype", ["F32", "BF16"])
@pytest.mark.parametrize("name", INPUTS)
def test_bytes_are_llama_cpps(name: str, dtype: str) -> None:
    stored, exact = stored_and_exact(name, dtype)
    np.testing.assert_array_equal(written(stored), gguf_blocks.quantize(exact, T.Q8_0, "llama.cpp"))


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
@pytest.mark.parametrize("name", [name for name in INPUTS if name not in UNDEFINED])
def test_bytes_are_gguf_pys(name: str, dtype: str) -> None:
    stored, exact = stored_and_exact(name, dtype)
    np.testing.assert_array_equal(dequantize(written(stored), T.Q8_0), dequantize(quantize(exact, T.Q8_0), T.Q8_0))


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_magnitudes_are_the_largest_and_show_what_is_no_number(dtype: str) -> None:
    stored, exact = stored_and_exact("more than one part", dtype)
    np.testing.assert_array_equal(gguf_q8_0.magnitudes(stored.reshape(-1, 32)), np.abs(exact.reshape(-1, 32)).max(1))
    for value in (np.nan, np.inf, -np.inf):
        exact[5, 33] = value
        found = gguf_q8_0.magnitudes(from_f32(exact, dtype).reshape(-1, 32))
        assert np.flatnonzero(~np.isfinite(found)).tolist() == [5 * 128 + 1]
    assert gguf_q8_0.magnitudes(stored[:0].reshape(0, 32)).shape == (0,)


def test_rows_at_an_odd_address_are_read_as_they_are() -> None:
    """A checkpoint's tensors need not begin where their type likes to stand."""
    stored, _ = stored_and_exact("weights", "BF16")
    shifted = np.frombuffer(b"\0" + stored.tobytes(), np.uint8)[1:].view(np.uint16).reshape(stored.shape)
    assert not shifted.flags.aligned
    np.testing.assert_array_equal(written(shifted), written(stored))


@needs_llama
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_file_is_the_same_whosever_quantiser_wrote_it(
    toy: Toy, tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(tmp_path / "model", toy.extended, dtype=dtype)
    asked = []

    def quantize(rows: F32, kind: T, engine: gguf_blocks.Engine, importance: F32 | None) -> Array:
        asked.append(engine)
        return gguf_blocks.quantize(rows, kind, engine, importance)

    monkeypatch.setattr(gguf_stream, "quantize", quantize)
    engines: tuple[gguf_blocks.Engine, ...] = ("own", "auto", "llama.cpp")
    for engine in engines:
        (tmp_path / engine).mkdir()
        end_id = Tokenizer(model).eos_id
        write_gguf(open_source(model), tmp_path / engine / "a.gguf", "q8_0", None, end_id, encoder=Encoder(engine))
        straight = dtype != "float16" and engine != "llama.cpp"
        assert set(asked) == (set() if straight else {engine}), "bfloat16 and float32 need no copy in float32"
        asked.clear()
    files = [(tmp_path / engine / "a.gguf").read_bytes() for engine in engines]
    assert files[0] == files[1] == files[2]
    assert {t.type for t in GgufFile(tmp_path / "own" / "a.gguf").tensors.values()} == {T.F32, T.Q8_0}
