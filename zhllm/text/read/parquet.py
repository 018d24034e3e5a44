"""Parquet shards: rows in, files out, with settings fixed so that equal rows give equal bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from zhllm.errors import StageError
from zhllm.text.document import Document, Item, Rejected
from zhllm.text.read.json_values import kind_of_value
from zhllm.text.read.streams import MAX_RATIO

DOCUMENT_SCHEMA = pa.schema([(name, pa.string()) for name in ("id", "text", "source", "meta")])

# A row group is what a reader holds in memory at once; a shard is what one worker takes.
ROW_GROUP_CHARS = 8_000_000
ROW_GROUP_ROWS = 50_000
SHARD_CHARS = 128_000_000
# What a batch of rows may hold when read.
BATCH_BYTES = 100_000_000
BOMB_BYTES = 64_000_000


class ShardWriter:
    """Writes rows to `folder/prefix-00000.parquet`, `-00001`, ...; at least one file, even if empty."""

    def __init__(self, folder: Path, prefix: str, schema: pa.Schema = DOCUMENT_SCHEMA) -> None:
        self._folder, self._prefix, self._schema = folder, prefix, schema
        self._rows: list[Sequence[Any]] = []
        self._group_chars = self._shard_chars = 0
        self._writer: pq.ParquetWriter | None = None
        self.paths: list[Path] = []
        self.rows = 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._writer is not None:
            with suppress(StageError):  # the disk may be full, and the error that is under way says more
                self._finish(self._writer)

    def write(self, row: Sequence[Any]) -> None:
        """Add one row, its values in the order of the schema."""
        self._rows.append(row)
        self.rows += 1
        self._group_chars += sum(len(value) for value in row if isinstance(value, str))
        if self._group_chars >= ROW_GROUP_CHARS or len(self._rows) >= ROW_GROUP_ROWS:
            self._flush()

    def write_document(self, document: Document) -> None:
        """Add one document (for the document schema)."""
        self.write((document.id, document.text, document.source, document.meta))

    def close(self) -> None:
        """Write what is left; the files are complete afterwards."""
        if self._rows or not self.paths:
            self._flush()
        if self._writer is not None:
            self._finish(self._writer)

    def _flush(self) -> None:
        columns = [[row[i] for row in self._rows] for i in range(len(self._schema))]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        table = pa.Table.from_arrays(arrays, schema=self._schema)
        if self._writer is None:
            self.paths.append(self._folder / f"{self._prefix}-{len(self.paths):05d}.parquet")
            with on_disk(self.paths[-1]):
                self._writer = parquet_writer(self.paths[-1], self._schema)
        with on_disk(self.paths[-1]):
            self._writer.write_table(table)
        self._shard_chars += self._group_chars
        self._rows, self._group_chars = [], 0
        if self._shard_chars >= SHARD_CHARS:
            self._finish(self._writer)

    def _finish(self, writer: pq.ParquetWriter) -> None:
        self._writer, self._shard_chars = None, 0
        try:
            with on_disk(self.paths[-1]):
                writer.close()
        finally:
            writer.is_open = False  # or pyarrow closes it again when it goes, and prints what comes of it


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer with the settings every shard has."""
    return pq.ParquetWriter(path, schema, compression="zstd", compression_level=3, use_dictionary=False)


@contextmanager
def on_disk(path: Path) -> Iterator[None]:
    """Turn an error of the disk into one that says what to do."""
    try:
        yield
    except OSError as error:
        raise StageError(
            f"{path}: cannot be written ({error.strerror or error}). Nothing was finished. Free some space, or "
            "choose another disk with -o, and run the same command again."
        ) from error


def count_rows(paths: Sequence[Path]) -> int:
    """Rows of parquet files, from their footers."""
    return sum(pq.ParquetFile(path).metadata.num_rows for path in paths)


def read_parquet(path: Path | BinaryIO, name: str, text_key: str, id_key: str) -> Iterator[Item]:
    """Every row of a parquet file as a document; a row without text as a rejected record.

    Columns other than id, text, source and meta go into `meta`; without an id column the id is
    `name#row`, rows counted from 1.
    """
    for found in read_rows(path, name, text_key):
        yield found if isinstance(found, Rejected) else _document_of(*found, name, text_key, id_key)


Row = dict[str, Any] | UnicodeDecodeError


def read_rows(path: Path | BinaryIO, name: str, needed: str | None = None) -> Iterator[tuple[Row, int] | Rejected]:
    """Every row of a parquet file and its number, from 1; the error in place of one that holds no UTF-8.

    A file that lacks a column that is `needed`, is damaged or like a bomb is rejected where that shows.
    """
    try:
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        yield Rejected(name, "file", f"is not a readable parquet file ({error})")
        return
    columns = file.schema_arrow.names
    if needed is not None and needed not in columns:
        yield Rejected(name, "file", f'has no column "{needed}" (columns: {", ".join(columns)})')
        return
    largest, is_bomb = _largest_column(file.metadata)
    if is_bomb:
        yield Rejected(name, "file", f"holds a column that expands more than {MAX_RATIO}-fold, like a bomb")
        return
    rows = 0
    # A value may be as large as its column's part, and a dictionary repeats it in every row.
    batch_rows = max(16, min(4096, BATCH_BYTES // max(1, largest)))
    try:
        for batch in file.iter_batches(batch_size=batch_rows):
            for row in _rows(batch):
                rows += 1
                yield row, rows
    except (pa.ArrowException, OSError) as error:
        yield Rejected(name, "file", f"its parquet data is damaged after {rows:,} rows ({error})")


def not_utf8(error: UnicodeDecodeError, name: str, number: int) -> Rejected:
    """Why a row is none that can be read."""
    return Rejected(name, "record", f"holds text that is not UTF-8 (byte {error.start})", line=number)


def _largest_column(metadata: pq.FileMetaData) -> tuple[int, bool]:
    """The bytes of the largest column of a row group once unpacked, and whether one looks like a bomb."""
    largest, is_bomb = 0, False
    for group in range(metadata.num_row_groups):
        for place in range(metadata.num_columns):
            column = metadata.row_group(group).column(place)
            size = column.total_uncompressed_size
            largest = max(largest, size)
            is_bomb |= size > BOMB_BYTES and size > MAX_RATIO * column.total_compressed_size
    return largest, is_bomb


def _rows(batch: pa.RecordBatch) -> Iterator[Row]:
    """The rows of a batch; in place of one whose text is no UTF-8, the error."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for i in range(batch.num_rows):
            try:
                yield batch.slice(i, 1).to_pylist()[0]
            except UnicodeDecodeError as error:
                yield error


def _document_of(row: Row, number: int, name: str, text_key: str, id_key: str) -> Item:
    if isinstance(row, UnicodeDecodeError):
        return not_utf8(row, name, number)
    text = row.pop(text_key)
    if not isinstance(text, str):
        reason = f'"{text_key}" is {kind_of_value(text)}, not text'
        return Rejected(name, "record", reason, line=number)
    identity, source, meta = row.pop(id_key, None), row.pop("source", None), row.pop("meta", None)
    if row or not isinstance(meta, str):
        try:
            meta = _json_of(meta, row)
        except TypeError as error:
            return Rejected(name, "record", f"a column cannot be kept as JSON ({error})", line=number)
    return Document(
        id=f"{name}#{number}" if identity is None or isinstance(identity, dict | list) else str(identity),
        text=text,
        source=source if isinstance(source, str) else name,
        meta=meta,
    )


def _json_of(meta: Any, row: dict[str, Any]) -> str:
    """The other columns and what `meta` holds, as one JSON object."""
    if isinstance(meta, str):
        try:
            meta = orjson.loads(meta)
        except orjson.JSONDecodeError:
            meta = {"meta": meta}
    values = (meta if isinstance(meta, dict) else {"meta": meta} if meta is not None else {}) | row
    return orjson.dumps(values, default=str, option=orjson.OPT_NON_STR_KEYS).decode() if values else "{}"
