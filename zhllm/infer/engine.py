"""The engine for a model: a directory through transformers, a GGUF through llama.cpp, or a server.

The first two are given the same rendered prompt, so the same model gives the same answer in either.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zhllm.errors import DataError
from zhllm.infer.writing import Engine
from zhllm.model.transformers_model import check_model_directory


def open_engine(
    model: Path | str, fallback_format: str | None = None, parallel: int = 1,
    adapters: Mapping[str, Path] | None = None, key: str | None = None, remote_model: str | None = None,
) -> Engine:  # fmt: skip
    """The engine for a model directory, a .gguf file, or the URL of an OpenAI-compatible server.

    `fallback_format` names the prompt format of a model that carries no chat template; `parallel` chats are
    answered at once, in llama.cpp with memory for as many contexts. `adapters` can be asked by name; `key` and
    `remote_model` are for a server. Raises DataError when it is none of these, there is no format, or the
    template is not one of zhllm's formats.
    """
    if str(model).startswith(("http://", "https://")):
        from zhllm.infer.remote import RemoteEngine

        if adapters:
            raise DataError(f"{model}: a server has adapters of its own; --adapter is for a model on this machine.")
        return RemoteEngine(str(model), remote_model, key)
    path = Path(model)
    if path.is_dir():
        from zhllm.infer.transformers_engine import TransformersEngine

        check_model_directory(path)
        return TransformersEngine(path, fallback_format, parallel, adapters or {})
    if path.suffix == ".gguf" and path.is_file():
        from zhllm.infer.llama_engine import LlamaEngine

        return LlamaEngine(path, fallback_format, parallel, adapters or {})
    raise DataError(f"{model}: is neither a model directory nor a .gguf file, nor the URL of a server (http://...).")
