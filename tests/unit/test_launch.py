"""The launch configs of the tree are ones that accelerate takes, and say what zhllm is to do."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from zhllm import ranks
from zhllm.cli import main
from zhllm.errors import ConfigError
from zhllm.launch import read_launch, run_launched
from zhllm.recipe import as_shell, open_recipe
from zhllm.train.processes import _strategy

FILES = sorted((ROOT / "recipes/accelerate").glob("*.yaml"))
EVERY = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
FSDP = {"fsdp2": "false", "fsdp2-offload": "true", "two-machines": "false"}  # and whether parts stay in main memory


def environment_of(file: Path) -> dict[str, str]:
    """What `accelerate launch --config_file FILE -m zhllm` adds to the environment of its processes."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    parser = launch_command_parser()
    given = parser.parse_args(["--config_file", str(file), "-m", "zhllm"])
    arguments, config, _ = _validate_launch_command(given)
    assert set(config.fsdp_config) <= set(vars(parser.parse_args(["x"]))), "accelerate ignores unknown fsdp keys"
    assert arguments.use_fsdp or arguments.multi_gpu, "one process would be started"
    return {k: v for k, v in prepare_multi_gpu_env(arguments).items() if os.environ.get(k) != v}


def test_there_are_the_configs_that_the_readme_names() -> None:
    assert {file.stem for file in FILES} == {"ddp", *FSDP, "cpu-2"}


@EVERY
def test_accelerate_takes_the_config_and_zhllm_the_environment(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = environment_of(file)
    assert found["ACCELERATE_MIXED_PRECISION"] == "no"
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WORLD_SIZE", str(read_launch(file).processes))
    assert _strategy() == ("fsdp2" if file.stem in FSDP else "ddp")
    if file.stem in FSDP:
        assert found["FSDP_OFFLOAD_PARAMS"] == FSDP[file.stem]
        assert found["FSDP_RESHARD_AFTER_FORWARD"] == "true"


@EVERY
def test_each_config_says_what_to_change(file: Path) -> None:
    said = file.read_text(encoding="utf-8")
    assert said.startswith("# ") and ("# Change: " in said or file.stem == "cpu-2")


def test_deepspeed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(ConfigError, match="DeepSpeed, which zhllm does not drive. Use FSDP2"):
        _strategy()


def recipe(folder: Path, **changes: Any) -> Path:
    step = {
        "model": "model",
        "data": "data",
        "rows_per_step": 4,
        "lora_targets": ["q_proj", "v_proj"],
        "compile": False,
    }
    content = {"about": "One.", "launch": "cpu.yaml", "stages": {"pretrain": step}, **changes}
    (folder / "cpu.yaml").write_text("distributed_type: MULTI_GPU\nnum_processes: 2\n")
    (folder / "recipe.yaml").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("changes", "assignment", "message"),
    [
        ({"launch": "gpu.yaml"}, "", r"launch: .*gpu\.yaml: there is no such file"),
        ({}, "launch=recipe.yaml", r"launch: recipe\.yaml: num_processes is None"),
        ({}, "pretrain.rows_per_step=3", r"stages\.pretrain\.rows_per_step: 3 cannot be dealt to the 2 processes of"),
        ({"stages": {"collect": {"source": "x"}}}, "", r"launch: .*cpu\.yaml: no step here can run in several p"),
        ({}, "lunch=cpu.yaml", 'unknown key lunch. Did you mean "launch"?'),
    ],
)  # fmt: skip
def test_a_launch_that_cannot_be_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], assignment: str, message: str
) -> None:
    monkeypatch.chdir(recipe(tmp_path, **changes))
    with pytest.raises(ConfigError, match=message):
        open_recipe(tmp_path, tmp_path / "run", [assignment] if assignment else [])


def test_the_shell_script_shows_the_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(recipe(tmp_path))
    script = as_shell(open_recipe(tmp_path, Path("RUN")))
    assert "\naccelerate launch --config_file cpu.yaml -m zhllm pretrain \\\n  --model model \\\n" in script
    assert "  --lora-targets q_proj v_proj \\\n" in script and "  --no-compile \\\n" in script
    assert "\nzhllm pretrain" in as_shell(open_recipe(tmp_path, Path("RUN"), ["launch=null"]))


def test_of_processes_that_fail_the_first_is_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = tmp_path / "failure.json"
    monkeypatch.setenv(ranks.FAILURE_FILE, str(told))
    for arguments in (["status", "nowhere"], ["nothing"]):
        with pytest.raises(SystemExit):
            main(arguments)
    found = json.loads(told.read_text())
    assert found["exit_code"] == 2 and found["message"].startswith("nowhere: is not a run folder")
    assert capsys.readouterr().err == ""


def test_a_launcher_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text("distributed_type: MULTI_GPU\nnum_processes: 2\nnum_machine: 1\n")
    with pytest.raises(Exception, match="pretrain: accelerate launch ended with exit code 1"):
        run_launched(read_launch(file), ["pretrain"])
