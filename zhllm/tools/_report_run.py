"""A run folder as facts: every step, what it was made from, and whether it is whole and up to date.

Nothing here is computed anew: it is what the manifests say, compared with the files and with each other. A folder
that cannot be read is a step with a remark, never an exception.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zhllm import manifest
from zhllm.errors import ConfigError, DataError, ZhllmError
from zhllm.manifest import Manifest

RUN_FILE = "run.json"
# States of a step, from good to bad.
DONE, WAITING, UNFINISHED, STALE, DAMAGED = "done", "waiting", "unfinished", "stale", "damaged"


@dataclass(frozen=True)
class Remark:
    """Something to tell of a step or a run: a key of the table of words, and what fills its places."""

    key: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """One input of a step: the setting that named it, its path and digest then, and where it came from.

    `step` is the run's step that made it, "" for something from outside; `file` the file in that step's folder
    where it is not the whole folder. `state` is "same", "changed", "gone", or "outside" where nobody compared.
    """

    setting: str
    path: str
    digest: str
    step: str = ""
    file: str = ""
    state: str = "outside"


@dataclass(frozen=True)
class Step:
    """One step of a run; `made` is None where its folder is not there or cannot be read."""

    name: str
    stage: str
    about: str
    folder: Path
    state: str
    made: Manifest | None = None
    digest: str = ""
    sources: tuple[Source, ...] = ()
    remarks: tuple[Remark, ...] = ()

    @property
    def metrics(self) -> dict[str, Any]:
        """What the stage measured; empty where it has not run."""
        return self.made.metrics if self.made is not None else {}

    @property
    def config(self) -> dict[str, Any]:
        """The settings in the manifest's key."""
        found = self.made.key.get("config") if self.made is not None else None
        return found if isinstance(found, dict) else {}

    @property
    def seconds(self) -> float | None:
        """How long the stage ran."""
        found = self.made.made_by.get("seconds") if self.made is not None else None
        return float(found) if isinstance(found, int | float) else None

    @property
    def size_bytes(self) -> int | None:
        """The size of the folder's files together."""
        return sum(self.made.bytes.values()) if self.made is not None else None


@dataclass(frozen=True)
class Run:
    """A run folder: its steps in order, what the recipe says of it, and remarks on the whole."""

    folder: Path
    about: str
    recipe: str
    lang: str
    steps: tuple[Step, ...]
    remarks: tuple[Remark, ...] = ()

    def of(self, *stages: str) -> list[Step]:
        """The steps of some stages that have a manifest, in order."""
        return [step for step in self.steps if step.stage in stages and step.made is not None]

    def named(self, name: str) -> Step | None:
        """The step of a name."""
        return next((step for step in self.steps if step.name == name), None)

    @property
    def seconds(self) -> float:
        """Seconds of all steps together."""
        return sum(step.seconds or 0.0 for step in self.steps)

    @property
    def size_bytes(self) -> int:
        """Bytes of all steps together."""
        return sum(step.size_bytes or 0 for step in self.steps)

    @property
    def finished(self) -> datetime | None:
        """When the last manifest was written (UTC, by the file's time)."""
        paths = [step.folder / manifest.NAME for step in self.steps if step.made is not None]
        times = [path.stat().st_mtime for path in paths if path.is_file()]
        return datetime.fromtimestamp(max(times), UTC) if times else None


def read_run(folder: Path, verify: bool = False) -> Run:
    """A run folder, or any folder of stages' folders; ConfigError where it is neither.

    With `verify` every file is read and compared with its digest, inputs from outside as well.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: is not a run folder (there is no such folder). Give the -o of zhllm run.")
    if (folder / manifest.NAME).is_file() and not (folder / RUN_FILE).is_file():
        raise ConfigError(
            f"{folder}: is the folder of one stage, not a run folder (no {RUN_FILE}). Give the folder above it, or "
            f"see zhllm show {folder}."
        )
    remembered, remarks = _remembered(folder)
    listed = [_step(folder, row) for row in remembered.get("steps", [])]
    known = {step.name for step in listed}
    extra = [_step(folder, {"name": path.name}) for path in _stage_folders(folder) if path.name not in known]
    if not listed and not extra:
        raise ConfigError(
            f"{folder}: is not a run folder (no {RUN_FILE}, and no folder in it has a {manifest.NAME}). "
            "Give the -o of zhllm run."
        )
    if listed:
        extra = [_remarked(step, "not_in_recipe") for step in extra]
    places = _Places(folder, [*listed, *extra])
    steps = [replace(step, sources=places.sources_of(step, verify)) for step in (*listed, *extra)]
    if not listed:
        steps = _in_order(steps)
    recipe, lang = remembered.get("recipe"), remembered.get("lang")
    about, changed, problem = _recipe_of(folder, remembered)
    return Run(
        folder,
        " ".join(str(about or remembered.get("about") or "").split()),
        str(recipe or ""),
        lang if lang in ("en", "zh") else "en",
        tuple(_judged(steps, changed, verify)),
        (*remarks, *problem),
    )


def _remembered(folder: Path) -> tuple[dict[str, Any], list[Remark]]:
    """run.json, as far as it can be read."""
    path = folder / RUN_FILE
    if not path.is_file():
        return {}, [Remark("no_run_file", {"file": RUN_FILE})]
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = [row for row in found["steps"] if isinstance(row.get("name"), str)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        return {}, [Remark("bad_run_file", {"file": path, "error": type(error).__name__})]
    return {**found, "steps": rows}, []


def _stage_folders(folder: Path) -> list[Path]:
    hidden = (".partial", ".replaced", ".checkpoints", ".old")
    return sorted(p for p in folder.iterdir() if (p / manifest.NAME).is_file() and not p.name.endswith(hidden))


def _step(run: Path, row: Mapping[str, Any]) -> Step:
    """A step as its own folder shows it."""
    folder = run / str(row["name"])
    about = " ".join(str(row.get("about") or "").split())
    step = Step(str(row["name"]), str(row.get("stage") or "?"), about, folder, WAITING)
    try:
        made = manifest.read(folder) if folder.is_dir() else None
        if made is not None:
            _check_shape(folder, made)
    except (DataError, OSError) as error:
        return _remarked(step, "bad_manifest", DAMAGED, error=str(error).split("\n")[0])
    partial, points = manifest.partial_of(folder), manifest.checkpoints_of(folder)
    if made is None:
        if not partial.exists() and not points.exists():
            return step
        saved = sorted(points.rglob("step-????????"))
        if saved:
            return _remarked(step, "checkpoint", UNFINISHED, name=saved[-1].name)
        return _remarked(step, "begun", UNFINISHED)
    step = replace(step, made=made, stage=str(made.key["stage"]), state=DONE)
    gone = manifest.changed_files(folder, made)
    if gone:
        return _remarked(step, "changed_files", DAMAGED, files=", ".join(gone[:3]), count=len(gone))
    step = replace(step, digest=manifest.digest(folder))
    return _remarked(step, "made_again") if partial.exists() else step


def _check_shape(folder: Path, made: Manifest) -> None:
    """DataError where a manifest's parts are not what every stage writes."""
    parts = (made.key, made.files, made.bytes, made.metrics, made.made_by)
    is_whole = all(isinstance(part, dict) for part in parts)
    is_whole = is_whole and isinstance(made.key.get("inputs"), dict) and "stage" in made.key
    if not is_whole or not all(isinstance(size, int) for size in made.bytes.values()):
        raise DataError(f"{folder / manifest.NAME}: has not the parts that every stage writes.")


def _remarked(step: Step, key: str, state: str = "", **values: Any) -> Step:
    return replace(step, state=state or step.state, remarks=(*step.remarks, Remark(key, values)))


class _Places:
    """Which step an input came from: by its path in the run folder, by its digest, or by a step's name."""

    def __init__(self, run: Path, steps: list[Step]) -> None:
        self._run = run.resolve()
        self._steps = {step.name: step for step in steps}
        self._by_digest = {step.digest: step.name for step in reversed(steps) if step.digest}
        self._roots = [self._run, *self._stood()]

    def _stood(self) -> set[Path]:
        """Where the run stood when its manifests were written, as far as steps that are whole still tell.

        Of a run that was copied the original may be there yet: it is not what the copy is made of.
        """
        found = set()
        for step in self._steps.values():
            for _, path, digest in _listed(step.made) if step.made is not None else ():
                if path and Path(path).name == self._by_digest.get(digest):
                    found.add(Path(path).resolve().parent)
        return found - {self._run}

    def sources_of(self, step: Step, verify: bool) -> tuple[Source, ...]:
        """The inputs that a step's manifest lists."""
        if step.made is None:
            return ()
        return tuple(self._source(*given, verify) for given in _listed(step.made))

    def _source(self, setting: str, path: str, digest: str, verify: bool) -> Source:
        name, file = self._place(Path(path), digest) if path else (self._by_digest.get(digest, ""), "")
        source = Source(setting, path, digest, name, file)
        if not name:
            return replace(source, state=_outside(Path(path), digest, verify))
        made = self._steps[name].made
        if made is None:
            return replace(source, state="gone")
        now = made.files.get(file, "") if file else self._steps[name].digest
        return replace(source, state="same" if now == digest else "changed")

    def _place(self, path: Path, digest: str) -> tuple[str, str]:
        for root in self._roots:
            try:
                inside = path.resolve().relative_to(root).parts
            except (ValueError, OSError):
                continue
            if inside and inside[0] in self._steps:
                return inside[0], "/".join(inside[1:])
        if digest in self._by_digest:
            return self._by_digest[digest], ""
        for name, step in self._steps.items():
            for file in step.made.files if step.made is not None else ():
                if step.made is not None and step.made.files[file] == digest and Path(file).name == path.name:
                    return name, file
        if path.exists():
            return "", ""
        # A run folder that was moved: .../<where it was>/<step>[/file]
        return next(((part, "/".join(path.parts[n + 1 :])) for n, part in _last_parts(path, self._steps)), ("", ""))


def _listed(made: Manifest) -> Iterator[tuple[str, str, str]]:
    """(setting, path, digest) of each input that a manifest lists; "" where it has no path."""
    paths = made.made_by.get("input_paths")
    paths = paths if isinstance(paths, dict) else {}
    for setting, digests in made.key["inputs"].items():
        given = paths.get(setting) or []
        for place, text in enumerate(digests if isinstance(digests, list) else [digests]):
            yield setting, str(given[place]) if place < len(given) else "", str(text).rpartition("=")[2]


def _last_parts(path: Path, steps: Mapping[str, Step]) -> list[tuple[int, str]]:
    return [(n, part) for n, part in list(enumerate(path.parts))[-1:-3:-1] if part in steps]


def _outside(path: Path, digest: str, verify: bool) -> str:
    """Whether something from outside is what it was; big folders are read with `verify` only."""
    if not str(path) or not path.exists():
        return "gone"
    try:
        if verify or (path.is_dir() and manifest.read(path) is not None):
            return "same" if manifest.digest(path) == digest else "changed"
    except (ZhllmError, OSError):
        return "changed"
    return "outside"


def _in_order(steps: list[Step]) -> list[Step]:
    """Steps without a recipe: what was made before what was made from it."""
    order: list[Step] = []
    waiting = list(steps)
    while waiting:
        names = {step.name for step in waiting}
        ready = [s for s in waiting if not any(x.step in names and x.step != s.name for x in s.sources)]
        order += ready[:1] or waiting[:1]
        waiting.remove(order[-1])
    return order


def _recipe_of(folder: Path, remembered: Mapping[str, Any]) -> tuple[str, dict[str, list[str]], list[Remark]]:
    """(what the recipe is about, settings that are others there now by step, remarks), where it is at hand."""
    path = Path(str(remembered.get("recipe") or ""))
    if not remembered.get("recipe") or not path.exists() or "set" not in remembered:
        return "", {}, []
    from zhllm.recipe import open_recipe
    from zhllm.stage import settings_of

    try:
        recipe = open_recipe(path, folder, [str(text) for text in remembered["set"]])
    except (ZhllmError, TypeError, ValueError, OSError) as error:
        return "", {}, [Remark("bad_recipe", {"error": str(error).split("\n")[0]})]
    changed: dict[str, list[str]] = {}
    for step in recipe.steps:
        made = _step(folder, {"name": step.name}).made
        if made is None or made.key.get("stage") != step.stage.name:
            continue
        now, then = settings_of(step.config), made.key.get("config") or {}
        changed[step.name] = [key for key in now if now[key] != then.get(key, now[key])]
    return recipe.file.about, changed, []


def _judged(steps: list[Step], changed: Mapping[str, list[str]], verify: bool) -> list[Step]:
    """The steps in order, those that a run would make again marked with why."""
    judged: list[Step] = []
    behind: set[str] = set()
    for step in steps:
        found = _verified(step) if verify else step
        if found.state in (DONE, DAMAGED):
            found = _stale(found, changed.get(step.name, []), behind)
        if found.state != DONE:
            behind.add(step.name)
        judged.append(found)
    return judged


def _verified(step: Step) -> Step:
    """The step, damaged where a file's bytes are not those that were written."""
    if step.made is None or step.state == DAMAGED:
        return step
    wrong = [name for name, digest in step.made.files.items() if manifest.digest_file(step.folder / name) != digest]
    return _remarked(step, "changed_files", DAMAGED, files=", ".join(wrong[:3]), count=len(wrong)) if wrong else step


def _stale(step: Step, settings: list[str], behind: set[str]) -> Step:
    state = step.state if step.state == DAMAGED else STALE
    version = _version_now(step.stage)
    then = step.made.key.get("version") if step.made is not None else None
    if version is not None and then is not None and version != then:
        step = _remarked(step, "other_version", state, then=then, now=version)
    if settings:
        step = _remarked(step, "other_settings", state, settings=", ".join(settings))
    for source in step.sources:
        if source.state == "changed":
            step = _remarked(step, "input_changed", state, input=source.step or source.path)
    waiting = sorted({s.step for s in step.sources if s.step in behind and s.state != "changed"})
    return _remarked(step, "behind", state, steps=", ".join(waiting)) if waiting else step


def _version_now(stage: str) -> int | None:
    from zhllm.commands import STAGES
    from zhllm.stage import load

    return load(stage).version if stage in STAGES else None
