"""collect: files and folders of any kind become document shards, and every input is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zhllm.config import Config, InputPaths
from zhllm.errors import DataError, ProofError
from zhllm.progress import bar, say
from zhllm.stage import Metrics, Stage

if TYPE_CHECKING:
    from zhllm.text.document import Item, Rejected
    from zhllm.text.parquet import ShardWriter
    from zhllm.text.sources import SourceFile

SHOWN = 5


class CollectConfig(Config):
    """What to collect and how records are laid out."""

    source: InputPaths = Field(description="Files and folders to read.", min_length=1)
    text_key: str = Field("text", description="Key (or column) of a record that holds its text.")
    id_key: str = Field("id", description="Key (or column) of a record that holds its id.")
    max_rejected_share: float = Field(
        0.05, ge=0, le=1, description="Fail when a larger share of the files or of the records is rejected."
    )


@dataclass
class Account:
    """What became of everything that was found."""

    files: Counter[str] = field(default_factory=Counter)  # found, read, rejected, skipped
    rejected: list[Rejected] = field(default_factory=list)
    skipped: list[Rejected] = field(default_factory=list)
    docs: int = 0
    chars: int = 0
    renamed_ids: int = 0
    ids: set[str] = field(default_factory=set)

    @property
    def rejected_records(self) -> int:
        """Records, not whole files, that gave no document."""
        return sum(item.kind == "record" for item in self.rejected)


def run(config: CollectConfig, out: Path) -> Metrics:
    """Read txt, md, html, docx, json, jsonl and parquet (text kinds also .gz), in any usual encoding.

    Writes documents-*.parquet (id, text, source, meta) and rejected-*.parquet (file, kind, offset, line,
    reason, sample). A file, or a line of records, that cannot be read is set aside with its place and
    reason; above --max-rejected-share the stage fails and names the first ones. Other kinds (PDF,
    pictures, tables) are listed as skipped. Proves that every file has an outcome and the shards hold
    what was counted.

    \b
    zhllm collect --source ~/company/docs ~/company/tickets.jsonl -o runs/documents
    """
    from zhllm.text.parquet import ShardWriter

    files = _files(config.source)
    account = Account()
    with ShardWriter(out, "documents") as writer, bar("collect", len(files), "files") as shown:
        for source_file in files:
            _read(source_file, config, writer, account)
            shown.advance()
    rejected_paths = _write_rejected(out, account)
    _check_shares(config, account, rejected_paths[0])
    if not account.docs:
        found = f"{account.files['found']} files found, {account.files['skipped']} of them skipped"
        raise DataError(f"{_names(config.source)}: no documents ({found}).{_first(account.rejected + account.skipped)}")
    _say_rejected(account)
    _prove(account, writer.paths, rejected_paths)
    return _metrics(account, files)


def _files(sources: Sequence[Path]) -> list[SourceFile]:
    """Every file of the sources once, in order; a second way to the same file is named as skipped."""
    from dataclasses import replace

    from zhllm.text.sources import walk

    files: list[SourceFile] = []
    seen: dict[Path, str] = {}
    for source in sources:
        for file in walk(source):
            path = file.path.resolve()
            if file.skip is None and path in seen:
                file = replace(file, skip=f"is the same file as {seen[path]}")
            seen.setdefault(path, file.name)
            files.append(file)
    return files


def _read(file: SourceFile, config: CollectConfig, writer: ShardWriter, account: Account) -> None:
    from zhllm.text.sources import Keys, read_file

    outcome = "read"
    for item in read_file(file, Keys(config.text_key, config.id_key)):
        kind = _take(item, writer, account)
        if kind in ("file", "skipped"):
            outcome = {"file": "rejected", "skipped": "skipped"}[kind]
    account.files["found"] += 1
    account.files[outcome] += 1


def _take(item: Item, writer: ShardWriter, account: Account) -> str:
    """Write a document, or remember what was rejected; returns the kind of item."""
    from dataclasses import replace

    from zhllm.text.document import Rejected

    if isinstance(item, Rejected):
        (account.skipped if item.kind == "skipped" else account.rejected).append(item)
        return item.kind
    if item.id in account.ids:
        account.renamed_ids += 1
        base, number = f"{item.source}:{item.id}", 2
        identity = base
        while identity in account.ids:
            identity, number = f"{base}~{number}", number + 1
        item = replace(item, id=identity)
    account.ids.add(item.id)
    account.docs += 1
    account.chars += len(item.text)
    writer.write_document(item)
    return "document"


def _write_rejected(out: Path, account: Account) -> list[Path]:
    import pyarrow as pa

    from zhllm.text.parquet import ShardWriter

    names = ("file", "kind", "offset", "line", "reason", "sample")
    schema = pa.schema([(n, pa.int64() if n in ("offset", "line") else pa.string()) for n in names])
    with ShardWriter(out, "rejected", schema) as writer:
        for item in account.rejected + account.skipped:
            writer.write([getattr(item, name) for name in names])
    return writer.paths


def _say_rejected(account: Account) -> None:
    if account.skipped:
        reasons = Counter(item.reason for item in account.skipped).most_common(SHOWN)
        say("skipped: " + "; ".join(f"{n} × {reason}" for reason, n in reasons))
    if account.rejected:
        say(f"rejected: {len(account.rejected)}, listed in rejected-00000.parquet:{_first(account.rejected)}")


def _first(items: Sequence[Rejected]) -> str:
    return "".join(f"\n  {item.where()}: {item.reason}" for item in items[:SHOWN])


def _names(sources: Sequence[Path]) -> str:
    return ", ".join(map(str, sources))


def _check_shares(config: CollectConfig, account: Account, listed: Path) -> None:
    """Raise DataError when more of the files, or of the records, was rejected than allowed."""
    candidates = account.files["read"] + account.files["rejected"]
    for kind, lost, of in (
        ("file", account.files["rejected"], candidates),
        ("record", account.rejected_records, account.rejected_records + account.docs),
    ):
        if lost > config.max_rejected_share * of:
            first = _first([item for item in account.rejected if item.kind == kind])
            raise DataError(
                f"{_names(config.source)}: {lost} of {of} {kind}s rejected ({lost / of:.1%}, allowed "
                f"{config.max_rejected_share:.1%}):{first}\nAll of them: {listed}. Mend or remove them, "
                "give --text-key where the text has another key, or allow more with --max-rejected-share "
                f"{_ceiling(lost / of)}."
            )


def _ceiling(share: float) -> float:
    """The share rounded up to two digits, so that the advice in the message works."""
    return min(1.0, int(share * 100 + 1) / 100)


def _prove(account: Account, documents: Sequence[Path], rejected: Sequence[Path]) -> None:
    """Raise ProofError unless every file has an outcome and the shards hold what was counted."""
    from zhllm.text.parquet import count_rows

    files = account.files
    outcomes = files["read"] + files["rejected"] + files["skipped"]
    if files["found"] != outcomes:
        raise ProofError(f"collect: {files['found']} files were found but {outcomes} have an outcome.")
    for name, counted, paths in (
        ("documents", account.docs, documents),
        ("rejected", len(account.rejected) + len(account.skipped), rejected),
    ):
        if count_rows(paths) != counted:
            raise ProofError(f"collect: {name} shards hold {count_rows(paths)} rows, not {counted}.")
    if len(account.ids) != account.docs:
        raise ProofError(f"collect: {account.docs} documents have {len(account.ids)} different ids.")


def _metrics(account: Account, files: Sequence[SourceFile]) -> Metrics:
    read = [file.path for file in files if file.skip is None and file.path.is_file()]
    return {
        "files_found": account.files["found"],
        "files_read": account.files["read"],
        "files_rejected": account.files["rejected"],
        "files_skipped": account.files["skipped"],
        "docs": account.docs,
        "rejected_records": account.rejected_records,
        "renamed_ids": account.renamed_ids,
        "chars": account.chars,
        "bytes_read": sum(path.stat().st_size for path in read),
    }


STAGE = Stage("collect", 1, CollectConfig, run)
