"""extend-vocab: a base tokenizer with Chinese pieces, the same in every engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from zhllm.config import Config, InputPath, InputPaths, PromptFormatName
from zhllm.errors import DataError
from zhllm.progress import say
from zhllm.stage import Metrics, Stage
from zhllm.stages._vocab_report import write_report

if TYPE_CHECKING:
    from zhllm.vocab.bases import Base
    from zhllm.vocab.byte_level import ByteLevelExtension
    from zhllm.vocab.extend import Extension
    from zhllm.vocab.proof import Check


class ExtendVocabConfig(Config):
    """Flags of `zhllm extend-vocab`."""

    base: InputPath = Field(
        description="Base tokenizer: a directory, a SentencePiece .model, a tokenizer.json or a tiktoken rank file."
    )
    pieces: InputPaths = Field(
        description="Pieces, best first: train-vocab folders, pieces.tsv files or SentencePiece .model files."
    )
    max_pieces: int | None = Field(None, gt=0, description="Add at most this many (default: all).")
    pad_token: str | None = Field("<pad>", description="Pad token to add where the base has none.")
    chat_format: PromptFormatName | None = Field(
        None, description="Add the special tokens of this chat format and write its template."
    )
    text: InputPaths = Field((), description="More text to prove and measure on (held out, best).")


def run(config: ExtendVocabConfig, out: Path) -> Metrics:
    """Writes a complete tokenizer directory; refuses to, with examples, when a proof fails.

    Proves: base ids unmoved, ASCII text tokenised as before, SentencePiece = Hugging Face = llama.cpp
    (for a byte-level base Hugging Face = tiktoken = llama.cpp; llama.cpp and tiktoken where they are
    installed), lossless, no unreachable piece.

    \b
    zhllm extend-vocab --base llama2/ --pieces pieces --text clean -o tokenizer
    zhllm extend-vocab --base llama3/ --pieces vocab/zh_general --text clean -o tokenizer
    """
    from zhllm.model.directory import set_prompt_format
    from zhllm.text.prompt_format import FORMATS
    from zhllm.text.read.shards import held_out
    from zhllm.vocab.bases import open_base
    from zhllm.vocab.tokenizer import Tokenizer

    base = open_base(config.base)
    pieces = [piece for path in config.pieces for piece in read_pieces(path)]
    chat = FORMATS[config.chat_format] if config.chat_format else None
    specials = chat.special_tokens if chat else ()
    extension = base.extend(pieces, config.pad_token, specials, config.max_pieces)
    report_additions(extension)
    texts = [d.text for d in held_out(config.text)] if config.text else []
    lines = [line for text in texts for line in text.split("\n")]
    template = chat.jinja() if chat else chat_template_of(config.base)
    checks = write_and_prove(out, base, extension, lines, template)
    if chat is not None:
        set_prompt_format(out, chat, Tokenizer(out))
    proofs = {check.name: check.tried for check in checks}
    report = write_report(out, base, extension, texts, proofs)
    metrics: Metrics = {
        "base_pieces": base.size,
        "added_pieces": len(extension.added),
        "joins": len(extension.joins),
        "vocab_size": extension.size,
        "left_out": {reason: len(found) for reason, found in extension.left_out.items()},
        "proofs": proofs,
    }
    if texts:
        metrics["chars_per_token_before"], metrics["chars_per_token_after"] = report["chars_per_token"]
    return metrics


def report_additions(extension: Extension | ByteLevelExtension) -> None:
    """Say what was left out, and how many joins the pieces needed."""
    for reason, left_out in extension.left_out.items():
        say(f"left out, {reason}: {len(left_out)} ({' '.join(left_out[:8])})")
    if extension.joins:
        say(f"added besides, as steps to the pieces asked for: {len(extension.joins)} joins")


def write_and_prove(
    out: Path, base: Base, extension: Extension | ByteLevelExtension, lines: list[str], template: str | None
) -> list[Check]:
    """The tokenizer's files, and every promise tried in every engine; ProofError when one is broken."""
    from zhllm.vocab.byte_level import ByteLevelExtension
    from zhllm.vocab.byte_level_files import added_texts, normal_texts, prove_byte_level, write_byte_level
    from zhllm.vocab.hf_files import write_tokenizer
    from zhllm.vocab.proof import added_pieces, proof_texts, prove_tokenizer

    if isinstance(extension, ByteLevelExtension):
        write_byte_level(out, extension.content, extension.config, extension.base_size, template)
        checks = prove_byte_level(out, base, lines)  # type: ignore[arg-type]
        added = added_texts(extension.content, extension.base_size)
        texts = normal_texts(extension.content, proof_texts(list(added), lines))
    else:
        write_tokenizer(out, extension.model, extension.base_size, template)
        checks = prove_tokenizer(out, extension.model, base.proto, lines)  # type: ignore[union-attr]
        texts = proof_texts(list(added_pieces(extension.model, extension.base_size)), lines)
    return checks + prove_in_llama_cpp(out, texts)


def prove_in_llama_cpp(folder: Path, texts: list[str]) -> list[Check]:
    """llama.cpp's own word on the texts; [] and a line for people where it is not installed."""
    from zhllm.infer import llamacpp
    from zhllm.infer.vocabulary import llama_cpp_encoder
    from zhllm.vocab.proof import engines_agree, raise_broken
    from zhllm.vocab.tokenizer import Tokenizer

    if not llamacpp.available():
        say("xllamacpp is not installed: llama.cpp was not asked (pip install 'zhllm[llama]').")
        return []
    tokenizer = Tokenizer(folder)
    with llama_cpp_encoder(folder) as encode:
        check = engines_agree(f"{tokenizer.engine} = llama.cpp", tokenizer.encode_plain, encode, texts)
    raise_broken([check])
    return [check]


def read_pieces(path: Path) -> list[str]:
    """The pieces of a pieces.tsv (first column), of the one in a folder, or of a SentencePiece model.

    A model's pieces come in its own order, without control and byte pieces and the `▁` they may begin
    with. DataError names the line that is not a piece.
    """
    if path.suffix == ".model":
        from zhllm.vocab.sentencepiece_model import META_SPACE, NORMAL, read_proto

        model = read_proto(path)
        ordinary = (p.piece for p in model.pieces if p.type == NORMAL)
        return list(dict.fromkeys(piece.removeprefix(META_SPACE) or META_SPACE for piece in ordinary))
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


def chat_template_of(base: Path) -> str | None:
    """The chat template of a base directory; None where there is none."""
    from zhllm.model.directory import chat_template

    return chat_template(base) if base.is_dir() else None


STAGE = Stage("extend-vocab", 4, ExtendVocabConfig, run)
