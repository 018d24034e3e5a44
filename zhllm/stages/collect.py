"""collect: files and folders of any kind become document shards, and every input is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from zhllm.config import Config, InputPaths, Role
from zhllm.errors import DataError, ProofError
from zhllm.progress import bar, say
from zhllm.stage import Metrics, Stage

if TYPE_CHECKING:
    import pyarrow as pa

    from zhllm.text.document import Document, Item, Rejected
    from zhllm.text.ids import Ids
    from zhllm.text.read.parquet import ShardWriter
    from zhllm.text.read.sources import SourceFile

SHOWN = 5
REJECTED_COLUMNS = ("file", "kind", "offset", "line", "reason", "sample")
# Documents whose ids are looked up together.
BATCH_DOCS = 2000
BATCH_CHARS = 4_000_000


class CollectConfig(Config):
    """What to collect and how records are laid out."""

    source: InputPaths = Field(description="Files and folders to read.", min_length=1)
    text_key: str = Field("text", description="Key (or column) of a record that holds its text.")
    id_key: str = Field("id", description="Key (or column) of a record that holds its id.")
    max_rejected_share: float = Field(
        0.05, ge=0, le=1, description="Fail when a larger share of the files or of the records is rejected."
    )
    workers: Annotated[int, Role.RUNTIME] = Field(
        1, ge=1, description="Processes to read files with; the result is the same for any number."
    )


@dataclass
class Account:
    """What became of everything that was found."""

    files: Counter[str] = field(default_factory=Counter)  # found, read, rejected, skipped
    kinds: Counter[str] = field(default_factory=Counter)  # of what is listed: file, record, skipped, left out
    first: dict[str, list[Rejected]] = field(default_factory=dict)  # of each kind, to be shown
    reasons: Counter[str] = field(default_factory=Counter)  # of skipped files
    lines: int = 0  # of texts, bad ones, listed as records
    docs: int = 0
    chars: int = 0

    def take(self, item: Rejected) -> None:
        """Count something that gave no document."""
        from zhllm.text.read.sources import TEXT_KINDS, kind_of

        self.kinds[item.kind] += 1
        self.lines += item.kind == "record" and kind_of(item.file) in TEXT_KINDS
        if item.kind == "skipped":
            self.reasons[item.reason] += 1
        if len(first := self.first.setdefault(item.kind, [])) < SHOWN:
            first.append(item)

    def shown(self, *kinds: str) -> list[Rejected]:
        """The first ones of some kinds."""
        return [item for kind in kinds for item in self.first.get(kind, [])][:SHOWN]


def run(config: CollectConfig, out: Path) -> Metrics:
    """Read txt, md, html, docx, pdf, csv, xlsx, json, jsonl, parquet and MediaWiki dumps, also compressed.

    Writes documents-*.parquet (id, text, source, meta) and rejected-*.parquet (file, kind, offset, line,
    reason, sample). gz, bz2, xz, zst and zip are opened, encodings found out; headings and pages are told
    in meta. A file, or a record, that cannot be read is set aside with its place and reason; above
    --max-rejected-share the stage fails and names the first ones. Other kinds of files are listed as
    skipped. Proves that every file has an outcome and the shards hold what was counted.

    \b
    zhllm collect --source ~/company/docs ~/company/tickets.jsonl -o runs/documents
    """
    from zhllm.text.ids import Ids
    from zhllm.text.read.parquet import ShardWriter

    files = _files(config.source)
    account, ids = Account(), Ids()
    with (
        ShardWriter(out, "documents") as documents,
        ShardWriter(out, "rejected", _rejected_schema()) as rejected,
        bar("collect", len(files), "files") as shown,
    ):
        for batch in _batches(_read_all(files, config, shown.advance), account, rejected):
            _write(batch, ids, documents, account)
    _check_shares(config, account, rejected.paths[0])
    if not account.docs:
        found = f"{account.files['found']} files found, {account.files['skipped']} of them skipped"
        listed = _first(account.shown("file", "record", "skipped"))
        raise DataError(f"{_names(config.source)}: no documents ({found}).{listed}")
    _say_rejected(account)
    _prove(account, ids, documents.paths, rejected.paths)
    return _metrics(account, ids, files)


def _files(sources: Sequence[Path]) -> list[SourceFile]:
    """Every file of the sources once, in order; a second way to the same file is named as skipped."""
    from dataclasses import replace

    from zhllm.text.read.sources import walk

    files: list[SourceFile] = []
    seen: dict[tuple[Path, int | None], str] = {}
    for source in sources:
        for file in walk(source):
            place = (_real(file.path), file.member)
            if file.skip is None and place in seen:
                file = replace(file, skip=f"is the same file as {seen[place]}")
            seen.setdefault(place, file.name)
            files.append(file)
    return files


def _real(path: Path) -> Path:
    """Where a path leads; itself for a loop of links, which reading then reports."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path


def _read_all(
    files: Sequence[SourceFile], config: CollectConfig, advance: Callable[[], None]
) -> Iterator[tuple[SourceFile, Iterable[Item]]]:
    """Every file with what is in it, in order; small ones are read ahead by the workers."""
    from zhllm.text.parallel import map_in_order
    from zhllm.text.read.sources import Keys, or_empty, read_ahead, read_file

    keys = Keys(config.text_key, config.id_key)
    read = map_in_order(read_ahead, ((file, keys) for file in files), config.workers)
    for file, items in zip(files, read, strict=True):
        yield file, or_empty(file, read_file(file, keys) if items is None else items)
        advance()


def _batches(
    read: Iterable[tuple[SourceFile, Iterable[Item]]], account: Account, rejected: ShardWriter
) -> Iterator[list[Document]]:
    """The documents in groups; what is none is listed, and each file's outcome counted."""
    from zhllm.text.document import Rejected

    batch: list[Document] = []
    chars = 0
    for _, items in read:
        outcome = "read"
        for item in items:
            if isinstance(item, Rejected):
                account.take(item)
                rejected.write([getattr(item, name) for name in REJECTED_COLUMNS])
                outcome = {"file": "rejected", "skipped": "skipped"}.get(item.kind, outcome)
                continue
            batch.append(item)
            chars += len(item.text)
            if len(batch) >= BATCH_DOCS or chars >= BATCH_CHARS:
                yield batch
                batch, chars = [], 0
        account.files.update(("found", outcome))
    yield batch


def _write(batch: Sequence[Document], ids: Ids, writer: ShardWriter, account: Account) -> None:
    for document in ids.unique(batch):
        writer.write_document(document)
        account.docs += 1
        account.chars += len(document.text)


def _rejected_schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema([(n, pa.int64() if n in ("offset", "line") else pa.string()) for n in REJECTED_COLUMNS])


def _say_rejected(account: Account) -> None:
    if account.reasons:
        say("skipped: " + "; ".join(f"{n} × {reason}" for reason, n in account.reasons.most_common(SHOWN)))
    for item in account.shown("left out"):
        say(f"left out of {item.file}: {item.reason}")
    if number := account.kinds["file"] + account.kinds["record"]:
        say(f"rejected: {number}, listed in rejected-00000.parquet:{_first(account.shown('file', 'record'))}")


def _first(items: Sequence[Rejected]) -> str:
    return "".join(f"\n  {item.where()}: {item.reason}" for item in items[:SHOWN])


def _names(sources: Sequence[Path]) -> str:
    return ", ".join(map(str, sources))


def _check_shares(config: CollectConfig, account: Account, listed: Path) -> None:
    """Raise DataError when more of the files, or of the records, was rejected than allowed."""
    candidates = account.files["read"] + account.files["rejected"]
    records = account.kinds["record"] - account.lines  # the reader keeps a text's bad lines few by itself
    for kind, lost, of in (
        ("file", account.files["rejected"], candidates),
        ("record", records, records + account.docs),
    ):
        if lost > config.max_rejected_share * of:
            first = _first(account.shown(kind))
            raise DataError(
                f"{_names(config.source)}: {lost} of {of} {kind}s rejected ({lost / of:.1%}, allowed "
                f"{config.max_rejected_share:.1%}):{first}\nAll of them: {listed}. Mend or remove them, "
                "give --text-key where the text has another key, or allow more with --max-rejected-share "
                f"{_ceiling(lost / of)}."
            )


def _ceiling(share: float) -> float:
    """The share rounded up to two digits, so that the advice in the message works."""
    return min(1.0, int(share * 100 + 1) / 100)


def _prove(account: Account, ids: Ids, documents: Sequence[Path], rejected: Sequence[Path]) -> None:
    """Raise ProofError unless every file has an outcome and the shards hold what was counted."""
    from zhllm.text.read.parquet import count_rows

    files = account.files
    outcomes = files["read"] + files["rejected"] + files["skipped"]
    if files["found"] != outcomes:
        raise ProofError(f"collect: {files['found']} files were found but {outcomes} have an outcome.")
    for name, counted, paths in (
        ("documents", account.docs, documents),
        ("rejected", account.kinds.total(), rejected),
    ):
        if count_rows(paths) != counted:
            raise ProofError(f"collect: {name} shards hold {count_rows(paths)} rows, not {counted}.")
    if ids.count != account.docs:
        raise ProofError(f"collect: {account.docs} documents have {ids.count} different ids.")


def _metrics(account: Account, ids: Ids, files: Sequence[SourceFile]) -> Metrics:
    read = {file.path for file in files if file.skip is None and file.path.is_file()}
    return {
        "files_found": account.files["found"],
        "files_read": account.files["read"],
        "files_rejected": account.files["rejected"],
        "files_skipped": account.files["skipped"],
        "docs": account.docs,
        "rejected_records": account.kinds["record"],
        "left_out": [f"{item.file}: {item.reason}" for item in account.shown("left out")],
        "renamed_ids": ids.renamed,
        "chars": account.chars,
        "bytes_read": sum(path.stat().st_size for path in read),
    }


STAGE = Stage("collect", 3, CollectConfig, run)
