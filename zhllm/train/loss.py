"""Cross-entropy without the (tokens x vocabulary) matrix: chunk by chunk, gradients in the forward pass.

N predicted tokens, H hidden size, V vocabulary rows (base rows and new rows together).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Elements of one chunk of logits: 2^22 float32 are 16 MB, whatever the number of tokens. A bound on
# memory, not a tuned speed.
CHUNK_ELEMENTS = 1 << 22


def chunked_cross_entropy(hidden: Tensor, heads: Sequence[Tensor], labels: Tensor) -> tuple[Tensor, Tensor]:
    """-log p(label) in nats, float32: its sum over the tokens, and each token's (N,), without gradient.

    `hidden` (N, H); `heads` matrices (V_k, H) whose rows stand one after the other in the
    vocabulary; `labels` (N,), every one a valid row (leave masked tokens out before). The softmax is
    float32; the products run in the autocast dtype where autocast is on. Gradients reach `hidden`
    and those heads that require them. Never holds more than one chunk of logits.
    """
    if not torch.is_grad_enabled():  # else the forward pass would make gradients that nobody asks for
        hidden, *heads = (tensor.detach() for tensor in (hidden, *heads))
    made: tuple[Tensor, Tensor] = _ChunkedCrossEntropy.apply(hidden, labels, *heads)  # type: ignore[no-untyped-call]
    return made


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, labels: Tensor, *heads: Tensor) -> tuple[Tensor, Tensor]:
        device = hidden.device.type
        on = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if on else hidden.dtype
        need_hidden, _, *need_heads = ctx.needs_input_grad
        with torch.autocast(device, enabled=False):
            weights = [head.to(dtype) for head in heads]
            sizes = [w.shape[0] for w in weights]
            grad_hidden = torch.zeros_like(hidden) if need_hidden else None
            grads = [
                torch.zeros_like(head, dtype=torch.float32) if needed else None
                for head, needed in zip(heads, need_heads, strict=True)
            ]
            losses = hidden.new_zeros(len(labels), dtype=torch.float32)
            step = max(16, CHUNK_ELEMENTS // sum(sizes))
            for start in range(0, hidden.shape[0], step):
                part = slice(start, start + step)
                rows = hidden[part].to(dtype)
                logits = torch.cat([rows @ w.T for w in weights], dim=1).float()
                losses[part] = _losses_and_gradients(logits, labels[part])
                if grad_hidden is None and not any(need_heads):
                    continue
                pieces = logits.to(dtype).split(sizes, dim=1)  # type: ignore[no-untyped-call]
                if grad_hidden is not None:
                    grad_hidden[part] = sum(p @ w for p, w in zip(pieces, weights, strict=True))
                for grad, piece in zip(grads, pieces, strict=True):
                    if grad is not None:
                        grad += piece.T @ rows
        ctx.save_for_backward(grad_hidden, *grads)
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        scale = grad_outputs[0]
        grad_hidden, *grads = ctx.saved_tensors
        scaled = [None if g is None else g * scale for g in (grad_hidden, *grads)]
        return (scaled[0], None, *scaled[1:])


def _losses_and_gradients(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of each of the chunk's tokens; `logits` become softmax - onehot in place."""
    index = labels[:, None]
    highest = logits.amax(dim=1, keepdim=True)
    logits.sub_(highest)
    chosen = logits.gather(1, index)
    total = logits.exp_().sum(dim=1, keepdim=True)
    losses = (total.log() - chosen)[:, 0]
    logits.div_(total)
    logits.scatter_add_(1, index, torch.full_like(chosen, -1.0))
    return losses
