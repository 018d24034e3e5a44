"""Which GGUF type each tensor gets in a file of a given type.

The mixtures are llama.cpp's (llama_tensor_get_type_impl and tensor_type_fallback in src/llama-quant.cpp): what
suffers most (value and down projections, the head) gets more bits than the type's name says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gguf import GGML_QUANT_SIZES, LlamaFileType
from gguf import GGMLQuantizationType as T

FILE_TYPES = {
    "f32": LlamaFileType.ALL_F32,
    "f16": LlamaFileType.MOSTLY_F16,
    "bf16": LlamaFileType.MOSTLY_BF16,
    "q8_0": LlamaFileType.MOSTLY_Q8_0,
    "q6_k": LlamaFileType.MOSTLY_Q6_K,
    "q5_k_m": LlamaFileType.MOSTLY_Q5_K_M,
    "q4_k_m": LlamaFileType.MOSTLY_Q4_K_M,
    "q4_k_s": LlamaFileType.MOSTLY_Q4_K_S,
    "q4_0": LlamaFileType.MOSTLY_Q4_0,
    "q3_k_m": LlamaFileType.MOSTLY_Q3_K_M,
    "q2_k": LlamaFileType.MOSTLY_Q2_K,
}
# What a tensor gets that no rule below names.
_ORDINARY = {
    "f32": T.F32, "f16": T.F16, "bf16": T.BF16, "q8_0": T.Q8_0, "q6_k": T.Q6_K, "q5_k_m": T.Q5_K,
    "q4_k_m": T.Q4_K, "q4_k_s": T.Q4_K, "q4_0": T.Q4_0, "q3_k_m": T.Q3_K, "q2_k": T.Q2_K,
}  # fmt: skip
FLOATS = (T.F32, T.F16, T.BF16)
FALLBACK = {T.Q2_K: T.Q4_0, T.Q3_K: T.Q4_0, T.Q4_K: T.Q5_0, T.Q5_K: T.Q5_1, T.Q6_K: T.Q8_0}
_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight$")


@dataclass(frozen=True)
class Mixture:
    """What of a model decides its tensors' types, beside the type that the file's name gives."""

    file_type: str
    layers: int
    tied: bool
    heads_per_kv: float = 1.0
    has_importance: bool = False

    def of(self, name: str, shape: tuple[int, ...]) -> T:
        """The type of one tensor by its GGUF name; norms and biases stay F32, awkward rows fall back."""
        ordinary = _ORDINARY[self.file_type]
        if len(shape) == 1:
            return T.F32
        if ordinary in FLOATS:
            return ordinary
        if name == "output.weight" or (self.tied and name == "token_embd.weight"):
            awkward = shape[-1] % GGML_QUANT_SIZES[ordinary][0]
            return fallback(T.Q8_0 if ordinary == T.Q8_0 or awkward else T.Q6_K, shape[-1])
        match = _LAYER.match(name)
        wanted = self._in_layer(int(match[1]), match[2]) if match else None
        return fallback(wanted or ordinary, shape[-1])

    def _in_layer(self, layer: int, part: str) -> T | None:
        rule = {"attn_v": self._value, "ffn_down": self._down, "attn_output": self._output}.get(part)
        return rule(layer) if rule else None

    def _value(self, layer: int) -> T | None:
        found = None
        if self.file_type == "q2_k":
            found = T.Q4_K if self.heads_per_kv >= 4 else T.Q3_K
        elif self.file_type == "q3_k_m":
            found = T.Q5_K if layer < 2 else T.Q4_K
        elif self.file_type in ("q4_k_m", "q5_k_m") and self._more_bits(layer):
            found = T.Q6_K
        elif self.file_type == "q4_k_s" and layer < 4:
            found = T.Q5_K
        # The 70B models, whose value matrix is small beside the 8 heads that share it.
        is_small = (found or _ORDINARY[self.file_type]) in (T.Q3_K, T.Q4_K)
        return T.Q5_K if self.layers == 80 and is_small else found

    def _down(self, layer: int) -> T | None:
        early = layer < self.layers // 8
        if self.file_type == "q3_k_m":
            return T.Q5_K if layer < self.layers // 16 else T.Q4_K
        found = {
            "q2_k": (True, T.Q3_K),
            "q4_k_m": (self._more_bits(layer), T.Q6_K),
            "q5_k_m": (self._more_bits(layer), T.Q6_K),
            "q4_k_s": (early, T.Q5_K),
            "q4_0": (early and self.has_importance, T.Q4_1),
        }.get(self.file_type, (False, T.F32))
        return found[1] if found[0] else None

    def _output(self, layer: int) -> T | None:
        return {"q2_k": T.Q3_K, "q3_k_m": T.Q4_K}.get(self.file_type)

    def _more_bits(self, layer: int) -> bool:
        eighth = self.layers // 8
        return layer < eighth or layer >= 7 * self.layers // 8 or (layer - eighth) % 3 == 2


def fallback(wanted: T, row: int) -> T:
    """The wanted type, or llama.cpp's substitute where its block length does not divide the row."""
    if row % GGML_QUANT_SIZES[wanted][0] == 0:
        return wanted
    substitute = FALLBACK.get(wanted, T.F16)
    return substitute if row % GGML_QUANT_SIZES[substitute][0] == 0 else T.F16
