"""The report that extend-vocab writes beside the tokenizer: report.html for people, report.json for programs."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zhllm import chart, page
from zhllm.page import Html, Page, Tile, percent

if TYPE_CHECKING:
    from zhllm.vocab.bases import Base
    from zhllm.vocab.growth import Extended

# The curve cuts its text again for every point, so its text is bounded; the report says how much it was.
CURVE_CHARS, CURVE_POINTS = 300_000, 8
SHOWN = 40
SENTENCES = (
    ("news", "昨日上午，市气象台发布暴雨橙色预警，城区多条公交线路临时绕行，学校停课一天。"),
    (
        "law",
        "当事人一方不履行合同义务或者履行合同义务不符合约定的，应当承担继续履行、采取补救措施或者赔偿损失等违约责任。",
    ),
    ("medicine", "患者三天前受凉后出现咳嗽、发热，体温最高38.6℃，给予阿莫西林口服，每日三次，饭后服用。"),
    ("technical", "先用 pip install 安装依赖，再在 config.yaml 里把 batch_size 改成 32，重启服务后配置才会生效。"),
    ("Traditional", "圖書館將於週末舉辦講座，邀請作家談談閱讀與寫作，歡迎市民預約參加。"),
    ("classical", "山不在高，有仙則名；水不在深，有龍則靈。學而時習之，不亦說乎？"),
)


def write_report(out: Path, base: Base, extension: Extended, texts: Sequence[str], proofs: Mapping[str, int]) -> None:
    """Measure the extension on `texts` (or on the sentences above where there are none) and write both files."""
    from zhllm.vocab.hf_files import write_json

    found = measured(base, extension, texts, proofs)
    write_json(out / "report.json", found)
    (out / "report.html").write_text(html_of(found), encoding="utf-8")


def measured(base: Base, extension: Extended, texts: Sequence[str], proofs: Mapping[str, int]) -> dict[str, Any]:
    """Everything the report says, as report.json holds it."""
    from zhllm.vocab.growth import added_texts, opened, sample_of, size_curve
    from zhllm.vocab.measure import compression

    given = list(texts) or [sentence for _, sentence in SENTENCES]
    extended, added = opened(extension), added_texts(extension)
    before, after = compression(base, given), compression(extended, given)
    sample = sample_of(given, CURVE_CHARS)
    whole = [text for text in added if text is not None]
    return {
        "base_pieces": base.size,
        "added_pieces": len(added),
        "characters": sum(len(text) == 1 for text in whole),
        "words": sum(len(text) > 1 for text in whole),
        "joins": len(extension.joins),
        "specials": extension.specials,
        "left_out": {reason: len(pieces) for reason, pieces in extension.left_out.items()},
        "proofs": dict(proofs),
        "text": {"given": bool(texts), "documents": len(given), "chars": before.chars},
        "chars_per_token": [before.chars_per_token, after.chars_per_token],
        "byte_fallback_rate": [before.byte_fallback_rate, after.byte_fallback_rate],
        "curve": {"chars": sum(map(len, sample)), "points": size_curve(base, extension, sample, CURVE_POINTS)},
        "coverage": _coverage(base, extended),
        "lengths": sorted(Counter(map(len, whole)).items()),
        **_frequencies(base.size, extended, added, given),
        "sentences": _sentences(base, extended, texts),
    }


def _coverage(base: Base, extended: Base) -> list[dict[str, Any]]:
    from zhllm.text.standard import common_characters, standard_characters, traditional_characters
    from zhllm.vocab.measure import uncovered

    sets = {
        "3,500 common": common_characters(),
        "8,105 standard": standard_characters(),
        "Traditional forms of the common": traditional_characters(),
    }
    rows = []
    for name, characters in sets.items():
        missing = uncovered(extended, characters)
        before = len(characters) - len(uncovered(base, characters))
        after = len(characters) - len(missing)
        row = {
            "set": name,
            "of": len(characters),
            "before": before,
            "after": after,
            "missing": "".join(missing[:SHOWN]),
        }
        rows.append(row)
    return rows


def _frequencies(base_size: int, extended: Base, added: Sequence[str | None], texts: Sequence[str]) -> dict[str, Any]:
    """How often each added piece is a token of the texts, and the longest and rarest pieces."""
    from zhllm.vocab.measure import token_counts

    used = token_counts(extended, texts)
    counts = [used[base_size + k] for k in range(len(added))]
    whole = [(text, count) for text, count in zip(added, counts, strict=True) if text is not None]
    return {
        "counts": counts,
        "never_seen": counts.count(0),
        "seen_less_than_10": sum(c < 10 for c in counts),
        "median_count": statistics.median(counts),
        "longest": sorted(whole, key=lambda p: (-len(p[0]), -p[1], p[0]))[:SHOWN],
        "rarest": sorted((p for p in whole if p[1]), key=lambda p: (p[1], p[0]))[:SHOWN],
        "most_frequent": sorted(whole, key=lambda p: (-p[1], p[0]))[:SHOWN],
    }


def _sentences(base: Base, extended: Base, texts: Sequence[str]) -> list[dict[str, Any]]:
    from zhllm.text.han import han_runs
    from zhllm.vocab.growth import segments

    own = (line.strip() for text in texts[:200] for line in text.split("\n"))
    chosen = [("your text", line[:120]) for line in own if len("".join(han_runs(line))) >= 12][:4]
    rows = []
    for kind, sentence in (*SENTENCES, *chosen):
        before, after = (
            [[p.text, p.index, p.is_new, p.is_bytes] for p in segments(tokenizer, sentence, base.size)]
            for tokenizer in (base, extended)
        )
        rows.append({"kind": kind, "text": sentence, "before": before, "after": after})
    return rows


def html_of(found: Mapping[str, Any]) -> str:
    """The page of a report.json's content."""
    shown = Page("Vocabulary report", _lead(found))
    before, after = found["chars_per_token"]
    bytes_before, bytes_after = found["byte_fallback_rate"]
    pieces = f"{found['characters']:,} characters, {found['words']:,} words, {found['joins']:,} of them joins only"
    shown.section(
        "Key figures",
        page.tiles(
            [
                Tile("Characters per token", f"{after:.3f}", f"{before:.3f} before, {_gain(before, after)}"),
                Tile("Added pieces", f"{found['added_pieces']:,}", pieces),
                Tile("Vocabulary", f"{_size(found):,}", f"{found['base_pieces']:,} in the base"),
                Tile("Tokens that are bytes", percent(bytes_after), f"{percent(bytes_before)} before"),
            ]
        ),
        page.note(_left_out(found)),
    )
    shown.section("Compression against size", _curve(found))
    shown.section("Coverage of characters", _coverage_table(found["coverage"]))
    shown.section("How often the pieces are used", *_frequency(found))
    shown.section("Before and after", *_segmentation(found["sentences"]))
    shown.section("Proofs", page.table(["promise", "texts or pieces tried", "broken"], _proofs(found["proofs"])))
    return shown.html()


def _lead(found: Mapping[str, Any]) -> str:
    text = found["text"]
    if not text["given"]:
        return "No text was given (--text): all figures are of the few sample sentences below, not of your text."
    return f"Measured on {text['documents']:,} documents with {text['chars']:,} characters."


def _size(found: Mapping[str, Any]) -> int:
    return int(found["base_pieces"] + found["added_pieces"] + len(found["specials"]))


def _gain(before: float, after: float) -> str:
    return f"{after / before - 1:+.1%}" if before else "–"


def _left_out(found: Mapping[str, Any]) -> str:
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in found["left_out"].items()) or "none"
    specials = " ".join(found["specials"]) or "none"
    return f"Pieces left out: {reasons}. Special tokens added: {specials}."


def _curve(found: Mapping[str, Any]) -> Html:
    points = [(float(n), rate) for n, rate in found["curve"]["points"]]
    about = f"On {found['curve']['chars']:,} characters of the text, with only the first pieces kept."
    series = [chart.Series("characters per token", points)]
    drawn = chart.line_chart(series, chart.Axis("added pieces"), chart.Axis("characters per token"))
    return page.join([drawn, page.note(about)])


def _coverage_table(rows: Sequence[Mapping[str, Any]]) -> Html:
    columns = ["characters", "in all", "single tokens before", "after", "share after", "missing, e.g."]
    cells = [[r["set"], r["of"], r["before"], r["after"], percent(r["after"] / r["of"]), r["missing"]] for r in rows]
    return page.table(columns, cells)


def _frequency(found: Mapping[str, Any]) -> list[Html]:
    counts = found["counts"]
    about = (
        f"Of {len(counts):,} added pieces {found['never_seen']:,} are no token of this text and "
        f"{found['seen_less_than_10']:,} are seen less than ten times; the median piece is seen "
        f"{found['median_count']:,g} times. A piece that is only a step to a longer one is no token itself."
    )
    by_rank = chart.rank_frequency("added pieces", counts, "rank of the piece", "times seen", "Rank and frequency")
    lengths = chart.bar_chart([(f"{n} characters", c) for n, c in found["lengths"]], "Pieces by length")
    tables = [
        page.details(title, page.table(["piece", "times seen"], found[key]))
        for title, key in (
            ("Most frequent", "most_frequent"),
            ("Longest", "longest"),
            ("Rarest of those seen", "rarest"),
        )
    ]
    return [page.paragraph(about), page.grid(by_rank, lengths), *tables]


def _segmentation(rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    parts = [page.note("Underlined: added pieces. Dashed: bytes of a character that has no token.")]
    for row in rows:
        lang = "zh-Hant" if row["kind"] == "Traditional" else "zh-Hans"
        parts.append(page.heading(f"{row['kind']}: {len(row['before'])} → {len(row['after'])} tokens"))
        parts += [page.tokens(map(_token, row[side]), lang) for side in ("before", "after")]
    return parts


def _token(part: Sequence[Any]) -> page.Token:
    text, index, is_new, is_bytes = part
    return page.Token(text, f"id {index}", "byte" if is_bytes else "new" if is_new else "")


def _proofs(proofs: Mapping[str, int]) -> list[list[str | int]]:
    return [[name, tried, 0] for name, tried in proofs.items()]
