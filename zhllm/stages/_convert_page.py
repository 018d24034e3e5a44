"""The page of convert's report: what came in, what became of it, what the linter found, with cases to judge it by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zhllm import chart, page
from zhllm.page import Html, Page, Tile, number, percent
from zhllm.text.lint.findings import DROPPED, FINDINGS

_REJECTED = page.code("rejected.jsonl")
_LANGUAGES = {
    "": "too few words to tell",
    "zh": "Chinese, Simplified",
    "zh-Hant": "Chinese, Traditional",
    "en": "English",
}
_POLICIES = {
    "keep": "All of them are kept",
    "first": "Only the first answer is kept",
    "drop": "None of them is kept",
}


def html_of(found: Mapping[str, Any]) -> str:
    """The page of a report.json's content."""
    shown = Page("Conversion report", _lead(found))
    shown.section("What became of it", page.tiles(_tiles(found)), *_outcomes(found["items"]))
    shown.section("By file and shape", *_files(found))
    shown.section("What was rejected", *_rejected(found))
    shown.section("What the linter found", *_findings(found["findings"]))
    shown.section("What was mended on the way in", *_repairs(found["repairs"]))
    shown.section("Lengths and languages", *_lengths(found))
    shown.section("Duplicates", *_duplicates(found))
    shown.section("Different answers to one prompt", *_contradictions(found["contradictions"]))
    return shown.html()


def _lead(found: Mapping[str, Any]) -> str:
    records, items = found["records"], found["items"]
    return (
        f"{records['in']:,} records gave {items['chats']['kept']:,} chats and {items['preferences']['kept']:,} "
        "preferences that are kept. This page quotes them: think of it before you give it away."
    )


def _tiles(found: Mapping[str, Any]) -> list[Tile]:
    records, items, files = found["records"], found["items"], found["files"]
    skipped = f"; {files['skipped']:,} skipped, {files['damaged']:,} damaged"
    tiles = [
        Tile("Came in", f"{records['in']:,}", f"records of {files['read']:,} files{skipped}"),
        Tile("Rejected", f"{records['rejected']:,}", _share(records["rejected"], records["in"])),
        Tile("Other language", f"{records['other_language']:,}", _share(records["other_language"], records["in"])),
    ]
    for kind, name in (("chats", "Chats"), ("preferences", "Preferences")):
        counts = items[kind]
        if counts["made"]:
            tiles.append(Tile(f"{name} kept", f"{counts['kept']:,}", f"of {counts['made']:,} that were made"))
    chars, messages = found["chars"], found["messages"]
    tiles.append(Tile("Characters", f"{chars:,}", f"of kept chats, in {messages:,} messages"))
    if found["tokens"] is not None:
        tokens = found["tokens"]
        tiles.append(Tile("Tokens", f"{tokens['total']:,}", f"of kept chats, as {tokens['prompt_format']} writes them"))
    if found["identity_chats"]:
        tiles.append(Tile("Identity chats", f"{found['identity_chats']:,}", "added, about who the assistant is"))
    return tiles


def _share(part: int, whole: int) -> str:
    return f"{percent(part / whole, 2)} of the records" if whole else ""


def _outcomes(items: Mapping[str, Mapping[str, int]]) -> list[Html]:
    names = ("made", "kept", "duplicate", "dropped", "contradicting")
    rows: list[list[page.Cell]] = [
        [kind, *(counts[name] for name in names)] for kind, counts in items.items() if counts["made"]
    ]
    columns = ["", "made", "kept", "equal to an earlier one", "dropped for a finding", "dropped as contradicting"]
    return [page.table(columns, rows), page.note("Every record has one outcome, and so has everything it gave.")]


def _files(found: Mapping[str, Any]) -> list[Html]:
    files, shapes = found["files"], found["shapes"]
    rows: list[list[page.Cell]] = [
        [
            _seen(str(row["file"])),
            "skipped" if row["skipped"] else _listed(row["shapes"]) + (" (damaged)" if row["damaged"] else ""),
            *(row[key] for key in ("in", "converted", "other_language", "rejected")),
        ]
        for row in files["largest"]
    ]
    parts = [chart.bar_chart(list(shapes.items()), "Records converted, by shape")] if shapes else []
    columns = ["file", "shape", "records", "converted", "other language", "rejected"]
    parts.append(page.table(columns, rows))
    if files["others"]:
        parts.append(page.note(f"and {files['others']:,} files with fewer records"))
    return parts


def _listed(shapes: Mapping[str, int]) -> str:
    return ", ".join(name if len(shapes) == 1 else f"{name} {n:,}" for name, n in shapes.items())


def _rejected(found: Mapping[str, Any]) -> list[Html]:
    rejected = found["rejected"]
    if not rejected["reasons"]:
        return [page.paragraph("Every record was converted.")]
    rows = [[_seen(reason), n] for reason, n in rejected["reasons"].items()]
    first = [[_place(entry), _seen(entry["field"]), _seen(entry["reason"])] for entry in rejected["first"]]
    return [
        page.table(["reason", "records"], rows),
        page.table(["where", "field", "reason"], first, "The first ones"),
        page.note("Every one is listed in ", _REJECTED, "."),
    ]


def _place(entry: Mapping[str, Any]) -> str:
    return _seen(f"{entry['file']}:{entry['line']}" if entry["line"] else entry["file"])


def _findings(findings: Mapping[str, Mapping[str, Any]]) -> list[Html]:
    if not findings:
        return [page.paragraph("Nothing.")]
    rows = [
        [name, counts["chats"], counts["preferences"], counts["dropped"], FINDINGS[name].line]
        for name, counts in findings.items()
    ]
    bars = [(name, counts["chats"] + counts["preferences"]) for name, counts in findings.items()]
    parts = [
        chart.bar_chart(bars, "Chats and preferences with a finding"),
        page.table(["finding", "chats", "preferences", "dropped for it", "what it means"], rows),
        page.note(
            f"Dropped unless --keep says otherwise: {', '.join(sorted(DROPPED))}. Counted only unless --drop says "
            "otherwise: the others. One with several findings is dropped for the first that drops."
        ),
    ]
    return parts + [_cases(name, counts["cases"]) for name, counts in findings.items()]


def _repairs(repairs: Mapping[str, Mapping[str, Any]]) -> list[Html]:
    if not repairs:
        return [page.paragraph("Nothing.")]
    rows = [[name.replace("_", " "), counts["times"]] for name, counts in repairs.items()]
    cases = [_cases(name.replace("_", " "), counts["cases"]) for name, counts in repairs.items()]
    return [page.table(["repair", "times"], rows), *cases]


def _cases(name: str, cases: Sequence[Mapping[str, str]]) -> Html:
    parts: list[Html] = []
    for case in cases:
        about = [_seen(case["place"])] + ([" · ", _seen(case["detail"])] if case["detail"] else [])
        parts += [page.note(*about), page.excerpt(case["text"])]
    return page.details(f"{name} (the first {len(cases)})", *parts)


def _lengths(found: Mapping[str, Any]) -> list[Html]:
    if not found["items"]["chats"]["kept"]:
        return [page.paragraph("No chats are kept.")]
    lengths = found["lengths"]
    charts = [
        _binned(lengths, "characters in a chat (log scale)", "Lengths in characters"),
        chart.bar_chart([(_LANGUAGES.get(k, k), n) for k, n in found["languages"].items()], "Chats by language"),
        chart.bar_chart(list(found["turns"].items()), "Chats, by how many messages they have"),
    ]
    eight = f"Eight of ten chats have {number(lengths['tenth'])} to {number(lengths['nine_tenths'])} characters, "
    notes = [page.note(f"{eight}the median {number(lengths['median'])}, the longest {number(lengths['longest'])}.")]
    if found["tokens"] is not None:
        charts.insert(1, _binned(found["tokens"], "tokens in a chat (log scale)", "Lengths in tokens"))
        notes.append(page.note(_cut(found)))
    return [page.grid(*charts), *notes]


def _binned(lengths: Mapping[str, Any], along: str, title: str) -> Html:
    return chart.binned(lengths["edges"], lengths["counts"], chart.Axis(along, log=True), "chats", title)


def _cut(found: Mapping[str, Any]) -> str:
    tokens, kept = found["tokens"], found["items"]["chats"]["kept"]
    over = tokens["chats_over_seq_len"]
    return (
        f"{over:,} chats ({percent(over / kept, 2)}) have more than {tokens['seq_len']:,} tokens. With rows of that "
        f"length sft would cut {tokens['cut_turns']:,} old exchanges and {tokens['cut_prompts']:,} beginnings of "
        f"prompts, and leave out {tokens['chats_too_long']:,} chats whose last answer does not fit."
    )


def _duplicates(found: Mapping[str, Any]) -> list[Html]:
    parts: list[Html] = []
    for kind, groups in found["duplicates"].items():
        if groups:
            rows = [[_seen(g["begins"]), g["times"], _seen(", ".join(g["places"]))] for g in groups]
            extra = found["items"][kind]["duplicate"]
            parts.append(page.paragraph(f"{extra:,} {kind} say the same as an earlier one and are left out."))
            parts.append(page.table(["begins", "times", "first at"], rows, f"Most frequent {kind}"))
    return parts or [page.paragraph("No two records say the same.")]


def _contradictions(found: Mapping[str, Mapping[str, Any]]) -> list[Html]:
    parts: list[Html] = []
    for kind, one in found.items():
        if not one["prompts"]:
            continue
        parts.append(
            page.paragraph(
                f"{one['answers']:,} {kind} answer {one['prompts']:,} prompts differently (space, punctuation and case "
                f"aside). {_POLICIES[one['policy']]} (--contradictions {one['policy']}). Several good answers to an "
                "open question are no fault; two to a question of fact are."
            )
        )
        for group in one["first"]:
            rows = [[_seen(answer["place"]), _seen(answer["answer"])] for answer in group["answers"]]
            parts.append(
                page.details(f"{_seen(group['prompt'])} ({group['times']} answers)", page.table(["at", "answer"], rows))
            )
    return parts or [page.paragraph("No prompt has two different answers.")]


def _seen(text: str) -> str:
    """Someone's text in a line of ours."""
    return page.visible(text, spaces=False)
