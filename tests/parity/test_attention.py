"""Document attention against transformers' own, which masks a T x T score matrix."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from toys import Toy, random_model

from zhllm.train.attention import NAME, bounds_of, documents_of, kernel_dtype, use_document_attention

# Rows of 12: documents of 5, 1 and 6; of 12; of 3 with padding behind; one token, padding before the next row.
ROWS = [[*range(5), 0, *range(6)], [*range(12)], [*range(3), *[0] * 9], [0] * 12, [*range(11), 0]]


def positions() -> Tensor:
    return torch.tensor(ROWS)


def test_bounds_are_where_positions_start_again() -> None:
    assert bounds_of(torch.tensor([[0, 1, 0], [0, 1, 2]])).tolist() == [0, 2, 3, 6]


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "mistral"])
def test_outputs_and_gradients_are_those_of_the_masked_attention(
    toy: Toy, tmp_path: Path, kind: str, checkpointing: bool
) -> None:
    """Grouped heads (two for four), single tokens and padding included."""
    from zhllm.model.transformers_model import open_model

    settings = {"sliding_window": None} if kind == "mistral" else {}
    folder = random_model(tmp_path / "model", toy.tokenizer, model_type=kind, **settings)
    ids = torch.randint(3, 400, (len(ROWS), 12), generator=torch.Generator().manual_seed(0))
    weights = torch.randn(len(ROWS), 12, 64, generator=torch.Generator().manual_seed(1))
    found: list[dict[str, Tensor]] = []
    for ours in (False, True):
        model = open_model(folder, torch.float32).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        extra = {}
        if ours:
            assert use_document_attention(model)
            extra = documents_of(positions())
        hidden = model.model(input_ids=ids, position_ids=positions(), use_cache=False, **extra).last_hidden_state
        (hidden * weights).sum().backward()
        grads = {n: p.grad for n, p in model.model.named_parameters() if p.grad is not None}
        found.append({"hidden": hidden.detach(), **grads})
    assert found[0].keys() == found[1].keys()
    for name, wanted in found[0].items():
        limit = 1e-5 * float(wanted.abs().max())
        torch.testing.assert_close(found[1][name], wanted, rtol=0, atol=limit, msg=lambda m, n=name: f"{n}: {m}")


def test_the_kernel_reads_what_products_are_computed_in() -> None:
    """Whole models in float32 under autocast too, whose queries come out of the rotation in float32."""
    queries = torch.zeros(1, 1, 2, 8)
    assert kernel_dtype(queries) is None and kernel_dtype(queries.bfloat16()) == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert kernel_dtype(queries) == torch.bfloat16


def test_without_documents_the_model_is_transformers_own(toy: Toy) -> None:
    from zhllm.model.transformers_model import open_model

    plain, ours = open_model(toy.base, torch.float32), open_model(toy.base, torch.float32)
    use_document_attention(ours)
    ids = torch.randint(3, 400, (2, 9))
    mask = torch.tensor([[0] * 3 + [1] * 6, [1] * 9])
    assert torch.equal(plain(ids, attention_mask=mask).logits, ours(ids, attention_mask=mask).logits)
    assert ours.config._attn_implementation == NAME


@pytest.mark.parametrize("setting", [{"attention_dropout": 0.1}, {"model_type": "mistral", "sliding_window": 4}])
def test_what_is_more_than_causal_keeps_its_own_attention(toy: Toy, tmp_path: Path, setting: dict[str, object]) -> None:
    from zhllm.model.transformers_model import open_model

    model = open_model(random_model(tmp_path / "model", toy.tokenizer, **setting), torch.float32)
    before = model.config._attn_implementation
    assert not use_document_attention(model) and model.config._attn_implementation == before
