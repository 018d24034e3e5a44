"""De-duplication by itself, in memory: digests, sketches, exact and near duplicates, in MB of UTF-8 per CPU second.

    python tests/bench/deduplicate.py                                  (repeated and distinct texts, 60 MB of each)
    python tests/bench/deduplicate.py --megabytes 60 240 --forms 1000

Texts come from tests/bench/clean.py: `repeated` texts are exact duplicates from the second copy on, which need no
sketch; all copies of `distinct` ones do. Forms are texts of which a template makes up so much that each two have
the given Jaccard similarity, so that none is a near-duplicate and all are compared with all.

`zhllm clean --only duplicates` does this between reading, writing and proving, which cost more than it does;
tests/bench/clean.py times that.
"""

from __future__ import annotations

import argparse
import os
import time
from itertools import takewhile
from pathlib import Path
from random import Random

import numpy as np
from clean import copies, read_dirty

from zhllm.text.clean.blocks import block_ranges
from zhllm.text.clean.cleaning import digest_of
from zhllm.text.clean.duplicates import exact_duplicates, near_duplicates
from zhllm.text.clean.grams import ink_of_texts
from zhllm.text.clean.profiles import PROFILES
from zhllm.text.clean.sketches import PLACES, Sketches, sketches

DATA = Path(os.environ.get("ZHLLM_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
HAN = [chr(code) for code in range(0x4E00, 0x9000)]
FORM_CHARS = 600


def read_texts(variant: str, megabytes: float) -> list[str]:
    """So many megabytes of texts; each is an object of its own, as texts are that were read."""
    held = 0.0

    def is_missing(record: dict[str, str]) -> bool:
        nonlocal held
        held += len(record["text"].encode()) / 1e6
        return held < megabytes

    records = takewhile(is_missing, copies(read_dirty(DATA), variant))
    return [record["text"].encode().decode() for record in records]


def forms(count: int, jaccard: float) -> list[str]:
    """Texts each two of which have this similarity: a template's share s of each gives s / (2 - s)."""
    rng, shared = Random(1), round(FORM_CHARS * 2 * jaccard / (1 + jaccard))
    template = "".join(rng.choices(HAN, k=shared))
    return [template + "".join(rng.choices(HAN, k=FORM_CHARS - shared)) for _ in range(count)]


def sketched(texts: list[str]) -> Sketches:
    """The sketches of texts, [D, 128]."""
    return np.concatenate([sketches(ink_of_texts(texts[some])) for some in block_ranges(texts)])


def deduplicate(texts: list[str]) -> tuple[dict[str, float], int, int]:
    """CPU seconds by step, and how many exact and near duplicates there are."""
    marks = [time.process_time()]
    digests = np.frombuffer(b"".join(map(digest_of, texts)), dtype=np.uint64).reshape(-1, 2)
    exact = exact_duplicates(digests, np.arange(len(texts)))
    numbers = np.setdiff1d(np.arange(len(texts)), list(exact))
    marks.append(time.process_time())
    rows = np.zeros((len(texts), PLACES), dtype=np.uint16)
    rows[numbers] = sketched([texts[number] for number in numbers.tolist()])
    marks.append(time.process_time())
    near = near_duplicates(rows, numbers, PROFILES["document"].near_duplicate_similarity, texts.__getitem__)
    marks.append(time.process_time())
    seconds = dict(zip(("exact", "sketches", "near"), np.diff(marks).tolist(), strict=True))
    return seconds, len(exact), len(near.numbers)


def main() -> None:
    """Print a line for each input, best of several runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, nargs="*", default=[60.0], help="sizes to copy the texts up to")
    parser.add_argument("--forms", type=int, default=0, help="how many forms to tell apart")
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    inputs = [
        (variant, read_texts(variant, size)) for variant in ("repeated", "distinct") for size in arguments.megabytes
    ]
    inputs += [(f"forms {jaccard}", forms(arguments.forms, jaccard)) for jaccard in (0.35, 0.7) if arguments.forms]
    for name, texts in inputs:
        size = sum(len(text.encode()) for text in texts) / 1e6
        best = min((deduplicate(texts) for _ in range(arguments.repeat)), key=lambda found: sum(found[0].values()))
        steps = ", ".join(f"{step} {seconds:.3f}" for step, seconds in best[0].items())
        total = sum(best[0].values())
        print(
            f"{name:10} {size:6.1f} MB, {len(texts)} texts, {best[1]} exact and {best[2]} near duplicates: "
            f"{size / total:.0f} MB/s, {total:.3f} s ({steps})"
        )


if __name__ == "__main__":
    main()
