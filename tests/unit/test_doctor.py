"""`doctor`: what it finds of packages, limits, disk and encoding, and that missing things end with exit code 4."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT
from test_cli import run
from test_layers import HEAVY
from toys import run_apart

from zhllm.commands import STAGES
from zhllm.errors import ConfigError
from zhllm.tools import doctor
from zhllm.tools.doctor import OPTIONAL, Finding, imported_by, is_older, packages, places, requirements, stages_of
from zhllm.train.plan.machine import cpu, host_memory

GIB = 2**30


def by_name(findings: Any) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def examine(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(["doctor", *words, "--json"], capsys)
    return code, json.loads(out)


# --- The program ---


def test_this_machine_can_run_the_tests(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = examine(capsys)
    missing = [finding for finding in found["findings"] if finding["state"] == "missing"]
    assert (code, missing) == (0, []) and found["ready"] == dict.fromkeys(STAGES, True)
    names = {finding["name"]: finding for finding in found["findings"]}
    assert {"python", "torch", "cpu", "memory", "disk", "/dev/shm", "encoding", "temporary folder"} <= set(names)
    assert names["bf16 product on cpu"]["state"] == names["training step on cpu"]["state"] == "ok"
    assert all(finding["do"] for finding in found["findings"] if finding["state"] != "ok")
    code, out, _ = run(["doctor", "--no-self-test"], capsys)
    assert code == 0 and "can run: collect clean" in out and "bf16 product" not in out


def test_a_stage_without_torch_imports_none() -> None:
    done, seconds, modules = run_apart(["doctor", "--for", "collect"])
    assert done.returncode == 0 and "can run: collect" in done.stdout and seconds < 20
    assert not modules & (HEAVY | {"pydantic", "yaml"}), modules & HEAVY


def test_it_works_where_nothing_is_installed_but_click(tmp_path: Path) -> None:
    """An interpreter that sees click and zhllm alone: every stage lacks something, and the exit code is 4."""
    import click

    (tmp_path / "click").symlink_to(Path(click.__file__).parent)
    (tmp_path / "zhllm").symlink_to(ROOT / "zhllm")
    (tmp_path / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from zhllm.cli import main; main(['doctor'])"
    done = subprocess.run([sys.executable, "-S", "-s", "-c", code], capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "cannot run: collect" in done.stdout and "pip install 'torch>=" in done.stdout
    assert "can run: \n" not in done.stdout and "Traceback" not in done.stderr


def test_an_unknown_stage_is_named_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["doctor", "--for", "pretrian"], capsys)
    assert code == 2 and 'there is no such stage. Did you mean "pretrain"?' in err
    assert stages_of(("collect,clean", "pack", "clean")) == ("collect", "clean", "pack") and stages_of(()) == tuple(
        STAGES
    )
    with pytest.raises(ConfigError, match="Stages: collect, clean"):
        stages_of(("zzz",))


# --- Packages ---


def test_bounds_are_those_of_pyproject() -> None:
    bounds = requirements()
    assert bounds["python"] == "3.11" and bounds["opencc"] == "1.1.7" and bounds["sentencepiece"] == "0.2.2"
    assert set(bounds) > {"torch", "transformers", "peft", "accelerate", "polars"} and "pytest" not in bounds


@pytest.mark.parametrize(
    "version, bound, older",
    [
        ("2.13.0+cpu", "2.6", False),
        ("2.5.1", "2.6", True),
        ("2.6", "2.6.0", False),
        ("0.9", "0.10", True),
        ("26.3", "15", False),
        ("5.0.0rc1", "5.0", False),
        ("1.1.7", "1.1.7", False),
    ],
)
def test_versions_are_compared_part_by_part(version: str, bound: str, older: bool) -> None:
    assert is_older(version, bound) is older


def test_every_stages_packages_are_in_pyproject() -> None:
    """What a stage's code imports is declared, or optional and known to doctor."""
    declared = set(requirements())
    for stage in STAGES:
        for name in imported_by(stage):
            assert name in OPTIONAL or doctor.INSTALLED_AS.get(name, name).lower() in declared, (stage, name)


def test_a_stage_needs_what_its_modules_import() -> None:
    assert "torch" in imported_by("pretrain") and "bitsandbytes" in imported_by("pretrain")
    assert "torch" not in imported_by("collect") | imported_by("clean") | imported_by("train-vocab")
    assert {"lxml", "pypdfium2", "click", "pydantic"} <= imported_by("collect") and "polars" in imported_by("clean")
    assert "google.protobuf" in imported_by("extend-vocab"), "sentencepiece's own need"


def test_imports_are_read_inside_functions_and_not_for_types() -> None:
    code = (
        "import json\nif TYPE_CHECKING:\n    import torch\ndef f():\n from zhllm.text import runs\n import lxml.etree"
    )
    assert list(doctor._imports(ast.parse(code))) == ["json", "zhllm.text", "zhllm.text.runs", "lxml.etree"]


def test_missing_and_old_packages_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "1.0", "lxml": None, "OpenCC": "9.9"}
    monkeypatch.setattr(doctor, "_version", versions.get)
    found = by_name(packages({"pretrain": {"torch"}, "collect": {"lxml"}, "clean": {"lxml", "opencc"}}))
    assert found["torch"] == Finding(
        "torch", "missing", "1.0, 2.6 is needed", "pip install 'torch>=2.6'", ("pretrain",)
    )
    assert found["lxml"].state == "missing" and found["lxml"].stages == ("collect", "clean")
    assert found["lxml"].do == "pip install 'lxml>=5.0'" and found["OpenCC"].state == "ok"
    monkeypatch.setattr(doctor, "_is_importable", lambda name: False)
    assert by_name(packages({"clean": {"opencc"}}))["OpenCC"].state == "missing", "metadata without the package"


def test_what_is_missing_for_one_stage_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "gguf" else real(name))
    code, found = examine(capsys, "--for", "collect,export", "--no-self-test")
    assert code == 4 and found["ready"] == {"collect": True, "export": False}
    assert examine(capsys, "--for", "collect")[0] == 0
    _, out, _ = run(["doctor", "--for", "collect,export", "--no-self-test"], capsys)
    assert "-> pip install 'gguf>=0.17' [export]" in out and "cannot run: export" in out


def test_optional_packages_are_told_where_a_stage_uses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    names = by_name(doctor.optional({"pretrain": imported_by("pretrain")}))
    assert {"bitsandbytes", "wandb", "swanlab"} <= set(names) and not {"ray", "xllamacpp"} & set(names)
    assert all(finding.state == "note" and finding.do.startswith("pip install") for finding in names.values())
    assert set(by_name(doctor.optional({"clean": imported_by("clean")}))) == {"ray"}


# --- The machine ---


def fake_root(tmp_path: Path, **files: str) -> Path:
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


MEMINFO = "MemTotal:       16777216 kB\nMemFree:  1 kB\nMemAvailable:    8388608 kB\n"


def test_limits_of_cgroups_are_read(tmp_path: Path) -> None:
    root = fake_root(
        tmp_path,
        proc__cpuinfo="processor : 0\nmodel name : Some CPU\nflags : fpu avx512_bf16\n\nprocessor : 1\nmodel name : B",
        proc__meminfo=MEMINFO,
        proc__self__cgroup="0::/work.slice/job\n",
    )
    assert cpu(root).name == "Some CPU" and cpu(root).has_bf16 and cpu(root).quota is None
    memory = host_memory(root)
    assert (memory.total_bytes, memory.available_bytes, memory.limit_bytes) == (16 * GIB, 8 * GIB, None)
    job = root / "sys/fs/cgroup/work.slice/job"
    job.mkdir(parents=True)
    (job / "memory.max").write_text("max\n")
    (job.parent / "memory.max").write_text(f"{4 * GIB}\n")
    (job / "cpu.max").write_text("150000 100000\n")
    assert host_memory(root).limit_bytes == 4 * GIB == host_memory(root).usable_bytes and cpu(root).quota == 1.5


def test_version_one_cgroups_and_unknown_systems(tmp_path: Path) -> None:
    root = fake_root(
        tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup="5:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n",
        sys__fs__cgroup__memory__memory__limit_in_bytes="",
    )  # fmt: skip
    (root / "sys/fs/cgroup/memory/docker/a").mkdir(parents=True)
    (root / "sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes").write_text(str(2 * GIB))
    (root / "sys/fs/cgroup/cpu").mkdir()
    (root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us").write_text("50000\n")
    (root / "sys/fs/cgroup/cpu/cpu.cfs_period_us").write_text("100000\n")
    assert host_memory(root).limit_bytes == 2 * GIB and cpu(root).quota == 0.5
    (root / "sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes").write_text("9223372036854771712")
    assert host_memory(root).limit_bytes is None, "version 1's word for no limit"
    nothing = host_memory(tmp_path / "elsewhere")
    assert (nothing.total_bytes, nothing.usable_bytes) == (None, None) and cpu(tmp_path / "elsewhere").cores >= 1


def test_a_small_quota_advises_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    from zhllm.train.plan import machine

    monkeypatch.setattr(machine, "cpu", lambda: machine.Cpu("c", 8, 2.0, frozenset()))
    monkeypatch.setattr(machine, "host_memory", lambda: machine.HostMemory(8 * GIB, GIB, None))
    found = by_name(doctor.machine())
    assert found["cpu"].state == "note" and "OMP_NUM_THREADS=2" in found["cpu"].do and "no bf16" in found["cpu"].found
    assert found["memory"].state == "note" and "1.0 GiB free" in found["memory"].found


def test_disk_and_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert by_name(places(tmp_path / "not" / "yet"))["disk"].found.startswith(str(tmp_path))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**26))
    found = by_name(places(tmp_path))
    assert found["disk"].state == "note" and "0.1 GiB free" in found["disk"].found
    if "/dev/shm" in found:
        assert "--shm-size" in found["/dev/shm"].do
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert by_name(places(tmp_path))["disk"].state == "missing"

    def refuse() -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    found = by_name(places(tmp_path))
    assert found["temporary folder"].state == "missing" and "TMPDIR" in found["temporary folder"].do


def test_a_terminal_without_utf_8_is_told() -> None:
    code = "from zhllm.tools.doctor import encoding as e; f = e(); print(f.state, ascii(f.found), ascii(f.do))"
    env = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "gbk"}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=ROOT, check=True)
    assert shown.stdout.startswith("note") and "gbk" in shown.stdout and "PYTHONUTF8=1" in shown.stdout
    env = {"PYTHONUTF8": "1"}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, cwd=ROOT, check=True)
    assert shown.stdout.startswith("ok 'UTF-8'")


# --- Self-tests ---


def test_a_wrong_result_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    from zhllm.train import selftest

    monkeypatch.setattr(selftest, "toy_step", lambda device: selftest.Outcome(False, "loss nan"))

    def broken(device: str) -> None:
        raise RuntimeError("no kernel\nmore")

    monkeypatch.setattr(selftest, "bf16_product", broken)
    found = by_name(doctor.self_tests("cpu", ("pretrain", "export")))
    step = found["training step on cpu"]
    assert (step.state, step.found, step.stages) == ("missing", "loss nan", ("pretrain",))
    product = found["bf16 product on cpu"]
    assert (product.state, product.found) == ("note", "RuntimeError: no kernel") and "fp32" in product.do


def test_self_tests_see_a_wrong_product(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from zhllm.train import selftest

    assert selftest.bf16_product("cpu").passed and selftest.toy_step("cpu").passed
    monkeypatch.setattr(selftest, "BF16_TOLERANCE", 1e-6)
    assert not selftest.bf16_product("cpu").passed
    monkeypatch.setattr(torch.Tensor, "backward", lambda self: None)
    assert not selftest.toy_step("cpu").passed


def test_four_bit_gradients_are_right_here_or_found_wrong() -> None:
    """Where bitsandbytes packs weights anew in eval mode (AVX512-BF16) the gradient is wrong, and right without."""
    pytest.importorskip("bitsandbytes")
    from zhllm.train.selftest import four_bit_gradient

    assert four_bit_gradient("cpu", repack=False).passed
    if not cpu().has_bf16:
        assert four_bit_gradient("cpu").passed
