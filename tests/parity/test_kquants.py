"""K-quants against llama.cpp's own quantiser (out of xllamacpp) and gguf-py's dequantiser.

Where xllamacpp is missing, the layout, bounds and stored errors are still checked.
"""

import platform
import subprocess
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from zhllm.model import gguf_blocks, kquants

F32 = NDArray[np.float32]
T = GGMLQuantizationType
K_TYPES = [T.Q4_K, T.Q5_K, T.Q6_K]
SMALL_TYPES = [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0]

needs_llama = pytest.mark.skipif(
    kquants.llama_quantize_chunk() is None,
    reason="no installed xllamacpp exports ggml_quantize_chunk",
)


def gaussian(rows: int = 16, length: int = 1024, seed: int = 1) -> F32:
    """Weights as a trained projection has them: standard deviation 0.02."""
    return np.random.default_rng(seed).standard_normal((rows, length), dtype=np.float32) * np.float32(0.02)


def heavy_tailed() -> F32:
    return np.random.default_rng(2).standard_t(2, (16, 1024)).astype(np.float32) * np.float32(0.02)


def constant() -> F32:
    return np.repeat(np.array([[1], [-1], [0.3], [-0.3], [1e-7], [-65504]], np.float32), 512, axis=1)


def one_outlier() -> F32:
    rows = gaussian()
    rows[:, 300] = 40
    return rows


def of_many_sizes() -> F32:
    """Neighbouring groups 16 decades apart: some lose their scale inside the super-block."""
    exponents = np.random.default_rng(3).integers(-12, 4, (16, 64)).repeat(16, axis=1)
    return gaussian() * np.float32(10) ** exponents.astype(np.float32)


def mostly_zero() -> F32:
    rows = gaussian()
    rows[np.random.default_rng(4).random(rows.shape) < 0.95] = 0
    return rows


INPUTS: dict[str, Callable[[], F32]] = {
    "gaussian": gaussian,
    "one super-block": lambda: gaussian(1, 256),
    "heavy-tailed": heavy_tailed,
    "zero": lambda: np.zeros((2, 512), np.float32),
    "constant": constant,
    "one outlier": one_outlier,
    "all positive": lambda: np.abs(gaussian()),
    "all negative": lambda: -np.abs(gaussian()),
    "whole numbers": lambda: np.random.default_rng(5).integers(-8, 8, (16, 512)).astype(np.float32),
    "mostly zero": mostly_zero,
    "many sizes": of_many_sizes,
    "bfloat16": lambda: (gaussian().view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32),
    "large": lambda: gaussian() * np.float32(6e5),
    # F16's least number is 6e-8: the scales of these are subnormal, of few bits, or 0.
    "subnormal scales": lambda: gaussian() * np.float32(1e-3),
    "scales of one bit": lambda: gaussian() * np.float32(1e-4),
    "lost": lambda: gaussian() * np.float32(1e-12),
}


def rmse(read_back: F32, rows: F32) -> float:
    return float(np.sqrt(np.mean((read_back.astype(np.float64) - rows) ** 2)))


def blocks(data: NDArray[np.uint8], type: T) -> NDArray[np.uint8]:
    return data.reshape(-1, GGML_QUANT_SIZES[type][1])


@needs_llama
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("type", K_TYPES, ids=lambda t: t.name)
def test_k_quants_are_llama_cpps(type: T, name: str) -> None:
    rows = INPUTS[name]()
    ours = kquants.quantize(rows, type)
    theirs = kquants.quantize(rows, type, engine="llama")
    # Three per cent: the quality asked for on machines whose compiler fuses multiply-adds.
    assert rmse(dequantize(ours, type), rows) <= 1.03 * rmse(dequantize(theirs, type), rows)
    if platform.machine() in ("x86_64", "AMD64"):
        different = np.flatnonzero((blocks(ours, type) != blocks(theirs, type)).any(axis=1))
        assert different.size == 0, f"super-blocks {different[:5]} of {len(blocks(ours, type))}"


@needs_llama
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("type", SMALL_TYPES, ids=lambda t: t.name)
def test_small_block_types_read_back_as_llama_cpps(type: T, name: str) -> None:
    rows = INPUTS[name]()[:, :224]
    ours = dequantize(kquants.quantize(rows, type), type)
    np.testing.assert_array_equal(ours, dequantize(kquants.quantize(rows, type, "llama"), type))


@needs_llama
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("type", [*K_TYPES, *SMALL_TYPES], ids=lambda t: t.name)
def test_weighted_by_importance_they_are_llama_cpps(type: T, name: str) -> None:
    """An importance matrix as ggml_quantize_chunk takes it; some channels never used, some a hundred times more."""
    rows = INPUTS[name]()
    importance = np.random.default_rng(6).chisquare(1, rows.shape[1]).astype(np.float32)
    importance[:40] = 0
    ours, theirs = (gguf_blocks.quantize(rows, type, engine, importance) for engine in ("own", "llama.cpp"))
    found, wanted = (dequantize(data, type) for data in (ours, theirs))
    weighted = np.sqrt(importance)
    assert rmse(found * weighted, rows * weighted) <= 1.03 * rmse(wanted * weighted, rows * weighted)
    if platform.machine() in ("x86_64", "AMD64"):
        np.testing.assert_array_equal(found, wanted)
        if type in K_TYPES:
            np.testing.assert_array_equal(ours, theirs)


def test_importance_lowers_the_error_of_what_is_used() -> None:
    rows = gaussian()
    importance = np.where(np.arange(rows.shape[1]) % 16 == 0, np.float32(100), np.float32(1))
    weight = np.sqrt(importance)
    for type in K_TYPES:
        plain, weighted = (dequantize(gguf_blocks.quantize(rows, type, "own", i), type) for i in (None, importance))
        assert rmse(weighted * weight, rows * weight) < 0.85 * rmse(plain * weight, rows * weight), type


@needs_llama
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("type", [T.Q8_0, T.Q4_0], ids=lambda t: t.name)
def test_fast_blocks_are_llama_cpps_and_gguf_pys(type: T, name: str) -> None:
    rows = INPUTS[name]()
    ours = gguf_blocks.quantize(rows, type)
    np.testing.assert_array_equal(ours, gguf_blocks.quantize(rows, type, "llama.cpp"))
    np.testing.assert_array_equal(dequantize(ours, type), dequantize(quantize(rows, type), type))
    np.testing.assert_array_equal(gguf_blocks.dequantize(ours, type), dequantize(ours, type))


def test_halves_are_rounded_away_from_zero_as_c_does() -> None:
    """Every code and every half between two codes, both signs, in blocks whose step is exactly 1."""
    halves = np.arange(-127, 127.5, 0.5, dtype=np.float32)
    just_below = np.nextafter(halves, np.float32(0))
    rows = np.zeros((2 * len(halves), 32), np.float32)
    rows[:, 0] = 127
    rows[:, 1] = np.concatenate([halves, just_below])
    np.testing.assert_array_equal(gguf_blocks.quantize(rows, T.Q8_0), quantize(rows, T.Q8_0))


# RMSE over the rows' root mean square, of `gaussian(64, 4096)`, by llama.cpp's own bytes:
# dequantize(kquants.quantize(rows, type, engine="llama"), type). Tolerance 0.1 %: nothing is
# random, but a CPU or compiler that rounds otherwise may decide ties otherwise.
STORED_ERROR = {T.Q4_K: 0.0713085, T.Q5_K: 0.0361185, T.Q6_K: 0.0177493}


@pytest.mark.parametrize("type", K_TYPES, ids=lambda t: t.name)
def test_error_on_gaussian_rows_is_the_stored_one(type: T) -> None:
    rows = gaussian(64, 4096)
    error = rmse(dequantize(kquants.quantize(rows, type), type), rows) / rmse(rows * 0, rows)
    assert error == pytest.approx(STORED_ERROR[type], rel=1e-3)


def error_bound(rows: F32, type: T) -> F32:
    """The largest error a value's super-block allows, (N, S, 1), derived and not measured.

    A fit weighs no value less than 1/64 of its group (Q6_K, where a value may be clipped: 1/16),
    and its weighted error is not above that of the plain rounding, half a step for each value
    (clipped: one step). So no value is off by more than 8 · ½ = 4 steps (√16 · 33/31 = 4.3);
    a step is the super-block's width / top. Rounding the group's scale to 6 (8) bits and F16
    adds less than 3 % of the width, and F16's least number, 2**-24, at most half of it for each
    unit of scale · code.
    """
    x = rows.reshape(len(rows), -1, 256)
    if type == T.Q6_K:
        return np.abs(x).max(-1, keepdims=True) * (4.3 / 32 + 0.03) + 2**-25 * 128 * 32
    top = 15 if type == T.Q4_K else 31
    width = np.maximum(x.max(-1, keepdims=True), 0) - np.minimum(x.min(-1, keepdims=True), 0)
    return width * (4 / top + 0.03) + 2**-25 * 63 * (top + 1)


@settings(max_examples=60, deadline=None)
@given(
    rows=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 2), st.sampled_from([256, 512])),
        elements=st.floats(-65504, 65504, width=32),
        fill=st.floats(-1, 1, width=32),
    ),
    type=st.sampled_from(K_TYPES),
)
def test_any_weights_read_back_finite_and_within_the_bound(rows: F32, type: T) -> None:
    read_back = dequantize(kquants.quantize(rows, type), type)
    assert np.isfinite(read_back).all()
    error = np.abs(read_back.astype(np.float64) - rows).reshape(len(rows), -1, 256)
    assert (error <= error_bound(rows, type)).all()


@pytest.mark.parametrize("type", K_TYPES, ids=lambda t: t.name)
def test_every_value_comes_back_at_its_own_place(type: T) -> None:
    """One value of 1 at each of the 256 places: catches a swap in the packing of any bit."""
    rows = np.eye(256, dtype=np.float32)
    read_back = dequantize(kquants.quantize(rows, type), type)
    np.testing.assert_allclose(read_back, rows, atol=2e-3)


@pytest.mark.parametrize("type", [*K_TYPES, T.Q8_0], ids=lambda t: t.name)
def test_row_blocks_and_batches_leave_the_bytes_alone(type: T, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = gaussian(7, 1280)
    whole = kquants.quantize(rows, type)
    monkeypatch.setattr(kquants, "_BLOCK_VALUES", 2 * 1280 + 5)
    monkeypatch.setattr(kquants, "_BATCH", 3)
    np.testing.assert_array_equal(kquants.quantize(rows, type), whole)
    np.testing.assert_array_equal(kquants.quantize(np.asfortranarray(rows), type), whole)


@pytest.mark.parametrize("type", [T.Q4_K, T.Q8_0], ids=lambda t: t.name)
def test_memory_does_not_grow_with_the_rows(type: T, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kquants, "_BLOCK_VALUES", 2**15)
    monkeypatch.setattr(kquants, "_BATCH", 16)
    rows = np.zeros((2**9, 2**10), np.float16)
    tracemalloc.start()
    try:
        result = kquants.quantize(rows, type)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - result.nbytes < 2**20  # a float32 copy of all rows would take 2 MiB


def test_a_row_length_that_the_block_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match=r"288 is not a multiple of 256.*Q4_K"):
        kquants.quantize(gaussian(2, 288), T.Q4_K)
    with pytest.raises(ValueError, match="40 is not a multiple of 32"):
        kquants.quantize(gaussian(2, 40), T.Q5_0)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 65536.0, -65536.0])
def test_a_value_no_block_can_hold_is_refused_by_its_place(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kquants, "_BLOCK_VALUES", 512)
    rows = gaussian(5, 256)
    rows[3, 17] = value
    with pytest.raises(ValueError, match="row 3, column 17: the value .*not finite or beyond ±65504"):
        kquants.quantize(rows, T.Q4_K)


def test_other_types_and_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="Q2_K is not written here.*Q4_K"):
        kquants.quantize(gaussian(), T.Q2_K)
    with pytest.raises(ValueError, match=r"shape \(1024,\), but two dimensions"):
        kquants.quantize(gaussian()[0], T.Q4_K)


def test_no_rows_give_no_blocks() -> None:
    assert kquants.quantize(np.zeros((0, 512), np.float32), T.Q6_K).shape == (0, 420)


def test_a_missing_llama_engine_is_an_error_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kquants, "llama_quantize_chunk", lambda: None)
    with pytest.raises(RuntimeError, match="xllamacpp"):
        kquants.quantize(gaussian(), T.Q4_K, engine="llama")
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert kquants.llama_quantize_chunk.__wrapped__() is None


def test_neither_torch_nor_xllamacpp_is_imported() -> None:
    code = (
        "import sys; from zhllm.model import kquants; kquants.llama_quantize_chunk();"
        "print(*{'torch', 'xllamacpp'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
