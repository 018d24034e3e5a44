"""The safetensors stream against the safetensors library and torch: bytes, rounding, damage."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from zhllm.errors import DataError
from zhllm.model.tensors import INDEX, SINGLE, Checkpoint, Spec, Writer, from_f32, row_blocks, to_f32

TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def values(dtype: str, shape: tuple[int, ...]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(math.prod(shape))
    made = torch.randn(shape, generator=generator) * 100
    return made > 0 if dtype == "BOOL" else made.abs().to(TORCH[dtype])


def storage(tensor: torch.Tensor) -> np.ndarray[Any, Any]:
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def write(folder: Path, tensors: dict[str, torch.Tensor], max_shard_bytes: int = 1 << 30) -> None:
    names = {dtype: name for name, dtype in TORCH.items()}
    plan = [Spec(name, names[t.dtype], tuple(t.shape)) for name, t in tensors.items()]
    with Writer(folder, plan, max_shard_bytes) as writer:
        for name, tensor in tensors.items():
            writer.write(name, storage(tensor))


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


@pytest.mark.parametrize("shape", [(3, 5), (7,), (), (2, 0), (2, 3, 4)])
@pytest.mark.parametrize("dtype", TORCH)
def test_round_trip_with_the_library_in_both_directions(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    tensor = values(dtype, shape)
    write(tmp_path, {"文.weight": tensor})
    assert same(load_file(tmp_path / SINGLE)["文.weight"], tensor)
    theirs = tmp_path / "theirs.safetensors"
    save_file({"文.weight": tensor}, theirs, metadata={"format": "pt"})
    read = Checkpoint(theirs)
    assert read.specs["文.weight"] == Spec("文.weight", dtype, shape)
    assert np.array_equal(read.raw("文.weight"), storage(tensor))
    assert np.array_equal(read.f32("文.weight"), tensor.float().numpy())


@pytest.mark.parametrize(("max_shard_bytes", "shards"), [(1 << 20, 1), (400, 3), (1, 5)])
def test_shards_and_index_are_what_transformers_expects(tmp_path: Path, max_shard_bytes: int, shards: int) -> None:
    tensors = {f"layer.{n}": values("F32", (10, 5)) + n for n in range(5)}
    write(tmp_path, tensors, max_shard_bytes)
    files = sorted(p.name for p in tmp_path.glob("*.safetensors"))
    if shards == 1:
        assert files == [SINGLE] and not (tmp_path / INDEX).exists()
    else:
        assert files == [f"model-{n + 1:05d}-of-{shards:05d}.safetensors" for n in range(shards)]
        index = json.loads((tmp_path / INDEX).read_text())
        assert index["metadata"]["total_size"] == 5 * 200
        for name, file in index["weight_map"].items():
            assert same(load_file(tmp_path / file)[name], tensors[name])
    read = Checkpoint(tmp_path)
    assert list(read.specs) == list(tensors)
    assert all(np.array_equal(read.raw(name), t.numpy()) for name, t in tensors.items())


def test_rows_may_come_in_blocks(tmp_path: Path) -> None:
    tensor = values("BF16", (10, 4))
    blocks = (storage(tensor)[rows] for rows in row_blocks(10, 8, block_bytes=24))
    with Writer(tmp_path, [Spec("w", "BF16", (10, 4))]) as writer:
        writer.write("w", blocks)
    assert same(load_file(tmp_path / SINGLE)["w"], tensor)


@pytest.mark.parametrize(
    ("rows", "row_bytes", "block_bytes", "sizes"),
    [(10, 8, 24, [3, 3, 3, 1]), (10, 8, 80, [10]), (2, 100, 1, [1, 1]), (0, 8, 8, []), (3, 0, 8, [3])],
)
def test_row_blocks_cover_every_row_once(rows: int, row_bytes: int, block_bytes: int, sizes: list[int]) -> None:
    slices = list(row_blocks(rows, row_bytes, block_bytes))
    assert [s.stop - s.start for s in slices] == sizes
    assert [i for s in slices for i in range(s.start, s.stop)] == list(range(rows))


def awkward_floats() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Every sign and exponent with the mantissas around a tie, and random bits: 200,000 values."""
    high = np.arange(1 << 16, dtype=np.uint32) << 16
    bits = [high[::7] + np.uint32(low) for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)]
    bits.append(np.random.default_rng(0).integers(0, 1 << 32, 144_000, dtype=np.uint32))
    return np.concatenate(bits).view(np.float32)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_rounding_is_torchs(dtype: str) -> None:
    numbers = awkward_floats()
    ours, theirs = from_f32(numbers, dtype), torch.from_numpy(numbers).to(TORCH[dtype])
    is_number = ~np.isnan(numbers)
    assert np.array_equal(ours[is_number], storage(theirs)[is_number])
    assert np.isnan(to_f32(ours, dtype)[~is_number]).all()
    assert np.array_equal(to_f32(ours, dtype), theirs.float().numpy(), equal_nan=True)


def damaged_header(change: Callable[[dict[str, Any]], Any]) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        length = int.from_bytes(data[:8], "little")
        text = json.dumps(change(json.loads(data[8 : 8 + length]))).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + length :]

    return damage


def with_entry(**entry: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda header: {**header, "w": {**header["w"], **entry}}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], r"is cut off: \d+ bytes, its header says \d+"),
        (lambda data: data[:40], "is not a safetensors file, or it is cut off"),
        (lambda data: b"", "is not a safetensors file, or it is cut off"),
        (lambda data: b"PK\x03\x04" + data, "is not a safetensors file, or it is cut off"),
        (lambda data: data + b"\0", "is cut off|does not end"),
        (lambda data: data[:8] + b"[" + data[9:], "header is damaged"),
        (damaged_header(lambda header: [1]), "header is damaged"),
        (damaged_header(lambda header: {"w": 3}), "header is damaged"),
        (damaged_header(lambda header: {"w": {"dtype": "F32"}}), "header is damaged"),
        (damaged_header(with_entry(dtype="F8_E4M3")), "w has dtype F8_E4M3, which zhllm does not read"),
        (damaged_header(with_entry(shape=[3, 6])), r"w takes 60 bytes, but its shape \(3, 6\) of F32 needs 72"),
        (damaged_header(with_entry(data_offsets=[30, 60])), "w takes 30 bytes, but its shape"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_damaged_file_is_one_clear_error(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / SINGLE
    save_file({"w": values("F32", (3, 5))}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=message) as error:
        Checkpoint(tmp_path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_a_folder_without_its_shards_or_tensors_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no model\.safetensors .*and no pytorch_model\.bin"):
        Checkpoint(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"pytorch_model\.bin: is cut off, or is not a file that torch\.save wrote"):
        Checkpoint(tmp_path)
    write(tmp_path, {"a": values("F32", (2,)), "b": values("F32", (3,))}, max_shard_bytes=1)
    (tmp_path / "model-00001-of-00002.safetensors").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"names 1 shards that are not there: \['model-00001-of-00002"):
        Checkpoint(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "model-00001-of-00002.safetensors")
    index = json.loads((tmp_path / INDEX).read_text())
    index["weight_map"]["c"] = "model-00001-of-00002.safetensors"
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"names 1 tensors that its shards do not hold: \['c'\]"):
        Checkpoint(tmp_path)
    (tmp_path / INDEX).write_text("{")
    with pytest.raises(DataError, match=f"{INDEX}.* cannot be read"):
        Checkpoint(tmp_path)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"a": values("F32", (2,))})
    with pytest.raises(DataError, match=r"has no tensor lm_head.weight \(it holds 1 tensors\)"):
        Checkpoint(tmp_path).raw("lm_head.weight")


def test_weights_that_lie_beside_a_model_are_not_its_own(tmp_path: Path) -> None:
    """Hub repositories hold consolidated.safetensors or an adapter next to model.safetensors."""
    write(tmp_path, {"a": values("F32", (2,))})
    save_file({"a": torch.zeros(9), "b": torch.zeros(1)}, tmp_path / "consolidated.safetensors")
    assert Checkpoint(tmp_path).specs == {"a": Spec("a", "F32", (2,))}


def test_a_tensor_left_out_or_misshapen_is_our_own_mistake(tmp_path: Path) -> None:
    plan = [Spec("a", "F32", (2,)), Spec("b", "F32", (2,))]
    with pytest.raises(AssertionError, match="1 planned tensors were not written"), Writer(tmp_path, plan) as writer:
        writer.write("a", np.zeros(2, np.float32))
    with pytest.raises(AssertionError, match="a: 4 bytes for 8"), Writer(tmp_path, plan) as writer:
        writer.write("a", np.zeros(1, np.float32))
    with pytest.raises(AssertionError, match="a: float64 for F32"), Writer(tmp_path, plan) as writer:
        writer.write("a", np.zeros(2))
