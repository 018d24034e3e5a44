"""The chunked cross-entropy against torch's: the same loss and gradients, never N x V logits at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from zhllm.train import loss
from zhllm.train.loss import chunked_cross_entropy as losses_of

TOKENS, HIDDEN, ROWS = 37, 24, 61
SPLITS = [(ROWS,), (50, 11), (0, ROWS), (20, 20, 21)]
CHUNKS = [16 * ROWS, 17 * ROWS, TOKENS * ROWS, 1 << 22]  # 16 tokens are the smallest chunk


def problem(split: Sequence[int], frozen: Sequence[int] = ()) -> tuple[Tensor, list[Tensor], Tensor]:
    """Hidden states that need a gradient, heads of the given sizes (some frozen), labels."""
    generator = torch.Generator().manual_seed(3)
    hidden = torch.randn(TOKENS, HIDDEN, generator=generator).requires_grad_()
    matrix = torch.randn(ROWS, HIDDEN, generator=generator)
    heads = [part.clone().requires_grad_(i not in frozen) for i, part in enumerate(matrix.split(list(split)))]
    return hidden, heads, torch.randint(0, ROWS, (TOKENS,), generator=generator)


def chunked_cross_entropy(hidden: Tensor, heads: Sequence[Tensor], labels: Tensor) -> Tensor:
    """The sum alone."""
    return losses_of(hidden, heads, labels)[0]


def reference(hidden: Tensor, heads: Sequence[Tensor], labels: Tensor) -> Tensor:
    return functional.cross_entropy((hidden @ torch.cat(list(heads)).T).float(), labels, reduction="sum")


def loss_and_gradients(
    function: object, hidden: Tensor, heads: Sequence[Tensor], labels: Tensor
) -> tuple[Tensor, list[Tensor | None]]:
    """The loss, and the gradients of a mean over the tokens (a scale that is not 1)."""
    leaves = [hidden, *heads]
    for leaf in leaves:
        leaf.grad = None
    value = function(hidden, heads, labels)  # type: ignore[operator]
    (value / TOKENS).backward()
    return value.detach(), [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("cached", [1, 5 * ROWS, 1 << 18])
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("split", SPLITS)
def test_value_and_every_gradient_equal_torch(
    split: tuple[int, ...], chunk: int, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss, "CHUNK_ELEMENTS", chunk)
    monkeypatch.setattr(loss, "CACHED_ELEMENTS", cached)
    given = problem(split)
    wanted, wanted_grads = loss_and_gradients(reference, *given)
    found, grads = loss_and_gradients(chunked_cross_entropy, *given)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
    for grad, expected in zip(grads, wanted_grads, strict=True):
        torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-6)


def test_a_frozen_head_gets_no_gradient_and_changes_no_other() -> None:
    hidden, heads, labels = problem((50, 11), frozen=[0])
    _, (grad_hidden, frozen, new) = loss_and_gradients(chunked_cross_entropy, hidden, heads, labels)
    assert frozen is None
    _, (all_hidden, _, all_new) = loss_and_gradients(chunked_cross_entropy, *problem((50, 11)))
    assert torch.equal(grad_hidden, all_hidden) and torch.equal(new, all_new)  # type: ignore[arg-type]


def test_frozen_hidden_states_still_teach_the_head() -> None:
    hidden, heads, labels = problem((ROWS,))
    _, (_, wanted) = loss_and_gradients(reference, hidden, heads, labels)
    _, (none, found) = loss_and_gradients(chunked_cross_entropy, hidden.detach(), heads, labels)
    assert none is None
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


def test_under_bf16_autocast_it_is_as_exact_as_torch_is() -> None:
    """bf16 has 8 bits: each product carries up to 2^-8 relative error, so both differ from float32 by
    about 0.4 %; the softmax is float32 in both. Ours may be no worse than twice torch's own error."""
    given = problem((50, 11))
    exact, exact_grads = loss_and_gradients(reference, *given)
    with torch.autocast("cpu", torch.bfloat16):
        torchs, torch_grads = loss_and_gradients(reference, *given)
        ours, our_grads = loss_and_gradients(chunked_cross_entropy, *given)
    assert ours.dtype == torch.float32
    assert abs(ours - exact) <= max(2 * abs(torchs - exact), 2e-3 * exact)
    for grad, other, wanted in zip(our_grads, torch_grads, exact_grads, strict=True):
        assert grad is not None and other is not None and wanted is not None
        assert grad.dtype == torch.float32
        assert (grad - wanted).norm() <= 2 * (other - wanted).norm() < 0.02 * wanted.norm()


def test_bf16_hidden_states_give_a_float32_loss_and_gradients_of_their_own_dtype() -> None:
    hidden, heads, labels = problem((ROWS,))
    small = hidden.detach().bfloat16().requires_grad_()
    value = chunked_cross_entropy(small, heads, labels)
    value.backward()
    assert (value.dtype, small.grad.dtype, heads[0].grad.dtype) == (  # type: ignore[union-attr]
        torch.float32, torch.bfloat16, torch.float32,
    )  # fmt: skip


def test_no_token_is_a_loss_of_zero_with_zero_gradients() -> None:
    hidden, heads, labels = problem((ROWS,))
    value, grads = loss_and_gradients(chunked_cross_entropy, hidden[:0].detach(), heads, labels[:0])
    assert value == 0 and torch.equal(grads[1], torch.zeros_like(heads[0]))  # type: ignore[arg-type]


class Sizes(TorchDispatchMode):
    """Records how many values each operation of the block makes, where, and the shapes of products."""

    def __init__(self) -> None:
        super().__init__()
        self.largest, self.products, self.places = 0, [], {}

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: object = None) -> object:
        out = func(*args, **(kwargs or {}))  # type: ignore[operator]
        if isinstance(out, Tensor):
            self.largest = max(self.largest, out.numel())
            self.places.setdefault(out.numel(), set()).add(out.data_ptr())
            if "mm" in str(func):
                self.products.append(tuple(out.shape))
        return out


def test_no_operation_makes_more_than_one_chunk_of_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, rows, chunk = 1000, 500, 20
    monkeypatch.setattr(loss, "CHUNK_ELEMENTS", chunk * rows)
    hidden = torch.randn(tokens, 8, requires_grad=True)
    head = nn.Parameter(torch.randn(rows, 8))
    with Sizes() as seen:
        chunked_cross_entropy(hidden, [head], torch.zeros(tokens, dtype=torch.long)).backward()
    assert seen.largest == chunk * rows
    assert seen.products.count((chunk, rows)) == tokens // chunk
    with Sizes() as plain:
        reference(hidden, [head], torch.zeros(tokens, dtype=torch.long))
    assert plain.largest == tokens * rows, "the counter sees what torch's own loss makes"


def test_a_heads_gradient_is_held_once_and_handed_over_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CHUNK_ELEMENTS", 16 * 500)
    hidden = torch.randn(100, 8, requires_grad=True)
    head = nn.Parameter(torch.randn(500, 8))
    with Sizes() as seen:
        total = chunked_cross_entropy(hidden, [head], torch.zeros(100, dtype=torch.long))
        (total / 100).backward()
    assert head.grad is not None
    assert seen.places[head.numel()] - {head.data_ptr()} == {head.grad.data_ptr()}
    with pytest.raises((AssertionError, RuntimeError)):
        total.backward()


def test_each_token_has_its_own_loss() -> None:
    hidden, heads, labels = problem((50, 11))
    total, each = losses_of(hidden, heads, labels)
    wanted = functional.cross_entropy(hidden @ torch.cat(heads).T, labels, reduction="none")
    torch.testing.assert_close(each, wanted.detach(), rtol=1e-5, atol=1e-6)
    assert total.requires_grad and not each.requires_grad and each.sum() == total


@pytest.mark.parametrize("without", ["gradients switched off", "nothing that needs one"])
def test_without_gradients_only_the_logits_are_computed(without: str) -> None:
    hidden, heads, labels = problem((50, 11))
    wanted = reference(hidden, heads, labels)
    if without == "nothing that needs one":
        hidden, heads = hidden.detach(), [head.detach() for head in heads]
    with torch.set_grad_enabled(without != "gradients switched off"), Sizes() as seen:
        found = chunked_cross_entropy(hidden, heads, labels)
    assert not found.requires_grad
    assert seen.products == [(TOKENS, 50), (TOKENS, 11)]
    torch.testing.assert_close(found, wanted.detach(), rtol=1e-6, atol=0)
