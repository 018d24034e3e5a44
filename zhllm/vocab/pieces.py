"""Learning Chinese pieces from text: the frequent characters, then BPE merges over Han runs.

BPE is SentencePiece's own trainer on (run, count) pairs: 15-20 times faster than unigram on the
same text and 2.5 % better in characters per token (measured; see the design notes).
"""

from __future__ import annotations

import io
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb

from zhllm.errors import DataError
from zhllm.vocab.sentencepiece_model import NORMAL


@dataclass(frozen=True)
class Piece:
    """A Han piece and how often BPE forms it in the corpus, as a token or on the way to a longer one."""

    text: str
    count: int


def learn_pieces(
    runs: Mapping[str, int], size: int, characters: int, min_count: int, max_piece_chars: int
) -> list[Piece]:
    """At most `size` pieces, ranked: characters by frequency, then merges in BPE's order.

    Every piece is formed at least `min_count` times; fewer than `size` come back when the corpus
    does not hold more. Deterministic for equal `runs`. Raises DataError when there is nothing.
    """
    chars = Counter[str]()
    for run, count in runs.items():
        for char in run:
            chars[char] += count
    ranked = sorted((c for c in chars if chars[c] >= min_count), key=lambda c: (-chars[c], c))
    ranked = ranked[: min(characters, size)]
    if not ranked:
        raise DataError(
            f"no Han character is seen {min_count} times or more in the corpus "
            f"({len(chars)} distinct Han characters). Give Chinese text, or a lower --min-count."
        )
    inner = _split_at_others(runs, ranked)
    if size <= len(ranked) or not any(len(run) > 1 for run in inner):
        return [Piece(c, chars[c]) for c in ranked]
    model = _train_bpe(inner, ranked, size, max_piece_chars)
    formed = formed_counts(model, inner)
    merges = [p.piece for p in model.pieces if p.type == NORMAL and len(p.piece) > 1]
    kept = [m for m in merges if formed[m] >= min_count][: size - len(ranked)]
    return [Piece(c, chars[c]) for c in ranked] + [Piece(m, formed[m]) for m in kept]


def _split_at_others(runs: Mapping[str, int], characters: Sequence[str]) -> Counter[str]:
    """Runs cut at the characters that are not in the vocabulary, counts added up."""
    inner: Counter[str] = Counter()
    known = re.compile("[" + "".join(map(re.escape, characters)) + "]+")
    for run, count in runs.items():
        for part in known.findall(run):
            inner[part] += count
    return inner


def _train_bpe(runs: Mapping[str, int], characters: Sequence[str], size: int, max_chars: int) -> Any:
    """SentencePiece BPE over counted runs; the order of the file is fixed so that ties are too."""
    writer = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "runs.tsv"
        with table.open("w", encoding="utf-8") as file:
            for run, count in sorted(runs.items(), key=lambda item: (-item[1], item[0])):
                file.write(f"{run}\t{count}\n")
        sentencepiece.SentencePieceTrainer.train(
            input=str(table),
            input_format="tsv",
            model_writer=writer,
            model_type="bpe",
            # Room for pieces that min_count drops later; without the hard limit a small corpus just ends.
            vocab_size=size + 3,
            hard_vocab_limit=False,
            required_chars="".join(characters),
            character_coverage=1.0,
            max_sentencepiece_length=max_chars,
            max_sentence_length=1 << 24,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            split_by_unicode_script=False,
            num_threads=1,
            minloglevel=2,
        )
    proto = pb.ModelProto()
    proto.ParseFromString(writer.getvalue())
    return proto


def formed_counts(model: Any, runs: Mapping[str, int]) -> Counter[str]:
    """How often BPE forms each piece over the runs, final tokens and intermediate merges alike.

    A piece on the way to a longer one is counted with it, so dropping pieces below a count never
    takes away a step that a kept piece needs.
    """
    encoder = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
    formed: Counter[str] = Counter()
    texts = list(runs)
    for start in range(0, len(texts), 65536):
        block = texts[start : start + 65536]
        for text, tokens in zip(block, encoder.encode(block, out_type=str), strict=True):
            for token in tokens:
                formed[token] += runs[text]
    scores = {p.piece: p.score for p in model.pieces if p.type == NORMAL}
    for piece in sorted(scores, key=lambda p: (-len(p), p)):
        for part in last_split(piece, scores) if formed[piece] else ():
            formed[part] += formed[piece]
    return formed


def last_split(piece: str, scores: Mapping[str, float]) -> tuple[str, ...]:
    """The two pieces BPE joins last to form `piece`; () for a single character or an unreachable one."""
    parts = list(piece)
    while len(parts) > 2:
        pairs = [(scores[a + b], -i) for i, (a, b) in enumerate(_pairs(parts)) if a + b in scores]
        if not pairs:
            return ()
        at = -max(pairs)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return tuple(parts) if len(parts) == 2 else ()


def _pairs(parts: Sequence[str]) -> Iterable[tuple[str, str]]:
    return zip(parts, parts[1:], strict=False)
