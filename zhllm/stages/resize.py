"""resize: a base model with rows for the pieces an extended tokenizer adds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zhllm.config import Config, InputPath, InputPaths
from zhllm.errors import DataError, ProofError
from zhllm.stage import Metrics, Stage

if TYPE_CHECKING:
    from zhllm.model.tensors import Checkpoint


class ResizeConfig(Config):
    """Flags of `zhllm resize`."""

    model: InputPath = Field(description="Base model directory.")
    tokenizer: InputPath = Field(description="Tokenizer directory that extend-vocab wrote for this base.")
    text: InputPaths = Field((), description="Held-out text: prove that bits/char do not rise on it.")


def run(config: ResizeConfig, out: Path) -> Metrics:
    """Writes the model with grown rows, each the mean of its piece's base sub-token rows.

    Proves: old rows bit-identical; with --text, bits per character after <= before.

    \b
    zhllm resize --model llama2/ --tokenizer tokenizer --text clean -o resized
    """
    from zhllm.model.directory import copy_tokenizer, write_model_config
    from zhllm.model.embeddings import grown, subtoken_mean
    from zhllm.model.llama import EMBED, HEAD, read_config
    from zhllm.model.tensors import Checkpoint, Spec, Writer
    from zhllm.vocab.tokenizer import Tokenizer

    model_config = read_config(config.model)
    base = Checkpoint(config.model)
    for name in [EMBED] if model_config.get("tie_word_embeddings") else [EMBED, HEAD]:
        base.raw(name)
    sub_ids, base_size = _sub_ids(config, model_config["vocab_size"])
    size = base_size + len(sub_ids)
    matrices = [name for name in (EMBED, HEAD) if name in base.specs]
    plan = [Spec(s.name, s.dtype, (size, *s.shape[1:])) if s.name in matrices else s for s in base.specs.values()]
    with Writer(out, plan) as writer:
        for spec in plan:
            if spec.name in matrices:
                new_rows = subtoken_mean(base, spec.name, sub_ids)
                writer.write(spec.name, grown(base, spec.name, base_size, new_rows))
            else:
                writer.write(spec.name, base.raw(spec.name))
    copy_tokenizer(config.tokenizer, out)
    write_model_config(out, model_config, Tokenizer(config.tokenizer), size)
    _prove_old_rows(base, Checkpoint(out), matrices, base_size)
    metrics: Metrics = {
        "base_rows": base_size,
        "new_rows": len(sub_ids),
        "padding_rows_dropped": model_config["vocab_size"] - base_size,
        "bytes": sum(s.size_bytes for s in plan),
    }
    return metrics | (_prove_no_loss(config, out) if config.text else {})


def _sub_ids(config: ResizeConfig, model_rows: int) -> tuple[list[list[int]], int]:
    """For each row to add its base ids ([] for special tokens), and how many of the base's rows stay.

    Special tokens of the base without a row (some hub copies of Llama-2 add such a pad token) get one.
    """
    from zhllm.vocab.subtokens import base_size_of, sub_token_ids
    from zhllm.vocab.tokenizer import Tokenizer

    base_size, tokenizer = base_size_of(config.tokenizer), Tokenizer(config.tokenizer)
    if not tokenizer.special_ids.issuperset(range(model_rows, base_size)):
        raise DataError(
            f"{config.model}: has {model_rows} embedding rows, but the tokenizer {config.tokenizer} extends "
            f"a base of {base_size} pieces. Give the base this tokenizer was made for."
        )
    vocab = tokenizer.fast.get_vocab(with_added_tokens=True)
    rows = min(model_rows, base_size)
    check_base_tokenizer(config, model_rows, {piece: i for piece, i in vocab.items() if i < rows})
    sub_ids, _ = sub_token_ids(config.tokenizer)
    return [[] for _ in range(rows, base_size)] + sub_ids, rows


def check_base_tokenizer(config: ResizeConfig, model_rows: int, extended: dict[str, int]) -> None:
    """DataError when the model's own tokenizer is not the one that was extended.

    Without this, the rows of another base's ids would be dropped as padding. Ids without a row do not
    count; a model directory that has no tokenizer is taken at its word.
    """
    from zhllm.vocab.sentencepiece_model import load
    from zhllm.vocab.tiktoken_file import is_rank_file
    from zhllm.vocab.tokenizer import Tokenizer

    own: dict[str, int] = {}
    model = config.model / "tokenizer.model"
    if model.is_file() and not is_rank_file(model):
        own |= {p.piece: i for i, p in enumerate(load(config.model).pieces)}
    if (config.model / "tokenizer.json").is_file():
        own |= Tokenizer(config.model).fast.get_vocab(with_added_tokens=True)
    own = {piece: i for piece, i in own.items() if i < model_rows}
    if own and own != extended:
        other = sorted(own.items() ^ extended.items(), key=lambda item: item[1])[0]
        raise DataError(
            f"{config.model}: its tokenizer has {len(own)} ids, but {config.tokenizer} extends a base of "
            f"{len(extended)} pieces, and they differ from id {other[1]} ({other[0]!r}) on. Give the base that "
            "was extended."
        )


def _prove_old_rows(base: Checkpoint, new: Checkpoint, matrices: list[str], base_size: int) -> None:
    for name in base.specs:
        rows = slice(0, base_size) if name in matrices else slice(None)
        if base.raw(name)[rows].tobytes() != new.raw(name)[rows].tobytes():
            raise ProofError(f"{name}: the base's values changed while the rows were grown")


def _prove_no_loss(config: ResizeConfig, out: Path) -> Metrics:
    from zhllm.evals.bits import bits_per_char
    from zhllm.text.shards import held_out

    texts = [d.text for d in held_out(config.text)]
    before = bits_per_char(config.model, texts).bits_per_char
    after = bits_per_char(out, texts).bits_per_char
    if after > before:
        raise ProofError(
            f"bits per character rose from {before:.4f} to {after:.4f} on {len(texts)} documents: "
            "the new rows do not fit this base."
        )
    return {"bits_per_char_before": before, "bits_per_char_after": after}


STAGE = Stage("resize", 1, ResizeConfig, run)
