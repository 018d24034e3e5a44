"""pack: cleaned documents as token rows for pretraining, mixed by share, nothing dropped unless counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from zhllm.config import Config, InputPath, InputPaths, NamedInputPaths, Role, name_and_path, nearest
from zhllm.errors import DataError
from zhllm.manifest import checkpoints_of
from zhllm.progress import bar, say
from zhllm.stage import Metrics, Stage

if TYPE_CHECKING:
    from zhllm.train.pack.info import Counts, PackInfo
    from zhllm.train.pack.mixture import Portion
    from zhllm.train.pack.parts import GroupParts
    from zhllm.train.pack.tokenise import Task
    from zhllm.train.pack.writer import Taken
    from zhllm.vocab.tokenizer import Tokenizer

CORPUS, REPLAY = "corpus", "replay"
SPLITS: tuple[Literal["train", "valid"], ...] = ("train", "valid")
# Shares that are written with few decimals add up to 1 so nearly.
SHARES_TOLERANCE = 0.001


class PackConfig(Config):
    """Flags of `zhllm pack`."""

    corpus: NamedInputPaths = Field(
        description="Cleaned folders (train and valid are kept apart), or documents; NAME=PATH makes a group."
    )
    tokenizer: InputPath = Field(description="Tokenizer or model directory.")
    seq_len: int = Field(2048, gt=1, description="Tokens a row.")
    mix: str | None = Field(
        None, description="Shares of the training tokens, e.g. zh=0.8,en=0.2; the first group is taken whole, once."
    )
    max_repeats: int = Field(1, ge=1, description="How often a group may be read to fill its share.")
    replay: InputPaths = Field((), description="Text of the kind the base knows, mixed in against forgetting.")
    replay_share: float = Field(0.1, gt=0, lt=1, description="Share of replay in the training characters.")
    seed: int = Field(0, description="Seed of the choice of documents.")
    workers: Annotated[int, Role.RUNTIME] = Field(
        1, ge=1, description="Processes to tokenise with; the result is the same for any number."
    )

    @model_validator(mode="after")
    def _mix_fits(self) -> PackConfig:
        groups = groups_of(self)
        if len({name.replace("-", "_") for name in groups}) < len(groups):
            raise ValueError(f"--corpus: groups need names that differ in more than - and _ ({', '.join(groups)})")
        if self.mix and self.replay and "replay_share" in self.model_fields_set:
            raise ValueError("--mix says the share of replay too, so leave out --replay-share")
        if self.mix:
            shares_of(self.mix, groups)
        return self


def groups_of(config: PackConfig) -> dict[str, tuple[Path, ...]]:
    """The paths of each group by its name, in the order of the flags; ValueError for a name given to two things."""
    groups: dict[str, tuple[Path, ...]] = {}
    for given in config.corpus:
        name, path = name_and_path(given)
        groups[name or CORPUS] = (*groups.get(name or CORPUS, ()), path)
    if config.replay:
        if REPLAY in groups:
            raise ValueError(f"--corpus {REPLAY}=...: this is the name of --replay's text; choose another")
        groups[REPLAY] = config.replay
    return groups


def shares_of(mix: str, groups: Mapping[str, Any]) -> dict[str, float]:
    """The shares of `--mix`, one for each group; ValueError where they make no sense."""
    shares: dict[str, float] = {}
    for item in mix.split(","):
        name, equals, number = (word.strip() for word in item.partition("="))
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not equals or not 0 < share <= 1:
            raise ValueError(f'--mix {mix}: "{item.strip()}" is not NAME=SHARE with a share above 0 and up to 1')
        if name not in groups:
            raise ValueError(f"--mix {mix}: there is no group {name}.{nearest(name, list(groups))}")
        if name in shares:
            raise ValueError(f"--mix {mix}: {name} stands there twice")
        shares[name] = share
    if missing := [name for name in groups if name not in shares]:
        raise ValueError(f"--mix {mix}: has no share for {', '.join(missing)}")
    if abs(sum(shares.values()) - 1) > SHARES_TOLERANCE:
        raise ValueError(f"--mix {mix}: the shares add up to {sum(shares.values()):g}, not to 1")
    return shares


def run(config: PackConfig, out: Path) -> Metrics:
    """Writes token sets, memory-mapped: train, and valid, valid-NAME and valid-replay where there is such text.

    Documents stand whole, each with one end token; rows are cut across documents, and a row's
    documents never see each other in training. What a mix leaves out or reads again is counted. The
    output is the same for any number of workers; an interrupted run goes on where it was. Proves that
    every document is written or counted, the tokens on disk are those made, each document has one end
    token, and texts come back from their ids.

    \b
    zhllm pack --corpus clean --replay clean-english --tokenizer tokenizer --seq-len 2048 -o packed
    zhllm pack --corpus zh=laws zh=manuals en=english --mix zh=0.8,en=0.2 --tokenizer tokenizer --workers 8 -o packed
    """
    from zhllm.stages._pack_page import write_report
    from zhllm.stages._pack_report import metrics_of, say_empty, say_taken
    from zhllm.train.pack.info import write_info
    from zhllm.train.pack.tokenise import tokenizer_at
    from zhllm.train.pack.writer import prove_set

    tokenizer_at.cache_clear()  # its folder may have been made again since an earlier run in this process
    tokenizer, groups = tokenizer_at(config.tokenizer), groups_of(config)
    _ = tokenizer.eos_id  # or the DataError that says there is none
    parts = _tokenised(config, groups, checkpoints_of(out))
    portions = _portions(config, {name: one.available() for name, one in parts.items()})
    taken = _write_sets(config, out, parts, portions, tokenizer.vocab_size)
    say_empty(parts)
    say_taken(taken["train"])
    info = _info(config, tokenizer, taken, {name: one.digest() for name, one in parts.items()})
    write_info(out, info)
    for name in info.sets:
        prove_set(out, name, info)
    metrics = metrics_of(info, taken, parts)
    write_report(out, info, taken, metrics)
    return metrics


def _tokenised(config: PackConfig, groups: Mapping[str, tuple[Path, ...]], folder: Path) -> dict[str, GroupParts]:
    """The parts of every group, made now or before; DataError for a group without training documents."""
    from zhllm.text.parallel import map_in_order
    from zhllm.train.pack.tokenise import tokenise

    parts: dict[str, GroupParts] = {}
    total = sum(_megabytes(path) for paths in groups.values() for path in paths)
    with bar("pack", max(round(total), 1), "MB") as shown:
        for megabytes in map_in_order(tokenise, _work(config, groups, folder, parts), config.workers):
            shown.advance(megabytes)
    for name, one in parts.items():
        one.prove(name)
        if not one.available().docs:
            empty = f" ({one.empty_docs:,} are empty)" if one.empty_docs else ""
            raise DataError(f"{', '.join(map(str, groups[name]))}: no documents to pack{empty}.")
    return parts


def _megabytes(path: Path) -> float:
    from zhllm.text.read.shards import document_files

    files = {file.path for file in document_files(path) if file.path.is_file()}
    return sum(file.stat().st_size for file in files) / 1e6


def _work(
    config: PackConfig, groups: Mapping[str, tuple[Path, ...]], folder: Path, parts: dict[str, GroupParts]
) -> Iterator[Task]:
    """The tasks that are not done yet; every part is named in `parts`, with the documents it was made from."""
    from zhllm.text.arrow_files import is_whole
    from zhllm.text.read.shards import has_split
    from zhllm.train.pack.parts import GroupParts
    from zhllm.train.pack.tasks import tasks_of

    before = 0
    for number, (name, paths) in enumerate(groups.items()):
        parts[name] = GroupParts()
        for split in SPLITS:
            for place, path in enumerate(paths):
                if split == "valid" and not has_split([path], "valid"):
                    continue
                prefix = folder / f"{number:03d}-{split}-{place:04d}"
                for task, docs in tasks_of(path, split, config.tokenizer, prefix):
                    parts[name].add(split, task.part, docs)
                    if is_whole(task.part):
                        before += 1
                    else:
                        yield task
    if before:
        say(f"{before} of {sum(len(one.paths) for one in parts.values())} parts were tokenised before")


def _portions(config: PackConfig, available: Mapping[str, Counts]) -> dict[str, Portion]:
    """How much of each group becomes training text."""
    from zhllm.stages._pack_report import say_short
    from zhllm.train.pack.mixture import Portion, TooLittleError, portion_of_replay, portions_of_mix

    if config.mix:
        try:
            return portions_of_mix(available, shares_of(config.mix, available), config.max_repeats)
        except TooLittleError as error:
            raise DataError(
                f"--mix {config.mix}: {error.name} has {error.available:,} training tokens, its share beside all of "
                f"the first group takes {error.wanted:,}. Give more text, --max-repeats {error.times}, or other shares."
            ) from error
    portions = {name: Portion() for name in available}
    if REPLAY in available:
        chars = sum(counts.chars for name, counts in available.items() if name != REPLAY)
        portions[REPLAY] = portion_of_replay(chars, available[REPLAY], config.replay_share, config.max_repeats)
        most = config.max_repeats * available[REPLAY].chars
        say_short(REPLAY, most / (chars + most), config.replay_share)
    return portions


def _write_sets(
    config: PackConfig, out: Path, parts: Mapping[str, GroupParts], portions: Mapping[str, Portion], vocab_size: int
) -> dict[str, dict[str, Taken]]:
    """Write every set; what was taken of which source, by set."""
    from zhllm.train.pack.info import dtype_for
    from zhllm.train.pack.mixture import Portion
    from zhllm.train.pack.writer import SetWriter

    dtype = dtype_for(vocab_size)
    taken: dict[str, dict[str, Taken]] = {}
    with SetWriter(out, "train", dtype) as writer:
        taken["train"] = {
            name: writer.add(number, one.train, portions[name], config.seed)
            for number, (name, one) in enumerate(parts.items())
        }
    for number, (name, one) in enumerate(parts.items()):
        if one.available("valid").docs:
            valid = "valid" if name == CORPUS else f"valid-{name}"
            with SetWriter(out, valid, dtype) as writer:
                taken[valid] = {name: writer.add(number, one.valid, Portion(), config.seed)}
    return taken


def _info(
    config: PackConfig, tokenizer: Tokenizer, taken: Mapping[str, dict[str, Taken]], texts: dict[str, str]
) -> PackInfo:
    from zhllm.train.pack.info import PackInfo, dtype_for
    from zhllm.train.pack.writer import set_info

    return PackInfo(
        tokenizer=tokenizer.digest,
        vocab_size=tokenizer.vocab_size,
        seq_len=config.seq_len,
        dtype=dtype_for(tokenizer.vocab_size),
        pad_id=tokenizer.pad_id,
        sets={name: set_info(one) for name, one in taken.items()},
        sources=tuple(texts),
        texts=texts,
        bos_id=tokenizer.special_id("bos"),
        eos_id=tokenizer.eos_id,
    )


STAGE = Stage("pack", 2, PackConfig, run, resumable=True)
