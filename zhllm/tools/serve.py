"""serve: an OpenAI-compatible server and a chat page over a model, on this machine alone unless told otherwise."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from zhllm.errors import ConfigError, MissingError
from zhllm.progress import say
from zhllm.tools._options import FORMATS, KEY_VARIABLE, adapters_of, sampling_options

if TYPE_CHECKING:
    from zhllm.infer.writing import Engine
    from zhllm.tools._server.gate import Settings

UPSTREAM_KEY_VARIABLE = "ZHLLM_UPSTREAM_API_KEY"


@click.command(context_settings={"show_default": True})
@click.argument("model")
@click.option("--host", default="127.0.0.1", help="Address to listen on; another than loopback asks for a key.")
@click.option("--port", default=8000, type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option("--name", help="The model's name in the API.  [default: the folder's or file's name]")
@click.option("--adapter", "adapters", multiple=True, metavar="NAME=PATH", help="An adapter, served as MODEL:NAME.")
@click.option(
    "--api-key-file", type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help=f"File with the key that requests must carry; or set {KEY_VARIABLE}.",
)  # fmt: skip
@click.option("--parallel", default=8, type=click.IntRange(1), help="Answers written at once.")
@click.option("--max-waiting", default=128, type=click.IntRange(0), help="Requests that may wait; more get 429.")
@click.option("--max-body-bytes", default=4_000_000, type=click.IntRange(1), help="Largest request.")
@click.option(
    "--max-body-seconds", default=60.0, type=click.FloatRange(0, min_open=True), help="A request's time to come."
)
@click.option("--drain-seconds", default=30, type=click.IntRange(0), help="How long answers may end at shutdown.")
@click.option("--prompt-format", type=FORMATS, help="For a model without a chat template.")
@sampling_options
def command(
    model: str, host: str, port: int, name: str | None, adapters: tuple[str, ...], api_key_file: Path | None,
    parallel: int, max_waiting: int, max_body_bytes: int, max_body_seconds: float, drain_seconds: int,
    prompt_format: str | None, **draws: Any,
) -> None:  # fmt: skip
    """Serve MODEL: a model directory (transformers), a .gguf file (llama.cpp), or the URL of another server.

    /v1/models, /v1/chat/completions and /v1/completions (also streamed), /v1/embeddings, /metrics, /health, and a
    chat page at /. The options of sampling are what a request that names none gets. SIGTERM and Ctrl-C let
    answers come to their end. The key of another server is read from ZHLLM_UPSTREAM_API_KEY.

    \b
    zhllm serve runs/demo/merge --port 8000
    zhllm serve runs/demo/export/company-q8_0.gguf
    zhllm serve base --adapter law=runs/law/sft --adapter faq=runs/faq/sft
    """
    from zhllm.infer.sampling import Sampling

    _check_installed()
    from zhllm.tools._server.gate import LOOPBACK, Settings

    key = _key(api_key_file)
    is_local = host in LOOPBACK or host == "::1"
    if not is_local and key is None:
        raise ConfigError(
            f"--host {host}: others could ask without a key. Set {KEY_VARIABLE} or --api-key-file, or listen "
            "on 127.0.0.1."
        )
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(host, port))  # before a large model is read
        engine = stack.enter_context(_open(model, prompt_format, parallel, adapters_of(adapters, model)))
        settings = Settings(
            name or _name(engine, model), key,
            LOOPBACK if is_local else None, parallel, max_waiting, max_body_bytes, max_body_seconds, Sampling(**draws),
        )  # fmt: skip
        _run(engine, settings, listening, drain_seconds)


def _check_installed() -> None:
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingError(f"serve needs {error.name}: pip install 'zhllm[serve]'.") from error


def _key(path: Path | None) -> str | None:
    # Read so that what is not UTF-8 is not ASCII either.
    key = path.read_text("utf-8", "replace").strip() if path else os.environ.get(KEY_VARIABLE)
    if key is not None and (not key or not key.isascii() or " " in key):
        raise ConfigError(f"{path or KEY_VARIABLE}: the key is empty, or has spaces or letters beyond ASCII.")
    return key


def _open(model: str, prompt_format: str | None, parallel: int, adapters: dict[str, Path]) -> Engine:
    from zhllm.infer.engine import open_engine

    return open_engine(model, prompt_format, parallel, adapters, os.environ.get(UPSTREAM_KEY_VARIABLE))


def _listening(host: str, port: int) -> socket.socket:
    """A bound socket, which takes connections once the model is there; ConfigError where there can be none."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise ConfigError(f"--host {host} --port {port}: cannot listen there ({error.strerror}).") from error
    return made


def _name(engine: Engine, model: str) -> str:
    """What a model is called that was given no name: as its own server does, or as its folder or file."""
    from zhllm.infer.remote import RemoteEngine

    return engine.model if isinstance(engine, RemoteEngine) else Path(model).resolve().name


def _run(engine: Engine, settings: Settings, listening: socket.socket, drain_seconds: int) -> None:
    import uvicorn

    from zhllm.tools._server.app import make_app
    from zhllm.tools._server.service import models_of

    listening.listen(512)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    say(f"serving {', '.join(models_of(engine, settings.name))} at http://{shown}:{port}/")
    config = uvicorn.Config(
        make_app(engine, settings), log_level="warning", access_log=False, timeout_graceful_shutdown=drain_seconds
    )
    # uvicorn ends in order at the first of these signals, and then raises it again, for whoever was there before.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run([listening])
