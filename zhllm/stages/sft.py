"""sft: fine-tune a model on chats; only what the assistant writes is learnt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zhllm.config import InputPath, InputPaths, PromptFormatName
from zhllm.errors import DataError, ProofError
from zhllm.progress import say
from zhllm.stage import Metrics, Stage
from zhllm.stages._training import Trainable, TrainingConfig, check_packed, check_row_length

if TYPE_CHECKING:
    from torch import nn

    from zhllm.text.prompt_format import PromptFormat
    from zhllm.train.batch import Batch
    from zhllm.train.chats import Fitting, TokenChat
    from zhllm.train.pack.store import TokenSet
    from zhllm.train.processes import Processes
    from zhllm.train.tally import Record
    from zhllm.vocab.tokenizer import Tokenizer

# What a base model without a chat template is given: the first whose special tokens it has.
BASE_FORMATS = ("llama2", "llama3", "chatml")


class SftConfig(TrainingConfig):
    """Flags of `zhllm sft`."""

    chats: InputPaths = Field(description="convert folders, or chats-*.jsonl files.")
    trainable: Trainable = Field("lora", description="What learns; all else stays bit-identical.")
    prompt_format: PromptFormatName | None = Field(
        None, description="How turns are written; goes with the model from here on.  [default: as the model's own "
        "chat template does; for a base without one, the first of llama2, llama3, chatml whose tokens it has]",
    )  # fmt: skip
    seq_len: int = Field(1024, gt=8, description="Tokens a row; longer chats lose their oldest turns.")
    neftune: float | None = Field(
        None, gt=0, description="NEFTune: noise of this strength on the input embeddings in training (try 5)."
    )
    valid_share: float = Field(0.02, ge=0, lt=0.5, description="Share of the chats held out for validation.")
    retained: InputPath | None = Field(
        None, description="Folder that pack wrote: its validation sets are measured too, for --gate."
    )
    max_left_out_share: float = Field(0.02, ge=0, le=1, description="Fail when more chats than this do not fit.")


def run(config: SftConfig, out: Path) -> Metrics:
    """Writes an adapter (or a model with --trainable all) that carries the chat template.

    Chats are packed whole into rows and never see each other. Proves: labels exactly on the
    assistant's turns and their end tokens; frozen values bit-identical.

    \b
    zhllm sft --model merged --chats chats --prompt-format llama2 --epochs 3 -o tuned
    """
    from zhllm import ranks
    from zhllm.model.directory import check_vocabulary, copy_tokenizer, set_prompt_format
    from zhllm.stages._training_run import train_and_save
    from zhllm.train.chats import Fitting, end_of_turn_id
    from zhllm.vocab.tokenizer import Tokenizer

    tokenizer = Tokenizer(config.model)
    check_vocabulary(config.model, tokenizer)
    chat_format = _chat_format(config.prompt_format, tokenizer)
    check_row_length(config.model, config.seq_len, "--seq-len")
    end_id = end_of_turn_id(chat_format, tokenizer)
    fitting, sources = Fitting(), dict[str, int]()
    train_chats, valid_chats = _split(list(_tokenized(config, chat_format, tokenizer, fitting, sources)), config)
    prove_labels([*train_chats, *valid_chats], end_id)
    metrics = train_and_save(config, out, ChatData(config, tokenizer, train_chats, valid_chats, list(sources)))
    if ranks.is_main():
        copy_tokenizer(config.model, out)
        set_prompt_format(out, chat_format, tokenizer)
        if config.trainable == "all":
            (out / "config.json").write_bytes((config.model / "config.json").read_bytes())
    return {
        "chats": len(train_chats),
        "valid_chats": len(valid_chats),
        "chats_too_long": fitting.too_long,
        "cut_turns": fitting.cut_turns,
        "cut_prompts": fitting.cut_prompts,
        "merged_boundaries": fitting.merged_boundaries,
        **metrics,
    }


def _chat_format(asked: str | None, tokenizer: Tokenizer) -> PromptFormat:
    """The format asked for, else the model's own; DataError where its template is none of zhllm's."""
    from zhllm.infer.writing import directory_format, template_tokens
    from zhllm.model.chat_templates import additions, recognise
    from zhllm.model.directory import chat_template
    from zhllm.text.prompt_format import FORMATS

    template = chat_template(tokenizer.folder)
    if asked is not None:
        chosen = FORMATS[asked]
        if template is not None and recognise(template, template_tokens(tokenizer)) != chosen:
            say(f"{tokenizer.folder}: its own chat template is replaced by {asked}")
        return chosen
    if template is not None:
        chosen, why = directory_format(tokenizer, None), "the format of the model's own chat template"
    else:
        formats = [FORMATS[name] for name in BASE_FORMATS]
        known = [f for f in formats if all(tokenizer.special_token_id(t) is not None for t in f.special_tokens)]
        chosen, why = (known or formats)[0], "as the model has no chat template (--prompt-format chooses another)"
    say(f"turns are written in {chosen.name}{additions(chosen)}, {why}")
    return chosen


class ChatData:
    """Packed rows of chats in a seeded order, and those held out."""

    name = "sft"

    def __init__(
        self,
        config: SftConfig,
        tokenizer: Tokenizer,
        train: list[TokenChat],
        valid: list[TokenChat],
        sources: list[str],
    ) -> None:
        from zhllm.train.chats import ChatRows
        from zhllm.train.tally import Measure
        from zhllm.vocab.token_sizes import token_sizes

        self.config, size = config, config.rows_per_batch or config.rows_per_step
        self.rows = ChatRows(train, config.seq_len, tokenizer.pad_id, config.rows_per_step, config.seed)
        self.held_out = ChatRows(valid, config.seq_len, tokenizer.pad_id, size, 0) if valid else None
        self.measure = Measure.of(token_sizes(tokenizer), sources)
        self.target = "valid_loss" if valid else None
        self.retained = _retained_sets(config, tokenizer)

    def steps(self) -> int:
        """--steps, or as many as --epochs take."""
        return self.config.steps or self.rows.steps(self.config.epochs)

    def batches_at(self, step: int, rank: int, count: int) -> Sequence[Batch]:
        """A process's micro-batches of a step."""
        from zhllm.stages._training_run import share_of

        rows = self.rows.batch(step)
        parts = share_of(range(len(rows.labels)), rank, count, self.config.rows_per_batch)
        return [rows.rows(part) for part in parts]

    def validate(self, module: nn.Module, processes: Processes) -> Record:
        """valid_loss, per learnt token of the held-out chats, their bits per character, and the retained sets."""
        from zhllm.stages._training_run import measure_sets, validated
        from zhllm.train.tally import Tally

        retained = measure_sets(module, processes, self.retained, self.measure, self.config.rows_per_batch or 8)
        if self.held_out is None:
            return retained
        tally = Tally(self.measure, processes.device)
        validated(module, processes, [partial(lambda batch: batch, b) for b in self.held_out.every_batch()], tally)
        record = tally.record(processes.total)
        return {"valid_loss": record["loss"], "bits_per_char_valid": record["bits_per_char"], **retained}


def _retained_sets(config: SftConfig, tokenizer: Tokenizer) -> dict[str, TokenSet]:
    """The validation sets of --retained, named retained-<set>; DataError where its tokenizer is another."""
    from zhllm.train.pack.store import TokenSet, read_info

    if config.retained is None:
        return {}
    info = read_info(config.retained)
    check_packed(config.retained, info, config.model, tokenizer)
    held_out = {f"retained-{name}": TokenSet(config.retained, name, info) for name in info.sets if name != "train"}
    if not held_out:
        raise DataError(f"--retained {config.retained}: has no validation set. Clean with --valid-share, and pack.")
    return held_out


def _tokenized(
    config: SftConfig, chat_format: PromptFormat, tokenizer: Tokenizer, fitting: Fitting, sources: dict[str, int]
) -> Iterator[TokenChat]:
    """The chats that fit; `sources` numbers theirs as they come."""
    from zhllm.text.chats import read_chats
    from zhllm.train.chats import fit

    count = 0
    for chat in read_chats(config.chats):
        count += 1
        fitted = fit(chat.messages, chat_format, tokenizer, config.seq_len, fitting)
        if fitted is not None:
            yield replace(fitted, source=sources.setdefault(chat.source, len(sources)))
    if count == 0:
        raise DataError(f"{', '.join(map(str, config.chats))}: no chats. Run zhllm convert first.")
    if fitting.too_long > config.max_left_out_share * count:
        raise DataError(
            f"{fitting.too_long} of {count} chats have a last answer longer than --seq-len {config.seq_len}. "
            "Raise --seq-len, or --max-left-out-share to go without them."
        )
    if fitting.cut_turns or fitting.cut_prompts or fitting.too_long:
        say(
            f"to fit {config.seq_len} tokens: {fitting.cut_turns} old turns cut, {fitting.cut_prompts} prompts "
            f"cut, {fitting.too_long} chats left out"
        )


def _split(chats: list[TokenChat], config: SftConfig) -> tuple[list[TokenChat], list[TokenChat]]:
    """A seeded choice of `valid_share` chats for validation; at least one stays for training."""
    import random

    order = list(range(len(chats)))
    random.Random(config.seed).shuffle(order)
    held_out = set(order[: min(int(config.valid_share * len(chats)), len(chats) - 1)])
    return (
        [chat for i, chat in enumerate(chats) if i not in held_out],
        [chat for i, chat in enumerate(chats) if i in held_out],
    )


def prove_labels(chats: list[TokenChat], end_id: int) -> None:
    """ProofError unless every learnt stretch is an answer that closes with its end token."""
    for number, chat in enumerate(chats, 1):
        ends = [i for i, learnt in enumerate(chat.learn) if learnt and not (chat.learn + [False])[i + 1]]
        if not ends or chat.learn[0] or any(chat.ids[i] != end_id for i in ends):
            raise ProofError(f"chat {number}: an answer's labels do not close with the end token {end_id}.")


STAGE = Stage("sft", 4, SftConfig, run, resumable=True, parallel=True)
