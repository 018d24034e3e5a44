"""The second pass of `clean`: what becomes of each document, seen beside all others.

One process decides, on 16 bytes of digest and 256 bytes of sketch per document; it reads the texts of those
documents only that look like another one. Shapes: N rows of all parts in order.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xxhash

from zhllm.text.clean.blocks import Index
from zhllm.text.clean.cleaning import digest_of
from zhllm.text.clean.duplicates import clusters, exact_duplicates, near_duplicates, repeated_hashes
from zhllm.text.clean.grams import Hashes
from zhllm.text.clean.parts import Part, without_lines
from zhllm.text.clean.profiles import Profile
from zhllm.text.clean.sketches import PLACES, Sketches, sketch_of
from zhllm.text.read.parquet import on_disk

Places = npt.NDArray[np.float64]

REFUSED, DROPPED, TRAIN, VALID = range(4)
IDS_KEPT = 16  # parts


@dataclass(frozen=True, slots=True)
class Settings:
    """What the fates depend on besides the documents."""

    profile: Profile
    near_duplicates: bool
    valid_share: float
    seed: int


@dataclass
class Fates:
    """`fate` [N]; why rows are dropped, by number; lines taken out of kept texts; which row a duplicate is one of."""

    fate: npt.NDArray[np.uint8]
    dropped: dict[int, tuple[str, str]] = field(default_factory=dict)
    without_lines: dict[int, list[int]] = field(default_factory=dict)
    duplicate_of: dict[int, int] = field(default_factory=dict)

    def clusters(self) -> Counter[int]:
        """How many documents are duplicates of each first one, near ones and duplicates of these included."""
        numbers = np.fromiter(self.duplicate_of, dtype=np.int64, count=len(self.duplicate_of))
        first = np.arange(len(self.fate))
        first[numbers] = np.fromiter(self.duplicate_of.values(), dtype=np.int64, count=len(numbers))
        while not np.array_equal(further := first[first], first):
            first = further
        found, copies = np.unique(first[numbers], return_counts=True)
        return Counter(dict(zip(found.tolist(), copies.tolist(), strict=True)))


class Corpus:
    """The parts as one sequence of rows."""

    def __init__(self, parts: Sequence[Part], scratch: Path) -> None:
        self.parts = parts
        self._ids_of: dict[Path, list[str]] = {}
        self.starts = np.concatenate([[0], np.cumsum([part.rows for part in parts])]).astype(np.int64)
        self.digests = np.concatenate([np.zeros((0, 2), dtype=np.uint64), *(part.digests() for part in parts)])
        self.sketches = self._gathered(scratch)

    def _gathered(self, scratch: Path) -> Sketches:
        """All sketches in one array that lives in a file, so that memory does not bound the corpus."""
        count = max(int(self.starts[-1]), 1)
        with on_disk(scratch), scratch.open("wb") as file:
            # On a full disk, writing into a mapped hole of a file would end the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, count * PLACES * 2)
            else:
                file.truncate(count * PLACES * 2)
        rows = np.memmap(scratch, dtype=np.uint16, mode="r+", shape=(count, PLACES))
        for part, start in zip(self.parts, self.starts.tolist(), strict=False):
            rows[start : start + part.rows] = part.sketches()
        return rows

    def text(self, number: int) -> str:
        """The text of a row."""
        part, row = self._at(number)
        return part.text(row)

    def id(self, number: int) -> str:
        """The id of a row."""
        part, row = self._at(number)
        return self._ids(part)[row]

    def _ids(self, part: Part) -> list[str]:
        """The ids of a part; those of the last few parts are kept, as one id by itself costs 20 µs."""
        if part.path not in self._ids_of:
            if len(self._ids_of) >= IDS_KEPT:
                self._ids_of.pop(next(iter(self._ids_of)))
            self._ids_of[part.path] = part.column("id")
        return self._ids_of[part.path]

    def _at(self, number: int) -> tuple[Part, int]:
        index = int(np.searchsorted(self.starts, number, side="right")) - 1
        return self.parts[index], number - int(self.starts[index])

    def kept(self) -> Index:
        """Numbers of the rows that no rule refused."""
        return np.flatnonzero(np.concatenate([np.zeros(0, dtype=np.bool_), *(part.is_kept() for part in self.parts)]))


def decide(corpus: Corpus, settings: Settings) -> Fates:
    """The fate of every row; the same for equal parts, however they were made."""
    kept = corpus.kept()
    fates = Fates(np.full(int(corpus.starts[-1]), REFUSED, dtype=np.uint8))
    fates.fate[kept] = TRAIN
    fates.duplicate_of = exact_duplicates(corpus.digests, kept)
    # In order, as few parts' ids are at hand; and one name for all copies, as a million of them need not be many.
    named = {first: f"of {corpus.id(first)}" for first in sorted(set(fates.duplicate_of.values()))}
    for number, first in fates.duplicate_of.items():
        _drop(fates, number, "duplicate", named[first])
    related = _drop_near(corpus, settings, fates)
    if settings.profile.min_repeated_paragraph_chars is not None:
        alive = len(_alive(fates))
        joined = _drop_paragraphs(corpus, settings.profile, fates)
        # What is left of two texts may be alike where the whole texts were not; and one that goes joined others.
        if fates.without_lines or len(_alive(fates)) < alive:
            related = _drop_near(corpus, settings, fates)
        related = related + joined
    _split(corpus, settings, fates, related)
    return fates


def _drop(fates: Fates, number: int, reason: str, detail: str) -> None:
    fates.fate[number] = DROPPED
    fates.dropped[number] = (reason, detail)
    fates.without_lines.pop(number, None)


def _alive(fates: Fates) -> Index:
    return np.flatnonzero(fates.fate == TRAIN)


def _drop_near(corpus: Corpus, settings: Settings, fates: Fates) -> list[tuple[int, int]]:
    """Drop near-duplicates; pairs of documents that are both kept and related."""
    if not settings.near_duplicates:
        return []
    threshold = settings.profile.near_duplicate_similarity

    def text(number: int) -> str:
        return without_lines(corpus.text(number), fates.without_lines.get(number, ()))

    near = near_duplicates(corpus.sketches, _alive(fates), threshold, text)
    named = {
        (leader, similar): (leader, f"of {corpus.id(leader)} (similarity {similar:.2f})")
        for leader, similar in sorted({found for _, found in near.found()})
    }
    for number, found in near.found():
        fates.duplicate_of[number], detail = named[found]
        _drop(fates, number, "near_duplicate", detail)
    return near.related


def _drop_paragraphs(corpus: Corpus, profile: Profile, fates: Fates) -> list[tuple[int, int]]:
    """Take long paragraphs out of every document but the first; pairs of documents that shared one."""
    hashes, numbers = _paragraphs(corpus, fates)
    repeated = repeated_hashes([hashes])
    if not len(repeated):
        return []
    affected = np.unique(numbers[repeated[np.minimum(np.searchsorted(repeated, hashes), len(repeated) - 1)] == hashes])
    owners: dict[bytes, int] = {}
    joined: list[tuple[int, int]] = []
    others = np.setdiff1d(_alive(fates), affected)
    written = {corpus.digests[n].tobytes() for n in others.tolist()}
    for number in affected.tolist():
        text = corpus.text(number)
        gone, met, own = _seen_lines(text, profile, owners)
        joined += [(owner, number) for owner in met]
        left = without_lines(text, gone)
        digest = digest_of(left)
        if digest in written:
            _drop(fates, number, "duplicate", "of another document once its repeated paragraphs were taken out")
        elif len("".join(left.split())) < profile.min_chars:
            _drop(fates, number, "repeated_paragraphs", f"{len(gone)} of its lines stand in earlier documents")
        else:
            written.add(digest)
            owners.update(dict.fromkeys(own, number))  # not those of a document that goes
            if gone:
                fates.without_lines[number] = gone
                corpus.sketches[number] = sketch_of(left)
    return [pair for pair in joined if fates.fate[pair[0]] == fates.fate[pair[1]] == TRAIN]


def _paragraphs(corpus: Corpus, fates: Fates) -> tuple[Hashes, Index]:
    """Hashes of the long lines of the documents alive, and these documents' numbers."""
    hashes, numbers = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
    for part, start in zip(corpus.parts, corpus.starts.tolist(), strict=False):
        own, rows = part.paragraphs()
        alive = fates.fate[rows + start] == TRAIN
        hashes.append(own[alive])
        numbers.append((rows + start)[alive])
    return np.concatenate(hashes), np.concatenate(numbers)


def _seen_lines(text: str, profile: Profile, owners: dict[bytes, int]) -> tuple[list[int], set[int], set[bytes]]:
    """Long lines of a text that earlier documents own, these documents, and the digests of its other long lines."""
    gone: list[int] = []
    met: set[int] = set()
    own: set[bytes] = set()
    for place, line in enumerate(text.split("\n")):
        if len(line) >= (profile.min_repeated_paragraph_chars or 0):
            digest = xxhash.xxh3_128_digest(line.encode())
            if digest in owners:
                gone.append(place)
                met.add(owners[digest])
            else:
                own.add(digest)
    return gone, met, own


def _split(corpus: Corpus, settings: Settings, fates: Fates, related: Sequence[tuple[int, int]]) -> None:
    """Hold out clusters of related documents by the digest of their first one."""
    alive = _alive(fates)
    if not settings.valid_share or not len(alive):
        return
    cluster = clusters(len(fates.fate), [p for p in related if fates.fate[p[0]] == fates.fate[p[1]] == TRAIN])
    places = np.array([place(corpus.digests[n].tobytes(), settings.seed) for n in alive.tolist()])
    of_number = np.zeros(len(fates.fate))
    of_number[alive] = places
    # A large cluster (forms, versions of one manual) would hold out far more than was asked for.
    sizes = np.bincount(cluster[alive], minlength=len(fates.fate))[cluster[alive]]
    is_small = sizes <= max(settings.valid_share * len(alive) / 4, 1)
    fates.fate[alive[(of_number[cluster[alive]] < settings.valid_share) & is_small]] = VALID
    _hold_out_one(corpus, fates, alive, cluster, of_number)


def place(digest: bytes, seed: int) -> float:
    """A number in [0, 1) that depends on the text and the seed only."""
    return xxhash.xxh3_64_intdigest(digest, seed=seed) / 2**64


def _hold_out_one(corpus: Corpus, fates: Fates, alive: Index, cluster: Index, of_number: Places) -> None:
    """Make both splits hold a document where there are two clusters: the first by digest of the shorter half.

    Not one of the longer half: in a small corpus a single handbook is much of what there is to learn.
    """
    roots = np.unique(cluster[alive])
    sides = fates.fate[roots]
    if len(roots) < 2 or len(np.unique(sides)) > 1:
        return
    sizes = np.bincount(cluster[alive], [len(corpus.text(n)) for n in alive.tolist()], minlength=len(fates.fate))[roots]
    short = roots[sizes <= np.sort(sizes)[(len(sizes) - 1) // 2]]
    chosen = short[np.argmin(of_number[short])]
    members = alive[cluster[alive] == chosen]
    fates.fate[members] = VALID if sides[0] == TRAIN else TRAIN
