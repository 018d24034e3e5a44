"""An embedding matrix cut in two: base rows that stay, and the rows that learn.

V0 base rows, N new rows, H hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SplitEmbedding(nn.Module):
    """An embedding whose first V0 rows are frozen and whose N new rows are a float32 parameter.

    Only the new rows have gradients and optimiser state: for 128k -> 148k rows that is 42 M
    trainable values instead of 303 M. The base rows stay where they lie in memory. It serves as a
    head too: `parts` are its matrices in the order of the vocabulary.
    """

    def __init__(self, weight: Tensor, first_new: int) -> None:
        super().__init__()
        self.first_new = first_new
        self.base = nn.Parameter(weight[:first_new].detach(), requires_grad=False)
        self.new = nn.Parameter(weight[first_new:].detach().float().clone())

    @property
    def parts(self) -> list[Tensor]:
        """(V0, H) base rows and (N, H) new rows."""
        return [self.base, self.new]

    def forward(self, ids: Tensor) -> Tensor:
        """(..., H) rows of `ids`, in the base's dtype."""
        new = functional.embedding((ids - self.first_new).clamp(min=0), self.new).to(self.base.dtype)
        if self.first_new == 0:
            return new
        old = functional.embedding(ids.clamp(max=self.first_new - 1), self.base)
        return torch.where((ids < self.first_new).unsqueeze(-1), old, new)
