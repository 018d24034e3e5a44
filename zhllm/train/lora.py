"""LoRA matrices in a model (by peft): how they start, and what is saved of them.

A start that changes the base (PiSSA, OLoRA, LoftQ) is saved as a plain LoRA of twice the rank on the
ORIGINAL base, so that nothing behind it has to know. O out features, I in features, R rank.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zhllm.errors import DataError
from zhllm.model.lora import ADAPTER_FILE, PREFIX, Adapter
from zhllm.model.tensors import Checkpoint
from zhllm.train.quantized import dequantized, is_four_bit, rounding_limits, set_weight

Gather = Callable[[Tensor], Tensor]
Pair = tuple[Tensor, Tensor]

CHANGE_BASE = ("olora", "pissa", "pissa-fast", "loftq")
POWER_ITERATIONS = 16  # of the randomised SVD: PiSSA's own choice, table 4 of Meng et al. 2024


@dataclass(frozen=True)
class LoraSettings:
    """LoRA (Hu et al. 2021): rank, alpha, dropout, module names, and its variants.

    The scale is alpha / rank, with `rslora` alpha / sqrt(rank) (Kalajdzievski 2023). `dora` learns
    each output's magnitude apart (Liu et al. 2024). `init`: "default" and "gaussian" draw A and leave B
    zero; "pissa" (Meng et al. 2024) takes the largest singular directions of the weight out of the base,
    "pissa-fast" by a randomised SVD, "olora" (Buyukakyuz 2024) the first of its QR; "loftq" (Li et al.
    2023, one iteration) the largest directions of what 4-bit rounding lost.
    """

    rank: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...]
    rslora: bool = False
    dora: bool = False
    init: str = "default"


class Lora:
    """The LoRA matrices of one model, and their first values where those came out of the base."""

    def __init__(self, model: Any, folder: Path, settings: LoraSettings) -> None:
        """Put them into `model`, which was opened from `folder`, and freeze all else.

        Raises DataError where a target names no linear layer, or has less rank than is asked for.
        """
        from peft import LoraConfig, get_peft_model

        check_targets(model, folder, settings.target_modules)
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=list(settings.target_modules),
            use_rslora=settings.rslora,
            use_dora=settings.dora,
            init_lora_weights="gaussian" if settings.init == "gaussian" else True,
            task_type="CAUSAL_LM",
        )
        self.folder, self.settings = folder, settings
        self.peft = get_peft_model(model, config)
        self.starts: dict[str, Pair] = {}  # by module: (R, I) and (O, R) on the CPU
        if settings.init in CHANGE_BASE:
            with torch.no_grad():
                self._start_from_base()

    @property
    def start(self) -> dict[str, Any] | None:
        """Which start changed the base, and how many of the saved rank's last rows undo it; None for none."""
        return {"init": self.settings.init, "rank": self.settings.rank} if self.starts else None

    def modules(self) -> Iterator[tuple[str, Any]]:
        """Every module that has LoRA matrices, by the name it has in the base."""
        from peft.tuners.lora import LoraLayer

        for name, module in self.peft.named_modules():
            if isinstance(module, LoraLayer):
                yield name.removeprefix(PREFIX), module

    def _start_from_base(self) -> None:
        """Give A and B values made from each weight W, and the base what is left of it: W - scale B A."""
        base = Checkpoint(self.folder)
        for name, module in self.modules():
            layer, scale = module.get_base_layer(), module.scaling["default"]
            weight = torch.tensor(base.f32(f"{name}.weight"), device=layer.weight.device)
            if self.settings.rank > min(weight.shape):
                raise DataError(
                    f"--lora-init {self.settings.init}: {name} is {weight.shape[0]} x {weight.shape[1]} and has no "
                    f"{self.settings.rank} directions. Lower --lora-rank to {min(weight.shape)}."
                )
            loftq = self.settings.init == "loftq"
            a, b = first_values(weight - dequantized(layer.weight) if loftq else weight, self.settings, scale)
            if not loftq:
                set_weight(layer, weight - scale * (b @ a))
            module.lora_A["default"].weight.copy_(a)
            module.lora_B["default"].weight.copy_(b)
            self.starts[name] = a.cpu().clone(), b.cpu().clone()
            if self.settings.dora:
                whole = dequantized(layer.weight) + scale * (b @ a)
                module.lora_magnitude_vector["default"].weight.copy_(whole.norm(dim=1))

    def tensors(self, gather: Gather) -> dict[str, Tensor]:
        """What is saved, by peft's names, on the CPU; changed starts as [A; A0] and [B, -B0]."""
        from peft import get_peft_model_state_dict

        state = get_peft_model_state_dict(self.peft, save_embedding_layers=False)
        made = {key: gather(value).detach().contiguous().cpu() for key, value in state.items()}
        for name, (a, b) in self.starts.items():
            for key, start, dim in ((f"{name}.lora_A.weight", a, 0), (f"{name}.lora_B.weight", -b, 1)):
                made[PREFIX + key] = torch.cat([made[PREFIX + key], start], dim=dim)
        return made

    def write_config(self, out: Path) -> None:
        """Write adapter_config.json: that of a plain LoRA on the original base."""
        config = self.peft.peft_config["default"].to_dict()
        config["inference_mode"] = True
        config["base_model_name_or_path"] = None  # the manifest holds the base's digest instead of a path
        if self.starts:
            scale = next(self.modules())[1].scaling["default"]
            rank = 2 * self.settings.rank
            config |= {"r": rank, "lora_alpha": scale * rank, "use_rslora": False}
        (out / "adapter_config.json").write_text(
            json.dumps(_ordered(config), indent=1, default=str) + "\n", encoding="utf-8"
        )

    def unlike_saved(self, out: Path, gather: Gather, read: bool) -> list[str]:
        """Names of the weights that the saved adapter does not make out of the original base, as trained.

        Element by element, before DoRA's magnitudes: as close as the base's dtype rounds, or within
        what NF4 may round. Nothing is read where the base is the original one.
        """
        wrong = []
        saved = Adapter(out) if read else None
        base = Checkpoint(self.folder)
        for name, module in self.modules():
            held = gather(module.get_base_layer().weight)
            a, b = (gather(part["default"].weight).detach().float() for part in (module.lora_A, module.lora_B))
            if saved is None:
                continue
            key, update = f"{name}.weight", saved.updates[f"{name}.weight"]
            gain = update.scale * (torch.tensor(update.b, device=b.device) @ torch.tensor(update.a, device=a.device))
            wanted = torch.tensor(base.f32(key), device=b.device) + gain - module.scaling["default"] * (b @ a)
            limits = rounding_limits(wanted) if is_four_bit(held) else _float_limit(held, wanted, gain)
            if not ((dequantized(held) - wanted).abs() <= limits).all():
                wrong.append(f"{ADAPTER_FILE} {key}")
        return wrong


def _float_limit(held: Tensor, wanted: Tensor, gain: Tensor) -> Tensor:
    """What storing the base in its dtype, and float32 sums over the rank, may have moved a value by."""
    largest = torch.maximum(wanted.abs().max(), gain.abs().max())
    return (torch.finfo(held.dtype).eps + 1e-5) * largest


def first_values(weight: Tensor, settings: LoraSettings, scale: float) -> Pair:
    """(R, I) A and (O, R) B, both float32: scale B A is the part of an (O, I) weight that they take over.

    For the singular directions that part is the best of its rank; OLoRA's is `scale` times the first
    rows of the QR factors, as its authors and peft have it.
    """
    rank = settings.rank
    if settings.init == "olora":
        q, r = torch.linalg.qr(weight)
        return r[:rank].contiguous(), q[:, :rank].contiguous()
    if settings.init == "pissa-fast":
        u, s, v = torch.svd_lowrank(weight, q=rank, niter=POWER_ITERATIONS)
    else:
        u, s, v = largest_directions(weight, rank)
    root = (s / scale).sqrt()
    return root[:, None] * v.T, u * root


def largest_directions(weight: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """(O, R) left and (I, R) right singular vectors of the R largest of the (R,) singular values between them.

    By the eigenvectors of the smaller Gram matrix in float64: on one CPU core 1.6 to 6 times as fast as
    torch.linalg.svd in float32 and 40 times as near to the exact product (1024 x 1024 to 1024 x 2816, rank 64).
    """
    if weight.shape[0] < weight.shape[1]:
        v, s, u = largest_directions(weight.T, rank)
        return u, s, v
    exact = weight.double()
    v = torch.linalg.eigh(exact.T @ exact).eigenvectors[:, -rank:].flip(1)
    u = exact @ v
    s = u.norm(dim=0)
    return (u / s.clamp(min=torch.finfo(s.dtype).tiny)).float(), s.float(), v.float()


def check_targets(model: Any, folder: Path, targets: Sequence[str]) -> None:
    """DataError when a target names no linear layer of the decoder; peft takes no notice where another one does."""
    modules = model.model.layers.named_modules()
    names = [f".model.layers.{name}" for name, module in modules if isinstance(module, torch.nn.Linear)]
    known = sorted({name.split(".")[-1] for name in names})
    lacking = [target for target in targets if not any(name.endswith(f".{target}") for name in names)]
    if lacking or not targets:
        raise DataError(
            f"{folder}: has no linear layer called {', '.join(lacking) or '(no name given)'} for --lora-targets. "
            f"There are: {', '.join(known)}."
        )


def _ordered(value: Any) -> Any:
    """peft holds module names in sets; a fixed order gives equal bytes in every process."""
    if isinstance(value, dict):
        return {k: _ordered(v) for k, v in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    return [_ordered(v) for v in value] if is_list else value
