"""A base held in four bits while adapters learn: QLoRA (Dettmers et al. 2023), NF4 with double quantisation.

Only the linear layers inside the decoder are quantised; embeddings, norms and head stay as they are.
O out features, I in features.
"""

from __future__ import annotations

from collections.abc import Iterator
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zhllm.errors import MissingError, ProofError
from zhllm.model.transformers_model import open_model

BLOCK = 64  # weights that share one scale: bitsandbytes' block of NF4
# NF4's 16 levels lie in [-1, 1]; the widest gap, from -1 to -0.6962, rounds by half of it at most. The
# scales are held in 8 bits themselves, which shifts all of a block; 0.02 of the largest scale covers that.
WIDEST_HALF_GAP, SCALE_ERROR = 0.152, 0.02
ADVICE = "Train on a CUDA device, or with --trainable lora."


def open_quantized(folder: Path, dtype: torch.dtype | str, compute: torch.dtype, device: torch.device) -> Any:
    """A transformers causal LM whose decoder's linear layers are NF4, made tensor by tensor from `folder`.

    `compute` is what their products are computed in, `dtype` that of everything else. Raises
    MissingError where bitsandbytes is not installed, cannot work here, or is wrong here for these shapes.
    """
    getLogger("bitsandbytes").setLevel(ERROR)  # see open_model
    bitsandbytes = _bitsandbytes(device)
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )
    model = open_model(folder, dtype, quantization_config=config, device_map={"": device})
    for name, layer in four_bit_layers(model).items():
        if layer.in_features % BLOCK and device.type == "cpu":
            raise MissingError(
                f"{folder}: {name} reads {layer.in_features} values, no multiple of {BLOCK}, which bitsandbytes rounds "
                f"wrongly on a CPU. {ADVICE}"
            )
        # With AVX512-BF16 an eval-mode forward would repack the weights for a kernel without gradients.
        layer.support_avx512bf16_for_cpu = False
    check_gradients(model, f"bitsandbytes {bitsandbytes.__version__} on {device.type}")
    return model


def _bitsandbytes(device: torch.device) -> Any:
    """The package, after it has rounded one small matrix on this device."""
    try:
        import bitsandbytes
    except ImportError as error:
        raise MissingError(f"--trainable qlora needs bitsandbytes ({error}). Install it. {ADVICE}") from error
    try:
        values = torch.linspace(-1, 1, BLOCK * 2, device=device).view(2, BLOCK)
        rounded = dequantized(_four_bit(values, nn.Linear(BLOCK, 2, device=device)))
    except (RuntimeError, OSError, AttributeError, NotImplementedError, ValueError) as problem:
        raise MissingError(
            f"--trainable qlora: bitsandbytes {bitsandbytes.__version__} does not work on {device.type} "
            f"({str(problem).splitlines()[0]}). {ADVICE}"
        ) from problem
    if not ((rounded - values).abs() <= rounding_limits(values)).all():
        raise MissingError(
            f"--trainable qlora: bitsandbytes {bitsandbytes.__version__} rounds wrongly on {device.type}. {ADVICE}"
        )
    return bitsandbytes


def four_bit_layers(model: nn.Module) -> dict[str, Any]:
    """Every 4-bit linear layer by name."""
    from bitsandbytes.nn import Linear4bit

    return {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}


def is_four_bit(weight: Tensor) -> bool:
    """Whether this parameter is packed in four bits."""
    return getattr(weight, "quant_state", None) is not None


def quantization_tensors(weight: Tensor) -> Iterator[Tensor]:
    """What belongs to a parameter's value beside its own bytes: scales and levels of a 4-bit one."""
    state = getattr(weight, "quant_state", None)
    while state is not None:
        for name in ("absmax", "code", "offset"):
            value = getattr(state, name, None)
            if isinstance(value, Tensor):
                yield value
        state = getattr(state, "state2", None)


def dequantized(weight: Tensor) -> Tensor:
    """(O, I) float32 values of a parameter, 4-bit or not."""
    if not is_four_bit(weight):
        return weight.detach().float()
    from bitsandbytes.functional import dequantize_4bit

    values: Tensor = dequantize_4bit(weight.data, weight.quant_state)  # type: ignore[attr-defined]
    return values.float()


def set_weight(layer: Any, values: Tensor) -> None:
    """Put (O, I) values into a linear layer in the form it holds its weight in: a dtype, or 4 bits."""
    if is_four_bit(layer.weight):
        dtype = layer.weight.quant_state.dtype
        layer.weight = _four_bit(values.to(dtype), layer)
    else:
        with torch.no_grad():
            layer.weight.copy_(values)


def _four_bit(values: Tensor, layer: Any) -> Any:
    from bitsandbytes.nn import Params4bit

    made = Params4bit(values, requires_grad=False, quant_type="nf4", compress_statistics=True, module=layer)
    return made.to(values.device)


def rounding_limits(values: Tensor) -> Tensor:
    """How far NF4 with double quantisation may move each of the (O, I) float32 values."""
    flat = values.detach().abs().flatten()
    blocks = nn.functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK).amax(dim=1, keepdim=True)
    limits = WIDEST_HALF_GAP * blocks + SCALE_ERROR * blocks.max()
    return limits.expand(-1, BLOCK).flatten()[: len(flat)].view_as(values)


def check_gradients(model: nn.Module, what: str) -> None:
    """MissingError unless 4-bit layers give the gradients of their dequantised weights, also after an eval forward.

    One layer of each shape is asked. Where repacking is on, the cosine is between -0.1 and 0.01.
    """
    seen = set()
    for name, layer in four_bit_layers(model).items():
        shape = (layer.out_features, layer.in_features)
        if shape not in seen:
            seen.add(shape)
            cosine = _gradient_cosine(layer)
            if not cosine > 0.99:  # bf16 products differ in the third digit
                raise MissingError(
                    f"--trainable qlora: {what} gives wrong gradients: those of {name} have cosine {cosine:.2f} "
                    f"to the true ones. {ADVICE}"
                )
    if not seen:
        raise ProofError("--trainable qlora: the model has no linear layer to hold in four bits.")


def _gradient_cosine(layer: Any) -> float:
    """Cosine of the gradient by the layer's input, after an eval forward, to that of its dequantised weight."""
    weight, training = dequantized(layer.weight), layer.training
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(8, layer.in_features, generator=generator).to(weight.device)
    wanted = torch.randn(8, layer.out_features, generator=generator).to(weight.device)
    with torch.no_grad():
        layer.eval()(inputs)
    layer.train()
    leaf = inputs.requires_grad_(True)
    made = layer(leaf)
    if not made.requires_grad:
        return 0.0
    (found,) = torch.autograd.grad(made, leaf, wanted)
    layer.train(training)
    return float(nn.functional.cosine_similarity(found.flatten().float(), (wanted @ weight).flatten(), dim=0))


def record(model: nn.Module) -> dict[str, Any]:
    """How the base was held while training: what quantization.json says beside an adapter."""
    import bitsandbytes

    layers = four_bit_layers(model)
    first = next(iter(layers.values()))
    return {
        "quant_type": first.weight.quant_type,
        "double_quant": first.weight.compress_statistics,
        "blocksize": first.weight.blocksize,
        "compute_dtype": str(first.compute_dtype).removeprefix("torch."),
        "dequantized_dtype": str(first.weight.quant_state.dtype).removeprefix("torch."),
        "modules": sorted(name.removeprefix("base_model.model.").removesuffix(".base_layer") for name in layers),
        "bitsandbytes": bitsandbytes.__version__,
    }


def nf4_and_back(values: Tensor, dtype: torch.dtype) -> Tensor:
    """(O, I) float32 values as a QLoRA base of that dtype holds them: NF4 with double quantisation, dequantised."""
    return dequantized(_four_bit(values.to(dtype), nn.Linear(1, 1, bias=False)))
