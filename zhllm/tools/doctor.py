"""doctor: whether this machine can run the stages, what is missing for which, and what to do about it.

Imports the standard library and click only, so that it works where an install is half done.
"""

from __future__ import annotations

import importlib
import importlib.util
import json as json_module
import locale
import os
import platform
import re
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from zhllm.commands import STAGES
from zhllm.errors import ConfigError

GIB = 2**30
LEAST_FREE_BYTES = 5 * GIB
LEAST_SHARED_BYTES = GIB // 4
TRAIN = ("pretrain", "sft")
# Packages that are imported by another name than they are installed by.
INSTALLED_AS = {"google.protobuf": "protobuf", "opencc": "OpenCC", "yaml": "pyyaml"} | {
    name: name.replace("_", "-") for name in ("flash_attn", "liger_kernel", "lm_eval")
}
# What these import themselves, without which they do not work here.
WITH = {"sentencepiece": ("google.protobuf",), "transformers": ("jinja2",)}
# No stage stops without these. What each is for, how it is had, and the stages that reach it another way than by
# importing it: told of only where a stage that was asked for uses it.
OPTIONAL: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "bitsandbytes": ("--optimizer with 8bit or paged, 4-bit weights", "pip install bitsandbytes", TRAIN),
    "datasets": ("--harness", "pip install 'zhllm[harness]'", ()),
    "fastapi": ("the HTTP server", "pip install fastapi uvicorn", ()),
    "flash_attn": ("flash attention kernels", "pip install flash-attn", ()),
    "liger_kernel": ("fused kernels, on GPUs", "pip install liger-kernel", ()),
    "lm_eval": ("--harness", "pip install 'zhllm[harness]'", ()),
    "ray": ("--engine ray", "pip install 'zhllm[cluster]'", ()),
    "swanlab": ("--track swanlab", "pip install swanlab", TRAIN),
    "tensorboard": ("--track tensorboard", "pip install tensorboard", TRAIN),
    "tiktoken": ("comparing token ids with tiktoken's", "pip install tiktoken", ()),
    "tqdm": ("--harness", "pip install 'zhllm[harness]'", ()),
    "trl": ("PPO and GRPO", "pip install trl", ()),
    "wandb": ("--track wandb", "pip install wandb", TRAIN),
    "xllamacpp": ("asking llama.cpp itself, GGUF files", "pip install 'zhllm[llama]'", ("export", "evaluate")),
}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: "ok", a "note", or "missing" where a stage that was asked for cannot run."""

    name: str
    state: str
    found: str
    do: str = ""
    stages: tuple[str, ...] = ()


@click.command()
@click.option("--for", "names", multiple=True, help="Stages that are to run, or several with commas  [default: all]")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path(), help="Where results will be written.")
@click.option("--self-test/--no-self-test", default=True, show_default=True, help="Compute something small.")
@click.option("--json", is_flag=True, help="Print everything as one JSON object on stdout.")
def command(names: tuple[str, ...], out: Path, self_test: bool, json: bool) -> None:
    """Look at this machine: versions, devices, memory, disk, packages, and whether it computes right.

    Ends with 0 when the stages asked for can run, with 4 when something they need is missing. Each finding says
    what to do. torch is imported only where a stage needs it.

    \b
    zhllm doctor
    zhllm doctor --for collect,clean
    zhllm doctor --for pretrain -o /data/runs --json
    """
    stages = stages_of(names)
    findings = list(look(stages, out, self_test))
    lacking = {stage for finding in findings if finding.state == "missing" for stage in finding.stages or stages}
    ready = {stage: stage not in lacking for stage in stages}
    if json:
        click.echo(
            json_module.dumps({"ready": ready, "findings": [asdict(one) for one in findings]}, ensure_ascii=False)
        )
    else:
        click.echo(as_text(findings, ready))
    if lacking:
        raise SystemExit(4)


def stages_of(names: tuple[str, ...]) -> tuple[str, ...]:
    """The stages named, all of them where none is; ConfigError for an unknown one."""
    wanted = [part.strip() for name in names for part in name.split(",") if part.strip()]
    for name in wanted:
        if name not in STAGES:
            from difflib import get_close_matches

            close = get_close_matches(name, STAGES, n=1)
            hint = f'Did you mean "{close[0]}"?' if close else f"Stages: {', '.join(STAGES)}."
            raise ConfigError(f'--for "{name}": there is no such stage. {hint}')
    return tuple(dict.fromkeys(wanted)) or tuple(STAGES)


def look(stages: tuple[str, ...], out: Path, self_test: bool) -> Iterator[Finding]:
    """All findings, the cheap ones first."""
    imported = {stage: imported_by(stage) for stage in stages}
    needs = {stage: found - OPTIONAL.keys() for stage, found in imported.items()}
    yield python_version()
    yield from packages(needs)
    yield from machine()
    yield from places(out)
    yield encoding()
    with_torch = tuple(stage for stage in stages if "torch" in needs[stage])
    if with_torch and importlib.util.find_spec("torch") is not None:
        yield from devices(with_torch, self_test)
    yield from optional(imported)


# --- Versions and packages ---


def requirements() -> dict[str, str]:
    """Lower bounds by package, lower case, and "python"; from pyproject.toml beside the code, or what was installed."""
    path = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if path.is_file():
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        lines, python = project["dependencies"], project["requires-python"]
    else:
        lines = [line for line in metadata.requires("zhllm") or [] if "extra ==" not in line]
        python = metadata.metadata("zhllm")["Requires-Python"]
    bounds = {"python": python.removeprefix(">=")}
    for line in lines:
        found = re.match(r"([\w.-]+)\s*>=\s*([\w.]+)", line)
        if found is not None:
            bounds[found[1].lower()] = found[2]
    return bounds


def is_older(version: str, bound: str) -> bool:
    """Whether a version is below a bound; numbers compared part by part, build tags left out."""

    def parts(text: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", text.split("+")[0])[:4]]

    ours, theirs = parts(version), parts(bound)
    length = max(len(ours), len(theirs))
    return ours + [0] * (length - len(ours)) < theirs + [0] * (length - len(theirs))


def python_version() -> Finding:
    """The interpreter against the lower bound."""
    version, bound = platform.python_version(), requirements()["python"]
    if is_older(version, bound):
        return Finding("python", "missing", f"{version}, {bound} is needed", f"Install Python {bound} or newer.")
    return Finding("python", "ok", f"{version} ({sys.executable})")


def imported_by(stage: str) -> set[str]:
    """The packages that a stage's modules import, found by reading them; nothing is imported."""
    seen: set[str] = set()
    found = {"click"}
    waiting = [f"zhllm.stages.{stage.replace('-', '_')}"]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += [module for module in _modules_in(name) if module.startswith("zhllm.")]
            found |= {module.split(".")[0] for module in _modules_in(name)} - {"zhllm"}
    return {name for name in found if name not in sys.stdlib_module_names} | {i for n in found for i in WITH.get(n, ())}


@cache
def _modules_in(name: str) -> tuple[str, ...]:
    """What a module of zhllm imports; () for a name that is none."""
    import ast

    place = Path(__file__).resolve().parents[2].joinpath(*name.split("."))
    path = next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)
    return () if path is None else tuple(dict.fromkeys(_imports(ast.parse(path.read_text(encoding="utf-8")))))


def _imports(node: Any) -> Iterator[str]:
    """Modules that code imports, inside functions too; those for type checking only left out."""
    import ast

    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names if child.module.startswith("zhllm"))
        else:
            yield from _imports(child)


def packages(needs: dict[str, set[str]]) -> Iterator[Finding]:
    """Each package of the stages: there, too old, or missing."""
    bounds = requirements()
    for name in sorted({name for found in needs.values() for name in found}):
        stages = tuple(stage for stage, found in needs.items() if name in found)
        package = INSTALLED_AS.get(name, name)
        bound = bounds.get(package.lower(), "0")
        version = _version(package)
        install = f"pip install '{package}>={bound}'" if bound != "0" else f"pip install {package}"
        if version is None or not _is_importable(name):
            yield Finding(package, "missing", f"not installed ({bound} or newer)", install, stages)
        elif is_older(version, bound):
            yield Finding(package, "missing", f"{version}, {bound} is needed", install, stages)
        else:
            yield Finding(package, "ok", version, stages=stages)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _is_importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def optional(imported: dict[str, set[str]]) -> Iterator[Finding]:
    """Packages that the stages can use and do not stop without."""
    for name, (purpose, install, reached) in OPTIONAL.items():
        stages = tuple(stage for stage, found in imported.items() if name in found or stage in reached)
        package = INSTALLED_AS.get(name, name)
        version = _version(package)
        if stages and version is None:
            yield Finding(package, "note", f"not installed; only for {purpose}", install, stages)
        elif stages:
            yield Finding(package, "ok", f"{version} (for {purpose})", stages=stages)


# --- The machine ---


def machine() -> Iterator[Finding]:
    """Processor, memory and their limits."""
    from zhllm.train.plan.machine import cpu, host_memory

    processor, memory = cpu(), host_memory()
    cores = f"{processor.cores} cores" + (f", {processor.quota:g} by cgroup" if processor.quota is not None else "")
    half = "bf16 in hardware" if processor.has_bf16 else "no bf16 in hardware (bf16 is slower than fp32 here)"
    threads = os.environ.get("OMP_NUM_THREADS")
    state = "note" if processor.quota is not None and processor.quota < processor.cores else "ok"
    do = f"Set OMP_NUM_THREADS={max(1, round(processor.quota or 1))} and --workers likewise." if state == "note" else ""
    yield Finding("cpu", state, f"{processor.name}: {cores}, {half}; OMP_NUM_THREADS {threads or 'not set'}", do)
    if memory.total_bytes is None:
        yield Finding("memory", "note", "not known on this system")
        return
    limit = "" if memory.limit_bytes is None else f", {_gib(memory.limit_bytes)} by cgroup"
    free = "" if memory.available_bytes is None else f", {_gib(memory.available_bytes)} free"
    low = (memory.usable_bytes or 0) < 2 * GIB
    do = "Close other programs, or raise the limit: clean needs 0.6 GiB, training what zhllm plan says." if low else ""
    yield Finding("memory", "note" if low else "ok", f"{_gib(memory.total_bytes)}{free}{limit}", do)


def places(out: Path) -> Iterator[Finding]:
    """Free space where results go, a writable temporary folder, shared memory."""
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if not os.access(place, os.W_OK):
        yield Finding("disk", "missing", f"{place}: cannot be written", "Give another -o, or change its rights.")
    elif free < LEAST_FREE_BYTES:
        yield Finding("disk", "note", f"{place}: {_gib(free)} free", "Free some space: a 7B in bf16 takes 13 GiB.")
    else:
        yield Finding("disk", "ok", f"{place}: {_gib(free)} free")
    try:
        with tempfile.TemporaryFile() as file:
            file.write(b"\0" * 4096)
        yield Finding(
            "temporary folder",
            "ok",
            f"{tempfile.gettempdir()}: {_gib(shutil.disk_usage(tempfile.gettempdir()).free)} free",
        )
    except OSError as error:
        yield Finding("temporary folder", "missing", f"cannot be written ({error})", "Set TMPDIR to a folder that can.")
    shared = Path("/dev/shm")
    if shared.is_dir():
        free = shutil.disk_usage(shared).free
        low = free < LEAST_SHARED_BYTES
        do = "In a container: docker run --shm-size 1g (several processes exchange data there)." if low else ""
        yield Finding("/dev/shm", "note" if low else "ok", f"{_gib(free)} free", do)


def encoding() -> Finding:
    """Whether Chinese can be printed and file names read."""
    names = {"terminal": sys.stdout.encoding or "", "files": locale.getpreferredencoding(False)}
    names["file names"] = sys.getfilesystemencoding()
    wrong = [f"{place} {name}" for place, name in names.items() if name.lower().replace("-", "") != "utf8"]
    if wrong:
        return Finding("encoding", "note", ", ".join(wrong), "Set LANG=C.UTF-8 or PYTHONUTF8=1: Chinese is UTF-8 here.")
    return Finding("encoding", "ok", "UTF-8")


def _gib(size: float) -> str:
    return f"{size / GIB:,.1f} GiB"


# --- torch ---


def devices(stages: tuple[str, ...], self_test: bool) -> Iterator[Finding]:
    """What torch finds, and small proofs that it computes."""
    try:
        import torch
    except (ImportError, OSError) as error:
        yield Finding("torch starts", "missing", str(error).splitlines()[0], "Install torch anew.", stages)
        return
    names = ["cpu"]
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        half = (
            "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bf16: --precision fp16 or fp32"
        )
        text = f"{found.name}: {_gib(found.total_memory)}, compute capability {found.major}.{found.minor}, {half}"
        yield Finding(f"cuda:{index}", "ok", text)
        names = ["cpu", "cuda"]
    if not torch.cuda.is_available():
        yield _no_gpu(torch.__version__)
    yield Finding("torch threads", "ok", f"{torch.get_num_threads()}")
    for device in names if self_test else ():
        yield from self_tests(device, stages)


def _no_gpu(version: str) -> Finding:
    driver = Path("/proc/driver/nvidia/version").is_file()
    if driver and "+cpu" in version:
        return Finding("gpu", "note", f"an NVIDIA driver is there, but torch {version} is a CPU build",
                       "Install torch's CUDA build: https://pytorch.org/get-started/locally")  # fmt: skip
    if driver:
        return Finding("gpu", "note", f"an NVIDIA driver is there, but torch {version} finds no device",
                       "Look at nvidia-smi and CUDA_VISIBLE_DEVICES.")  # fmt: skip
    return Finding("gpu", "note", "none: training runs on the CPU", "zhllm plan --device cpu says what that takes.")


def self_tests(device: str, stages: tuple[str, ...]) -> Iterator[Finding]:
    """A bf16 product, a step of a toy Llama, and with bitsandbytes a 4-bit gradient."""
    training = tuple(stage for stage in stages if stage in TRAIN)
    yield _tested(f"bf16 product on {device}", "bf16_product", device, (), "Use --precision fp32.")
    if importlib.util.find_spec("transformers") is not None:
        install = "Install torch and transformers anew, in the versions of constraints.txt."
        yield _tested(f"training step on {device}", "toy_step", device, training or stages, install)
    if importlib.util.find_spec("bitsandbytes") is not None:
        do = "Do not train in 4 bits on this device with this bitsandbytes, unless its repacking is switched off."
        yield _tested(f"4-bit gradient on {device}", "four_bit_gradient", device, (), do)


def _tested(name: str, test: str, device: str, stages: tuple[str, ...], do: str) -> Finding:
    """What a self-test found; one that no stage stands on is only a note."""
    try:
        run: Callable[[str], Any] = getattr(importlib.import_module("zhllm.train.selftest"), test)
        outcome = run(device)
        passed, found = outcome.passed, outcome.found
    except Exception as error:  # whatever breaks here is what doctor is there to tell
        lines = str(error).splitlines() or [""]
        passed, found = False, f"{type(error).__name__}: {lines[0]}"
    state = "ok" if passed else "missing" if stages else "note"
    return Finding(name, state, found, "" if passed else do, stages if not passed else ())


def as_text(findings: list[Finding], ready: dict[str, bool]) -> str:
    """The findings for people, what to do under each, and which stages can run."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<8}{finding.name:<{width}}  {finding.found}")
        if finding.do:
            of = f" [{', '.join(finding.stages)}]" if finding.state == "missing" and finding.stages else ""
            lines.append(f"{'':<8}{'':<{width}}  -> {finding.do}{of}")
    cannot = [stage for stage, can in ready.items() if not can]
    can = [stage for stage, can in ready.items() if can]
    lines.append("")
    if can:
        lines.append(f"can run: {' '.join(can)}")
    if cannot:
        lines.append(f"cannot run: {' '.join(cannot)}")
    return "\n".join(lines)
