"""An importance matrix: how strongly each input channel of each linear layer is driven by a calibration text.

Source: llama.cpp's tools/imatrix: the mean of the squared activations, not collected for the head.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from zhllm.errors import DataError
from zhllm.infer.streamed import StreamedModel
from zhllm.model.gguf_file import Source
from zhllm.model.gguf_proof import SourceWeights
from zhllm.model.tensors import F32


def importance_of(model: StreamedModel, source: Source, ids: Sequence[Sequence[int]]) -> dict[str, F32]:
    """Mean squared input (input features,) by GGUF tensor name, over every token of `ids`.

    DataError where an activation is not finite.
    """
    sums: dict[str, Tensor] = {}
    tokens = sum(map(len, ids))

    def add(name: str, inputs: Tensor) -> None:
        squares = inputs.double().square().sum(0).cpu()
        sums[name] = sums[name] + squares if name in sums else squares

    model.hidden(ids, SourceWeights(source), add)
    found: dict[str, F32] = {}
    for name, total in sums.items():
        if not torch.isfinite(total).all():
            raise DataError(f"{source.folder}: activations before {name} are not finite on the --imatrix text.")
        mean = (total / tokens).numpy().astype(np.float32)
        if mean.any():
            found[source.names[name]] = mean
    return found
