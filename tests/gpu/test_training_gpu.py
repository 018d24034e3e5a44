"""Training at real shapes on a GPU: speed, utilisation and memory; random weights, random ids.

`pytest -s -m gpu tests/gpu` prints rows for tests/bench/RESULTS.md.
"""

from __future__ import annotations

import datetime
import gc
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from zhllm.model.llama import LINEARS, SIZES, Size, config_of, tensor_plan
from zhllm.model.tensors import Writer
from zhllm.train import trainee as trainee_module
from zhllm.train.batch import Batch, stack
from zhllm.train.loop import Loop, LoopSettings, Watch
from zhllm.train.lora import LoraSettings
from zhllm.train.optimizers import OptimizerSettings
from zhllm.train.pack.store import positions_of
from zhllm.train.plan.cost import Training, flops_per_token, peak_flops, shape_of_model
from zhllm.train.processes import Processes
from zhllm.train.proof import Start
from zhllm.train.schedules import Schedule
from zhllm.train.tally import Measure
from zhllm.train.trainee import Trainee

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; there is none here"),
]

LLAMA_7B = Size(4096, 11008, 32, 32, 32, 4096)
VOCABULARY, BASE_VOCABULARY = 49_280, 32_000  # Llama-2 and 17,280 added rows
DOCUMENT_TOKENS = 500
LORA = LoraSettings(64, 128.0, 0.0, LINEARS)
WARM = 5  # steps that compile, allocate and choose kernels


COMMAND = "pytest -s -m gpu tests/gpu"
HEADER = "| date | device | what | tokens/s | MFU | peak GB | seconds a step |\n|---|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Measured:
    """One run's figures."""

    what: str
    tokens_per_s: float
    utilisation: float | None
    peak_bytes: int
    step_s: float


@pytest.fixture(autouse=True)
def _memory_of_this_test_alone() -> None:
    gc.collect()  # the model of the test before stands in reference cycles
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


@pytest.fixture(scope="session")
def rows() -> Iterator[Callable[[Measured], None]]:
    """Takes a run's figures; prints them all as a table when the session ends."""
    taken: list[Measured] = []
    yield taken.append
    if taken:
        print(f"\n\n{COMMAND}, torch {torch.__version__}\n\n{HEADER}")
    for run in taken:
        share = "?" if run.utilisation is None else f"{run.utilisation:.1%}"
        print(
            f"| {datetime.date.today()} | {torch.cuda.get_device_name()} | {run.what} | {run.tokens_per_s:,.0f} "
            f"| {share} | {run.peak_bytes / 1e9:.1f} | {run.step_s:.3f} |"
        )


def random_weights(folder: Path, size: Size) -> Path:
    """A model directory of this shape in bf16: matrices normal(0, 0.02), norms one, new rows known."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config_of(size, VOCABULARY, {}) | {"dtype": "bfloat16"}))
    (folder / "extension.json").write_text(json.dumps({"base_vocab_size": BASE_VOCABULARY}))
    generator = torch.Generator("cuda").manual_seed(0)
    plan = tensor_plan(size, VOCABULARY, "BF16")
    with Writer(folder, plan) as writer:
        for spec in plan:
            values = torch.ones(spec.shape, device="cuda")
            if len(spec.shape) == 2:
                values.normal_(0, 0.02, generator=generator)
            writer.write(spec.name, values.bfloat16().view(torch.int16).cpu().numpy().view(np.uint16))
    return folder


@pytest.fixture(scope="module")
def one_b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights(tmp_path_factory.mktemp("gpu") / "1b", SIZES["1b"])


@pytest.fixture(scope="module")
def seven_b(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_weights(tmp_path_factory.mktemp("gpu") / "7b", LLAMA_7B)


def batch_of(step: int, rows: int, tokens: int) -> Batch:
    """Rows of documents of random ids side by side, every token learnt."""
    rng = np.random.default_rng(step)
    ids = rng.integers(3, VOCABULARY, (rows, tokens + 1))
    positions = positions_of(np.arange(0, tokens, DOCUMENT_TOKENS), tokens)
    return stack([(row[:-1], row[1:], positions) for row in ids])


def measured(
    what: str, trainee: Trainee, training: Training, steps: int, rows: int, tokens: int, optimizer: str
) -> tuple[Measured, list[float]]:
    """Train so many steps of rows of tokens; figures of the steps behind the first few, and every loss."""
    device = trainee.device
    sizes = np.ones(VOCABULARY, np.int64)
    settings = LoopSettings(
        Schedule("constant", steps, 1, 1.0), OptimizerSettings(optimizer, 1e-4, 0.0), compute=torch.bfloat16
    )
    speeds: list[dict[str, Any]] = []
    loop = Loop(trainee.train(), trainee.layers, settings, Measure.of((sizes, sizes)), Processes("cuda"), None)
    records = loop.run(lambda step: [batch_of(step, rows, tokens)], watch=Watch(on_speed=speeds.append))
    torch.cuda.synchronize(device)
    seconds = sum(speed["seconds"] for speed in speeds[WARM:]) / (steps - WARM)
    rate = rows * tokens / seconds
    peak = peak_flops(torch.cuda.get_device_name(device), "bf16")
    needed = flops_per_token(shape_of_model(trainee.folder), training, tokens).model
    share = None if peak is None else rate * needed / peak
    highest = torch.cuda.max_memory_allocated(device)
    return Measured(what, rate, share, highest, seconds), [record["loss"] for record in records]


def plain_cross_entropy(hidden: Tensor, heads: list[Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
    """The loss with all logits at once, as most trainers have it."""
    losses = functional.cross_entropy((hidden @ torch.cat(heads).to(hidden.dtype).T).float(), labels, reduction="none")
    return losses.sum(), losses.detach()


@pytest.mark.parametrize(
    ("compiled", "chunked"), [(False, True), (True, True), (False, False)], ids=["plain", "compile", "whole logits"]
)
def test_one_billion_parameters_in_bf16_for_fifty_steps(
    one_b: Path, rows: Callable[[Measured], None], compiled: bool, chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not chunked:
        monkeypatch.setattr(trainee_module, "chunked_cross_entropy", plain_cross_entropy)
    trainee = Trainee(one_b, torch.float32, torch.device("cuda"))  # fp32 master weights, bf16 products
    trainee.make_trainable("all", LORA, seed=0)
    if compiled:
        trainee.compile_layers()
    name = f"1b all bf16, 8 x 2048 tokens, compile {'on' if compiled else 'off'}, chunked loss {chunked}"
    run, losses = measured(name, trainee, Training("all"), 50, 8, 2048, "adamw")
    rows(run)
    assert all(math.isfinite(loss) for loss in losses) and losses[-1] < losses[0] + 0.05
    assert abs(losses[0] - math.log(VOCABULARY)) < 1.0


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-8bit", "paged-adamw-8bit"])
@pytest.mark.parametrize("what", ["qlora", "new-rows+qlora"])
def test_seven_billion_parameters_in_four_bits_fit_24_gb(
    seven_b: Path, rows: Callable[[Measured], None], what: str, optimizer: str
) -> None:
    trainee = Trainee(seven_b, torch.bfloat16, torch.device("cuda"), four_bit=torch.bfloat16)
    trainee.make_trainable(what, LORA, seed=0)
    trainee.checkpoint_gradients()
    start = Start.of(trainee)
    training = Training(what, LORA.rank, LORA.target_modules, gradient_checkpointing=True)
    run, losses = measured(f"7b {what} {optimizer}, 4 x 1024 tokens", trainee, training, WARM + 5, 4, 1024, optimizer)
    rows(run)
    start.prove(trainee, Processes("cuda"))
    assert all(math.isfinite(loss) for loss in losses)
    assert run.peak_bytes < 22e9, "does not fit a 24 GB card"


@pytest.mark.parametrize("init", ["default", "pissa-fast", "loftq"])
@pytest.mark.parametrize("dora", [False, True])
def test_the_saved_adapter_makes_the_trained_weights(tmp_path: Path, init: str, dora: bool) -> None:
    """On the GPU the base is bf16 and its products are: the same proof as on a CPU, and gradients that are right."""
    folder = random_weights(tmp_path / "model", SIZES["tiny"])
    settings = LoraSettings(8, 16.0, 0.0, LINEARS, dora=dora, init=init)
    trainee = Trainee(folder, torch.bfloat16, torch.device("cuda"), four_bit=torch.bfloat16)
    trainee.make_trainable("new-rows+qlora", settings, seed=0)
    measured("tiny", trainee, Training("new-rows+qlora", 8), WARM + 1, 2, 256, "adamw")
    out = tmp_path / "out"
    out.mkdir()
    trainee.save(out)
    assert trainee.unlike_saved(out) == []


def test_paged_moments_train_as_full_ones_do(tmp_path: Path) -> None:
    folder = random_weights(tmp_path / "model", SIZES["tiny"])
    made = {}
    for optimizer in ("adamw", "adamw-8bit", "paged-adamw", "paged-adamw-8bit"):
        trainee = Trainee(folder, torch.float32, torch.device("cuda"))
        trainee.make_trainable("lora", LoraSettings(32, 64.0, 0.0, LINEARS), seed=0)
        before = torch.cat([p.detach().flatten() for p in trainee.named_trainable().values()])
        measured("tiny", trainee, Training("lora", 32), WARM + 5, 2, 256, optimizer)
        made[optimizer] = torch.cat([p.detach().flatten() for p in trainee.named_trainable().values()]) - before
    for optimizer, limit in (("paged-adamw", 0.999), ("adamw-8bit", 0.95), ("paged-adamw-8bit", 0.95)):
        assert functional.cosine_similarity(made["adamw"], made[optimizer], dim=0) > limit, optimizer
