"""NEFTune (Jain et al. 2023): uniform noise on the input embeddings, in training only.

B rows of T tokens, H hidden size.
"""

from __future__ import annotations

import torch
from torch import Tensor


def document_lengths(position_ids: Tensor) -> Tensor:
    """(B, T) how many tokens the document of each token has; documents begin where positions do."""
    documents = (position_ids == 0).cumsum(dim=1)
    counts = torch.zeros_like(documents).new_zeros(len(documents), documents.shape[1] + 1)
    counts.scatter_add_(1, documents, torch.ones_like(documents))
    return counts.gather(1, documents)


def with_noise(embeddings: Tensor, position_ids: Tensor, alpha: float) -> Tensor:
    """(B, T, H) embeddings plus noise from U(-1, 1) * alpha / sqrt(L H), L the length of the token's document.

    Rows are packed, so L is counted by document: the noise of a chat is that of the chat alone in its
    row. Drawn from torch's generator of the device.
    """
    scale = alpha / (document_lengths(position_ids) * embeddings.shape[-1]).sqrt()
    noise = torch.empty_like(embeddings).uniform_(-1, 1)
    return embeddings + noise * scale.unsqueeze(-1).to(embeddings.dtype)
