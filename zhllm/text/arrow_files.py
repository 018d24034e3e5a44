"""Arrow files that are whole or not there: how long work keeps a stretch of its result, mapped when it is read.

A file is written under another name first; after a power failure it may still be cut off, which its end tells.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from zhllm.text.read.parquet import on_disk

SUFFIX = ".arrow"
_END = b"ARROW1"  # of every Arrow file


def write_whole(path: Path, columns: Sequence[pa.Array], schema: pa.Schema) -> None:
    """Write columns of one length as one batch; equal columns give equal bytes."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    with on_disk(path):
        try:
            with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, schema) as writer:
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
            partial.rename(path)
        finally:
            partial.unlink(missing_ok=True)


def is_whole(path: Path) -> bool:
    """Whether a file is there and was written to its end; after a power failure, it may be cut off."""
    try:
        with path.open("rb") as file:
            file.seek(-len(_END), os.SEEK_END)
            return file.read() == _END
    except OSError:
        return False
