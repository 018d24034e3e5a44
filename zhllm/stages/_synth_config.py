"""synth's settings, which its modules share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from zhllm.config import Config, InputPath, InputPaths, Role, nearest

KIND_NAMES = ("factual", "procedure", "definition", "comparison", "unanswerable")


class SynthConfig(Config):
    """What to ask about, whom, and what to keep."""

    documents: InputPaths = Field(
        description="Folders of collect or clean (its training documents), or files of any kind.", min_length=1
    )
    offline: bool = Field(False, description="Make the pairs by rules; no model, no request.")
    endpoint: Annotated[str, Role.RUNTIME] = Field(
        "http://127.0.0.1:8080/v1", description="An OpenAI-compatible endpoint, on this machine or its private network."
    )
    allow_remote: Annotated[bool, Role.RUNTIME] = Field(
        False, description="Let excerpts of the documents go to an --endpoint outside (https only)."
    )
    model: str | None = Field(None, description="The model's name at the endpoint; needed unless --offline.")
    api_key_env: Annotated[str, Role.RUNTIME] = Field(
        "ZHLLM_API_KEY", description="Environment variable that holds the endpoint's key, if it wants one."
    )
    style: Literal["closed-book", "grounded", "both"] = Field(
        "closed-book", description="Question and answer alone, to teach knowledge; or with the passage before it."
    )
    kinds: tuple[str, ...] = Field(
        ("factual=0.5", "procedure=0.15", "definition=0.1", "comparison=0.1", "unanswerable=0.15"),
        description="Kinds of questions with their shares; a kind left out is not made. Unanswerable: grounded only.",
    )
    language: Literal["zh", "en", "any"] = Field("zh", description="Language of the pairs; others are rejected.")
    seed: int = Field(0, description="Seed of every choice, and of the requests.")
    chunk_chars: int = Field(800, ge=100, le=8000, description="Characters of a passage, at most.")
    per_chunk: int = Field(3, ge=1, le=20, description="Pairs to ask the model for about one passage.")
    per_document: int = Field(200, ge=1, description="Pairs of one document, at most; those over it are listed.")
    max_answer_chars: int = Field(1200, ge=10, description="Longer answers are rejected.")
    requests: int | None = Field(
        None, ge=1, description="Ask about so many passages only, drawn by --seed: to try out."
    )
    temperature: float = Field(0.7, ge=0, le=2, description="Sampling temperature of the requests.")
    max_tokens: int = Field(1500, ge=16, description="Tokens the model may write for one request.")
    answers: InputPath | None = Field(
        None, description="An earlier synth's folder: what was answered there is not asked (and paid) again."
    )
    max_rejected_share: float = Field(
        0.8, ge=0, le=1, description="Fail when a larger share of the model's pairs is rejected."
    )
    concurrency: Annotated[int, Role.RUNTIME] = Field(4, ge=1, le=256, description="Requests at a time.")
    retries: Annotated[int, Role.RUNTIME] = Field(5, ge=0, description="Times to ask again after 429, 5xx, time-outs.")
    back_off_s: Annotated[float, Role.RUNTIME] = Field(
        1.0, ge=0, description="Seconds before the first repetition; doubled each time, unless the endpoint says."
    )
    timeout_s: Annotated[float, Role.RUNTIME] = Field(300.0, gt=0, description="Seconds an answer may take.")
    workers: Annotated[int, Role.RUNTIME] = Field(
        1, ge=1, description="Processes for --offline; the result is the same for any number."
    )

    @model_validator(mode="after")
    def _is_possible(self) -> SynthConfig:
        shares = self.shares()
        if not self.offline and not self.model:
            raise ValueError(
                "--model is needed: the name that the endpoint knows it by (GET ENDPOINT/models lists them). "
                "Or make pairs by rules with --offline."
            )
        if self.offline and (self.model or self.requests or self.answers or self.allow_remote):
            raise ValueError("--offline asks no model: leave --model, --requests, --answers and --allow-remote out.")
        if self.style == "closed-book" and set(shares) == {"unanswerable"}:
            raise ValueError("--kinds unanswerable needs its passage: --style grounded or both.")
        return self

    def shares(self) -> dict[str, float]:
        """The share of each kind that is to be made; raises ValueError for a kind or share that is none."""
        found: dict[str, float] = {}
        for entry in self.kinds:
            name, _, share = entry.partition("=")
            if name not in KIND_NAMES:
                raise ValueError(f"--kinds {entry}: no such kind.{nearest(name, KIND_NAMES)}")
            try:
                found[name] = float(share or 1)
            except ValueError:
                raise ValueError(f"--kinds {entry}: the share is not a number.") from None
            if not 0 <= found[name] < float("inf"):
                raise ValueError(f"--kinds {entry}: a share is not below 0.")
        if not any(found.values()):
            raise ValueError("--kinds: every share is 0; there would be nothing to make.")
        return {name: share for name, share in found.items() if share}
