"""SentencePiece model files as protobuf: reading, checking, and encoding without the dummy prefix.

Source of the format: sentencepiece_model.proto (google/sentencepiece).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as pb

from zhllm.errors import DataError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
BPE = 2
META_SPACE = "\u2581"


def find_model(path: Path) -> Path:
    """The `tokenizer.model` of a directory, or the file itself; raises DataError where there is none."""
    if path.is_file():
        return path
    model = path / "tokenizer.model"
    if model.is_file():
        return model
    found = ", ".join(sorted(p.name for p in path.glob("*token*"))) or "no tokenizer files"
    raise DataError(f"{path}: has no tokenizer.model ({found}), which is needed here.")


def read_proto(path: Path) -> Any:
    """The ModelProto of any SentencePiece model (file, or directory with tokenizer.model); DataError for others."""
    model = find_model(path)
    proto = pb.ModelProto()
    try:
        proto.ParseFromString(model.read_bytes())
    except Exception as error:  # protobuf's DecodeError has no stable import path across versions
        raise DataError(f"{model}: is not a SentencePiece model ({error}).") from error
    if not proto.pieces or not proto.HasField("trainer_spec"):
        raise DataError(f"{model}: is not a SentencePiece model (it holds no pieces).")
    return proto


def load(path: Path) -> Any:
    """The ModelProto of a SentencePiece BPE model with the identity normaliser.

    Other models are refused with DataError: engines disagree on them (DESIGN: nmt_nfkc makes 21 %
    of lines differ in llama.cpp; unigram is another algorithm).
    """
    proto, model = read_proto(path), find_model(path)
    if proto.trainer_spec.model_type != BPE:
        raise DataError(f"{model}: is not a BPE model (type {proto.trainer_spec.model_type}); a base must be.")
    spec = proto.normalizer_spec
    if spec.precompiled_charsmap or spec.remove_extra_whitespaces:
        raise DataError(
            f'{model}: its normaliser "{spec.name}" changes the text '
            f"(remove_extra_whitespaces={spec.remove_extra_whitespaces}); a base must use identity."
        )
    return proto


def copy_of(proto: Any) -> Any:
    """An independent copy of a ModelProto."""
    copy = pb.ModelProto()
    copy.CopyFrom(proto)
    return copy


def processor(proto: Any) -> sentencepiece.SentencePieceProcessor:
    """An encoder for a ModelProto."""
    return sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())


def bare_processor(proto: Any) -> sentencepiece.SentencePieceProcessor:
    """An encoder that adds no dummy `▁`: what a piece becomes in the middle of a text."""
    copy = copy_of(proto)
    copy.normalizer_spec.add_dummy_prefix = False
    return processor(copy)


def first_pieces(proto: Any, count: int) -> Any:
    """A copy that holds only the first `count` pieces: the base of an extended model."""
    copy = copy_of(proto)
    del copy.pieces[count:]
    copy.trainer_spec.vocab_size = count
    return copy
