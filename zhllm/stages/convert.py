"""convert: instruction data of many shapes becomes canonical chats and canonical preferences, linted and unique."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator, model_validator

from zhllm.config import Config, InputPath, InputPaths, PromptFormatName, Role, nearest
from zhllm.errors import DataError, ProofError
from zhllm.manifest import checkpoints_of
from zhllm.progress import bar, say
from zhllm.stage import Metrics, Stage

if TYPE_CHECKING:
    from zhllm.stages._convert_parts import Part, Summary
    from zhllm.stages._convert_rows import Found, Table
    from zhllm.stages._convert_work import Settings, Work
    from zhllm.text.clean.contamination import EvaluationGrams

PARTS = "parts"
COLUMN_ROLES = ("question", "answer", "input", "system", "id", "chosen", "rejected", "label")
_TRADITIONAL = ("zh-hant", "zh-tw", "zh-hk", "zh-mo")

PiiKind = Literal[
    "mobile", "landline", "id_card", "bank_card", "email", "ip", "wechat", "qq", "plate", "all"
]  # fmt: skip


class ConvertConfig(Config):
    """What to convert, and what to look for in it."""

    source: InputPaths = Field(
        description="JSON, JSON lines, parquet, CSV, TSV or XLSX files (also compressed), or folders of them.",
        min_length=1,
    )
    format: Literal[
        "auto", "alpaca", "oasst", "oasst-messages", "sharegpt", "messages", "moss", "squad", "qa", "text", "table",
        "preference", "kto",
    ] = Field("auto", description="Shape of the records; auto looks at each record's keys.")  # fmt: skip
    language: str | None = Field(
        None, description="Keep only this language (zh takes zh-CN too); records that name none are kept."
    )
    max_rejected_share: float = Field(
        0.05, ge=0, le=1, description="Fail when a larger share of the records is rejected."
    )
    oasst_paths: Literal["best", "all"] = Field(
        "best", description="Chats of a conversation tree: its best-ranked path, or all paths, each answer learnt once."
    )
    column: tuple[str, ...] = Field((), description="Columns of tables as role=name: question=问题 answer=答案.")
    identity: str | None = Field(
        None,
        description="The assistant's own name: answers that claim another get it, and chats about it are added.",
    )
    creator: str | None = Field(None, description="Who made the assistant, for --identity.")
    identity_chats: int = Field(48, ge=0, description="Chats about who the assistant is to add, with --identity.")
    against: InputPaths = Field((), description="Evaluation files, or folders; records that hold their texts go.")
    keep_pii: tuple[PiiKind, ...] = Field((), description="Kinds of personal data that are not masked, or all.")
    drop: tuple[str, ...] = Field((), description="Findings whose records are dropped, besides those that always are.")
    keep: tuple[str, ...] = Field((), description="Findings whose records are kept, though they are dropped else.")
    contradictions: Literal["keep", "first", "drop"] = Field(
        "keep", description="Different answers to one prompt: keep all, only the first one, or none of them."
    )
    tokenizer: InputPath | None = Field(None, description="Tokenizer directory: lengths are counted in its tokens.")
    prompt_format: PromptFormatName = Field("llama2", description="How turns are written, for lengths in tokens.")
    seq_len: int = Field(1024, gt=8, description="Tokens a row of sft; longer chats are counted (with --tokenizer).")
    workers: Annotated[int, Role.RUNTIME] = Field(
        1, ge=1, description="Processes to convert with; the result is the same for any number."
    )

    @field_validator("language")
    @classmethod
    def _language_is_known(cls, value: str | None) -> str | None:
        from zhllm.text.shapes.record import is_language

        if value is not None and not is_language(value):
            raise ValueError(f'"{value}" is not a language: give its code, as zh, zh-Hant, zh-TW, yue, en, ja, de.')
        return value

    @field_validator("column")
    @classmethod
    def _columns_are_named(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pair in value:
            role, sign, name = pair.partition("=")
            if not sign or not name:
                raise ValueError(f'"{pair}" is not role=name, as in question=问题 answer=答案.')
            if role not in COLUMN_ROLES:
                raise ValueError(f'"{role}" is not a role of a column.{nearest(role, COLUMN_ROLES)}')
        return value

    @field_validator("drop", "keep")
    @classmethod
    def _findings_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from zhllm.text.lint.findings import FINDINGS

        for name in value:
            if name not in FINDINGS:
                raise ValueError(f'"{name}" is not a finding.{nearest(name, list(FINDINGS))}')
        return value

    @model_validator(mode="after")
    def _settings_agree(self) -> ConvertConfig:
        if both := sorted(set(self.drop) & set(self.keep)):
            raise ValueError(f"drop and keep: both name {both[0]}. Leave one out.")
        if self.creator is not None and self.identity is None:
            raise ValueError("creator: goes with identity, the assistant's name.")
        if self.tokenizer is None and "too-long" in self.drop:
            raise ValueError("drop: too-long needs tokenizer, to count with.")
        return self


def run(config: ConvertConfig, out: Path) -> Metrics:
    """Read instruction data of every usual shape, recognised by content; convert, lint, de-duplicate.

    Writes chats-*.jsonl {"id", "messages", "source", "meta"}, preferences-*.jsonl {"id", "prompt", "chosen",
    "rejected", "source", "meta"}, rejected.jsonl {"file", "line", "field", "reason"}, report.html and report.json.
    Shapes: Alpaca (BELLE, Firefly), OASST trees and messages, ShareGPT, OpenAI messages, MOSS, SQuAD (CMRC, DRCD),
    question-answer lines and tables, preference pairs, KTO labels. Equal records are kept once. A record that
    cannot be converted costs itself only; when more than --max-rejected-share of them are such, nothing is
    finished (exit code 3, as for every fault of the data) and all of them are listed in OUT.partial. The output is
    the same bytes for any number of workers, and after an interruption: run the same command again. Proves that
    every record has one outcome and the files read back as counted.

    \b
    zhllm convert --source company-alpaca.json company-oasst.jsonl --language zh -o runs/chats
    zhllm convert --source faq.xlsx --column question=问题 answer=答案 -o runs/chats
    zhllm convert --source chats/ --identity 小智 --creator 示例公司 --against exam.jsonl --workers 4 -o runs/chats
    zhllm convert --source chats.jsonl --tokenizer tokenizer --prompt-format chatml --seq-len 2048 -o runs/chats
    """
    from zhllm.stages._convert_ids import renamed_ids
    from zhllm.stages._convert_items import CHATS, PREFERENCES
    from zhllm.stages._convert_parts import total
    from zhllm.stages._convert_report import cuts_of, write_report
    from zhllm.stages._convert_rows import Table, find
    from zhllm.stages._convert_write import write_rejected, write_shards

    folder = checkpoints_of(out) / PARTS
    folder.mkdir(parents=True, exist_ok=True)
    settings = _settings(config)
    parts, files = _first_pass(config, settings, folder)
    found = total(parts)
    write_rejected(out, parts)
    try:
        _check_share(config, found, files, out)
        tables = {kind: Table(parts, kind) for kind in (CHATS, PREFERENCES)}
        fates = {kind: find(table, config.contradictions) for kind, table in tables.items()}
        _check_kept(config, found, fates)
    except DataError:
        shutil.rmtree(folder)  # what comes next is another input, or another setting
        raise
    for kind, table in tables.items():
        write_shards(out, table, fates[kind], renamed_ids(table, fates[kind], found))
    _prove(found, fates)
    metrics = _metrics(found, files, tables, fates) | cuts_of(tables[CHATS], fates[CHATS], settings.lengths)
    write_report(out, metrics, found, tables, fates, settings.lengths, config.contradictions)
    return metrics


def _settings(config: ConvertConfig) -> Settings:
    """What every portion is worked off with; DataError where an evaluation file cannot be read."""
    from zhllm.stages._convert_lengths import LengthSettings
    from zhllm.stages._convert_work import Settings
    from zhllm.text.clean.pii import KINDS
    from zhllm.text.lint.findings import DROPPED
    from zhllm.text.lint.linter import LintSettings
    from zhllm.text.shapes.record import Options

    lengths = None
    if config.tokenizer is not None:
        lengths = LengthSettings(config.tokenizer, config.prompt_format, config.seq_len)
    columns = tuple((role, name) for role, _, name in (pair.partition("=") for pair in config.column))
    lint = LintSettings(
        identity=config.identity,
        creator=config.creator,
        masked=() if "all" in config.keep_pii else tuple(kind for kind in KINDS if kind not in config.keep_pii),
        against=_evaluation(config),
        language=_language(config.language),
        max_tokens=None if config.tokenizer is None else config.seq_len,
        drop=(DROPPED | set(config.drop)) - set(config.keep),
    )
    return Settings(config.format, Options(config.oasst_paths, columns), config.language, lint, lengths)


def _language(asked: str | None) -> str | None:
    """The language that the linter tells from others; None for one that it does not know."""
    plain = (asked or "").lower().replace("_", "-")
    if plain.startswith(_TRADITIONAL):
        return "zh-Hant"
    return next((known for known in ("zh", "en") if plain.partition("-")[0] == known), None)


def _evaluation(config: ConvertConfig) -> EvaluationGrams | None:
    from zhllm.text.clean.contamination import EvaluationError, read_evaluation

    try:
        found = read_evaluation(config.against) if config.against else None
    except EvaluationError as error:
        raise DataError(f"--against {error}") from error
    if found is not None and found.left_out:
        more = f" and {len(found.left_out) - 1} more" if len(found.left_out) > 1 else ""
        say(f"--against: no kind of file that is looked at: {found.left_out[0]}{more}")
    return found


def _first_pass(config: ConvertConfig, settings: Settings, folder: Path) -> tuple[list[Part], int]:
    """Bring the parts of all portions into `folder`; they in order, and the number of files."""
    import pickle

    from zhllm.stages._convert_parts import part_at
    from zhllm.stages._convert_work import convert_portion, write_identity
    from zhllm.text.parallel import map_in_order

    at = folder / "settings.pickle"
    at.write_bytes(pickle.dumps(settings))
    keys: list[str] = []
    counted = [0]
    total = sum(_size(path) for path in config.source) / 1e6
    with bar("convert", max(round(total), 1), "MB") as shown:
        for megabytes in map_in_order(convert_portion, _work(config, at, folder, keys, counted), config.workers):
            shown.advance(megabytes)
    if config.identity is not None and config.identity_chats:
        keys.append(write_identity(folder, settings, config.identity_chats))
    parts = [part_at(folder / key) for key in keys]
    if None in parts:
        raise ProofError(f"{folder / keys[parts.index(None)]}: a part is gone or cut off. Run the same command again.")
    return [part for part in parts if part is not None], counted[0]


def _work(config: ConvertConfig, settings: Path, folder: Path, keys: list[str], counted: list[int]) -> Iterator[Work]:
    """The portions that are not done yet; every one is named in `keys`, and their files are counted."""
    from zhllm.stages._convert_files import portions_of
    from zhllm.stages._convert_parts import part_at
    from zhllm.stages._convert_work import Work

    before = 0
    for portion in portions_of(config.source, config.format):
        keys.append(portion.key)
        counted[0] += len(portion.files) if portion.number == 0 else 0
        if part_at(folder / portion.key) is None:
            yield Work(portion, settings, folder)
        else:
            before += 1
    if before:
        say(f"{before} of {len(keys)} portions were converted before")


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def _first_of(found: Summary) -> str:
    return "".join(
        f"\n  {entry['file']}:{entry['line'] or '-'}: {entry['field'] + ' ' if entry['field'] else ''}{entry['reason']}"
        for entry in found.rejected
    )


def _check_share(config: ConvertConfig, found: Summary, files: int, out: Path) -> None:
    """Raise DataError when too many records were rejected, or nothing came in."""
    lost, of = found.records["rejected"], found.records["in"]
    names = ", ".join(map(str, config.source))
    if lost > config.max_rejected_share * of:
        raise DataError(
            f"{names}: {lost} of {of} records rejected ({lost / of:.1%}, allowed "
            f"{config.max_rejected_share:.1%}):{_first_of(found)}\nAll of them: {out / 'rejected.jsonl'}. Mend them, "
            "or allow more with --max-rejected-share."
        )
    if not of:
        skipped = found.records["skipped"]
        listed = f", of which {skipped} are skipped (listed in {out / 'rejected.jsonl'})" if skipped else ""
        raise DataError(f"{names}: no records in {files} files{listed}. Give files that hold instruction data.")
    if lost or found.records["skipped"]:
        listed = _first_of(found) and f":{_first_of(found)}"
        say(f"rejected {lost} of {of} records, skipped {found.records['skipped']} files (rejected.jsonl){listed}")
    dropped = sum(found.dropped.values(), Counter[str]())
    if dropped:
        named = ", ".join(f"{name} {n}" for name, n in sorted(dropped.items()))
        say(f"dropped for what the linter found: {named} (--keep keeps them)")


def _check_kept(config: ConvertConfig, found: Summary, fates: dict[str, Found]) -> None:
    """Raise DataError when no record is left."""
    from zhllm.stages._convert_rows import KEPT

    if any(fate.count(KEPT) for fate in fates.values()):
        return
    names = ", ".join(map(str, config.source))
    why = {"of another language": found.records["other_language"], "rejected": found.records["rejected"]}
    for counts in found.dropped.values():
        for name, n in counts.items():
            why[name] = why.get(name, 0) + n
    reasons = ", ".join(f"{n} {name}" for name, n in why.items() if n)
    hint = f" None is of language {config.language}." if found.records["other_language"] else ""
    raise DataError(
        f"{names}: none of {found.records['in']} records is kept ({reasons or 'they contradict each other'}).{hint}"
        f"{_first_of(found)}"
    )


def _prove(found: Summary, fates: dict[str, Found]) -> None:
    """Raise ProofError unless every record has one outcome, and every chat and preference has one."""
    from zhllm.stages._convert_rows import CONTRADICTING, DUPLICATE, KEPT

    records = found.records
    outcomes = records["converted"] + records["other_language"] + records["rejected"]
    if outcomes != records["in"]:
        raise ProofError(f"convert: {records['in']} records came in, {outcomes} have an outcome.")
    for kind, fate in fates.items():
        ends = sum(fate.count(end) for end in (KEPT, DUPLICATE, CONTRADICTING)) + found.items[f"{kind}_dropped"]
        if ends != found.items[f"{kind}_made"]:
            raise ProofError(f"convert: {found.items[f'{kind}_made']} {kind} were made, {ends} have an outcome.")


def _metrics(found: Summary, files: int, tables: dict[str, Table], fates: dict[str, Found]) -> Metrics:
    from zhllm.stages._convert_rows import CONTRADICTING, DUPLICATE, KEPT

    records = found.records
    metrics: Metrics = {
        "files_read": files - records["skipped"],
        "files_skipped": records["skipped"],
        "records_in": records["in"],
        "converted_records": records["converted"],
        "other_language": records["other_language"],
        "rejected_records": records["rejected"],
    }
    for kind, fate in fates.items():
        metrics |= {
            kind: fate.count(KEPT),
            f"duplicate_{kind}": fate.count(DUPLICATE),
            f"dropped_{kind}": found.items[f"{kind}_dropped"],
            f"contradicting_{kind}_dropped": fate.count(CONTRADICTING),
            f"contradictions_{kind}": fate.contradictions,
        }
    kept = tables["chats"].rows[fates["chats"].fates == KEPT]
    metrics |= {
        "duplicate_prompts": fates["chats"].duplicate_prompts,
        "identity_chats": found.items["identity_chats"],
        "messages": int(kept["turns"].sum(dtype="int64")),
        "chars": int(kept["chars"].sum(dtype="int64")),
    }
    shapes = {"alpaca_records": 0, "oasst_records": 0}
    for shape, n in sorted(found.shapes.items()):
        name = f"{shape.partition('-')[0]}_records"
        shapes[name] = shapes.get(name, 0) + n
    return {
        **metrics,
        **shapes,
        **dict(sorted((found.repairs + found.facts).items())),
        "masked": _with_prefix(found.lint, "pii_"),
        "findings": {kind: dict(sorted(counts.items())) for kind, counts in sorted(found.findings.items())},
    }


def _with_prefix(counts: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in sorted(counts.items()) if name.startswith(prefix)}


STAGE = Stage("convert", 4, ConvertConfig, run, resumable=True)
