"""The page of clean's report: what came in, what became of it and why, with samples to judge it by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from zhllm import chart, page
from zhllm.page import Html, Page, Tile, number, percent

# Every reason that a document can be left out for, in plain words.
REASONS = {
    "advertisement": "Most of the text were lines of advertisement or of a web page's frame.",
    "contaminated": "It holds at least half of the 13-grams of a text of an evaluation file (--against).",
    "contents_page": "Most of its lines were a table of contents: titles, dots and page numbers.",
    "digit_share": "Too many of its characters are digits: a list of numbers and hardly any text.",
    "duplicate": "The same text, white space aside, as an earlier document.",
    "garbled": "The text was decoded wrongly, or characters were lost, before it came here.",
    "low_han_share": "Too few of its letters are Chinese for --language zh.",
    "low_latin_share": "Too few of its letters are Latin for --language en.",
    "near_duplicate": "Nearly the same text as an earlier document that is kept.",
    "not_a_document": "The file is of a kind that holds no text: a picture, a program, an empty file.",
    "repeated_grams": "The same few words, again and again, make up much of the text.",
    "repeated_lines": "Lines that the text has already had make up much of it.",
    "repeated_paragraphs": "Little is left once paragraphs that earlier documents hold are taken out.",
    "sensitive": "It holds more of the words of --sensitive-words than the profile allows.",
    "symbol_share": "Too many of its characters are signs and symbols, not words.",
    "too_long": "It has more characters than a process can hold several times over: split it.",
    "too_short": "Too few characters are left for the profile.",
    "unreadable": "The file or record could not be read; the detail says what is wrong.",
}
# What else is done to a text, by the names of the effects.
CHANGES = {
    "normalised": "normal form only (width, invisible characters, blank lines)",
    "repaired_docs": "mojibake repaired",
    "simplified_docs": "Traditional to Simplified",
    "page_lines": "page numbers",
    "header_lines": "page headers and footers",
    "contents_lines": "lines of tables of contents",
}
_GROUPS = {"lines_": "advertisement", "pii_": "personal data"}


def html_of(found: Mapping[str, Any]) -> str:
    """The page of a report.json's content."""
    shown = Page("Cleaning report", _lead(found))
    shown.section("What became of it", page.tiles(_tiles(found)))
    shown.section("Why documents were left out", *_reasons(found))
    shown.section("By source", *_sources(found))
    shown.section("Lengths and Chinese share", *_histograms(found))
    shown.section("Duplicates", *_duplicates(found))
    shown.section("What was changed in texts", *_changes(found["changes"]))
    shown.section("Lines common to many documents", *_common_lines(found["common_lines"]))
    if found["against"] is not None:
        shown.section("Evaluation files", *_against(found))
    if "canaries" in found:
        shown.section("Canaries", *_canaries(found["canaries"]))
    shown.section("Samples of what was left out", *_samples(found["rejected_samples"]))
    return shown.html()


def _lead(found: Mapping[str, Any]) -> str:
    docs = found["documents"]
    kept = docs["train"] + docs["valid"]
    return (
        f"{kept:,} of {docs['in']:,} documents are kept. This page quotes them: think of it before you give it "
        "away. Personal data in its samples is made unreadable."
    )


def _tiles(found: Mapping[str, Any]) -> list[Tile]:
    docs, chars = found["documents"], found["characters"]
    tiles = [Tile("Came in", f"{docs['in']:,}", f"documents, {chars['in']:,} characters")]
    for name, title in (("train", "Training"), ("valid", "Validation"), ("rejected", "Left out")):
        share = f"{percent(docs[name] / docs['in'])}; " if docs["in"] else ""
        tiles.append(Tile(title, f"{docs[name]:,}", f"{share}{chars[name]:,} characters"))
    kept = chars["train"] + chars["valid"]
    shorter = chars["in"] - kept - chars["rejected"]
    paragraphs = found["repeated_paragraphs"]
    lengths = found["lengths"]["kept_quantiles"]
    middle = f"eight of ten kept documents have {number(lengths['tenth'])} to {number(lengths['nine_tenths'])}"
    return [
        *tiles,
        Tile("Characters kept", percent(kept / chars["in"]) if chars["in"] else "–", f"{kept:,} of {chars['in']:,}"),
        Tile("Taken out of texts", f"{shorter:,}", "characters, balance of all changes inside documents"),
        Tile("Repeated paragraphs", f"{paragraphs['lines']:,}", f"taken out of {paragraphs['documents']:,} documents"),
        Tile("Median length", number(lengths["median"]), f"characters; {middle}"),
        Tile("Chinese share", percent(found["han_share"]), "Han among the letters of what is kept"),
    ]


def _reasons(found: Mapping[str, Any]) -> list[Html]:
    rejected, came_in = found["rejected"], found["documents"]["in"]
    if not rejected:
        return [page.paragraph("Nothing was left out.")]
    rows = [[reason, n, percent(n / came_in, 2), explained(reason)] for reason, n in rejected.items()]
    return [
        chart.bar_chart(list(rejected.items()), "Documents left out, by reason"),
        page.table(["reason", "documents", "of what came in", "what it means"], rows),
        page.note("Each document has one reason, the first that was found. Every one is listed in ", _REJECTED, "."),
    ]


_REJECTED = page.code("rejected-*.parquet")


def explained(reason: str) -> str:
    """What a reason code means."""
    return REASONS.get(reason, "")


def _sources(found: Mapping[str, Any]) -> list[Html]:
    sources, reasons = found["sources"], list(found["rejected"])
    others = sources["others"]
    named = [(_seen(row["source"]), row) for row in sources["largest"]]
    if others["sources"]:
        named.append((f"{others['sources']:,} others", others))
    rows = [
        [name, row["documents"], row["kept"], percent(row["kept"] / row["documents"])]
        + [row["rejected"].get(reason, 0) for reason in reasons]
        for name, row in named
    ]
    return [page.table(["source", "documents", "kept", "share kept", *reasons], rows)]


def _histograms(found: Mapping[str, Any]) -> list[Html]:
    lengths, han = found["lengths"], found["han_shares"]
    held = [n for n, counts in enumerate(zip(lengths["kept"], lengths["rejected"], strict=True)) if any(counts)]
    first, last = (held[0], held[-1]) if held else (0, 0)
    edges = lengths["edges"][first : last + 2]
    along = chart.Axis("characters in a document (log scale)", log=True)
    charts = [
        chart.binned(edges, lengths[side][first : last + 1], along, "documents", title)
        for side, title in (("kept", "Lengths of kept documents"), ("rejected", "Lengths of documents left out"))
    ]
    shares = chart.binned(
        [100 * edge for edge in han["edges"]],
        han["kept"],
        chart.Axis("% Han among letters, in a document"),
        "documents",
        "Chinese share of kept documents",
    )
    empty, no_letters = lengths["rejected_without_text"], han["kept_without_letters"]
    about = "Lengths are those of the cleaned texts, less what was taken out of them."
    about += f" Not shown: {empty:,} left out that have no text." if empty else ""
    about += f" Not shown: {no_letters:,} kept without any letters." if no_letters else ""
    return [page.grid(*charts, shares), page.note(about)]


def _duplicates(found: Mapping[str, Any]) -> list[Html]:
    groups, largest = found["duplicates"]["groups_by_size"], found["duplicates"]["largest"]
    if not groups:
        return [page.paragraph("No duplicates were found.")]
    bars = [(name, n) for name, n in _by_size(groups) if n]
    rows = [[_seen(g["id"]), g["documents"], "yes" if g["is_kept"] else "no", _seen(g["sample"][:80])] for g in largest]
    total = sum(n for _, n in groups)
    extra = sum((size - 1) * n for size, n in groups)
    about = (
        f"{total:,} groups of equal or nearly equal documents; {extra:,} documents were left out as copies of the "
        "first of their group."
    )
    columns = ["first of the group", "documents", "is kept", "begins"]
    return [
        page.paragraph(about),
        chart.bar_chart(bars, "Groups, by how many documents they have"),
        page.table(columns, rows, "Largest groups"),
    ]


def _by_size(groups: Sequence[tuple[int, int]]) -> list[tuple[str, int]]:
    """Groups in bands of sizes."""
    edges = (2, 3, 4, 5, 10, 20, 50, 100, 1000, 10**12)
    named = []
    for low, high in pairwise(edges):
        name = (
            f"{low:,}" if high == low + 1 else f"{low:,} or more" if high == edges[-1] else f"{low:,} to {high - 1:,}"
        )
        named.append((f"{name} documents", sum(n for size, n in groups if low <= size < high)))
    return named


def change_name(effect: str) -> str:
    """An effect in plain words."""
    prefix = _prefix(effect)
    if prefix:
        return f"{_GROUPS[prefix]}: {effect.removeprefix(prefix).replace('_', ' ')}"
    return CHANGES.get(effect, effect.replace("_", " "))


def _prefix(effect: str) -> str:
    return next((prefix for prefix in _GROUPS if effect.startswith(prefix)), "")


def _changes(changes: Mapping[str, Any]) -> list[Html]:
    if not changes:
        return [page.paragraph("No text was changed.")]
    charts = [
        chart.bar_chart(bars, title)
        for prefix, title in (("pii_", "Personal data masked, values"), ("lines_", "Advertisements removed, lines"))
        if (bars := _bars(changes, prefix))
    ]
    ordered = sorted(changes.items(), key=lambda pair: (_prefix(pair[0]), -pair[1]["documents"]))
    rows = [[change_name(name), change["documents"], change["times"]] for name, change in ordered]
    signs = (
        "Struck out: what is gone. Underlined: what came in its place. ␣ is a space, ⏎ the end of a line, "
        "• a character made unreadable here."
    )
    parts = [page.note(signs)]
    for name, change in ordered:
        samples = [part for sample in change["samples"] for part in _change(sample)]
        if samples:
            parts.append(page.details(f"{change_name(name)} (samples: {len(change['samples'])})", *samples))
    return [
        *([page.grid(*charts)] if charts else []),
        page.table(["change", "documents", "lines, values or texts"], rows),
        *parts,
    ]


def _bars(changes: Mapping[str, Any], prefix: str) -> list[tuple[str, float]]:
    named = [(name.removeprefix(prefix), c["times"]) for name, c in changes.items() if name.startswith(prefix)]
    return [(name.replace("_", " "), n) for name, n in sorted(named, key=lambda pair: (-pair[1], pair[0]))]


def _change(sample: Sequence[str]) -> list[Html]:
    identity, before, after = sample
    return [page.note(_seen(identity)), page.difference(before, after)]


def _common_lines(lines: Sequence[Sequence[Any]]) -> list[Html]:
    if not lines:
        return [page.paragraph("None.")]
    about = (
        "Lines of at most 40 characters that many of the documents looked at (the first of each portion) hold, and "
        "that no rule took out. What is no text here belongs into a rule, or out of the source."
    )
    rows = [[page.visible_ends(line), n] for line, n in lines]
    return [page.paragraph(about), page.table(["line", "documents"], rows)]


def _against(found: Mapping[str, Any]) -> list[Html]:
    files, items = found["against"]["files"], found["against"]["items_found_most"]
    columns = ["file", "texts looked for", "too short to look for", "found", "documents left out"]
    keys = ("items", "too_short", "found", "documents_dropped")
    rows = [[_seen(row["file"]), *(row[key] for key in keys)] for row in files]
    about = (
        "A text counts as found when a document that came in holds at least half, and six, of its "
        "sequences of 13 letters, Han or digits; "
        "shorter texts cannot be looked for. A document with texts of several files counts for each."
    )
    parts = [page.table(columns, rows), page.note(about)]
    if items:
        lines = [[_seen(row["item"]), _seen(row["file"]), row["documents"]] for row in items]
        parts.append(page.table(["begins", "file", "documents"], lines, "Texts found in most documents"))
    return parts


def _canaries(planted: Mapping[str, int]) -> list[Html]:
    words = f"{planted['sentences']:,} sentences with a secret were planted in the training part as "
    counts = f"{planted['documents']:,} documents ({planted['characters']:,} characters) that no filter looked at "
    return [page.paragraph(f"{words}{counts}and no other count here holds. They stand in ", _CANARIES, ".")]


_CANARIES = page.code("canaries.jsonl")


def _samples(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Html]:
    if not samples:
        return [page.paragraph("Nothing was left out.")]
    parts = [page.note("Some of each reason, chosen by a hash of their ids.")]
    for reason, shown in samples.items():
        parts.append(page.heading(reason))
        parts.append(page.note(explained(reason)))
        for sample in shown:
            parts += _sampled(sample)
    return parts


def _sampled(sample: Mapping[str, Any]) -> list[Html]:
    name = page.note(_seen(sample["id"]), " · ", _seen(sample["detail"]))
    if "like" in sample:
        return [name, page.difference(sample["like"], sample["sample"])]
    return [name, page.excerpt(sample["sample"])]


def _seen(text: str) -> str:
    """Someone's text in a line of ours."""
    return page.visible(text, spaces=False)
