"""What may be asked of the server: OpenAI's fields, checked, as the settings of an engine.

A field that would change the answer and is not supported is refused, and so is a misspelt one; what only labels
a request (`user`, `metadata`) is ignored. Source: OpenAI's API reference (chat completions, completions,
embeddings); `top_k`, `min_p` and `repetition_penalty` as vLLM names them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from zhllm.infer.sampling import LEAST_REPEAT_PENALTY, MOST_REPEAT_PENALTY, Sampling
from zhllm.text.prompt_format import Message

# Fields that say nothing about the answer itself.
LABELS = frozenset(
    ("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention")
)
# Values of unsupported fields that ask for nothing.
NOTHING: dict[str, tuple[Any, ...]] = {
    "n": (1,), "best_of": (1,), "echo": (False,), "logprobs": (False, 0), "top_logprobs": (0,), "logit_bias": ({},),
    "tools": ([],), "functions": ([],), "tool_choice": ("none", "auto"), "function_call": ("none", "auto"),
    "parallel_tool_calls": (True, False), "response_format": ({"type": "text"},), "modalities": (["text"],),
    "suffix": ("",),
}  # fmt: skip

T = TypeVar("T", bound="Asked")
Count = Annotated[int, Field(ge=1)]


class RequestError(ValueError):
    """A request that cannot be served: an HTTP status, OpenAI's error code, and the field at fault."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status

    def body(self) -> dict[str, Any]:
        """The answer, in OpenAI's form."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


class StreamOptions(BaseModel):
    """How a stream ends."""

    include_usage: bool = False


class Asked(BaseModel):
    """What every request has."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)
    model: str = ""


class Checked(Asked):
    """A request that an engine here answers: every field is known."""

    @model_validator(mode="after")
    def _known_fields(self) -> Checked:
        for name, value in (self.model_extra or {}).items():
            if name in LABELS or value is None or value in NOTHING.get(name, ()):
                continue
            raise ValueError(
                f'"{name}" is not supported by this server (it takes {", ".join(type(self).model_fields)})'
            )
        return self


class Writing(Checked):
    """What chat and plain completions have in common."""

    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, lt=2**31)
    min_p: float | None = Field(None, ge=0, le=1)
    repetition_penalty: float | None = Field(None, ge=LEAST_REPEAT_PENALTY, le=MOST_REPEAT_PENALTY)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    seed: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: str | list[str] | None) -> str | list[str] | None:
        if isinstance(value, list) and len(value) > 16:
            raise ValueError("at most 16 stop strings")
        return value

    def sampling(self, default: Sampling) -> Sampling:
        """The settings, those of the server where the request names none."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        asked = {
            "max_tokens": self.max_completion_tokens or self.max_tokens,
            "repeat_penalty": self.repetition_penalty,
            "stop": (*default.stop, *(stop for stop in stops if stop)) or None,
        }
        for name in ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "seed"):
            asked[name] = getattr(self, name)
        given = {name: value for name, value in asked.items() if value is not None}
        return Sampling(**{**default.__dict__, **given})


class Turn(BaseModel):
    """One message; a content in parts may hold text only."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[dict[str, Any]]

    @field_validator("content")
    @classmethod
    def _text_only(cls, value: str | list[dict[str, Any]]) -> str:
        if isinstance(value, str):
            return value
        for part in value:
            if part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise ValueError(f'a part of type "{part.get("type")}"; this server reads text')
        return "".join(part["text"] for part in value)


class ChatAsked(Writing):
    """POST /v1/chat/completions."""

    messages: list[Turn] = Field(min_length=1)

    def conversation(self) -> list[Message]:
        """The messages; RequestError where there is nothing to answer."""
        said = [{"role": t.role.replace("developer", "system"), "content": str(t.content)} for t in self.messages]
        for place, message in enumerate(said):
            if message["role"] == "system" and place:
                raise RequestError("a system message must come first", f"messages.{place}.role")
        if said[-1]["role"] != "user":
            raise RequestError("the last message must be the user's", f"messages.{len(said) - 1}.role")
        return list(said)


class CompletionAsked(Writing):
    """POST /v1/completions."""

    prompt: Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1, max_length=64)]

    def prompts(self) -> list[str]:
        """Every prompt; each gives a choice."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt


class EmbeddingsAsked(Checked):
    """POST /v1/embeddings."""

    input: str | Annotated[list[str], Field(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] = "float"

    def texts(self) -> list[str]:
        """Every text; RequestError for an empty one."""
        found = [self.input] if isinstance(self.input, str) else self.input
        for place, text in enumerate(found):
            if not text:
                raise RequestError(
                    "a text to embed is empty", "input" if isinstance(self.input, str) else f"input.{place}"
                )
        return found


def parse(kind: type[T], data: bytes) -> T:
    """A request's body; RequestError that names the first wrong field."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        if first["type"] == "json_invalid":
            raise RequestError(f"the body is not JSON: {first['msg']}") from error
        # Of the branches of a union ("str", "list[str]") the field's own name says enough.
        place = ".".join(str(part) for part in first["loc"] if not _is_branch(str(part))) or None
        message = first["msg"].removeprefix("Value error, ")
        raise RequestError(f"{place}: {message}" if place else message, place) from error


def _is_branch(part: str) -> bool:
    return part in ("str", "constrained-str") or "[" in part
