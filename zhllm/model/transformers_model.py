"""Opening a model directory with transformers: locally, quietly, in a known dtype, or without its weights."""

from __future__ import annotations

import warnings
from logging import ERROR, getLogger
from pathlib import Path
from typing import Any

from zhllm.errors import DataError


def check_model_directory(folder: Path) -> None:
    """DataError that names the mistake when a folder is an adapter, or no model at all."""
    if (folder / "config.json").is_file():
        return
    if (folder / "adapter_config.json").is_file() or (folder / "new_rows.safetensors").is_file():
        raise DataError(f"{folder}: is an adapter, not a model. Merge it, or give it as --adapter of its base.")
    if files := sorted(path.name for path in folder.glob("*.gguf")):
        raise DataError(f"{folder}: is a folder with GGUF files ({', '.join(files)}). Name one of them.")
    raise DataError(f"{folder}: is not a model directory (it has no config.json).")


def quiet() -> None:
    """Keep libraries from writing between our lines what the user can do nothing about."""
    # Where the CPU has AVX512-BF16 it tells of a kernel hub that is not installed.
    getLogger("bitsandbytes").setLevel(ERROR)
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # its table of missing weights would stand above our one line
    # peft still asks by the older name.
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)


def open_model(folder: Path, dtype: Any = "auto", **options: Any) -> Any:
    """A transformers causal LM in eval mode; `dtype` "auto" keeps the stored one; `options` go to from_pretrained.

    Never touches the network. Raises DataError where transformers cannot read the directory, or
    finds weights missing (which it would fill with random numbers).
    """
    from safetensors import SafetensorError

    check_model_directory(folder)
    quiet()
    from transformers import AutoModelForCausalLM

    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True, **options
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise DataError(f"{folder}: transformers cannot open it: {str(error).splitlines()[0]}") from error
    if info["missing_keys"] or info["mismatched_keys"]:
        wrong = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
        raise DataError(f"{folder}: {len(wrong)} weights are missing or misshapen, e.g. {wrong[:3]}.")
    return model.eval()


def empty_model(folder: Path) -> Any:
    """A transformers causal LM with the config of `folder` in eval mode, its float32 parameters on the meta device.

    Raises DataError where there is no config, or transformers has no such class.
    """
    check_model_directory(folder)
    quiet()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        for name, module in list(model.named_modules()):
            if any(buffer.device.type == "meta" for buffer in module.buffers(recurse=False)):
                # Positions are computed, not stored: made again where values are.
                model.set_submodule(name, type(module)(config))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{folder}: transformers cannot open it: {str(error).splitlines()[0]}") from error
    return model.eval()
