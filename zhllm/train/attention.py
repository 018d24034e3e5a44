"""Attention within documents: rows hold many, and none may see another.

transformers makes of positions that start again a (B, 1, T, T) mask, and computes all T x T scores of a
row. Here every document is a sequence of its own: by torch's variable-length kernel on a GPU (flash
attention, Dao 2023), by one causal call a document elsewhere.

B rows of T tokens, Q query heads, K key-value heads, D head size, N documents.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

NAME = "zhllm_documents"
LENGTHS = "cu_seq_lens_q"  # transformers' own name: it hands it to the attention of every layer
VARLEN_DTYPES = (torch.bfloat16, torch.float16)


def use_document_attention(model: Any) -> bool:
    """Make a transformers model attend within documents; False where its attention is more than causal."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    config = model.config
    if getattr(config, "attention_dropout", 0) or getattr(config, "sliding_window", None):
        return False
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # for calls that do not say where documents begin
    model.set_attn_implementation(NAME)
    return True


def documents_of(position_ids: Tensor) -> dict[str, Tensor]:
    """Arguments for the model's forward pass: where documents begin, and a mask that only stops it making one."""
    return {LENGTHS: bounds_of(position_ids), "attention_mask": position_ids.new_zeros(1, 1, 1, 1)}


def bounds_of(position_ids: Tensor) -> Tensor:
    """(N+1,) int32: where the documents of (B, T) positions begin in the rows laid end to end, and B x T."""
    flat = position_ids.reshape(-1)
    starts = (flat == 0).nonzero()[:, 0]
    return torch.cat([starts, starts.new_tensor([flat.numel()])]).to(torch.int32)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: (B, Q, T, D) and (B, K, T, D) in, (B, T, Q, D) out."""
    bounds: Tensor | None = kwargs.pop(LENGTHS, None)
    if bounds is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return plain
    dtype = kernel_dtype(query)
    if query.is_cuda and dtype is not None:
        return _by_kernel(query.to(dtype), key.to(dtype), value.to(dtype), bounds, scaling), None
    return _one_by_one(query, key, value, bounds.tolist(), scaling), None


def kernel_dtype(query: Tensor) -> torch.dtype | None:
    """The dtype in which the variable-length kernel can read these queries; None where that would be float32.

    Under autocast rotary positions leave float32 queries of float32 weights, and the kernel is not one
    of the operations that autocast casts for.
    """
    device = query.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
    return dtype if dtype in VARLEN_DTYPES else None


def _by_kernel(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scale: float | None) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    rows, heads, length, size = query.shape
    q, k, v = (t.transpose(1, 2).reshape(rows * length, -1, size) for t in (query, key, value))
    # A row is the longest that a document can be; the kernel needs no closer bound.
    found: Tensor = varlen_attn(
        q, k, v, bounds, bounds, length, length, scale=scale, window_size=(-1, 0), enable_gqa=heads != key.shape[1]
    )  # type: ignore[assignment]
    return found.view(rows, length, heads, size)


def _one_by_one(query: Tensor, key: Tensor, value: Tensor, bounds: list[int], scale: float | None) -> Tensor:
    rows, heads, length, size = query.shape
    groups = heads // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    every = (query.unbind(), key.unbind(), value.unbind())
    parts = []
    for row, found in itertools.groupby(_stretches(bounds, length), key=lambda stretch: stretch[0] // length):
        stretches = list(found)
        # Split, not sliced: the gradients of slices are whole rows of zeros, one for each document.
        cuts = (tensors[row].split([end - first for first, end, _ in stretches], dim=1) for tensors in every)
        for (_, _, single), q, k, v in zip(stretches, *cuts, strict=True):
            parts.append(v if single else _causal(q, k, v, scale))  # a token alone attends to itself
    together = torch.cat(parts, dim=1).view(heads, rows, length, size)
    return together.permute(1, 2, 0, 3)


def _causal(query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
    """(Q, T, D) of one document."""
    return functional.scaled_dot_product_attention(query[None], key[None], value[None], is_causal=True, scale=scale)[0]


def _stretches(bounds: list[int], length: int) -> Iterator[tuple[int, int, bool]]:
    """(first, end, whether its tokens are alone): each document, and runs of padding of a row as one."""
    run = None
    for first, end in itertools.pairwise(bounds):
        single = end - first == 1
        if run is not None and (not single or first % length == 0):
            yield run, first, True
            run = None
        if single:
            run = first if run is None else run
        else:
            yield first, end, False
    if run is not None:
        yield run, bounds[-1], True
