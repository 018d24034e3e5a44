"""train-vocab: the Chinese pieces worth adding to a base, ranked, each with its count."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from zhllm.config import Config, InputPaths
from zhllm.progress import say
from zhllm.stage import Metrics, Stage


class TrainVocabConfig(Config):
    """Flags of `zhllm train-vocab`."""

    corpus: InputPaths = Field(description="Cleaned shards, or text, jsonl and parquet files.")
    size: int = Field(17000, gt=0, description="Pieces wanted at most, characters included.")
    characters: int = Field(6000, gt=0, description="Of them, single characters at most.")
    min_count: int = Field(10, gt=0, description="Leave out pieces formed less often than this.")
    max_piece_chars: int = Field(8, gt=1, description="Longest piece, in characters.")


def run(config: TrainVocabConfig, out: Path) -> Metrics:
    """Writes pieces.tsv (piece, count), ranked: characters by frequency, then merges.

    Proves that no piece is dead: each is formed at least --min-count times.

    \b
    zhllm train-vocab --corpus clean --size 17000 -o pieces
    """
    from zhllm.errors import ProofError
    from zhllm.text.han import count_runs
    from zhllm.text.shards import read_documents
    from zhllm.vocab.pieces import learn_pieces

    runs = count_runs(d.text for d in read_documents(config.corpus, split="train"))
    pieces = learn_pieces(runs, config.size, config.characters, config.min_count, config.max_piece_chars)
    rare = [p for p in pieces if p.count < config.min_count]
    if rare:
        raise ProofError(f"{len(rare)} pieces are seen less than {config.min_count} times, e.g. {rare[0]}")
    if len(pieces) < config.size:
        say(
            f"the corpus holds {len(pieces):,} pieces seen {config.min_count} times or more, "
            f"{config.size:,} were asked for. More text or a lower --min-count gives more."
        )
    rows = "".join(f"{p.text}\t{p.count}\n" for p in pieces)
    (out / "pieces.tsv").write_text("piece\tcount\n" + rows, encoding="utf-8")
    characters = [p for p in pieces if len(p.text) == 1]
    seen = sum(len(run) * count for run, count in runs.items())
    return {
        "pieces": len(pieces),
        "characters": len(characters),
        "least_count": min(p.count for p in pieces),
        "han_chars": seen,
        "han_coverage": sum(p.count for p in characters) / seen,
    }


STAGE = Stage("train-vocab", 1, TrainVocabConfig, run)
