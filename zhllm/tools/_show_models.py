"""Tokenizer, model and adapter directories, GGUF files and training metrics as `show` shows them."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from zhllm import manifest
from zhllm.errors import DataError
from zhllm.infer.writing import template_tokens
from zhllm.model.chat_templates import additions, recognise
from zhllm.model.directory import chat_template
from zhllm.model.gguf_read import GgufFile
from zhllm.model.tensors import Checkpoint, Spec, read_header
from zhllm.text.document import Rejected
from zhllm.text.prompt_format import format_of
from zhllm.text.read.records import read_records
from zhllm.tools._show_manifest import DIGITS, flattened
from zhllm.tools._show_view import Block, Cell, Curve, Facts, Heading, Span, Table, Tokens, Words
from zhllm.vocab.subtokens import base_size_of
from zhllm.vocab.token_sizes import token_bytes
from zhllm.vocab.tokenizer import Tokenizer, read_json

_LAYER = re.compile(r"(?<=\.)\d+(?=\.)")
_ADAPTER_FACTS = ("peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "target_modules",
                  "rank_pattern", "alpha_pattern", "modules_to_save", "base_model_name_or_path")  # fmt: skip
_METRIC_ROWS = 20
# Characters of a metadata text, a template for one.
_VALUE_CHARS = 300


def template_name(template: str | None, tokens: Mapping[str, str]) -> str:
    """The chat format of a template in words; `tokens` are the "bos_token" and "eos_token" that it may name."""
    if template is None:
        return "none"
    found = recognise(template, tokens)
    if found is None:
        return f"foreign ({len(template):,} characters)"
    is_own = template.strip() in (found.jinja(), found.jinja(mark_answers=False))
    return f"{found.name}{'' if is_own else ' in other words'}{additions(found)}"


def _directory_template(folder: Path) -> str:
    """That of a directory, whose tokenizer is read only for a template that may name its tokens."""
    template = chat_template(folder)
    if template is None or format_of(template) is not None or not (folder / "tokenizer.json").is_file():
        return template_name(template, {})
    return template_name(template, template_tokens(_opened(folder)))


def tokenizer_blocks(folder: Path, count: int, seed: int | None) -> Iterator[Block]:
    """Size, engine, special tokens, a choice of its pieces and of those that were added."""
    tokenizer = _opened(folder)
    roles = {tokenizer.special_id(role): role for role in ("bos", "eos", "pad", "unk")}
    kind = "byte-level BPE" if tokenizer.is_byte_level else "pieces"
    facts: list[tuple[str, Cell]] = [
        ("ids", tokenizer.vocab_size), ("kind", kind), ("engine for plain text", tokenizer.engine),
        ("chat format", _directory_template(folder)), ("digest", tokenizer.digest),
    ]  # fmt: skip
    yield Heading(f"{folder} (tokenizer)")
    yield Facts(facts)
    special = sorted(tokenizer.special_ids)
    names = [(i, tokenizer.fast.id_to_token(i) or "", roles.get(i, "")) for i in special]
    yield Table(["id", "special token", "role"], names, "special tokens")
    yield from _pieces(tokenizer, folder, count, seed)


def _opened(folder: Path) -> Tokenizer:
    try:
        return Tokenizer(folder)
    except DataError:
        raise
    except Exception as error:  # tokenizers raises Exception itself for a damaged file
        raise DataError(f"{folder / 'tokenizer.json'}: cannot be read ({str(error).splitlines()[0]}).") from error


def _pieces(tokenizer: Tokenizer, folder: Path, count: int, seed: int | None) -> Iterator[Block]:
    size, added = tokenizer.vocab_size, []
    if (folder / "extension.json").is_file():
        base = base_size_of(folder)
        added, size = list(range(base, size)), base
    for title, ids in (("pieces", list(range(size))), ("added pieces", added)):
        plain = [i for i in ids if i not in tokenizer.special_ids and tokenizer.fast.id_to_token(i) is not None]
        chosen = sorted(random.Random(seed or 0).sample(plain, min(8 * count, len(plain))))
        if chosen:
            spans = [Span(_piece(tokenizer, i), "", f"id {i}") for i in chosen]
            yield Tokens(f"{title} ({len(plain):,}, {len(chosen)} of them by chance)", spans)


def _piece(tokenizer: Tokenizer, index: int) -> str:
    token = str(tokenizer.fast.id_to_token(index))
    if re.fullmatch("<0x[0-9A-F]{2}>", token):
        return token
    return token_bytes(token, tokenizer.is_byte_level).decode("utf-8", "backslashreplace")


def model_blocks(folder: Path) -> Iterator[Block]:
    """A model directory: what its config says, its tensors by name, dtype and shape."""
    config = read_json(folder / "config.json")
    specs = list(Checkpoint(folder).specs.values())
    yield Heading(f"{folder} (model)")
    yield Facts([*_totals(specs), ("chat format", _directory_template(folder))])
    yield Facts(flattened(config), "config.json")
    yield _tensor_table((s.name, s.dtype, s.shape, s.size_bytes) for s in specs)


def adapter_blocks(folder: Path) -> Iterator[Block]:
    """An adapter directory: rank, targets, new rows, and the base it was trained on."""
    config = read_json(folder / "adapter_config.json")
    yield Heading(f"{folder} (adapter)")
    facts = flattened({key: config[key] for key in _ADAPTER_FACTS if key in config})
    yield Facts([*facts, *_base_of(folder), ("chat format", _directory_template(folder))])
    for file in sorted(folder.glob("*.safetensors")):
        specs = [spec for spec, _ in read_header(file)]
        yield Facts(_totals(specs), file.name)
        yield _tensor_table((s.name, s.dtype, s.shape, s.size_bytes) for s in specs)


def tensor_file_blocks(path: Path) -> Iterator[Block]:
    """One .safetensors file: its tensors."""
    specs = [spec for spec, _ in read_header(path)]
    yield Heading(str(path))
    yield Facts(_totals(specs))
    yield _tensor_table((s.name, s.dtype, s.shape, s.size_bytes) for s in specs)


def _base_of(folder: Path) -> list[tuple[str, Cell]]:
    found = manifest.read(folder)
    if found is None:
        return []
    paths = found.made_by.get("input_paths", {}).get("model", ["?"])
    digests = [digest[:DIGITS] for digest in found.key.get("inputs", {}).get("model", [])]
    return [("trained on", f"{', '.join(paths)} ({', '.join(digests)})")]


def _totals(specs: Sequence[Spec]) -> list[tuple[str, Cell]]:
    values: Counter[str] = Counter()
    for spec in specs:
        values[spec.dtype] += prod(spec.shape)
    dtypes = ", ".join(f"{dtype} {count:,}" for dtype, count in sorted(values.items()))
    size = sum(spec.size_bytes for spec in specs)
    return [("tensors", len(specs)), ("parameters", sum(values.values())), ("by dtype", dtypes), ("bytes", size)]


def _tensor_table(tensors: Iterable[tuple[str, str, tuple[int, ...], int]]) -> Block:
    """Tensors of one name (but for the layer's number), dtype and shape on one line."""
    rows: dict[tuple[str, str, str], list[int]] = {}
    for name, dtype, shape, size in tensors:
        key = (_LAYER.sub("*", name), dtype, "×".join(map(str, shape)))
        sizes = rows.setdefault(key, [0, 0])
        sizes[0] += 1
        sizes[1] += size
    lines: list[tuple[Cell, ...]] = [(*key, count, size) for key, (count, size) in sorted(rows.items())]
    return Table(["tensor", "dtype", "shape", "count", "bytes"], lines, "tensors (* is each layer's number)")


def gguf_blocks(path: Path) -> Iterator[Block]:
    """A GGUF file: its metadata, its chat format, its tensors by type."""
    found = GgufFile(path)
    yield Heading(f"{path} (GGUF)")
    sizes: dict[str, list[int]] = {}
    for tensor in found.tensors.values():
        entry = sizes.setdefault(tensor.type.name, [0, 0, 0])
        for at, more in enumerate((1, prod(tensor.shape), tensor.data.nbytes)):
            entry[at] += more
    spoken = template_name(found.metadata.get("tokenizer.chat_template"), found.template_tokens)
    yield Facts([("tensors", len(found.tensors)), ("bytes", path.stat().st_size), ("chat format", spoken)])
    rows: list[tuple[Cell, ...]] = [(kind, *entry) for kind, entry in sorted(sizes.items())]
    yield Table(["type", "tensors", "values", "bytes"], rows, "tensors by type")
    yield Facts([(key, _metadata(value)) for key, value in found.metadata.items()], "metadata")
    shapes = ((name, t.type.name, t.shape, t.data.nbytes) for name, t in found.tensors.items())
    yield _tensor_table(shapes)


def _metadata(value: Any) -> Cell:
    if isinstance(value, list):
        first = ", ".join(map(str, value[:4]))
        return f"{len(value):,} values: {first}{', …' if len(value) > 4 else ''}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    if isinstance(value, str) and len(text) > _VALUE_CHARS:
        return f"{text[:_VALUE_CHARS]}… ({len(text):,} characters)"
    return value if isinstance(value, str | int | float) else text


def metrics_blocks(path: Path) -> Iterator[Block]:
    """metrics.jsonl: losses at their first, last and lowest, evenly chosen steps, and curves for a page."""
    records: list[dict[str, Any]] = []
    for record in read_records(path, str(path)):
        if isinstance(record, Rejected):
            raise DataError(f"{record.where()}: {record.reason}.")
        records.append(record.value)
    yield Heading(f"{path} ({len(records):,} lines)")
    if not records:
        return
    names = list(dict.fromkeys(key for record in records for key in record))
    losses = [name for name in names if "loss" in name or name.startswith("bpc") or name.startswith("bits")]
    for name in losses:
        points = [(_step(r, i), float(r[name])) for i, r in enumerate(records) if isinstance(r.get(name), int | float)]
        if points:
            low = min(points, key=lambda point: point[1])
            yield Words(
                f"{name}: first {points[0][1]:.4g}, last {points[-1][1]:.4g}, lowest {low[1]:.4g} at step {low[0]:g}"
            )
            yield Curve(name, "step", points)
    every = max(1, -(-len(records) // _METRIC_ROWS))
    shown = [*records[:-1:every], records[-1]]
    yield Table(names, [[_plain(r.get(name)) for name in names] for r in shown], f"every {every} of {len(records)}")


def _step(record: dict[str, Any], line: int) -> float:
    step = record.get("step")
    return float(step) if isinstance(step, int | float) else float(line + 1)


def _plain(value: Any) -> Cell:
    return value if value is None or isinstance(value, str | int | float) else str(value)
