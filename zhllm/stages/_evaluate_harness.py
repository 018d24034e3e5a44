"""Tasks of lm-evaluation-harness in `evaluate`: the known tool asks and marks, our scorer and engine answer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from zhllm.config import name_and_path
from zhllm.errors import ConfigError, DataError
from zhllm.evals.harness_results import answers_of, asked_of, figures, leaves_of, protocol_of
from zhllm.evals.harness_tasks import BROKEN, Loaded, load_tasks, network, quiet
from zhllm.infer.sampling import Sampling, until_stop
from zhllm.progress import bar
from zhllm.stages._evaluate_config import EvaluateConfig
from zhllm.stages._evaluate_models import chat_format_of, open_scorer, refusals_named
from zhllm.stages._evaluate_tasks import ANSWERED_AT_ONCE, Measured, Subject, TaskResult, fallback_of

NAME = "harness"
# Rounds of lm-eval's own bootstrap, for measures that are no mean of items (perplexity, BLEU).
ROUNDS = 1000
SAME_AS_CONTEXT = 64  # texts whose ids are kept: the options of a question share their context


@contextmanager
def loaded(config: EvaluateConfig) -> Iterator[Callable[[EvaluateConfig, Subject, list[Path]], TaskResult]]:
    """The harness's tasks with their data, as one task of `evaluate`; before any model is opened."""
    data = {name: path for name, path in map(name_and_path, config.data) if name in config.harness}
    check_task_files(config.harness_include)
    with tempfile.TemporaryDirectory() as folder, network(config.allow_download), quiet():
        harness = load_tasks(config.harness, config.harness_include, data, Path(folder))

        def run(config: EvaluateConfig, subject: Subject, paths: list[Path]) -> TaskResult:
            return _run(config, subject, harness)

        yield run


def check_task_files(include: Sequence[Path]) -> None:
    """ConfigError with file and line where lm-eval could not read a task file, and would pass over it in silence."""
    for folder in include:
        files = sorted(file for file in folder.rglob("*.yaml") if file.is_file())
        if not files:
            raise ConfigError(f"--harness-include {folder}: is no folder with task files (*.yaml).")
        for file in files:
            _check_task_file(file, ())


def _check_task_file(file: Path, includers: tuple[Path, ...]) -> None:
    import yaml

    class Loader(yaml.SafeLoader):
        """Of lm-eval's own tags (!function) only the place is looked at."""

    Loader.add_multi_constructor("", lambda loader, tag, node: None)
    by = f" (included by {includers[-1]})" if includers else ""
    try:
        held = yaml.load(file.read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror}){by}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: is not UTF-8 (byte {error.start}){by}. Save it as UTF-8.") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error).partition("\n")[0]
        raise ConfigError(f"{file}{where}: not valid YAML: {reason}{by}.") from error
    if not isinstance(held, dict):
        raise ConfigError(f"{file}: holds {type(held).__name__}, not the keys of a task{by}.")
    if file in includers:
        raise ConfigError(f"{file}: includes itself{by}.")
    named = held.get("include") or []
    for one in named if isinstance(named, list) else [named]:
        _check_task_file((file.parent / str(one)).resolve(), (*includers, file))


def _run(config: EvaluateConfig, subject: Subject, harness: Loaded) -> TaskResult:
    import lm_eval

    chat = chat_format_of(subject.model, fallback_of(config, subject)) if config.chat else None
    held = [harness.tasks[name] for name in config.harness]
    asked = [task for one in held for task in (one if isinstance(one, list) else [one])]
    with (
        bar(f"{subject.role}: lm-eval", None, "requests") as shown,
        model_of(config, subject, chat, shown.advance) as lm,
    ):
        try:
            found = lm_eval.simple_evaluate(
                lm, tasks=asked, task_manager=harness.manager, num_fewshot=config.harness_shots,
                limit=config.harness_limit, bootstrap_iters=ROUNDS, log_samples=True,
                apply_chat_template=chat is not None, fewshot_as_multiturn=chat is not None,
            )  # fmt: skip
        except BROKEN as error:
            reason = (str(error).strip() or "no reason given").splitlines()[0]
            raise DataError(
                f"--harness {', '.join(config.harness)}: lm-eval failed ({type(error).__name__}: {reason})."
            ) from error
        cut, window = lm.cut, lm.max_length
    names = [named for name, one in zip(config.harness, held, strict=True) for named in _names(name, one)]
    result = _result(found, names)
    versions = ", ".join(f"{name} {found['versions'].get(name)}" for name in names)
    result.protocol |= {"lm_eval": lm_eval.__version__, "versions": versions, "chat": chat.name if chat else None}
    result.protocol["window_tokens"] = window
    if config.harness_limit is not None:
        result.notes.append(f"--harness-limit {config.harness_limit}: a part of each task; not its score.")
    if cut:
        result.notes.append(f"{cut} requests were longer than the model reads and lost their beginning, as in lm-eval.")
    return result


def _names(name: str, held: Any) -> list[str]:
    """What to report of a name: a task or group itself, the tasks of a tag."""
    if not isinstance(held, list):
        return [name]
    return [str(task.task_name) for task in held]


def _result(found: Mapping[str, Any], names: Sequence[str]) -> TaskResult:
    result = TaskResult([], protocol_of(found, names))
    items: dict[str, dict[str, Any]] = {}
    labels = asked_of(found, list(found["samples"]))
    for figure in (one for name in names for one in figures(found, name)):
        called = f"{NAME}_{figure.of}_{figure.measure}"
        same = [labels[item] for item in figure.items]
        result.measured.append(Measured(called, figure.score, list(figure.items.values()), clusters=same))
        result.add_repeats(same)
        result.flat |= {} if figure.stderr is None else {f"{called}_stderr": figure.stderr}
        for item, value in figure.items.items():
            items.setdefault(item, {})[f"{figure.of}_{figure.measure}"] = value
    answers = answers_of(found)
    result.records = [
        {"id": item, "asked": labels[item], **items.get(item, {}), **answer} for item, answer in answers.items()
    ]
    result.tables = dict(_tables(found, names))
    return result


def _tables(found: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tasks inside of each group, a table for each measure."""
    for name in names:
        inside = leaves_of(found, name)
        by_measure: dict[str, dict[str, Any]] = {}
        for figure in (one for leaf in inside if leaf != name for one in figures(found, leaf)):
            by_measure.setdefault(figure.measure, {})[figure.of] = figure.score
        for measure, scores in by_measure.items():
            yield f"{NAME} {name}: {measure}", scores


@contextmanager
def model_of(config: EvaluateConfig, subject: Subject, chat: Any, on_scored: Callable[[int], None]) -> Iterator[Any]:
    """The model as lm-eval asks it."""
    from zhllm.evals.harness_model import HarnessModel

    with open_scorer(subject.model, subject.adapter, chat, subject.window) as scorer:
        words, drops_space = _words(subject.model, scorer)

        def write(asked: Sequence[Any]) -> list[str]:
            texts = _in_torch(subject.model, scorer, asked) if subject.model.is_dir() else _in_llama(scorer, asked)
            return [text.removeprefix(" ") if drops_space else text for text in texts]

        yield HarnessModel(scorer, words, write, chat, on_scored)


def _in_torch(model: Path, scorer: Any, asked: Sequence[Any]) -> list[str]:
    """What the scorer's own model writes, some answers at once."""
    from zhllm.infer.batching import Batcher
    from zhllm.infer.transformers_engine import decode_stream
    from zhllm.vocab.tokenizer import Tokenizer

    tokenizer = Tokenizer(model)
    named = getattr(scorer.model.generation_config, "eos_token_id", None)
    ends = {tokenizer.eos_id, *(named if isinstance(named, list) else [named])} - {None}

    def written(one: Any) -> str:
        writing = batcher.submit(one.ids, Sampling(max_tokens=one.max_tokens, seed=one.seed, **one.settings))
        try:
            return "".join(until_stop(decode_stream(tokenizer, writing, one.ids), one.stop))
        finally:
            writing.close()

    def choose(rows: Sequence[Any]) -> None:
        scorer.before_forward(len(rows))

    with (
        Batcher(scorer.model, sorted(ends), scorer.context, ANSWERED_AT_ONCE, 0, choose) as batcher,
        ThreadPoolExecutor(ANSWERED_AT_ONCE) as pool,
    ):
        return list(pool.map(written, asked))


def _in_llama(scorer: Any, asked: Sequence[Any]) -> list[str]:
    found = []
    for one in asked:
        with refusals_named(scorer.server, one.ids):
            made = scorer.server.complete(one.ids, one.max_tokens, stop=list(one.stop), seed=one.seed, **one.settings)
        found.append(made.text)
    return found


def _words(model: Path, scorer: Any) -> tuple[Any, bool]:
    """The tokenizer as lm-eval would use it, and whether a text that it decodes loses the space at its beginning."""
    from zhllm.evals.harness_model import Words

    if not model.is_dir():
        return _gguf_words(model, scorer)
    from zhllm.infer.vocabulary import auto_tokenizer

    auto = auto_tokenizer(model)
    start = auto.eos_token_id if auto.bos_token_id is None else auto.bos_token_id
    start_text = auto.decode([start])

    @lru_cache(SAME_AS_CONTEXT)
    def ids_of(text: str, special: bool | None) -> tuple[int, ...]:
        special = False if special is None and text.startswith(start_text) else special
        return tuple(auto.encode(text, **({} if special is None else {"add_special_tokens": special})))

    if auto.eos_token_id is None:
        raise ConfigError(f"{model}: its tokenizer names no end token, which lm-eval needs.")
    words = Words(
        lambda text, special=None: list(ids_of(text, special)), start, auto.eos_token_id,
        auto.decode([auto.eos_token_id]), str(model),
    )  # fmt: skip
    behind = auto.decode(auto.encode("a a", add_special_tokens=False)[1:])
    return words, not behind.startswith(" ")


def _gguf_words(model: Path, scorer: Any) -> tuple[Any, bool]:
    from zhllm.evals.harness_model import Words
    from zhllm.model.gguf_read import GgufFile

    metadata = GgufFile(model).metadata
    spelt = metadata["tokenizer.ggml.tokens"]
    end = metadata.get("tokenizer.ggml.eos_token_id")
    if end is None:
        raise ConfigError(f"{model}: names no end token, which lm-eval needs.")
    start = int(metadata.get("tokenizer.ggml.bos_token_id", end))
    start_text = str(spelt[start])

    @lru_cache(SAME_AS_CONTEXT)
    def ids_of(text: str, special: bool | None) -> tuple[int, ...]:
        adds = special is not False and not text.startswith(start_text)
        return tuple(scorer.encode_prompt(text, adds))

    words = Words(
        lambda text, special=None: list(ids_of(text, special)), start, int(end), str(spelt[int(end)]), str(model)
    )
    return words, metadata.get("tokenizer.ggml.model") == "llama"
