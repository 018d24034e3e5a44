"""Tasks of lm-evaluation-harness, loaded without the network, on data that are on this machine. Needs lm-eval."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partialmethod
from pathlib import Path
from typing import Any
from unittest.mock import patch

from jinja2 import TemplateError

from zhllm.errors import ConfigError, DataError, MissingError

SPLITS = ("test", "validation", "val", "valid", "dev", "train")
KINDS = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
LOCAL = {"127.0.0.1", "::1", "localhost"}
# What a broken task or broken data raise inside lm-eval, datasets and Jinja: their errors derive from these.
BROKEN = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, RuntimeError,
          ImportError, TemplateError)  # fmt: skip
_HUB = ("on the Hub", "OfflineMode", "offline mode", "Cannot send a request", "LocalEntryNotFound", "no network here")
_SWITCHES = {"HF_HUB_OFFLINE": ("huggingface_hub.constants", "datasets.config"),
             "HF_DATASETS_OFFLINE": ("datasets.config",), "HF_EVALUATE_OFFLINE": ("evaluate.config",)}  # fmt: skip


@dataclass(frozen=True)
class Loaded:
    """lm-eval's index of tasks, and by name what it made of each: a list of its tasks, or its group."""

    manager: Any
    tasks: dict[str, Any]


def check_installed() -> None:
    """MissingError where lm-eval is not installed; does not import it."""
    if importlib.util.find_spec("lm_eval") is None:
        raise MissingError('lm-eval is not installed, and --harness needs it: pip install "zhllm[harness]".')


@contextmanager
def network(allowed: bool) -> Iterator[None]:
    """With or without the network for what runs inside: the libraries' switches, and sockets beyond this machine.

    Libraries read their switches once, on import, so those that are there already are told again.
    """
    value = "0" if allowed else "1"
    connect = socket.socket.connect

    def only_here(self: socket.socket, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) else ""
        if self.family in (socket.AF_INET, socket.AF_INET6) and host not in LOCAL:
            raise OSError(f"no network here: a task wanted to reach {host}")
        connect(self, address)

    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, dict.fromkeys(_SWITCHES, value)))
        for switch, modules in _SWITCHES.items():
            for module in filter(None, map(sys.modules.get, modules)):
                stack.enter_context(patch.object(module, switch, not allowed, create=True))
        stack.enter_context(patch.object(socket.socket, "connect", connect if allowed else only_here))
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Without the bars, the remarks and the prints of lm-eval and datasets: ours say what is going on.

    Nor does lm-eval ask git for the commit of the folder that it runs in, whose answer may be "fatal: ...".
    """
    import datasets
    import lm_eval.evaluator
    from tqdm import tqdm  # type: ignore[import-untyped]

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    with (
        redirect_stdout(io.StringIO()),
        patch.object(tqdm, "__init__", partialmethod(tqdm.__init__, disable=True)),
        patch.object(lm_eval.evaluator, "get_git_commit_hash", lambda: None, create=True),
    ):
        yield


def load_tasks(names: Sequence[str], include: Sequence[Path], data: Mapping[str, Path], work: Path) -> Loaded:
    """The tasks with their data.

    `include` are folders of task files (yaml), `data` local files that stand in for a task's dataset, `work` a folder
    for what is made of them on the way. Raises ConfigError for an unknown name, DataError where the data are not here.
    """
    manager = _manager(names, include)
    found: dict[str, Any] = {}
    for name in names:
        if name not in manager.all_tasks:
            close = get_close_matches(name, manager.all_tasks, n=3, cutoff=0.6)
            own = f"No file in {', '.join(map(str, include))} names it, either." if include else ""
            hint = (
                f"Did you mean {', '.join(close)}?"
                if close
                else own or "Task files of your own: --harness-include DIR."
            )
            raise ConfigError(f"--harness {name}: lm-eval knows no such task. {hint}")
        found[name] = _load(manager, name, data.get(name), work)
    return Loaded(manager, found)


def _manager(names: Sequence[str], include: Sequence[Path]) -> Any:
    """lm-eval's index of tasks, of the folders that hold the names: reading all of its own takes 20 seconds."""
    import lm_eval.tasks

    own = Path(lm_eval.tasks.__file__).parent
    # A task's name begins with that of its folder: cmmlu_virology, ceval-valid_law, mmlu.
    near = [f for f in sorted(own.iterdir()) if f.is_dir() and any(_begins(name, f.name) for name in names)]
    paths = [str(path) for path in (*near, *include)]
    if paths:
        manager = lm_eval.tasks.TaskManager(include_path=paths, include_defaults=False)
        if set(names) <= set(manager.all_tasks):
            return manager
    return lm_eval.tasks.TaskManager(include_path=[str(path) for path in include] or None)


def _begins(name: str, folder: str) -> bool:
    return name == folder or name.startswith((f"{folder}_", f"{folder}-"))


def _load(manager: Any, name: str, data: Path | None, work: Path) -> Any:
    from datasets.exceptions import DatasetsError

    spec: Any = name
    if data is not None:
        kind = "group" if name in manager.all_groups else "task"
        # Only what stands inside a group inherits from the task of that name.
        spec = {"group": "local", "task": [{kind: name, **_overrides(manager, name, data, work)}]}
    try:
        loaded = manager.load([spec])
    except (*BROKEN, DatasetsError) as error:
        raise _told(name, data, error) from error
    if unsafe := [task for task, held in loaded["tasks"].items() if getattr(held, "UNSAFE_CODE", False)]:
        code = "runs what the model writes, unprotected. Use --task code, which has a sandbox"
        raise ConfigError(f"--harness {name}: {unsafe[0]} {code}.")
    if name in loaded.get("groups", {}):
        return loaded["groups"][name]
    return list(loaded["tasks"].values())


def _told(name: str, data: Path | None, error: Exception) -> Exception:
    """The error of a task that cannot be loaded, in a line."""
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    if isinstance(error, ImportError):
        return MissingError(f"--harness {name}: lm-eval needs a package for it that is not here ({said}).")
    give = f"Give local files: --data {name}=DIR"
    if any(word in str(error) or word in repr(error) for word in _HUB):
        return DataError(f"--harness {name}: its data are not on this machine ({said}). {give}, or --allow-download.")
    where = "its data" if data is None else str(data)
    return DataError(f"--harness {name}: {where} cannot be read as the task wants ({type(error).__name__}: {said}).")


def _overrides(manager: Any, name: str, data: Path, work: Path) -> dict[str, Any]:
    """What makes a task read local files: a folder that tells `datasets` which file is which split of which subset."""
    if data.is_dir() and any((data / card).is_file() for card in ("README.md", "dataset_infos.json")):
        return {"dataset_path": str(data.resolve()), "dataset_kwargs": {"cache_dir": str(work / "cache")}}
    folder = work / f"data-{len(list(work.iterdir()))}"
    folder.mkdir()
    subsets = local_files(data)
    configs = []
    for subset, by_split in subsets.items():
        files = []
        for split, file in by_split.items():
            linked = folder / f"{len(list(folder.iterdir()))}{file.suffix}"  # a name without a pattern's characters
            linked.symlink_to(file.resolve())
            files.append({"split": split, "path": linked.name})
        configs.append({"config_name": subset, "data_files": files})
    (folder / "README.md").write_text(f"---\n{json.dumps({'configs': configs})}\n---\n", encoding="utf-8")
    found: dict[str, Any] = {"dataset_path": str(folder), "dataset_kwargs": {"cache_dir": str(work / "cache")}}
    return found | ({"dataset_name": None} if set(subsets) == {"default"} else {})


def local_files(data: Path) -> dict[str, dict[str, Path]]:
    """Files by subset and split: SPLIT/SUBSET.csv, SUBSET/SPLIT.jsonl, SPLIT/SUBSET_SPLIT.csv or SPLIT.parquet.

    A single file is the split "test". Raises DataError where no file is one of these.
    """
    if data.is_file():
        return {"default": {"test": data}}
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(path for path in data.rglob("*") if path.suffix in KINDS):
        words = list(file.relative_to(data).with_suffix("").parts)
        split = next((word for word in words if word in SPLITS), None) or words[-1].rpartition("_")[2]
        if split in SPLITS:
            rest = [word.removesuffix(f"_{split}") for word in words if word != split]
            found.setdefault("/".join(rest) or "default", {})[split] = file
    if not found:
        raise DataError(f"{data}: holds no data of a harness task (SPLIT/NAME.csv or NAME/SPLIT.jsonl; {SPLITS}).")
    return found
