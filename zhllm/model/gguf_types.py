"""Which GGUF type each tensor gets in a file of a given type.

The mixture of q4_k_m, q5_k_m and q6_k is llama.cpp's (llama_tensor_get_type in llama-quant.cpp):
value and down projections of the outer and every third layer in six bits, the head in six bits.
"""

from __future__ import annotations

import re

from gguf import GGMLQuantizationType as T
from gguf import LlamaFileType

from zhllm.model.kquants import FALLBACK

FILE_TYPES = {
    "f32": LlamaFileType.ALL_F32,
    "f16": LlamaFileType.MOSTLY_F16,
    "bf16": LlamaFileType.MOSTLY_BF16,
    "q8_0": LlamaFileType.MOSTLY_Q8_0,
    "q6_k": LlamaFileType.MOSTLY_Q6_K,
    "q5_k_m": LlamaFileType.MOSTLY_Q5_K_M,
    "q4_k_m": LlamaFileType.MOSTLY_Q4_K_M,
}
_PLAIN = {"f32": T.F32, "f16": T.F16, "bf16": T.BF16, "q8_0": T.Q8_0, "q6_k": T.Q6_K}
_MIXED = {"q5_k_m": T.Q5_K, "q4_k_m": T.Q4_K}
_LAYER = re.compile(r"blk\.(\d+)\.")


def tensor_type(name: str, shape: tuple[int, ...], file_type: str, layers: int, tied: bool) -> T:
    """The type of one tensor by its GGUF name; 1-D tensors stay F32, awkward rows fall back."""
    if len(shape) == 1:
        return T.F32
    wanted = _PLAIN[file_type] if file_type in _PLAIN else _mixed(name, file_type, layers, tied)
    return fallback(wanted, shape[-1])


def _mixed(name: str, file_type: str, layers: int, tied: bool) -> T:
    if name == "output.weight" or (tied and name == "token_embd.weight"):
        return T.Q6_K
    match = _LAYER.match(name)
    if match and name.endswith(("attn_v.weight", "ffn_down.weight")) and _more_bits(int(match[1]), layers):
        return T.Q6_K
    if file_type == "q4_k_m" and layers == 80 and name.endswith("attn_v.weight"):
        return T.Q5_K  # the 70B models, whose value matrix is small beside the 8 heads that share it
    return _MIXED[file_type]


def _more_bits(layer: int, layers: int) -> bool:
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def fallback(wanted: T, row: int) -> T:
    """The wanted type, or llama.cpp's substitute where its block length does not divide the row."""
    if wanted in FALLBACK and row % 256:
        wanted = FALLBACK[wanted]
    if wanted not in (T.F32, T.F16, T.BF16) and row % 32:
        return T.F16
    return wanted
