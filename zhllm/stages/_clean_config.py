"""The flags of `zhllm clean`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from zhllm.config import Config, InputPath, InputPaths, Role

PiiKind = Literal[
    "mobile", "landline", "id_card", "bank_card", "email", "ip", "wechat", "qq", "plate", "all"
]  # fmt: skip


class CleanConfig(Config):
    """What to clean and how strictly."""

    documents: InputPaths = Field(description="A folder of collect, or files and folders it could read.", min_length=1)
    text_key: str = Field("text", description="Key (or column) of a record that holds its text.")
    id_key: str = Field("id", description="Key (or column) of a record that holds its id.")
    profile: str = Field("document", description="Thresholds: document, web, dialogue, classical, or of --profiles.")
    profiles: InputPath | None = Field(None, description="A file of your own thresholds, like profiles.toml of zhllm.")
    language: Literal["zh", "en", "any"] = Field("zh", description="Reject texts with little of this language.")
    traditional: Literal["keep", "simplify"] = Field(
        "keep", description="Keep Traditional characters, or convert them to Simplified."
    )
    punctuation: Literal["keep", "chinese"] = Field(
        "keep", description="Keep half-width punctuation between Chinese, or make it Chinese."
    )
    advertisements_out: bool = Field(True, description="Take out lines that are advertisement or web frame.")
    keep_pii: tuple[PiiKind, ...] = Field((), description="Kinds of personal data that are not masked, or all.")
    sensitive_words: InputPath | None = Field(
        None, description="A word a line; how many a text may hold says the profile."
    )
    against: InputPaths = Field((), description="Evaluation files, or folders; documents that hold their texts go.")
    near_duplicates: bool = Field(True, description="Drop documents nearly equal to an earlier one.")
    only: Literal["duplicates"] | None = Field(None, description="Leave the texts as they are, drop duplicates only.")
    valid_share: float = Field(
        0.02, ge=0, le=0.5, description="Share of the documents held out for validation; 0 holds out none."
    )
    seed: int = Field(0, ge=0, description="Chooses which documents are held out, and makes the canaries.")
    canaries: int = Field(
        0, ge=0, le=100_000, description="Sentences with a secret to plant in train: evaluate --task memory."
    )
    canary_repeats: tuple[Annotated[int, Field(ge=1, le=10_000)], ...] = Field(
        (1, 4, 16), min_length=1, description="How often a canary is planted, in turn."
    )
    workers: Annotated[int, Role.RUNTIME] = Field(
        1, ge=1, description="Processes to clean with; the result is the same for any number."
    )
    engine: Annotated[Literal["pool", "ray"], Role.RUNTIME] = Field(
        "pool", description="Processes here, or tasks of Ray (the cluster of RAY_ADDRESS, or one started here)."
    )
    rank: Annotated[int | None, Role.RUNTIME] = Field(
        None, ge=0, description="Clean only this share of the input, from 0 (a Slurm array's task); see --of."
    )
    of: Annotated[int, Role.RUNTIME] = Field(1, ge=1, description="Number of shares that --rank counts.")
