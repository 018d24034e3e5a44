"""The input of `pack` in stretches for its workers, the same ones in every run whatever the number of workers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from zhllm.text.arrow_files import SUFFIX
from zhllm.text.read.shards import Split, document_files, read_documents
from zhllm.text.read.sources import SourceFile
from zhllm.train.pack.tokenise import Task

# What a worker takes at a time, in UTF-8 bytes of text (of parquet, of the text column once unpacked).
STRETCH_BYTES = 16_000_000
# A row group above this is read a batch at a time, in this process.
LARGEST_GROUP_BYTES = 64_000_000


def tasks_of(path: Path, split: Split, tokenizer: Path, prefix: Path) -> Iterator[tuple[Task, int]]:
    """The tasks of a path's documents in order, and how many documents each has; their parts are `prefix`-number.

    Workers read parquet files by themselves, some row groups at a time. All other kinds are read here.
    """
    for number, (task, docs) in enumerate(_unnamed(path, split, tokenizer, prefix)):
        yield replace(task, part=prefix.with_name(f"{prefix.name}-{number:07d}{SUFFIX}")), docs


def _unnamed(path: Path, split: Split, tokenizer: Path, prefix: Path) -> Iterator[tuple[Task, int]]:
    files = [file for file in document_files(path, split) if file.skip is None]
    if files and all(map(_is_direct, files)):
        for file in files:
            yield from _row_groups(file.path, Task(prefix, tokenizer, file=file.path))
        return
    texts: list[str] = []
    size = 0
    for document in read_documents([path], split):
        texts.append(document.text)
        size += len(document.text.encode())
        if size >= STRETCH_BYTES:
            yield Task(prefix, tokenizer, tuple(texts), megabytes=size / 1e6), len(texts)
            texts, size = [], 0
    if texts:
        yield Task(prefix, tokenizer, tuple(texts), megabytes=size / 1e6), len(texts)


def _is_direct(file: SourceFile) -> bool:
    """Whether a worker may read the file by row groups: parquet with a text column, in groups of a bearable size."""
    if file.member is not None or file.path.suffix != ".parquet":
        return False
    try:
        metadata = pq.read_metadata(file.path)
    except (pa.ArrowException, OSError):
        return False
    sizes = [_text_bytes(metadata, group) for group in range(metadata.num_row_groups)]
    return all(size is not None and size <= LARGEST_GROUP_BYTES for size in sizes)


def _text_bytes(metadata: pq.FileMetaData, group: int) -> int | None:
    """Bytes of the text column of a row group once unpacked; None where there is none."""
    columns = (metadata.row_group(group).column(i) for i in range(metadata.num_columns))
    return next((column.total_uncompressed_size for column in columns if column.path_in_schema == "text"), None)


def _row_groups(path: Path, task: Task) -> Iterator[tuple[Task, int]]:
    """Neighbouring row groups together, up to a stretch."""
    metadata = pq.read_metadata(path)
    first = size = docs = 0
    for group in range(metadata.num_row_groups):
        size += _text_bytes(metadata, group) or 0
        docs += metadata.row_group(group).num_rows
        if size >= STRETCH_BYTES or group == metadata.num_row_groups - 1:
            share = docs / max(metadata.num_rows, 1)
            megabytes = path.stat().st_size * share / 1e6
            yield replace(task, first_group=first, end_group=group + 1, megabytes=megabytes), docs
            first, size, docs = group + 1, 0, 0
