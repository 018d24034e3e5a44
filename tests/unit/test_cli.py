"""The command line as people meet it: help, mistakes, exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from zhllm.cli import main
from zhllm.commands import STAGES, TOOLS


def run(args: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(args)
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_help_imports_nothing_heavier_than_click() -> None:
    code = (
        "import sys\n"
        "from zhllm.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as left:\n    assert left.code == 0\n"
        "third = {m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names)\n"
        "print('MODULES', sorted(m for m in third if not m.startswith('_')))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    modules = shown.split("MODULES ")[1]
    assert eval(modules) == ["click", "zhllm"], modules


@pytest.mark.parametrize("name", [*STAGES, *TOOLS])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run([name, "--help"], capsys)
    assert code == 0
    assert f"zhllm {name}" in out.replace("Usage: zhllm", ""), "the help has no example"


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["extend-vocap"], capsys)
    assert code == 2 and 'Did you mean "extend-vocab"?' in err


def test_a_list_option_takes_several_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("实验室的样品每三天记录一次，由负责人检查数据。" + name, encoding="utf-8")
    args = ["collect", "--source", str(tmp_path / "a.txt"), str(tmp_path / "b.txt"), "-o", str(tmp_path / "out")]
    code, out, _ = run(args, capsys)
    assert code == 0 and "docs: 2" in out


def test_a_missing_path_is_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(["collect", "--source", str(tmp_path / "no"), "-o", str(tmp_path / "out")], capsys)
    assert code == 2 and err.count("\n") == 1 and "there is no such file or folder" in err


def test_a_value_of_the_wrong_kind_is_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["train-vocab", "--corpus", str(tmp_path), "--size", "0", "-o", str(tmp_path / "out")]
    code, _, err = run(args, capsys)
    assert code == 2 and "size" in err
