"""The numbers of clean's report, gathered a part at a time: report.json for programs, report.html for people.

Nothing in it depends on the machine, the time or how the work was shared out: equal results give equal bytes.
"""

from __future__ import annotations

import heapq
import json
import math
from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from zhllm.text.clean.contamination import EvaluationGrams
    from zhllm.text.clean.fates import Corpus, Fates
    from zhllm.text.clean.parts import Part

SOURCES_SHOWN = 20
CLUSTERS_SHOWN = 10
ITEMS_SHOWN = 20
SAMPLES = 4
HAN_BINS = 20
# Six bins for each factor of ten, their edges whole numbers.
_PER_TEN, _LONGEST = 6, 10**9
# What becomes of a text by these is no change of it.
_NO_CHANGES = ("item_", "sensitive_hits")


def write_report(
    out: Path,
    metrics: Mapping[str, Any],
    corpus: Corpus,
    fates: Fates,
    reasons: Counter[tuple[str, str]],
    against: EvaluationGrams | None,
) -> None:
    """Write report.json and report.html about what became of the corpus."""
    from zhllm.stages._clean_page import html_of

    found = measured(metrics, corpus, fates, reasons, against)
    (out / "report.json").write_bytes(json_bytes(found))
    (out / "report.html").write_text(html_of(found), encoding="utf-8")


def json_bytes(found: Mapping[str, Any]) -> bytes:
    """JSON as people read it; a lone surrogate, as in the name of a file, becomes JSON's escape for it."""
    text = json.dumps(found, ensure_ascii=False, indent=1) + "\n"
    return text.encode("utf-8", "backslashreplace")


def measured(
    metrics: Mapping[str, Any],
    corpus: Corpus,
    fates: Fates,
    reasons: Counter[tuple[str, str]],
    against: EvaluationGrams | None,
) -> dict[str, Any]:
    """Everything the report says, as report.json holds it."""
    from zhllm.text.clean.parts import total

    survey = _Survey(fates)
    for part, start in zip(corpus.parts, corpus.starts.tolist(), strict=False):
        survey.add(part, start)
    stats = [part.stats for part in corpus.parts]
    by_item = total([s["effects"] for s in stats])
    rejected = metrics["rejected"].items()
    return {
        "documents": {name: metrics[f"{name}_docs"] for name in ("train", "valid", "rejected")}
        | {"in": metrics["docs_in"]},
        "characters": {"in": metrics["chars_in"], "train": metrics["train_chars"], "valid": metrics["valid_chars"]}
        | {"rejected": survey.rejected_chars},
        "han_share": metrics["han_share"],
        "rejected": dict(sorted(rejected, key=lambda pair: (-pair[1], pair[0]))),
        "sources": _sources(reasons),
        "lengths": survey.lengths(),
        "han_shares": survey.han_shares(),
        "duplicates": _duplicates(corpus, fates),
        "repeated_paragraphs": {
            "documents": len(fates.without_lines),
            "lines": sum(map(len, fates.without_lines.values())),
        },
        "changes": _changes(stats),
        "common_lines": list(metrics["most_common_lines"].items()),
        "against": None if against is None else _found_items(stats, by_item, against),
        "rejected_samples": _rejected_samples(corpus, fates, survey),
        **({"canaries": planted} if (planted := _planted(metrics)) else {}),
    }


def _planted(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What was planted, which none of the other counts holds; empty without --canaries."""
    names = {"sentences": "canaries", "documents": "canary_docs", "characters": "canary_chars"}
    return {shown: metrics[name] for shown, name in names.items() if name in metrics}


def bin_edges() -> list[int]:
    """The edges of the bins of lengths, in characters: 1, 2, 3, 4, 5, 7, 10, 15, ..."""
    edges: list[int] = []
    while not edges or edges[-1] < _LONGEST:
        edges.append(math.ceil(10 ** (len(edges) / _PER_TEN)))
    return edges


@dataclass(order=True, frozen=True)
class _Chosen:
    """A rejected row that may be a sample: those with the least hashes are."""

    rank: int
    number: int
    detail: str = field(compare=False)


class _Survey:
    """What is counted over all rows: lengths, Han shares, and which rejected rows are shown."""

    def __init__(self, fates: Fates) -> None:
        import numpy as np

        self._fates, self._shortened = fates, sorted(fates.without_lines)
        self._edges = np.array(bin_edges())
        self._by_length = np.zeros((2, len(self._edges) - 1), dtype=np.int64)  # rejected, kept
        self._by_han = np.zeros(HAN_BINS, dtype=np.int64)
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._without_text = self._without_letters = 0
        self.rejected_chars = 0
        self.chosen: dict[str, list[_Chosen]] = defaultdict(list)

    def add(self, part: Part, start: int) -> None:
        """Count the rows of a part, whose first one has the number `start`."""
        import numpy as np

        from zhllm.text.clean.fates import TRAIN

        kept = self._fates.fate[start : start + part.rows] >= TRAIN
        chars = self._chars(part, start)
        for side, rows in enumerate((~kept, kept)):
            bins = self._by_length[side]
            places = np.searchsorted(self._edges, chars[rows & (chars > 0)], side="right") - 1
            bins += np.bincount(np.minimum(places, len(bins) - 1), minlength=len(bins))
        self.rejected_chars += int(chars[~kept].sum(dtype=np.int64))
        self._without_text += int((chars[~kept] == 0).sum())
        self._lengths.append(chars[kept])
        self._add_han(part.numbers("han")[kept].astype(np.int64), part.numbers("words")[kept])
        self._choose(part, start, np.flatnonzero(~kept).tolist())

    def _chars(self, part: Part, start: int) -> npt.NDArray[np.int32]:
        """Characters of each text of a part as it is written, without the lines that are taken out."""
        from zhllm.text.clean.parts import without_lines

        chars = part.numbers("chars").copy()
        first, last = (bisect_left(self._shortened, n) for n in (start, start + part.rows))
        for number in self._shortened[first:last]:
            row = number - start
            chars[row] = len(without_lines(part.text(row), self._fates.without_lines[number]))
        return chars

    def _add_han(self, han: npt.NDArray[np.int64], words: npt.NDArray[np.int32]) -> None:
        import numpy as np

        some = words > 0
        places = np.minimum(han[some] * HAN_BINS // words[some], HAN_BINS - 1)
        self._by_han += np.bincount(places, minlength=HAN_BINS)
        self._without_letters += int((~some).sum())

    def _choose(self, part: Part, start: int, rows: list[int]) -> None:
        """Of each reason the rows with the least hashes of their ids, in the parts so far."""
        import xxhash

        if not rows:
            return
        ids, reasons, details = (part.column(name) for name in ("id", "reason", "detail"))
        for row in rows:
            reason, detail = reasons[row], details[row]
            if not reason:
                reason, detail = self._fates.dropped[row + start]
            rank = xxhash.xxh3_64_intdigest(ids[row].encode())
            held = self.chosen[reason]
            if len(held) < SAMPLES or rank <= held[-1].rank:
                insort(held, _Chosen(rank, row + start, detail))
                del held[SAMPLES:]

    def lengths(self) -> dict[str, Any]:
        """Documents by their characters; quantiles of those kept."""
        import numpy as np

        every = np.concatenate(self._lengths)
        names = {"shortest": 0.0, "tenth": 0.1, "median": 0.5, "nine_tenths": 0.9, "longest": 1.0}
        found = np.quantile(every, list(names.values()), method="nearest").tolist() if len(every) else [None] * 5
        return {
            "edges": self._edges.tolist(),
            "kept": self._by_length[1].tolist(),
            "rejected": self._by_length[0].tolist(),
            "rejected_without_text": self._without_text,
            "kept_quantiles": dict(zip(names, found, strict=True)),
        }

    def han_shares(self) -> dict[str, Any]:
        """Kept documents by the share of Han among their letters."""
        edges = [n / HAN_BINS for n in range(HAN_BINS + 1)]
        return {"edges": edges, "kept": self._by_han.tolist(), "kept_without_letters": self._without_letters}


def _sources(reasons: Counter[tuple[str, str]]) -> dict[str, Any]:
    """The sources with most documents, each with its outcomes; the others as one row."""
    docs: Counter[str] = Counter()
    for (source, _), n in reasons.items():
        docs[source] += n
    order = sorted(docs, key=lambda source: (-docs[source], source))
    row_of = {source: row for row, source in enumerate(order[:SOURCES_SHOWN])}
    outcomes: list[Counter[str]] = [Counter() for _ in range(SOURCES_SHOWN + 1)]
    for (source, reason), n in reasons.items():
        outcomes[row_of.get(source, SOURCES_SHOWN)][reason] += n
    shown = [{"source": source, **_outcome(outcomes[row])} for source, row in row_of.items()]
    others = {"sources": len(order) - len(shown), **_outcome(outcomes[SOURCES_SHOWN])}
    return {"largest": shown, "others": others}


def _outcome(counts: Counter[str]) -> dict[str, Any]:
    rejected = {reason: n for reason, n in sorted(counts.items()) if reason}
    return {"documents": counts.total(), "kept": counts[""], "rejected": rejected}


def _duplicates(corpus: Corpus, fates: Fates) -> dict[str, Any]:
    """Groups of duplicates by how many documents each has, the first one included, and the largest."""
    from zhllm.text.clean.fates import TRAIN

    clusters = fates.clusters()
    largest = heapq.nsmallest(CLUSTERS_SHOWN, clusters.items(), key=lambda pair: (-pair[1], pair[0]))
    return {
        "groups_by_size": sorted(Counter(n + 1 for n in clusters.values()).items()),
        "largest": [
            {
                "id": corpus.id(number),
                "documents": n + 1,
                "is_kept": bool(fates.fate[number] >= TRAIN),
                "sample": _sample(corpus, number),
            }
            for number, n in largest
        ],
    }


def _sample(corpus: Corpus, number: int) -> str:
    """How a document begins; what could not be read was not masked either."""
    from zhllm.text.clean.changes import obscured
    from zhllm.text.clean.remembered import SAMPLE_CHARS

    text = corpus.text(number)[:SAMPLE_CHARS]
    return obscured(text, 0, len(text))


def _rejected_samples(corpus: Corpus, fates: Fates, survey: _Survey) -> dict[str, list[dict[str, Any]]]:
    """By reason; a near-duplicate with the document that it is like."""
    samples: dict[str, list[dict[str, Any]]] = {}
    for reason, chosen in sorted(survey.chosen.items()):
        samples[reason] = [
            {"id": corpus.id(c.number), "detail": c.detail, "sample": _sample(corpus, c.number)} for c in chosen
        ]
        if reason == "near_duplicate":
            for shown, c in zip(samples[reason], chosen, strict=True):
                shown["like"] = _sample(corpus, fates.duplicate_of[c.number])
    return samples


def _changes(stats: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """For each rule that changed texts: documents, lines or values, and samples by the least hashes of ids."""
    import xxhash

    from zhllm.text.clean.parts import total

    docs, times = total([s["docs_changed"] for s in stats]), total([s["effects"] for s in stats])
    samples: dict[str, list[list[str]]] = defaultdict(list)
    for name, shown in _pairs(stats):
        samples[name].extend(shown)
    return {
        name: {
            "documents": docs[name],
            "times": times.get(name, docs[name]),
            "samples": heapq.nsmallest(
                SAMPLES, samples[name], key=lambda s: (xxhash.xxh3_64_intdigest(s[0].encode()), s)
            ),
        }
        for name in sorted(docs)
        if not name.startswith(_NO_CHANGES)
    }


def _pairs(stats: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[list[str]]]]:
    for part in stats:
        yield from part["changes"].items()


def _found_items(stats: Sequence[Mapping[str, Any]], effects: Counter[str], against: EvaluationGrams) -> dict[str, Any]:
    """What was found of each evaluation file, in documents that came in, and the items found most."""
    from zhllm.text.clean.parts import total

    docs = {int(name.removeprefix("item_")): n for name, n in effects.items() if name.startswith("item_")}
    dropped = total([s["contaminated"] for s in stats])
    items = Counter(item.file for item in against.items)
    found = Counter(against.items[number].file for number in docs)
    files = [
        {
            "file": name,
            "items": items[i],
            "too_short": against.too_short[i],
            "found": found[i],
            "documents_dropped": dropped[str(i)],
        }
        for i, name in enumerate(against.files)
    ]
    most = heapq.nsmallest(ITEMS_SHOWN, docs.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = [
        {"file": against.files[against.items[i].file], "item": against.items[i].sample, "documents": n} for i, n in most
    ]
    return {"files": files, "items_found_most": shown}
