"""Cross-entropy without the (tokens x vocabulary) matrix: chunk by chunk, gradients in the forward pass.

N predicted tokens, H hidden size, V vocabulary rows (base rows and new rows together).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

# Elements of one chunk of logits: 2^24 float32 are 64 MB, whatever the number of tokens. Every chunk reads
# and writes the whole gradient of the head, so small ones cost time: at V = 55,296 and H = 384 in float32, 2048
# tokens took 3.3 CPU seconds with 2^22, 2.7 with 2^23 to 2^25 (one thread, AVX-512); rows of a larger V need 2^24.
CHUNK_ELEMENTS = 1 << 24

# Elements of a chunk whose float32 softmax a CPU makes at once: 1 MB, the cache of a core. It halves the time of
# the softmax where products are bf16, and leaves no float32 copy of the chunk.
CACHED_ELEMENTS = 1 << 18


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
        grad_hidden = torch.empty_like(hidden) if need_hidden else None
        grads = [
            torch.zeros_like(head, dtype=torch.float32) if needed else None
            for head, needed in zip(heads, need_heads, strict=True)
        ]
        losses = hidden.new_empty(len(labels), dtype=torch.float32)
        with torch.autocast(device, enabled=False):
            weights = [head.to(dtype) for head in heads]
            for part, rows, products in _chunks(hidden, weights):
                losses[part] = _losses_and_gradients(products, labels[part])
                if grad_hidden is None and not any(need_heads):
                    continue
                pieces = products.split([len(w) for w in weights], dim=1)  # type: ignore[no-untyped-call]
                if grad_hidden is not None:
                    grad_hidden[part] = sum(p @ w for p, w in zip(pieces, weights, strict=True))
                for grad, piece in zip(grads, pieces, strict=True):
                    if grad is not None:
                        _add_product(grad, piece.T, rows)
        ctx.grads = (grad_hidden, *grads)
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        # Scaled in place and given away: a second (V, H) matrix would be the peak of a small model's memory.
        assert ctx.grads is not None, "the loss can be differentiated once"
        (grad_hidden, *grads), ctx.grads = ctx.grads, None
        for grad in (grad_hidden, *grads):
            if grad is not None:
                grad.mul_(grad_outputs[0])
        return (grad_hidden, None, *grads)


def _chunks(hidden: Tensor, weights: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """(place, (n, H) rows, (n, V) logits, both in the weights' dtype) of each chunk; logits share one memory."""
    sizes = [len(w) for w in weights]
    step = min(max(16, CHUNK_ELEMENTS // sum(sizes)), max(1, len(hidden)))
    logits = hidden.new_empty(step, sum(sizes), dtype=weights[0].dtype)
    for start in range(0, len(hidden), step):
        part = slice(start, start + step)
        rows = hidden[part].to(weights[0].dtype)
        chunk = logits[: len(rows)]
        for weight, columns in zip(weights, chunk.split(sizes, dim=1), strict=True):  # type: ignore[no-untyped-call]
            torch.mm(rows, weight.T, out=columns)
        yield part, rows, chunk


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """`total` += left @ right, in one pass over `total` where the dtypes allow."""
    if total.dtype == right.dtype:
        torch.addmm(total, left, right, out=total)
    else:
        total += left @ right


def _losses_and_gradients(logits: Tensor, labels: Tensor) -> Tensor:
    """The loss of each of the chunk's tokens; `logits` become softmax - onehot in place."""
    step = max(1, CACHED_ELEMENTS // logits.shape[1]) if logits.device.type == "cpu" else len(logits)
    losses = []
    for some, theirs in zip(logits.split(step), labels.split(step), strict=True):  # type: ignore[no-untyped-call]
        exact = some.float()  # the logits themselves where they are float32
        losses.append(_softmax_minus_onehot(exact, theirs[:, None]))
        some.copy_(exact)
    return torch.cat(losses)


def _softmax_minus_onehot(logits: Tensor, index: Tensor) -> Tensor:
    """The loss of each row, whose logits become softmax - onehot in place; `index` (n, 1)."""
    logits.sub_(logits.amax(dim=1, keepdim=True))
    chosen = logits.gather(1, index)
    total = logits.exp_().sum(dim=1, keepdim=True)
    losses = (total.log() - chosen)[:, 0]
    logits.div_(total)
    logits.scatter_add_(1, index, torch.full_like(chosen, -1.0))
    return losses
