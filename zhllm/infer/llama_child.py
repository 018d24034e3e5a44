"""The child of `llama_http`: xllamacpp's server for one GGUF, alive as long as its parent.

Run as `python -m zhllm.infer.llama_child`; only this process ever imports xllamacpp.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import select
import signal
import stat
import sys
from collections.abc import Sequence
from typing import Any

from zhllm.errors import DataError, MissingError


def main(argv: Sequence[str] | None = None) -> int:
    """The child: load a GGUF, write {"port", "key"} as a line to stdout, live until stdin ends.

    Returns only where it failed: `MissingError`'s exit code without a working xllamacpp,
    `DataError`'s where llama.cpp could not load the file.
    """
    parser = argparse.ArgumentParser("python -m zhllm.infer.llama_child", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--n_ctx", type=int, required=True, help="tokens of each sequence")
    parser.add_argument("--n_parallel", type=int, required=True, help="sequences")
    parser.add_argument("--threads", type=int, required=True, help="0: all cores but one")
    parser.add_argument("--embeddings", type=int, default=0, help="1: give embeddings, the mean over a text")
    parser.add_argument("--float32_cache", type=int, default=0, help="1: keys and values in float32, as they are")
    parser.add_argument("--lora", action="append", default=[], help="an adapter, applied where a request asks")
    args = parser.parse_args(argv)
    answer = os.dup(1)
    os.dup2(2, 1)  # part of what llama.cpp prints goes to stdout
    _die_with_parent()
    try:
        server, key = _serve(args)
    except (ImportError, RuntimeError) as error:  # the reason stands in llama.cpp's lines above
        sys.stderr.write(f"{error}\n")
        return MissingError.exit_code if isinstance(error, ImportError) else DataError.exit_code
    port = int(server.listening_address.rpartition(":")[2])
    os.write(answer, json.dumps({"port": port, "key": key}).encode() + b"\n")
    os.close(answer)
    while os.read(0, 4096):
        pass
    os._exit(0)  # no C++ destructor runs, so none can hang


def _serve(args: argparse.Namespace) -> tuple[Any, str]:
    """A loaded, listening `xllamacpp.Server` and its API key."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.n_parallel = args.n_parallel
    params.n_ctx = args.n_ctx * args.n_parallel  # llama.cpp divides it among the sequences
    threads = args.threads or _cores_but_one()
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.lora_adapters = [_lora(xllamacpp, path) for path in args.lora]
    params.lora_init_without_apply = True
    if args.embeddings:
        params.embedding = True
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.n_ubatch = params.n_batch = args.n_ctx  # a text is read at once
    if args.float32_cache:  # flash attention rounds what it multiplies to float16
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.port = 0  # the kernel gives a free one
    # Any page in a browser can send requests to 127.0.0.1; without the key they get nothing.
    key = secrets.token_urlsafe(32)
    params.api_keys = [key]
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 1  # errors only: the log must not grow with the requests
    params.fit_params = False  # else the model is opened twice, to change our n_ctx if it likes
    params.warmup = False  # else the whole model is read before the first answer
    params.cache_ram_mib = 0  # else up to 8 GiB of old prompts stay in memory
    params.force_pure_content_parser = True  # else an answer no tool-call grammar fits is an error
    return xllamacpp.Server(params), key


def _lora(xllamacpp: Any, path: str) -> Any:
    adapter = xllamacpp.CommonAdapterLoraInfo()
    adapter.path, adapter.scale = path, 1.0
    return adapter


def _cores_but_one() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only; knows about taskset and cpusets
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores - 1)


def _die_with_parent() -> None:
    """End this process when the other end of stdin closes, also while C++ code holds the GIL.

    xllamacpp holds it while it loads, so no thread of ours could look. The kernel sends SIGIO,
    which ends a Linux process; elsewhere the end of stdin is seen when loading is done.
    """
    if sys.platform != "linux" or not stat.S_ISFIFO(os.fstat(0).st_mode):
        return
    import fcntl

    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    poll = select.poll()
    poll.register(0, 0)
    if poll.poll(0):  # the parent died before the kernel was asked
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())  # an orderly end: llama.cpp's log thread still has to write why it failed
