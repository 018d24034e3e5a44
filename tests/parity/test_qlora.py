"""QLoRA: a base in four bits, what it computes, that it stays, and that its adapter is one of the original base."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from test_trainable import CPU, own_logits, rows_of, trained, values, variant
from torch import Tensor, nn
from toys import Toy, random_model, stage

from zhllm.errors import ConfigError, MissingError, ProofError
from zhllm.infer.probe import adapted_logits
from zhllm.model.llama import Size, config_of, parameter_count, tensor_plan, write_fresh
from zhllm.model.tensors import Checkpoint
from zhllm.stages._training_run import open_trainee
from zhllm.stages.pretrain import PretrainConfig
from zhllm.train import quantized
from zhllm.train.lora import LoraSettings
from zhllm.train.processes import Processes
from zhllm.train.proof import Start
from zhllm.train.quantized import dequantized, four_bit_layers, rounding_limits
from zhllm.train.trainee import Trainee

LORA = LoraSettings(4, 8.0, 0.0, ("q_proj", "v_proj", "down_proj"))
IDS = [1, 5, 9, 560]


def opened(folder: Path, what: str = "new-rows+qlora", settings: LoraSettings = LORA) -> Trainee:
    trainee = Trainee(folder, torch.float32, CPU, four_bit=torch.float32)
    trainee.make_trainable(what, settings, seed=1)
    return trainee


def with_dequantised_base(trainee: Trainee) -> Trainee:
    """The same model with its 4-bit layers as float32 ones."""
    for name, layer in four_bit_layers(trainee.model).items():
        plain = nn.Linear(layer.in_features, layer.out_features, bias=False)
        plain.weight = nn.Parameter(dequantized(layer.weight), requires_grad=False)
        trainee.model.set_submodule(name, plain)
    return trainee


def gradients(trainee: Trainee, toy: Toy) -> dict[str, Tensor]:
    trainee.loss_sum(rows_of(toy).batch(range(4)))[0].backward()
    return {n: p.grad for n, p in trainee.named_trainable().items() if p.grad is not None}


def test_only_the_layers_are_in_four_bits_within_what_nf4_rounds(toy: Toy) -> None:
    trainee = opened(toy.resized)
    base = Checkpoint(toy.resized)
    layers = four_bit_layers(trainee.model)
    assert len(layers) == 7 * 2 and all(".layers." in name for name in layers)
    moved = 0.0
    for name, layer in layers.items():
        weight = torch.tensor(base.f32(f"{name.removesuffix('.base_layer')}.weight"))
        difference = (dequantized(layer.weight) - weight).abs()
        assert (difference <= rounding_limits(weight)).all()
        moved = max(moved, float((difference / weight.abs().max()).max()))
    assert moved > 0.05, "nothing was rounded"
    assert {p.dtype for n, p in trainee.named_parameters() if ".layers." not in n} == {torch.float32}


@pytest.mark.parametrize("checkpointed", [False, True])
def test_gradients_are_those_of_the_dequantised_base(toy: Toy, checkpointed: bool) -> None:
    """Also after validation, which on AVX512-BF16 machines repacked the weights."""
    trainee = opened(toy.resized)
    if checkpointed:
        trainee.checkpoint_gradients()
    with torch.no_grad():
        trainee.eval().loss_sum(rows_of(toy).batch(range(4)))
    found = gradients(trainee.train(), toy)
    wanted = gradients(with_dequantised_base(opened(toy.resized)).train(), toy)
    assert list(found) == list(wanted) and any("lora_B" in name for name in found)
    for name, gradient in wanted.items():
        limit = 1e-4 * float(gradient.abs().max())
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=limit)


def test_bf16_products_give_the_same_gradients_but_for_their_rounding(toy: Toy) -> None:
    trainee = Trainee(toy.resized, torch.float32, CPU, four_bit=torch.bfloat16)
    trainee.make_trainable("new-rows+qlora", LORA, seed=1)
    assert next(iter(four_bit_layers(trainee.model).values())).compute_dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(trainee.train(), toy)
    wanted = gradients(opened(toy.resized).train(), toy)
    moving = [name for name, gradient in wanted.items() if gradient.any()]  # those of A are zero while B is
    assert len(moving) == 2 + len(wanted) // 2 - 1
    for name in moving:
        cosine = nn.functional.cosine_similarity(found[name].flatten(), wanted[name].flatten(), dim=0)
        assert cosine > 0.995, name


def test_training_moves_only_rows_and_lora(toy: Toy, tmp_path: Path) -> None:
    trainee = opened(toy.resized)
    start, before = Start.of(trainee), values(trainee)
    after = values(trained(trainee, toy))
    start.prove(trainee, Processes("cpu"))
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {"model.embed_tokens.new", "lm_head.new"} | {name for name in before if "lora_" in name}
    trainee.save(tmp_path)
    assert trainee.unlike_saved(tmp_path) == []
    record = json.loads((tmp_path / "quantization.json").read_text())
    assert (record["quant_type"], record["double_quant"], record["blocksize"]) == ("nf4", True, 64)
    assert record["compute_dtype"] == "float32" and len(record["modules"]) == 14 and record["lora_start"] is None
    # The adapter is one of the original base: there it gives what the 4-bit model learnt, but for the rounding.
    (found,) = adapted_logits(toy.resized, [tmp_path], [IDS])
    (untrained,) = adapted_logits(toy.resized, [_empty(toy, tmp_path / "none")], [IDS])
    wanted = own_logits(trainee.eval(), IDS)
    assert (found - wanted).norm() < 0.2 * (wanted - untrained).norm()
    # With the rounded base it gives exactly that.
    torch.testing.assert_close(own_logits(with_dequantised_base(trainee), IDS), wanted, rtol=0, atol=1e-4)


def _empty(toy: Toy, out: Path) -> Path:
    out.mkdir()
    trainee = Trainee(toy.resized, torch.float32, CPU)
    trainee.make_trainable("lora", LORA, seed=1)
    trainee.save(out)
    return out


@pytest.mark.parametrize("what", ["bytes", "scales", "scales of scales"])
def test_the_proof_sees_a_four_bit_weight_that_changed(toy: Toy, what: str) -> None:
    trainee = opened(toy.resized, "qlora")
    start = Start.of(trainee)
    weight: Any = next(iter(four_bit_layers(trainee.model).values())).weight
    part = {
        "bytes": weight.data,
        "scales": weight.quant_state.absmax,
        "scales of scales": weight.quant_state.state2.absmax,
    }
    part[what].view(-1)[0] += 1
    with pytest.raises(ProofError, match="a frozen parameter changed"):
        start.prove(trainee, Processes("cpu"))


def test_weights_are_never_repacked(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU with AVX512-BF16: where the switch stayed on, the start of the run would say so."""
    from bitsandbytes.nn import modules

    monkeypatch.setattr(modules, "has_avx512bf16", lambda: True)
    trainee = opened(toy.resized, "qlora")
    layers = four_bit_layers(trainee.model)
    trainee.eval().loss_sum(rows_of(toy).batch(range(2)))
    assert not any(getattr(layer.weight.quant_state, "packing_format_for_cpu", False) for layer in layers.values())
    for layer in layers.values():
        layer.support_avx512bf16_for_cpu = True
    with pytest.raises(MissingError, match=r"wrong gradients: those of .*q_proj.* have cosine -?0\.0"):
        quantized.check_gradients(trainee.model, "bitsandbytes")


def test_wrong_gradients_end_the_run_before_it_starts(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from bitsandbytes.autograd._functions import MatMul4Bit

    def ones(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad.new_ones(*grad.shape[:-1], ctx.state.shape[1]), None, None, None, None

    monkeypatch.setattr(MatMul4Bit, "backward", staticmethod(ones))
    with pytest.raises(MissingError, match=r"bitsandbytes \d.* on cpu gives wrong gradients: .*Train on a CUDA device"):
        opened(toy.resized)


def test_without_bitsandbytes_one_line_says_so(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingError, match=r"--trainable qlora needs bitsandbytes .*or with --trainable lora") as error:
        opened(toy.resized)
    assert "\n" not in str(error.value)


def test_a_device_that_cannot_is_named(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes.functional

    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError("no kernel for this device\nmore")

    monkeypatch.setattr(bitsandbytes.functional, "quantize_4bit", refuse)
    with pytest.raises(MissingError, match=r"does not work on cpu \(no kernel for this device\)\. Train on a CUDA"):
        opened(toy.resized)


def test_pissa_and_loftq_start_nearer_to_the_base_than_rounding_leaves_it(toy: Toy) -> None:
    """What these starts are for: Meng et al. 2024, section 4; Li et al. 2023, section 3."""
    base = Checkpoint(toy.resized)

    def distance(init: str) -> float:
        trainee = opened(toy.resized, "qlora", LoraSettings(16, 32.0, 0.0, LORA.target_modules, init=init))
        assert trainee.lora is not None
        total = 0.0
        for name, module in trainee.lora.modules():
            a, b = (part["default"].weight.detach() for part in (module.lora_A, module.lora_B))
            gain = module.scaling["default"] * (b @ a)
            weight = torch.tensor(base.f32(f"{name}.weight"))
            total += float((dequantized(module.base_layer.weight) + gain - weight).square().sum())
        return total

    plain = distance("default")
    assert distance("loftq") < 0.7 * plain and distance("pissa") < 0.8 * plain


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "DoRA of nothing": (
        {"trainable": "all", "dora": True, "lora_plus": 2}, "--dora, --lora-plus: --trainable all has no LoRA"
    ),
    "PiSSA of rows": ({"trainable": "new-rows", "lora_init": "pissa"}, "--lora-init: --trainable new-rows has no LoRA"),
    "LoftQ of full weights": ({"trainable": "lora", "lora_init": "loftq"}, "loftq makes up for 4-bit rounding: it"),
    "two stages without rows": (
        {"trainable": "qlora", "schedule": "two-stage"}, "two-stage needs rows and LoRA to train, not --trainable qlora"
    ),
    "no rate for B": ({"trainable": "qlora", "lora_plus": 0}, "greater than 0"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_settings_that_do_not_fit_together_are_refused(toy: Toy, case: str) -> None:
    settings, message = REFUSED[case]
    with pytest.raises(ValidationError, match=message):
        PretrainConfig(model=toy.resized, data=toy.packed, **settings)


@pytest.mark.parametrize("optimizer", ["paged-adamw", "paged-adamw-8bit"])
def test_paged_moments_need_a_gpu(toy: Toy, tmp_path: Path, optimizer: str) -> None:
    with pytest.raises(MissingError, match=f"--optimizer {optimizer} needs a CUDA device .* adamw-8bit on a CPU"):
        stage("pretrain", tmp_path / "out", model=toy.resized, data=toy.packed, optimizer=optimizer, device="cpu")


def test_a_base_in_four_bits_is_not_sharded(toy: Toy) -> None:
    config = PretrainConfig(model=toy.resized, data=toy.packed, trainable="new-rows+qlora")
    processes = Processes("cpu")
    processes.strategy = "fsdp2"
    with pytest.raises(ConfigError, match="a base in 4 bits is not sharded. Launch with DDP"):
        open_trainee(config, processes)


MEASURE = """
import sys, threading, time, torch
from pathlib import Path
from zhllm.train.quantized import open_quantized

def held():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("RssAnon"))

cpu = torch.device("cpu")
open_quantized(Path(sys.argv[1]), torch.float32, torch.float32, cpu)  # what libraries take once
before, peak, done = held(), [0], threading.Event()

def watch():
    while not done.wait(0.002):
        peak[0] = max(peak[0], held())

watcher = threading.Thread(target=watch)
watcher.start()
model = open_quantized(Path(sys.argv[2]), torch.float32, torch.float32, cpu)
done.set()
watcher.join()
print(peak[0] - before)
"""


@pytest.mark.slow
def test_opening_holds_no_second_copy_of_the_model(toy: Toy, tmp_path: Path) -> None:
    """57 M parameters, 227 MB in float32: made in four bits tensor by tensor, the largest tensor being 6 MB."""
    folder, size = tmp_path / "model", Size(768, 2048, 8, 12, 12, 256)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config_of(size, 500, {})))
    write_fresh(folder, size, 500, seed=0)
    half = variant(folder, tmp_path / "half", dtype=torch.bfloat16)  # float32 files are mapped, not read
    words = [sys.executable, "-c", MEASURE, str(toy.resized), str(half)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    full = parameter_count(tensor_plan(size, 500)) * 4
    assert int(done.stdout) < 0.75 * full  # 77 to 124 MB: tensors are read by threads, some at a time; whole it is 230


def test_shapes_that_a_cpu_rounds_wrongly_are_refused(toy: Toy, tmp_path: Path) -> None:
    odd = random_model(tmp_path / "odd", toy.tokenizer, intermediate_size=100)
    with pytest.raises(MissingError, match=r"down_proj reads 100 values, no multiple of 64.*Train on a CUDA device"):
        Trainee(odd, torch.float32, torch.device("cpu"), four_bit=torch.float32)
