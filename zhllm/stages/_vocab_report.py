"""The report that extend-vocab writes beside the tokenizer: report.html for people, report.json for programs."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zhllm import chart, page
from zhllm.page import Html, Page, Tile, number, percent

if TYPE_CHECKING:
    from zhllm.vocab.bases import Base
    from zhllm.vocab.growth import Extended

CURVE_POINTS = 25
SHOWN = 40
OWN_SENTENCES = 4
BANDS = ((0, 0), (1, 9), (10, 99), (100, 999), (1000, None))
# Kind, the language whose shapes of characters the page asks for, the sentence.
SENTENCES = (
    ("news", "zh-Hans", "昨日上午，市气象台发布暴雨橙色预警，城区多条公交线路临时绕行，学校停课一天。"),
    (
        "law",
        "zh-Hans",
        "出租人应当在三十日内退还押金；逾期不退的，承租人有权要求其支付违约金，并可向人民法院提起诉讼。",
    ),
    ("medicine", "zh-Hans", "患者三天前受凉后出现咳嗽、发热，体温最高38.6℃，给予阿莫西林口服，每日三次，饭后服用。"),
    (
        "technical",
        "zh-Hans",
        "先用 pip install 安装依赖，再在 config.yaml 里把 batch_size 改成 32，重启服务后配置才会生效。",
    ),
    ("Traditional", "zh-Hant", "圖書館將於週末舉辦講座，邀請作家談談閱讀與寫作，歡迎市民預約參加。"),
    ("classical", "zh-Hans", "是夜月明，舟行江上，客有吹箫者，其声清远，闻者莫不动容，遂停杯不饮，相顾无言。"),
)


def write_report(
    out: Path, base: Base, extension: Extended, texts: Sequence[str], proofs: Mapping[str, int]
) -> dict[str, Any]:
    """Measure the extension on `texts` (or on the sentences above where there are none), write both files, and
    return what report.json holds."""
    from zhllm.vocab.hf_files import write_json

    found = measured(base, extension, texts, proofs)
    write_json(out / "report.json", found)
    (out / "report.html").write_text(html_of(found), encoding="utf-8")
    return found


def measured(base: Base, extension: Extended, texts: Sequence[str], proofs: Mapping[str, int]) -> dict[str, Any]:
    """Everything the report says, as report.json holds it; pairs are of the base and of the extension."""
    from zhllm.vocab.growth import opened, tokens_by_size
    from zhllm.vocab.measure import token_counts

    given = list(texts) or [sentence for *_, sentence in SENTENCES]
    chars = sum(map(len, given))
    extended = opened(extension)
    uses = [token_counts(tokenizer, given) for tokenizer in (base, extended)]
    partial = [
        sum(n for i, n in used.items() if i in ids.partial_ids)
        for ids, used in zip((base, extended), uses, strict=True)
    ]
    tokens = [used.total() for used in uses]
    return {
        "base_kind": base.kind,
        "base_pieces": base.size,
        "vocab_size": extension.size,
        "specials": extension.specials,
        "left_out": {reason: len(pieces) for reason, pieces in extension.left_out.items()},
        "left_out_examples": {reason: pieces[:SHOWN] for reason, pieces in extension.left_out.items()},
        "proofs": dict(proofs),
        "text": {"given": bool(texts), "documents": len(given), "chars": chars},
        "tokens": tokens,
        "chars_per_token": [chars / n if n else 0.0 for n in tokens],
        "byte_fallback_rate": [bad / n if n else 0.0 for bad, n in zip(partial, tokens, strict=True)],
        "curve": _curve(chars, tokens[0], tokens_by_size(base, extension, uses[1])),
        "coverage": _coverage(base, extended),
        **_pieces(extension, [uses[1][base.size + k] for k in range(len(extension.added))]),
        "sentences": _sentences(base, extended, texts),
    }


def _curve(chars: int, before: int, tokens: Sequence[int]) -> dict[str, Any]:
    """Characters per token against the pieces kept, and how many pieces give a share of the tokens saved.

    Both are None where the tokens of the base are not what was derived (a base without byte pieces).
    """
    last = len(tokens) - 1
    if tokens[0] != before or not tokens[last]:
        return {"points": None, "pieces_for_share": None}
    saved = tokens[0] - tokens[last]
    enough = {
        str(share): next(n for n, count in enumerate(tokens) if tokens[0] - count >= share * saved)
        for share in (0.5, 0.9, 0.99)
    }
    kept = sorted({round(last * step / (CURVE_POINTS - 1)) for step in range(CURVE_POINTS)})
    return {"points": [[n, chars / tokens[n]] for n in kept], "pieces_for_share": enough}


def _coverage(base: Base, extended: Base) -> list[dict[str, Any]]:
    from zhllm.text.standard import common_characters, standard_characters, traditional_characters
    from zhllm.vocab.measure import uncovered

    sets = {
        "common": common_characters(),
        "standard": standard_characters(),
        "Traditional forms of the common": traditional_characters(),
    }
    rows = []
    for name, characters in sets.items():
        missing = [uncovered(tokenizer, characters) for tokenizer in (base, extended)]
        covered = [len(characters) - len(found) for found in missing]
        rows.append({"set": name, "of": len(characters), "covered": covered, "missing": "".join(missing[1][:SHOWN])})
    return rows


def _pieces(extension: Extended, counts: Sequence[int]) -> dict[str, Any]:
    """What was added, how often each piece is a token of the text, and the longest and rarest pieces."""
    from zhllm.vocab.growth import added_texts

    joins = set(extension.joins)
    asked = [spelt not in joins for spelt in extension.added]
    every = list(zip(added_texts(extension), counts, asked, strict=True))
    whole = [(text, count) for text, count, _ in every if text is not None]
    wanted = [(text, count) for text, count, is_asked in every if is_asked and text is not None]
    return {
        "added_pieces": len(every),
        "characters": sum(len(text) == 1 for text, _ in wanted),
        "words": sum(len(text) > 1 for text, _ in wanted),
        "joins": len(joins),
        "counts": list(counts),
        "never_seen": counts.count(0),
        "joins_never_seen": sum(count == 0 and not is_asked for _, count, is_asked in every),
        "seen_less_than_10": sum(count < 10 for count in counts),
        "median_count": statistics.median(counts),
        "lengths": sorted(Counter(len(text) for text, _ in whole).items()),
        "most_frequent": sorted(whole, key=lambda p: (-p[1], p[0]))[:SHOWN],
        "longest": sorted(whole, key=lambda p: (-len(p[0]), -p[1], p[0]))[:SHOWN],
        "rarest": sorted((p for p in whole if p[1]), key=lambda p: (p[1], p[0]))[:SHOWN],
        "unseen": [text for text, count in wanted if not count][:SHOWN],
    }


def _sentences(base: Base, extended: Base, texts: Sequence[str]) -> list[dict[str, Any]]:
    from zhllm.vocab.growth import segments

    rows = []
    own = [("your text", "zh-Hans", sentence) for sentence in _first_sentences(texts)]
    for kind, lang, sentence in (*SENTENCES, *own):
        before, after = (
            [[p.text, p.index, p.is_new, p.is_bytes] for p in segments(tokenizer, sentence, base.size)]
            for tokenizer in (base, extended)
        )
        rows.append({"kind": kind, "lang": lang, "text": sentence, "before": before, "after": after})
    return rows


def _first_sentences(texts: Sequence[str]) -> list[str]:
    """The first sentence with eight Han characters of each of the first lines that have one."""
    from zhllm.text.han import han_runs

    found: list[str] = []
    for line in (line for text in texts[:200] for line in text.split("\n")):
        sentences = re.findall("[^。！？!?]+[。！？!?]?", line)
        chosen = next((s.strip()[:120] for s in sentences if sum(map(len, han_runs(s))) >= 8), None)
        if chosen is not None and chosen not in found:
            found.append(chosen)
        if len(found) == OWN_SENTENCES:
            break
    return found


def html_of(found: Mapping[str, Any]) -> str:
    """The page of a report.json's content."""
    shown = Page("Vocabulary report", _lead(found))
    shown.section("Key figures", page.tiles(_tiles(found)))
    shown.section("Sentences before and after", *_segmentation(found["sentences"]))
    shown.section("Compression against size", *_compression(found))
    shown.section("How often the pieces are used", *_frequency(found))
    shown.section("Coverage of characters", *_covered(found["coverage"]))
    shown.section("Left out", *_left_out(found))
    shown.section("Proofs", page.table(["promise", "texts or pieces tried", "broken"], _proofs(found["proofs"])))
    return shown.html()


def _lead(found: Mapping[str, Any]) -> str:
    text = found["text"]
    if not text["given"]:
        return "No text was given (--text): all figures are of the few sample sentences below, and say little."
    return f"Measured on {text['documents']:,} documents with {text['chars']:,} characters."


def _tiles(found: Mapping[str, Any]) -> list[Tile]:
    before, after = found["chars_per_token"]
    bytes_before, bytes_after = found["byte_fallback_rate"]
    gain = f", {percent(after / before - 1, signed=True)}" if before else ""
    kinds = f"{found['characters']:,} characters, {found['words']:,} words, {found['joins']:,} joins as steps to them"
    specials = len(found["specials"])
    sizes = f"{found['base_pieces']:,} in the {found['base_kind']} base, special tokens added: {specials}"
    return [
        Tile("Characters per token", f"{after:.3f}", f"{before:.3f} before{gain}"),
        Tile("Tokens that are bytes", percent(bytes_after), f"{percent(bytes_before)} before"),
        Tile("Added pieces", f"{found['added_pieces']:,}", kinds),
        Tile("Vocabulary", f"{found['vocab_size']:,}", sizes),
    ]


def _segmentation(rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    own = sum(row["kind"] == "your text" for row in rows)
    quoted = f" The last {own} are from your text: think of it before you give this page away." if own else ""
    signs = "Each shade is a token. Underlined: an added piece. Dashed: a byte, or bytes, of a character."
    parts = [page.note(f"{signs} ␣ is a space.{quoted}")]
    for row in rows:
        before, after = len(row["before"]), len(row["after"])
        change = f" ({percent(after / before - 1, 0, signed=True)})" if before else ""
        parts.append(page.heading(f"{row['kind']}: {before} → {after} tokens{change}"))
        parts += [page.tokens(_shown(row[side]), row["lang"]) for side in ("before", "after")]
    return parts


def _shown(tokens: Sequence[Sequence[Any]]) -> Iterator[page.Token]:
    """The tokens with their ids, and for bytes the characters that they are part of."""
    waiting: list[tuple[str, int]] = []
    for text, index, is_new, is_bytes in tokens:
        if not is_bytes:
            yield page.Token(text, f"id {index}", "new" if is_new else "")
            continue
        waiting.append((text, index))
        try:
            whole = bytes.fromhex("".join(part for part, _ in waiting)).decode()
        except ValueError:
            continue
        yield from (page.Token(part, f"id {i}, in {whole}", "byte") for part, i in waiting)
        waiting = []
    yield from (page.Token(part, f"id {i}", "byte") for part, i in waiting)


def _compression(found: Mapping[str, Any]) -> list[Html]:
    curve = found["curve"]
    if curve["points"] is None:
        return [page.note("Not drawn: this base has no byte pieces, so its unknown characters cannot be counted.")]
    series = [chart.Series("characters per token", curve["points"])]
    drawn = chart.line_chart(series, chart.Axis("pieces kept, in their order"), chart.Axis("characters per token"))
    enough = curve["pieces_for_share"].items()
    shares = ", ".join(f"the first {n:,} save {percent(float(share), 0)}" for share, n in enough)
    flag, saved = page.code("--max-pieces"), f"). Of the tokens that all of them save, {shares}."
    return [page.paragraph("What the first pieces alone would give (", flag, saved), drawn]


def _frequency(found: Mapping[str, Any]) -> list[Html]:
    counts = found["counts"]
    about = (
        f"Of {len(counts):,} added pieces {found['never_seen']:,} are no token of this text "
        f"({found['joins_never_seen']:,} of them only joins) and {found['seen_less_than_10']:,} are seen less than "
        f"ten times; the median of their counts is {number(found['median_count'])}."
    )
    bands = [(_band(low, high), _within(counts, low, high)) for low, high in BANDS]
    lengths = [(f"{n} character{'s' * (n > 1)}", count) for n, count in found["lengths"]]
    tables = [
        page.details(title, page.table(["piece", "times seen"], found[key]))
        for title, key in (
            ("Most frequent", "most_frequent"),
            ("Longest", "longest"),
            ("Rarest of those seen", "rarest"),
        )
    ]
    unseen = page.details("Never seen, first of the list first", page.paragraph(" ".join(found["unseen"]) or "none"))
    return [
        page.paragraph(about),
        page.grid(
            chart.rank_frequency("added pieces", counts, "rank of the piece", "times seen", "Use by rank"),
            page.join([chart.bar_chart(bands, "Pieces by times seen"), chart.bar_chart(lengths, "Pieces by length")]),
        ),
        *tables,
        unseen,
    ]


def _band(low: int, high: int | None) -> str:
    if high == 0:
        return "never"
    return f"{low:,} or more" if high is None else f"{low:,} to {high:,}"


def _within(counts: Sequence[int], low: int, high: int | None) -> int:
    return sum(low <= count and (high is None or count <= high) for count in counts)


def _covered(rows: Sequence[Mapping[str, Any]]) -> list[Html]:
    columns = ["characters", "in all", "before", "after", "share", "first missing"]
    cells = [[r["set"], r["of"], *r["covered"], percent(r["covered"][1] / r["of"], 2), r["missing"]] for r in rows]
    about = (
        "Characters that are one token inside a text. Common and standard are level one and all of the Table "
        "of General Standard Chinese Characters (2013)."
    )
    return [page.note(about), page.table(columns, cells)]


def _left_out(found: Mapping[str, Any]) -> list[Html]:
    specials = " ".join(found["specials"]) or "none"
    about = page.note(f"Special tokens added: {specials}.")
    examples = found["left_out_examples"]
    rows = [[reason, count, " ".join(examples[reason])] for reason, count in found["left_out"].items()]
    return [page.table(["reason", "pieces", "such as"], rows) if rows else page.paragraph("No piece."), about]


def _proofs(proofs: Mapping[str, int]) -> list[list[str | int]]:
    return [[name, tried, 0] for name, tried in proofs.items()]
