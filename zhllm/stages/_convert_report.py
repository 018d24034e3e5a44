"""The numbers of convert's report: report.json for programs, report.html for people.

Nothing in it depends on the machine, the time or how the work was shared out: equal results give equal bytes.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zhllm.stages._convert_items import KINDS
from zhllm.stages._convert_lengths import Lengths, LengthSettings
from zhllm.stages._convert_parts import Summary
from zhllm.stages._convert_rows import CONTRADICTING, DUPLICATE, KEPT, Found, Table, contradictions_shown
from zhllm.stages._convert_rows import duplicates_shown as shown_duplicates
from zhllm.text.chats import Chat
from zhllm.text.lint.language import KNOWN

FILES_SHOWN = 20
REASONS_SHOWN = 20
# Six bins for each factor of ten, their edges whole numbers.
_PER_TEN = 6


def cuts_of(table: Table, found: Found, lengths: LengthSettings | None) -> dict[str, int]:
    """The tokens of the kept chats, and what `sft` would cut; {} where nobody asked for tokens."""
    if lengths is None:
        return {}
    kept = np.flatnonzero(found.fates == KEPT)
    tokens = table.rows["tokens"][kept]
    long = kept[tokens > lengths.seq_len]
    none = dict.fromkeys(("chats_over_seq_len", "cut_turns", "cut_prompts", "chats_too_long"), 0)
    chats = (item for _, item in table.items(long) if isinstance(item, Chat))
    cut = Lengths.of(lengths).cuts(chats) if len(long) else none
    return {"tokens": int(tokens.sum(dtype=np.int64)), **cut}


def write_report(
    out: Path,
    metrics: Mapping[str, Any],
    found: Summary,
    tables: Mapping[str, Table],
    fates: Mapping[str, Found],
    lengths: LengthSettings | None,
    policy: str,
) -> None:
    """Write report.json and report.html about what became of the input."""
    from zhllm.stages._convert_page import html_of

    report = measured(metrics, found, tables, fates, lengths, policy)
    text = json.dumps(report, ensure_ascii=False, indent=1) + "\n"
    (out / "report.json").write_bytes(text.encode("utf-8", "backslashreplace"))  # names of files may be no UTF-8
    (out / "report.html").write_text(html_of(report), encoding="utf-8")


def measured(
    metrics: Mapping[str, Any],
    found: Summary,
    tables: Mapping[str, Table],
    fates: Mapping[str, Found],
    lengths: LengthSettings | None,
    policy: str,
) -> dict[str, Any]:
    """Everything the report says, as report.json holds it."""
    chats = tables["chats"].rows[fates["chats"].fates == KEPT]
    return {
        "records": {name: found.records[name] for name in ("in", "converted", "other_language", "rejected")},
        "files": _files(metrics, found),
        "shapes": dict(found.shapes.most_common()),
        "items": {kind: _outcomes(found, fates[kind], kind) for kind in KINDS},
        "identity_chats": metrics["identity_chats"],
        "rejected": {
            "reasons": dict(sorted(found.reasons.items(), key=lambda pair: (-pair[1], pair[0]))[:REASONS_SHOWN]),
            "first": found.rejected,
        },
        "findings": _findings(found),
        "repairs": {name: {"times": n, "cases": _cases(found, f"repair {name}")} for name, n in _most(found.repairs)},
        "facts": dict(found.facts),
        "messages": metrics["messages"],
        "chars": metrics["chars"],
        "lengths": _lengths(chats["chars"]),
        "turns": _turns(chats["turns"]),
        "tokens": _tokens(metrics, chats["tokens"], lengths),
        "languages": _languages(chats["language"]),
        "changes": dict(sorted(found.lint.items())),
        "duplicates": {kind: shown_duplicates(tables[kind], fates[kind]) for kind in KINDS},
        "duplicate_prompts": metrics["duplicate_prompts"],
        "contradictions": {
            kind: {
                "prompts": fates[kind].contradictions,
                "answers": fates[kind].contradicting,
                "policy": policy,
                "first": contradictions_shown(tables[kind], fates[kind]),
            }
            for kind in KINDS
        },
    }


def _most(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _outcomes(found: Summary, fate: Found, kind: str) -> dict[str, int]:
    return {
        "made": found.items[f"{kind}_made"],
        "kept": fate.count(KEPT),
        "duplicate": fate.count(DUPLICATE),
        "dropped": found.items[f"{kind}_dropped"],
        "contradicting": fate.count(CONTRADICTING),
    }


def _files(metrics: Mapping[str, Any], found: Summary) -> dict[str, Any]:
    ordered = sorted(found.files.items(), key=lambda pair: (-pair[1]["in"], pair[0]))
    rows = [
        {
            "file": name,
            **{key: counts[key] for key in ("in", "converted", "other_language", "rejected")},
            "shapes": {k.removeprefix("shape "): n for k, n in sorted(counts.items()) if k.startswith("shape ")},
            "skipped": bool(counts["skipped"]),
            "damaged": bool(counts["damaged"]),
        }
        for name, counts in ordered
    ]
    return {
        "read": metrics["files_read"],
        "skipped": metrics["files_skipped"],
        "damaged": sum(1 for counts in found.files.values() if counts["damaged"]),
        "largest": rows[:FILES_SHOWN],
        "others": max(len(rows) - FILES_SHOWN, 0),
    }


def _findings(found: Summary) -> dict[str, Any]:
    names: Counter[str] = Counter()
    for counts in found.findings.values():
        names.update(counts)
    return {
        name: {
            **{kind: found.findings.get(kind, Counter())[name] for kind in KINDS},
            "dropped": sum(counts[name] for counts in found.dropped.values()),
            "cases": _cases(found, name),
        }
        for name, _ in _most(names)
    }


def _cases(found: Summary, what: str) -> list[dict[str, Any]]:
    return [
        {"place": f"{file}:{line}", "detail": detail, "text": text}
        for file, line, detail, text in found.cases.get(what, [])
    ]


def _edges(longest: int) -> list[int]:
    """1, 2, 3, 4, 5, 7, 10, 15, ... up to beyond the longest."""
    edges: list[int] = []
    while not edges or edges[-1] <= longest:
        edges.append(math.ceil(10 ** (len(edges) / _PER_TEN)))
    return edges


def _lengths(values: npt.NDArray[np.uint32]) -> dict[str, Any]:
    """A histogram and the tenths."""
    if not len(values):
        return {"edges": [1, 2], "counts": [0], "tenth": 0, "median": 0, "nine_tenths": 0, "longest": 0}
    longest = int(values.max())
    edges = _edges(longest)
    counts = np.histogram(np.maximum(values, 1), edges)[0]
    tenth, median, nine_tenths = (int(v) for v in np.quantile(values, [0.1, 0.5, 0.9], method="lower"))
    first = int(np.flatnonzero(counts)[0])
    shown = {"tenth": tenth, "median": median, "nine_tenths": nine_tenths, "longest": longest}
    return {"edges": edges[first:], "counts": counts[first:].tolist(), **shown}


def _turns(values: npt.NDArray[np.uint16]) -> dict[str, int]:
    """How many chats have two messages, three, and so on; ten or more together."""
    counts = np.bincount(np.minimum(values, 10), minlength=11)
    return {str(n) if n < 10 else "10 or more": int(count) for n, count in enumerate(counts.tolist()) if count}


def _tokens(
    metrics: Mapping[str, Any], values: npt.NDArray[np.int32], lengths: LengthSettings | None
) -> dict[str, Any] | None:
    if lengths is None:
        return None
    cut = {name: metrics[name] for name in ("chats_over_seq_len", "cut_turns", "cut_prompts", "chats_too_long")}
    total = {"total": metrics["tokens"], "seq_len": lengths.seq_len, "prompt_format": lengths.prompt_format}
    return {**total, **cut, **_lengths(values.astype(np.uint32))}


def _languages(values: npt.NDArray[np.uint8]) -> dict[str, int]:
    """How many kept chats are of each language; "" where too few words tell."""
    counts = np.bincount(values, minlength=len(KNOWN)).tolist()
    return {name: int(n) for name, n in zip(KNOWN, counts, strict=True) if n}
