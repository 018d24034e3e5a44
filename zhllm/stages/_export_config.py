"""The flags of `export`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from zhllm.config import Config, InputPath, InputPaths, Role

Type = Literal["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_k_s", "q4_0", "q3_k_m", "q2_k"]


def _as_written(value: Any) -> Any:
    """A number of a YAML file as text, so that it is told what a share looks like as a flag is."""
    return str(value) if isinstance(value, int | float) else value


class ExportConfig(Config):
    """Flags of `zhllm export`."""

    model: InputPath = Field(description="Model directory, merged; the base where only --adapter is to be exported.")
    type: tuple[Type, ...] = Field(
        (), description="GGUF types to write (q8_0 where nothing else is asked for); the Modelfile names the first."
    )
    name: str = Field("model", pattern=r"^[\w.-]+$", description="File name before the type.")
    text: InputPaths = Field((), description="Text to prove and measure quality on (held out, best).")
    text_tokens: int = Field(2048, ge=64, description="How many tokens of --text are read.")
    max_bpc_increase: Annotated[str | None, BeforeValidator(_as_written)] = Field(
        None,
        description="Write the smallest of --type (of all, without it) whose bits per character on --text are at "
        "most this far from the source's, e.g. 1%, above or below: fewer tell of a changed model, too.",
    )
    imatrix: InputPaths = Field(
        (), description="Calibration text: quantise so that what the model uses on it keeps the smallest errors."
    )
    imatrix_tokens: int = Field(8192, ge=256, description="How many tokens of --imatrix are read.")
    adapter: InputPaths = Field((), description="LoRA adapters of --model to write as GGUF adapters.")
    quantizer: Literal["auto", "own", "llama.cpp"] = Field(
        "auto",
        description="Whose quantiser; auto is llama.cpp's where xllamacpp is installed, but for q8_0, of which ours is "
        "faster. Both write equal bytes.",
    )
    foreign_template: bool = Field(
        False, description="Write a chat template that zhllm did not make as it is; there is no Modelfile then."
    )
    workers: Annotated[int, Role.RUNTIME] = Field(
        0, ge=0, description="Threads to quantise with (0: one a core); the result is the same for any number."
    )

    @model_validator(mode="after")
    def _fits(self) -> ExportConfig:
        if self.max_bpc_increase is not None and not re.fullmatch(r"[0-9]+(\.[0-9]+)?%", self.max_bpc_increase):
            raise ValueError(f"--max-bpc-increase {self.max_bpc_increase}: write a share, such as 1%.")
        if self.max_bpc_increase is not None and not self.text:
            raise ValueError("--max-bpc-increase is measured on your text: give --text too.")
        names = [path.name for path in self.adapter]
        if len(set(names)) < len(names):
            raise ValueError(f"--adapter: the files are named after the folders, which must differ: {names}.")
        return self


def types_of(config: ExportConfig) -> tuple[str, ...]:
    """The types to write or to choose from; none where only adapters are asked for."""
    if config.type:
        return tuple(dict.fromkeys(config.type))
    if config.max_bpc_increase is not None:
        from zhllm.model.kquants import llama_quantize_chunk

        return tuple(t for t in get_args(Type) if t not in ("q3_k_m", "q2_k") or llama_quantize_chunk() is not None)
    return () if config.adapter else ("q8_0",)
