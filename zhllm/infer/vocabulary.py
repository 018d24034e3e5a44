"""What other engines make of a tokenizer, before there is a model for it: llama.cpp, transformers, tiktoken."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tokenizers import Tokenizer as FastTokenizer

from zhllm.errors import DataError, MissingError
from zhllm.infer.llamacpp import LlamaServer, available
from zhllm.model.directory import copy_tokenizer, write_model_config
from zhllm.model.gguf_file import open_source
from zhllm.model.gguf_stream import write_gguf
from zhllm.model.gguf_vocab import pre_tokenizer_name
from zhllm.model.llama import Size, config_of, write_fresh
from zhllm.vocab.byte_level import ByteLevelBase
from zhllm.vocab.byte_level_files import tiktoken_encode, write_byte_level
from zhllm.vocab.certificate import Engine, reason_of
from zhllm.vocab.extend import SentencePieceBase
from zhllm.vocab.hf_files import write_json, write_tokenizer
from zhllm.vocab.proof import Encode, hf_encode
from zhllm.vocab.sentencepiece_model import copy_of
from zhllm.vocab.subject import AnyTokenizer, Subject, open_subject, special_tokens
from zhllm.vocab.tokenizer import Tokenizer

# xllamacpp has no switch for llama.cpp's vocabulary-only loading, and its server takes no file without
# tensors; one layer of 32 is the least that is always accepted.
STUB = Size(32, 32, 1, 1, 1, 512)


@contextmanager
def llama_cpp_encoder(source: Path | AnyTokenizer, parse_special: bool = False) -> Iterator[Encode]:
    """Ids as llama.cpp gives them, through a GGUF of random weights with this vocabulary; no BOS is added.

    `source` is a tokenizer directory, a bare file of one, or an opened tokenizer; from a SentencePiece
    model the GGUF has tokens, scores and types as they are, without the model's normaliser, for which it
    has no place. `parse_special` reads what is spelt like a special token as that token. Raises
    MissingError where xllamacpp is not installed, DataError for a vocabulary that no GGUF can hold.
    """
    with TemporaryDirectory() as name:
        stub = Path(name)
        folder = source
        if isinstance(source, Path) and source.is_file():
            source = open_subject(source).tokenizer
        if not isinstance(source, Path):
            folder = stub / "tokenizer"
            folder.mkdir()
            _write_directory(folder, source)
        assert isinstance(folder, Path)
        tokenizer = Tokenizer(folder)
        write_fresh(stub, STUB, tokenizer.vocab_size, seed=0)
        copy_tokenizer(folder, stub)
        write_model_config(stub, config_of(STUB, tokenizer.vocab_size, {}), tokenizer, tokenizer.vocab_size)
        file = stub / "stub.gguf"
        write_gguf(open_source(stub), file, "f16", None, tokenizer.eos_id)
        with LlamaServer(file, n_ctx=256, n_parallel=1) as server:
            yield lambda texts: server.tokenize(texts, parse_special=parse_special)


def _write_directory(folder: Path, tokenizer: AnyTokenizer) -> None:
    """The files of a directory from which a GGUF can be written; an end token is made up where none is named."""
    if isinstance(tokenizer, SentencePieceBase):
        proto = copy_of(tokenizer.proto)
        proto.normalizer_spec.precompiled_charsmap = b""
        proto.normalizer_spec.remove_extra_whitespaces = False
        if not 0 <= proto.trainer_spec.eos_id < len(proto.pieces):
            proto.trainer_spec.eos_id = 0
        write_tokenizer(folder, proto)
    elif isinstance(tokenizer, ByteLevelBase):
        named = tokenizer.config.get("eos_token")
        anything = next(iter((*tokenizer.special_ids, *tokenizer.vocab)))
        write_byte_level(folder, tokenizer.content, {**tokenizer.config, "eos_token": named or anything}, None, None)
    else:
        raise DataError("it is neither a SentencePiece model nor byte-level BPE, so no GGUF can be written for it")


def auto_tokenizer(folder: Path) -> Any:
    """What transformers' AutoTokenizer makes of a directory, without the network and without code in it."""
    from transformers import AutoTokenizer, logging

    logging.set_verbosity_error()
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _slow(auto: Any, texts: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = auto(list(texts), add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


@contextmanager
def engines_of(subject: Subject) -> Iterator[list[Engine]]:
    """Every other engine for a tokenizer, to be asked inside the block; those that cannot be asked say why.

    A directory is opened as it is; a single file as its users open it: transformers gets a directory that
    holds just this file and the usual tokenizer_config.json.
    """
    with ExitStack() as stack:
        folder = subject.folder or Path(stack.enter_context(TemporaryDirectory()))
        ways: dict[str, Callable[[], tuple[Encode, int | None]]] = {}
        if subject.folder is not None and subject.proto is not None:
            ways["Hugging Face (tokenizer.json)"] = lambda: _fast(folder / "tokenizer.json")
        ways["AutoTokenizer" if subject.proto is None else "Hugging Face (AutoTokenizer)"] = lambda: _auto(
            folder, subject
        )
        if isinstance(subject.tokenizer, ByteLevelBase):
            ways["tiktoken"] = lambda: _tiktoken(subject)
        ways["llama.cpp"] = lambda: (stack.enter_context(_llama_cpp(subject)), None)
        yield [_opened(name, way, subject) for name, way in ways.items()]


def _opened(name: str, open_it: Callable[[], tuple[Encode, int | None]], subject: Subject) -> Engine:
    full = f"Hugging Face = {name}" if subject.proto is None else f"SentencePiece = {name}"
    if subject.unusable is not None or subject.duplicates:
        reason = subject.unusable or "duplicate pieces, on which llama.cpp aborts and the others keep one of two"
        return Engine(full, None, not_checked=reason)
    try:
        encode, size = open_it()
    except Exception as error:  # any library may fail on a tokenizer it was not made for
        return Engine(full, None, not_checked=reason_of(error))
    return Engine(full, encode, size)


def _write_as_users_do(folder: Path, subject: Subject) -> None:
    """A directory that holds just this file and the usual tokenizer_config.json."""
    tokenizer = subject.tokenizer
    named = {f"{role}_token": token for role, token in (special_tokens(subject) or {}).items()}
    if isinstance(tokenizer, SentencePieceBase):
        (folder / "tokenizer.model").write_bytes(tokenizer.proto.SerializeToString())
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer", **named})
    elif subject.path.suffix == ".json":
        write_json(folder / "tokenizer.json", tokenizer.content)
        write_json(folder / "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", **named})
    else:
        raise DataError("a rank file says too little for transformers (no pattern, no special tokens)")


def _fast(file: Path) -> tuple[Encode, int]:
    if not file.is_file():
        raise DataError("the directory has no tokenizer.json")
    fast = FastTokenizer.from_file(str(file))
    return hf_encode(fast), 1 + max(fast.get_vocab().values(), default=-1)


def _auto(folder: Path, subject: Subject) -> tuple[Encode, int]:
    if subject.proto is not None and not subject.is_bpe and not (folder / "tokenizer.json").is_file():
        raise DataError(f"the model is {subject.kind}; LlamaTokenizer would take its pieces for BPE merges")
    if subject.folder is None:
        _write_as_users_do(folder, subject)
    auto = auto_tokenizer(folder)
    size = 1 + max(auto.get_vocab().values(), default=-1)
    backend = getattr(auto, "backend_tokenizer", None)
    if isinstance(backend, FastTokenizer):
        return hf_encode(backend), size
    return lambda texts: _slow(auto, texts), size


def _tiktoken(subject: Subject) -> tuple[Encode, None]:
    assert isinstance(subject.tokenizer, ByteLevelBase)
    try:
        encode = tiktoken_encode(subject.tokenizer.content)
    except (KeyError, TypeError, IndexError) as error:
        raise DataError("its pre-tokenizer is not one regular expression, which tiktoken needs") from error
    if encode is None:
        raise MissingError("tiktoken is not installed")
    return encode, None


def _llama_cpp(subject: Subject) -> AbstractContextManager[Encode]:
    if not subject.is_bpe:
        raise DataError(f"the model is {subject.kind}; the vocabulary of a Llama GGUF is BPE")
    if isinstance(subject.tokenizer, ByteLevelBase):
        pre_tokenizer_name(subject.path, subject.tokenizer.content)
    if not available():
        raise MissingError('xllamacpp is not installed (pip install "zhllm[llama]")')
    return llama_cpp_encoder(subject.tokenizer)
