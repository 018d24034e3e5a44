"""extend-vocab: a base tokenizer with Chinese pieces, the same in every engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zhllm.config import Config, InputPath, InputPaths
from zhllm.errors import DataError
from zhllm.progress import say
from zhllm.stage import Metrics, Stage

if TYPE_CHECKING:
    from zhllm.vocab.proof import Check


class ExtendVocabConfig(Config):
    """Flags of `zhllm extend-vocab`."""

    base: InputPath = Field(description="Base tokenizer.model, or a directory that holds one.")
    pieces: InputPaths = Field(description="pieces.tsv files or train-vocab folders, best piece first.")
    max_pieces: int | None = Field(None, gt=0, description="Add at most this many (default: all).")
    pad_token: str | None = Field("<pad>", description="Pad token to add where the base has none.")
    text: InputPaths = Field((), description="More text to prove and measure on (held out, best).")


def run(config: ExtendVocabConfig, out: Path) -> Metrics:
    """Writes a complete tokenizer directory; refuses to, with examples, when a proof fails.

    Proves: base ids unmoved, ASCII text tokenised as before, SentencePiece = Hugging Face = llama.cpp
    (where xllamacpp is installed), lossless, no unreachable piece.

    \b
    zhllm extend-vocab --base llama2/ --pieces pieces --text clean -o tokenizer
    """
    from zhllm.text.shards import held_out
    from zhllm.vocab.extend import extend
    from zhllm.vocab.hf_files import write_tokenizer
    from zhllm.vocab.proof import chars_per_token, proof_texts, prove_tokenizer
    from zhllm.vocab.sentencepiece_model import load, processor

    base = load(config.base)
    check_added_tokens(config.base, len(base.pieces))
    pieces = [piece for path in config.pieces for piece in read_pieces(path)]
    extension = extend(base, pieces[: config.max_pieces], config.pad_token)
    for reason, left_out in extension.left_out.items():
        say(f"left out, {reason}: {len(left_out)} ({' '.join(left_out[:8])})")
    write_tokenizer(out, extension.model, len(base.pieces), _chat_template(config.base))
    texts = [d.text for d in held_out(config.text)] if config.text else []
    lines = [line for text in texts for line in text.split("\n")]
    checks = prove_tokenizer(out, extension.model, base, lines)
    checks += prove_in_llama_cpp(out, proof_texts(extension.model, base, lines))
    metrics: Metrics = {
        "base_pieces": len(base.pieces),
        "added_pieces": len(extension.added),
        "vocab_size": len(extension.model.pieces),
        "left_out": {reason: len(found) for reason, found in extension.left_out.items()},
        "proofs": {check.name: check.tried for check in checks},
    }
    if texts:
        metrics["chars_per_token_before"] = chars_per_token(processor(base).encode, texts)
        metrics["chars_per_token_after"] = chars_per_token(processor(extension.model).encode, texts)
    return metrics


def prove_in_llama_cpp(folder: Path, texts: list[str]) -> list[Check]:
    """llama.cpp's own word on the texts; [] and a line for people where it is not installed."""
    from zhllm.infer import llamacpp
    from zhllm.infer.vocabulary import llama_cpp_encoder
    from zhllm.vocab.proof import engines_agree, raise_broken
    from zhllm.vocab.sentencepiece_model import load, processor

    if not llamacpp.available():
        say("xllamacpp is not installed: llama.cpp was not asked (pip install 'zhllm[llama]').")
        return []
    with llama_cpp_encoder(folder) as encode:
        check = engines_agree("SentencePiece = llama.cpp", processor(load(folder)).encode, encode, texts)
    raise_broken([check])
    return [check]


def read_pieces(path: Path) -> list[str]:
    """The pieces of a pieces.tsv (first column), or of the one in a folder; DataError by line."""
    file = path / "pieces.tsv" if path.is_dir() else path
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: holds no pieces.tsv. Give a train-vocab folder or a tsv file.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8 text (byte {error.start}).") from error
    pieces = [line.split("\t")[0] for line in lines]
    for number, piece in enumerate(pieces, 1):
        if not piece or any(c.isspace() for c in piece):
            raise DataError(f"{file}:{number}: {piece!r} is not a piece. One piece a line, then a tab and its count.")
    return pieces[1:] if pieces and pieces[0] == "piece" else pieces


def check_added_tokens(base: Path, pieces: int) -> None:
    """DataError when a base directory has tokens behind its tokenizer.model: added pieces would take their ids."""
    from zhllm.vocab.tokenizer import Tokenizer

    if not (base / "tokenizer.json").is_file():
        return
    vocab = Tokenizer(base).fast.get_vocab(with_added_tokens=True)
    behind = sorted((i, token) for token, i in vocab.items() if i >= pieces)
    if behind:
        raise DataError(
            f"{base}: has {len(behind)} added tokens behind its {pieces} pieces, e.g. {behind[0][1]!r} with id "
            f"{behind[0][0]}, which the new pieces would take. Give {base / 'tokenizer.model'} to leave them out."
        )


def _chat_template(base: Path) -> str | None:
    template = base / "chat_template.jinja"
    return template.read_text(encoding="utf-8") if base.is_dir() and template.is_file() else None


STAGE = Stage("extend-vocab", 1, ExtendVocabConfig, run)
