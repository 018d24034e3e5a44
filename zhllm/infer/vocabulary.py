"""What llama.cpp makes of a tokenizer directory, before there is a model for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from zhllm.infer.llamacpp import LlamaServer
from zhllm.model.directory import copy_tokenizer, write_model_config
from zhllm.model.gguf_file import open_source, write_gguf
from zhllm.model.llama import Size, config_of, write_fresh
from zhllm.vocab.proof import Encode
from zhllm.vocab.tokenizer import Tokenizer

# llama.cpp loads no vocabulary without tensors; one layer of 32 is the least that is always accepted.
STUB = Size(32, 32, 1, 1, 1, 512)


@contextmanager
def llama_cpp_encoder(folder: Path) -> Iterator[Encode]:
    """Ids without specials as llama.cpp gives them, through a GGUF of random weights with this vocabulary.

    Raises MissingError where xllamacpp is not installed.
    """
    tokenizer = Tokenizer(folder)
    with TemporaryDirectory() as name:
        stub = Path(name)
        write_fresh(stub, STUB, tokenizer.vocab_size, seed=0)
        copy_tokenizer(folder, stub)
        write_model_config(stub, config_of(STUB, tokenizer.vocab_size, {}), tokenizer, tokenizer.vocab_size)
        file = stub / "stub.gguf"
        write_gguf(open_source(stub), file, "f16", None, tokenizer.eos_id, lambda _: None)
        with LlamaServer(file, n_ctx=256, n_parallel=1) as server:
            yield server.tokenize
