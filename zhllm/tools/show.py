"""show: look at what a stage read or wrote, in the terminal or as one HTML page."""

from __future__ import annotations

import fnmatch
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zhllm.errors import ConfigError, DataError, ZhllmError
from zhllm.progress import say

if TYPE_CHECKING:
    from zhllm.tools._show_records import Placed, Query
    from zhllm.tools._show_tokens import ChatTokens
    from zhllm.tools._show_view import Block

PATH = click.Path(path_type=Path, exists=True)
# Files in a stage's folder that hold records; metrics.jsonl, a table of numbers, is shown as such.
SHARDS = (".parquet", ".jsonl", ".tsv")
METRICS = "metrics.jsonl"
# A folder that has one of these was written by a stage or by another program for models; any other holds sources.
_OURS = ("manifest.json", "run.json", "config.json", "adapter_config.json", "tokenizer.json", "pack.json", METRICS)


class FormatName(click.ParamType[str]):
    """One of the formats that zhllm knows, looked up when it is asked for."""

    name = "format"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name as it is; a usage error for an unknown one."""
        from zhllm.text.prompt_format import FORMATS

        return str(click.Choice(list(FORMATS)).convert(value, param, ctx))


@dataclass(frozen=True)
class Wish:
    """What of a path is to be shown, and how."""

    query: Query
    tokenizer: Path | None
    prompt_format: str | None
    seq_len: int | None
    only: str | None
    max_chars: int | None
    is_json: bool


@click.command()
@click.argument("path", type=PATH)
@click.option(
    "-n", "count", default=5, show_default=True, type=click.IntRange(1), help="How many of each kind to show."
)
@click.option("--seed", type=int, help="Show a seeded random choice instead of the first ones.")
@click.option("--id", "identity", help="Show the records of this id.")
@click.option("--grep", "pattern", metavar="REGEX", help="Show records in which some text matches.")
@click.option("--reason", help="Show rejected records whose reason holds this.")
@click.option("--file", "only", metavar="NAME", help="Show these files of a folder only, rejected-* for one.")
@click.option("--tokenizer", type=PATH, help="Show chats and packed rows token by token.")
@click.option("--prompt-format", type=FormatName(), help="Format of chats; without it that of --tokenizer's template.")
@click.option("--seq-len", type=click.IntRange(1), help="Show what sft would cut to make a chat fit.")
@click.option("--chars", default=4000, show_default=True, type=click.IntRange(0), help="Of each text; 0 for all.")
@click.option("--manifest", "is_manifest", is_flag=True, help="Show a folder's manifest and what it was made from.")
@click.option("--json", "is_json", is_flag=True, help="Write records as JSON lines, or the manifest as it is.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write one page to this file instead.")
@click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
def command(path: Path, html: Path | None, color: str, is_manifest: bool, is_json: bool, **asked: Any) -> None:
    """Show what is in PATH: a stage's folder, a file of one, or a source as it was before.

    \b
    zhllm show runs/demo/clean -n 3
    zhllm show runs/demo/clean --file 'rejected-*' --reason duplicate
    zhllm show runs/demo/convert --tokenizer runs/demo/sft --seq-len 64
    zhllm show runs/demo/convert --tokenizer runs/demo/sft --html chats.html
    zhllm show runs/demo/pretrain --manifest
    zhllm show runs/demo/export/company-q8_0.gguf
    """
    from zhllm.tools._show_view import Terminal, write

    wish = _wish(is_json, **asked)
    has_colour = _has_colour(color)
    try:
        if is_json:
            write(_json_lines(path, wish, is_manifest), False)
            return
        blocks = _blocks(path, wish, is_manifest)
        if html is not None:
            from zhllm.tools._show_page import write_page

            write_page(blocks, path.name or str(path), html)
            say(f"show: wrote {html}")
            return
        write(Terminal(has_colour, getattr(sys.stdout, "encoding", None)).lines(blocks), has_colour)
        sys.stdout.flush()
    except BrokenPipeError:  # what reads our output, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise DataError(f"{error.filename or path}: cannot be read ({error.strerror or error}).") from error


def _wish(
    is_json: bool, count: int, seed: int | None, identity: str | None, pattern: str | None, reason: str | None,
    only: str | None, tokenizer: Path | None, prompt_format: str | None, seq_len: int | None, chars: int,
) -> Wish:  # fmt: skip
    from zhllm.tools._show_records import Query

    try:
        compiled = None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--grep {pattern}: is not a regular expression ({error}).") from error
    if tokenizer is None and (seq_len is not None or prompt_format is not None):
        raise ConfigError("--seq-len and --prompt-format need --tokenizer: only it knows what a token is.")
    query = Query(count, seed, identity, compiled, reason)
    folder = tokenizer
    if tokenizer is not None and tokenizer.is_file() and (tokenizer.parent / "tokenizer.json").is_file():
        folder = tokenizer.parent
    return Wish(query, folder, prompt_format, seq_len, only, chars or None, is_json)


def _has_colour(color: str) -> bool:
    """Whether to colour: not in a pipe, and not where NO_COLOR (no-color.org) is set."""
    if color != "auto":
        return color == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _json_lines(path: Path, wish: Wish, is_manifest: bool) -> Iterator[str]:
    import json

    if is_manifest:
        folder = path if path.is_dir() else path.parent
        if not (folder / "manifest.json").is_file():
            raise DataError(f"{folder}: has no manifest.json: no stage of zhllm wrote it.")
        yield (folder / "manifest.json").read_text(encoding="utf-8").rstrip("\n")
        return
    groups = _groups(path, wish) if path.is_dir() else {path.name: [path]}
    if not groups:
        raise DataError(f"{path}: holds no records to write as JSON lines; try --manifest.")
    for placed in _found(groups, wish):
        yield json.dumps(placed[1].record, ensure_ascii=False, default=str)


def _blocks(path: Path, wish: Wish, is_manifest: bool) -> Iterator[Block]:
    from zhllm.tools._show_manifest import manifest_blocks

    if is_manifest:
        yield from manifest_blocks(path if path.is_dir() else path.parent)
    elif path.is_file():
        yield from _file_blocks(path, wish)
    else:
        yield from _folder_blocks(path, wish)


def _file_blocks(path: Path, wish: Wish) -> Iterator[Block]:
    from zhllm.tools._show_view import Heading

    if path.suffix == ".gguf":
        from zhllm.tools._show_models import gguf_blocks

        yield from gguf_blocks(path)
    elif path.suffix == ".safetensors":
        from zhllm.tools._show_models import tensor_file_blocks

        yield from tensor_file_blocks(path)
    elif path.name == METRICS:
        from zhllm.tools._show_models import metrics_blocks

        yield from metrics_blocks(path)
    elif path.name == "manifest.json":
        from zhllm.tools._show_manifest import manifest_blocks

        yield from manifest_blocks(path.parent)
    elif _is_one_object(path):
        from zhllm.tools._show_manifest import json_blocks

        yield Heading(str(path))
        yield from json_blocks(path)
    else:
        yield from _record_blocks({str(path): [path]}, wish)


def _is_one_object(path: Path) -> bool:
    """Whether a .json file is a report or a config: one object, in which no list of records stands."""
    if path.suffix != ".json":
        return False
    from zhllm.text.read.records import is_json_lines, open_bytes

    with path.open("rb") as file:
        head = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    return head.startswith(b"{") and not is_json_lines(lambda: open_bytes(path)) and b'"paragraphs"' not in head


def _folder_blocks(folder: Path, wish: Wish) -> Iterator[Block]:
    """All that is known of a folder; DataError where that is nothing."""
    from zhllm.tools._show_manifest import json_blocks
    from zhllm.tools._show_view import Heading, Words

    has_content = False
    for block in _content(folder, wish):
        has_content = True
        yield block
    report = folder / "report.json"
    if wish.only is None and not has_content:
        for name in ("report.json", "scores.json"):
            if (folder / name).is_file():
                has_content = True
                yield Heading(str(folder / name))
                yield from json_blocks(folder / name)
    if not has_content:
        raise DataError(_nothing(folder, wish.only))
    if wish.only is None and report.is_file() and not wish.query.is_filter:
        yield Words(f"\nmore: zhllm show {report}")
    if wish.only is None and (folder / "manifest.json").is_file() and not wish.query.is_filter:
        yield Words(f"made by: zhllm show {folder} --manifest")


def _nothing(folder: Path, only: str | None) -> str:
    names = sorted(p.name for p in folder.iterdir())
    here = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    if only is not None:
        return f"{folder}: holds no file {only} that show reads ({here or 'it is empty'})."
    if "run.json" in names:
        return f"{folder}: is a run; show one of its folders ({here}), or see zhllm status {folder}."
    hint = "it is empty" if not names else f"it holds {here}; give one of these"
    return f"{folder}: nothing to show: no shards, no jsonl, no model and no manifest.json ({hint})."


def _content(folder: Path, wish: Wish) -> Iterator[Block]:
    yield from _record_blocks(_groups(folder, wish), wish)
    if wish.query.is_filter:
        return
    if wish.only is not None:
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.suffix not in SHARDS and fnmatch.fnmatch(path.name, wish.only):
                yield from _file_blocks(path, wish)
        return
    if (folder / "pack.json").is_file():
        from zhllm.tools._show_tokens import packed_blocks

        yield from packed_blocks(folder, wish.tokenizer, wish.query.count, wish.query.seed)
    yield from _model_parts(folder, wish)
    if (folder / METRICS).is_file():
        yield from _file_blocks(folder / METRICS, wish)


def _model_parts(folder: Path, wish: Wish) -> Iterator[Block]:
    from zhllm.tools._show_models import adapter_blocks, gguf_blocks, model_blocks, tokenizer_blocks

    if (folder / "adapter_config.json").is_file():
        yield from adapter_blocks(folder)
    elif (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        yield from model_blocks(folder)
    if (folder / "tokenizer.json").is_file():
        yield from tokenizer_blocks(folder, wish.query.count, wish.query.seed)
    for path in sorted(folder.glob("*.gguf")):
        yield from gguf_blocks(path)


def _groups(folder: Path, wish: Wish) -> dict[str, list[Path]]:
    """The shards of a folder, those of one kind together; of a folder that is no stage's, every readable file."""
    from zhllm.tools._show_records import has_records, is_readable

    groups: dict[str, list[Path]] = {}
    is_source = not any((folder / name).is_file() for name in _OURS)
    for path in sorted(folder.iterdir()):
        if (
            not path.is_file()
            or path.name == METRICS
            or not (wish.only is None or fnmatch.fnmatch(path.name, wish.only))
        ):
            continue
        if path.suffix in SHARDS or (is_source and is_readable(path)):
            name = re.sub(r"-\d+$", "-*", path.stem) + path.suffix if has_records(path) else f"*{path.suffix}"
            groups.setdefault(str(folder / name), []).append(path)
    return groups


def _found(groups: dict[str, list[Path]], wish: Wish) -> Iterator[tuple[str, Placed]]:
    """The records of each group that were asked for; says so where a filter finds none."""
    from zhllm.tools._show_records import chosen

    matched = 0
    for name, files in groups.items():
        for placed in chosen(files, wish.query):
            matched += 1
            yield name, placed
    if wish.query.is_filter and not matched:
        raise DataError(f"{', '.join(groups)}: no record matches --id, --grep and --reason as given.")


def _record_blocks(groups: dict[str, list[Path]], wish: Wish) -> Iterator[Block]:
    from zhllm.tools._show_view import Heading, Words

    chats: ChatTokens | None = None
    table: list[Placed] = []
    headed: set[str] = set()
    for name, placed in _found(groups, wish) if groups else ():
        is_chat = wish.tokenizer is not None and isinstance(placed.record.get("messages"), list)
        fresh = None if chats is not None or not is_chat else _chat_tokens(wish)
        if name not in headed:
            yield from _table(table)
            table = []
            yield Heading(name if len(groups[name]) == 1 else f"{name} ({len(groups[name])} files)")
            headed.add(name)
        if fresh is not None:
            chats = fresh
            yield from chats.legend()
        if name.endswith(".tsv"):
            table.append(placed)
            continue
        yield Words("")
        yield from _token_blocks(chats, placed) if chats is not None and is_chat else _plain_blocks(placed, wish)
    yield from _table(table)
    for name in groups if not wish.query.is_filter else ():
        if name not in headed:
            yield Heading(name)
            yield Words("(no records)")


def _table(found: list[Placed]) -> Iterator[Block]:
    """Rows of a TSV file, pieces and their counts for one."""
    from zhllm.tools._show_view import Table

    if found:
        columns = list(dict.fromkeys(key for placed in found for key in placed.record))
        yield Table(columns, [[str(placed.record.get(key, "")) for key in columns] for placed in found])


def _chat_tokens(wish: Wish) -> ChatTokens:
    from zhllm.tools._show_tokens import ChatTokens

    folder = wish.tokenizer or Path()
    try:
        return ChatTokens(folder, wish.prompt_format, wish.seq_len)
    except ZhllmError:
        raise
    except Exception as error:  # tokenizers raises Exception itself for a damaged file
        raise DataError(f"--tokenizer {folder}: cannot be read ({str(error).splitlines()[0]}).") from error


def _token_blocks(chats: ChatTokens, placed: Placed) -> Iterator[Block]:
    from zhllm.tools._show_texts import identity_blocks, not_canonical, record_blocks

    problem = not_canonical(placed.record, placed.place)
    if problem is None:
        yield from identity_blocks(placed.record, ("messages",))
        yield from chats.blocks(placed.record["messages"])
    else:
        yield problem
        yield from record_blocks(placed.record, None)


def _plain_blocks(placed: Placed, wish: Wish) -> Iterator[Block]:
    from zhllm.tools._show_texts import record_blocks

    yield from record_blocks(placed.record, wish.max_chars)
