"""Rotary positions: what a Llama-family config says about them, and the frequencies that follow.

Source: transformers' modeling_rope_utils; Meta's llama-models for Llama 3.1's scaling.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from zhllm.errors import DataError
from zhllm.model.tensors import F32


def rope(config: dict[str, Any]) -> dict[str, Any]:
    """Rotary settings as transformers reads them: the older `rope_scaling` wins over `rope_parameters`."""
    settings = config.get("rope_scaling") or config.get("rope_parameters") or {}
    return {"rope_theta": config.get("rope_theta", 10000.0), **settings}


def rope_kind(config: dict[str, Any]) -> str:
    """ "default", "linear" or "llama3"; DataError for a scaling that export does not know."""
    settings = rope(config)
    kind = settings.get("rope_type") or settings.get("type") or "default"
    if kind not in ("default", "linear", "llama3"):
        raise DataError(f'rope scaling "{kind}" is not one that export knows (default, linear, llama3).')
    return str(kind)


def rope_factors(config: dict[str, Any]) -> F32 | None:
    """(head_dim / 2,) divisors of Llama-3.1's rotary frequencies; None for other scalings.

    Source: Meta's llama-models, `apply_scaling`.
    """
    if rope_kind(config) != "llama3":
        return None
    settings = rope(config)
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    frequencies = settings["rope_theta"] ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    wavelengths = 2 * np.pi / frequencies
    low, high = settings["low_freq_factor"], settings["high_freq_factor"]
    turns = settings["original_max_position_embeddings"] / wavelengths
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    factors: F32 = (1 / ((1 - smooth) / settings["factor"] + smooth)).astype(np.float32)
    return factors


def rope_frequencies(config: dict[str, Any], head_dim: int) -> F32:
    """(head_dim / 2,) angles by which one position turns each pair; DataError as `rope_kind`."""
    settings = rope(config)
    frequencies = settings["rope_theta"] ** (-np.arange(0, head_dim, 2, dtype=np.float64) / head_dim)
    divisors = settings["factor"] if rope_kind(config) == "linear" else rope_factors(config)
    found: F32 = (frequencies if divisors is None else frequencies / divisors).astype(np.float32)
    return found
