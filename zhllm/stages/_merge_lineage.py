"""What merge knows of where its inputs come from: the base an adapter was trained on, its tokenizer, the card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zhllm import manifest
from zhllm.errors import DataError

SHOWN_METRICS = 24  # of one stage; a card is for reading, the manifest has all


def check_lineage(model: Path, adapters: Sequence[Path]) -> None:
    """DataError when an adapter's manifest names another base than this one.

    An adapter may also have been trained on the merge of this base and the adapters before it. One
    without a manifest is another tool's: shapes, tokenizer and logits still decide.
    """
    given = manifest.digest(model)
    for number, adapter in enumerate(adapters):
        before = adapters[:number]

        def follows(merged: Path, adapter: Path = adapter, before: Sequence[Path] = before) -> bool:
            found = _is_merge_of(merged, given, before)
            if found:
                _check_stackable(adapter)
            return found

        manifest.check_trained_on(adapter, model, given, follows if before else None)


def _is_merge_of(merged: Path, base: str, adapters: Sequence[Path]) -> bool:
    """Whether a folder is the merge of a base and these adapters in this order, at once or merge by merge."""
    made = manifest.read(merged)
    if made is None or made.key["stage"] != "merge":
        return False
    inputs = made.key["inputs"]
    used = inputs.get("adapter") or []
    count = len(adapters) - len(used)
    if not used or count < 0 or used != [manifest.digest(path) for path in adapters[count:]]:
        return False
    if not count:
        return bool(inputs.get("model") == [base])
    was = (made.made_by.get("input_paths", {}).get("model") or [""])[0]
    earlier, _ = manifest.look_for(was, inputs["model"][0], merged)
    return earlier is not None and _is_merge_of(earlier, base, adapters[:count])


def _check_stackable(adapter: Path) -> None:
    from zhllm.model.lora import Adapter

    if any(update.part_magnitude is not None for update in Adapter(adapter).updates.values()):
        raise DataError(
            f"{adapter}: is DoRA, trained on top of the adapters before it: its lengths are those of the merged "
            "weights. Merge the others first, then this one onto that model."
        )


def check_tokenizers(model: Path, adapters: Sequence[Path]) -> None:
    """DataError when an adapter was trained with other ids than the base's tokenizer gives."""
    from zhllm.vocab.tokenizer import Tokenizer

    ours = {i: text for text, i in Tokenizer(model).fast.get_vocab(with_added_tokens=True).items()}
    for adapter in adapters:
        if not (adapter / "tokenizer.json").is_file():
            continue
        theirs = Tokenizer(adapter).fast.get_vocab(with_added_tokens=True)
        other = sorted(i for text, i in theirs.items() if ours.get(i) != text)
        if other or len(theirs) != len(ours):
            first = next((text for text, i in theirs.items() if other and i == other[0]), None)
            example = f"id {other[0]} is {first!r}, there {ours.get(other[0])!r}" if other else "some are missing"
            raise DataError(
                f"{adapter}: was trained with another tokenizer ({len(theirs)} ids) than {model} has ({len(ours)} ids; "
                f"{example}). Give the model it was trained on, or --import where another tool grew the vocabulary."
            )


def upstream(folders: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, str, str, manifest.Manifest | None]]:
    """(role, name, digest, manifest) of every input behind some folders, nearest first, each digest once.

    Inputs are where the manifests say, or beside the folder whose manifest names them. One that is gone, or is not
    what it was, has no manifest, and its name says so.
    """
    line: list[tuple[str, str, str, Path | None]] = [
        (role, path.name, manifest.digest(path), path) for role, path in folders
    ]
    seen = set()
    while line:
        role, name, digest, path = line.pop(0)
        if digest in seen:
            continue
        seen.add(digest)
        made = manifest.read(path) if path is not None and path.is_dir() else None
        yield role, name, digest, made
        if made is None or path is None:
            continue
        paths = made.made_by.get("input_paths", {})
        for field, digests in made.key.get("inputs", {}).items():
            for given, was in zip(digests, paths.get(field, []) or [""] * len(digests), strict=False):
                line.append((field, *_at_hand(given, was, path)))


def _at_hand(given: str, was: str, named_by: Path) -> tuple[str, str, Path | None]:
    """(name, digest, path) of an input, from its digest and its path in the manifest of the folder `named_by`."""
    label, _, digest = given.rpartition("=")
    was = was.removeprefix(f"{label}=") if label else was
    path, looked = manifest.look_for(was, digest, named_by)
    name = Path(was).name
    if path is None:
        remark = manifest.NOT_COMPARED if manifest.NOT_COMPARED in looked.values() else "not at hand"
        name = f"{name} ({remark})".strip()
    return name, digest, path


def card(model: Path, adapters: Sequence[Path], facts: dict[str, Any]) -> str:
    """README.md of a merged model: its line upstream and what was proved, from manifests and nothing else."""
    lines = ["---", "library_name: transformers", "pipeline_tag: text-generation", "tags:", "- zhllm", "---", ""]
    lines += [f"# {facts['architecture']}, {facts['parameters']:,} parameters", ""]
    lines += ["Written by `zhllm merge` from the manifests of the folders it was made of.", ""]
    lines += ["| what | value |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in facts.items()]
    lines += ["", "## Lineage", ""]
    line = [("model", model), *(("adapter", path) for path in adapters)]
    for role, name, digest, made in upstream(line):
        stage = f"`{made.key['stage']}`" if made is not None else "no manifest"
        lines += [f"### {role}: {name}", "", f"{stage}, digest `{digest}`", ""]
        if made is not None:
            lines += ["| setting or result | value |", "|---|---|"]
            chosen = {
                f"--{key.replace('_', '-')}": v for key, v in made.key.get("config", {}).items() if v not in (None, [])
            }
            lines += [f"| {key} | {_cell(value)} |" for key, value in chosen.items()]
            plain = {key: v for key, v in made.metrics.items() if isinstance(v, (int, float, str))}
            lines += [f"| {key} | {_cell(value)} |" for key, value in list(plain.items())[:SHOWN_METRICS]]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
