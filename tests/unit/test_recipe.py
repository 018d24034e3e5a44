"""A recipe is checked whole before its first step; the recipes of the tree and their steps.sh are sound."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from toys import run_apart

from zhllm.cli import main
from zhllm.commands import STAGES
from zhllm.config import Config, named_input_paths
from zhllm.errors import ConfigError
from zhllm.flags import config_from_flags, stage_command
from zhllm.recipe import Recipe, as_shell, check_sources, open_recipe
from zhllm.stage import load

RECIPES = sorted(path.parent for path in (ROOT / "recipes").glob("*/recipe.yaml"))
EVERY_RECIPE = pytest.mark.parametrize("folder", RECIPES, ids=lambda path: path.name)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A recipe of three steps with its documents beside it; `change` edits it."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("实验室的样品每三天记录一次。", encoding="utf-8")
    write(tmp_path, {})
    return tmp_path


def write(folder: Path, change: dict[str, Any]) -> Path:
    """recipe.yaml of the folder, with some of its keys replaced."""
    content: dict[str, Any] = {
        "about": "Three steps.",
        "vars": {"documents": "docs", "size": 50},
        "stages": {
            "read": {"run": "collect", "source": "${documents}"},
            "clean": {"documents": "@read", "valid_share": 0.1},
            "train-vocab": {"corpus": "@clean", "size": "${size}"},
        },
        "summary": {"pieces": "train-vocab.pieces"},
        "paths": {"clean": "@clean"},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**content, **change}, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def stages_with(**changes: Any) -> dict[str, Any]:
    """The three steps, some with other settings."""
    stages: dict[str, Any] = {
        "read": {"run": "collect", "source": "docs"},
        "clean": {"documents": "@read"},
        "train-vocab": {"corpus": "@clean", "size": 50},
    }
    return {"stages": {**stages, **{name.replace("_", "-"): value for name, value in changes.items()}}}


def opened(folder: Path, *assignments: str) -> Recipe:
    return open_recipe(folder, folder / "run", assignments)


def placeholders(folder: Path) -> list[str]:
    """A value for every var that a recipe leaves to its user."""
    variables = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8")).get("vars") or {}
    return [f"{name}=/somewhere/{name}" for name, value in variables.items() if value is None]


def test_a_typo_in_the_last_step_is_refused_at_once(tmp_path: Path) -> None:
    """In 0.7 CPU seconds; torch alone would take 2."""
    last = list(yaml.safe_load((ROOT / "recipes/demo/recipe.yaml").read_text(encoding="utf-8"))["stages"])[-1]
    arguments = ["run", "recipes/demo", "-o", str(tmp_path / "run"), "--set", f"{last}.max_tokenz=3"]
    tries = [run_apart(arguments) for _ in range(2)]
    done, _, modules = tries[0]
    assert done.returncode == 2
    assert f'stages.{last}.max_tokenz: unknown key. Did you mean "max_tokens"?' in done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "run").exists()
    assert not modules & {"torch", "transformers", "numpy", "polars", "pyarrow", "sentencepiece", "tokenizers"}
    assert min(seconds for _, seconds, _ in tries) < 1.5


def test_every_problem_is_listed_at_once(here: Path) -> None:
    vocab = {"corpus": "@clean", "size": "many"}
    write(here, stages_with(clean={"documents": "@reed", "worker": 2}, train_vocab=vocab, pack={}))
    with pytest.raises(ConfigError) as found:
        opened(here)
    lines = str(found.value).splitlines()
    assert all(line.startswith(f"{here / 'recipe.yaml'}: ") for line in lines)
    assert [line.removeprefix(f"{here / 'recipe.yaml'}: ") for line in lines] == [
        'stages.clean.documents: "@reed": no earlier step is called reed. Did you mean "read"?',
        'stages.clean.worker: unknown key. Did you mean "workers"?',
        "stages.train-vocab.size: Input should be a valid integer, unable to parse string as an integer (got 'many').",
        "stages.pack.corpus: is needed (Cleaned folders (train and valid are kept apart), or documents; "
        "NAME=PATH makes a group).",
        "stages.pack.tokenizer: is needed (Tokenizer or model directory).",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (stages_with(clena={}), 'stages.clena: "clena" is not a stage. Did you mean "clean"? Name it with run:.'),
        (stages_with(tidy={"run": "clen"}), 'stages.tidy: "clen" is not a stage. Did you mean "clean"?'),
        (stages_with(read={"run": "collect", "source": "@clean"}), '"@clean": no earlier step is called clean.'),
        (stages_with(clean={"documents": "${docments}"}), '"${docments}": vars has no docments.'),
        ({"vars": {"documents": None, "size": 5}}, "vars.documents: has no value. Give --set docum"),
        ({"summary": {"x": "trainvocab.pieces"}}, "summary.x: no step is called 'trainvocab'. Did you mean \"train-"),
        ({"summary": {"x": "pieces"}}, "summary.x: no step is called ''."),
        ({"paths": {"x": "@claen/a.parquet"}}, "paths.x: no step is called 'claen'. Did you mean \"clean\"?"),
        ({"ask": {"model": "@merg", "questions": []}}, "ask.model: no step is called 'merg'."),
        ({"stage": {}}, 'stage: unknown key. Did you mean "stages"?'),
        ({"stages": {}}, "stages: Dictionary should have at least 1 item"),
        ({"stages": {"clean": None}}, "stages.clean: Input should be a valid dictionary"),
        (stages_with(train_vocab={"corpus": "@clean", "size": 0}), "stages.train-vocab.size: Input should be greater"),
        (
            stages_with(**{"../evil": {"run": "collect", "source": "docs"}}),
            "stages.../evil.[key]: String should match pattern",
        ),
    ],
)
def test_a_mistake_is_named_by_its_dotted_key(here: Path, change: dict[str, Any], message: str) -> None:
    path = write(here, change)
    with pytest.raises(ConfigError) as found:
        opened(here)
    assert f"{path}: {message}" in str(found.value) or (message.startswith('"') and message in str(found.value))
    assert not (here / "run").exists()


def test_equal_keys_are_refused_with_their_line(here: Path) -> None:
    path = here / "recipe.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("  clean:", "  read: {}\n  clean:", 1), encoding="utf-8")
    with pytest.raises(ConfigError, match=r'recipe\.yaml:\d+:3: not valid YAML: the key "read" stands twice'):
        opened(here)


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "not valid YAML"), ("# leer", "holds nothing"), ("- a", "holds list, not a mapping")]
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        opened(tmp_path)


def test_a_folder_without_a_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no recipe here"):
        opened(tmp_path)


def test_set_changes_vars_and_steps_and_refuses_the_rest(here: Path) -> None:
    recipe = opened(here, "size=7", "clean.valid_share=0.25", "clean.workers=2")
    _, clean, vocab = (step.config for step in recipe.steps)
    assert (vocab.size, clean.valid_share, clean.workers) == (7, 0.25, 2)  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r'--set sise=7: unknown key sise\. Did you mean "size"'):
        opened(here, "sise=7")
    with pytest.raises(ConfigError, match=r"--set claen\.workers=2: unknown key claen\.workers"):
        opened(here, "claen.workers=2")
    with pytest.raises(ConfigError, match=r'stages\.clean\.worker: unknown key\. Did you mean "workers"'):
        opened(here, "clean.worker=2")
    with pytest.raises(ConfigError, match="--set size: is not key=value"):
        opened(here, "size")


def test_paths_are_relative_to_the_recipe_and_given_ones_to_where_one_stands(
    here: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "mine").mkdir()
    monkeypatch.chdir(elsewhere)
    read, clean, _ = (step.config for step in opened(here).steps)
    assert read.source == (here / "docs",)  # type: ignore[attr-defined]
    assert clean.documents == (here / "run" / "read",)  # type: ignore[attr-defined]
    for assignment in ("documents=mine", "read.source=mine"):
        recipe = opened(here, assignment)
        assert recipe.steps[0].config.source == (Path("mine"),)  # type: ignore[attr-defined]
        check_sources(recipe)


def packing(here: Path, *corpus: str, **settings: Any) -> dict[str, Any]:
    (here / "tokenizer").mkdir(exist_ok=True)
    return stages_with(pack={"corpus": list(corpus), "tokenizer": "tokenizer", **settings})


def test_groups_of_steps_and_of_paths_keep_their_names(here: Path) -> None:
    (here / "lr=1").mkdir()
    write(here, packing(here, "zh=@clean", "en=docs", "lr=1", mix="zh=0.6,en=0.3,corpus=0.1"))
    recipe = opened(here)
    run, config = here / "run", recipe.steps[-1].config
    assert [*map(str, config.corpus)] == [f"zh={run / 'clean'}", f"en={here / 'docs'}", str(here / "lr=1")]
    assert [name for _, name, _ in named_input_paths(config)] == ["zh", "en", "", ""]
    check_sources(recipe)
    assert f'--corpus zh="$RUN/clean" en={here / "docs"} {shlex.quote(str(here / "lr=1"))}' in as_shell(recipe)


@pytest.mark.parametrize(
    ("corpus", "mix", "message"),
    [
        ("zh=@clena", "", 'stages.pack.corpus: "zh=@clena": no earlier step is called clena. Did you mean "clean"?'),
        ("zh=@clean", "zn=1", 'stages.pack: --mix zn=1: there is no group zn. Did you mean "zh"?'),
        ("zh=@clean", "zh=0.5", "stages.pack: --mix zh=0.5: the shares add up to 0.5, not to 1"),
    ],
)
def test_a_mistake_in_groups_is_found_before_anything_runs(here: Path, corpus: str, mix: str, message: str) -> None:
    write(here, packing(here, corpus, mix=mix))
    with pytest.raises(ConfigError) as found:
        opened(here)
    assert str(found.value) == f"{here / 'recipe.yaml'}: {message}"


def test_a_named_source_that_is_missing_is_named(here: Path) -> None:
    write(here, packing(here, "zh=nowhere"))
    with pytest.raises(ConfigError, match=r"stages\.pack\.corpus: .*/nowhere: there is no such file or folder"):
        check_sources(opened(here))


def test_a_missing_source_is_named_before_anything_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, {"vars": {"documents": "dosc", "size": 5}})
    with pytest.raises(SystemExit) as left:
        main(["run", str(here), "-o", str(here / "run")])
    assert left.value.code == 2 and not (here / "run").exists()
    assert f"stages.read.source: {here / 'dosc'}: there is no such file or folder." in capsys.readouterr().err


def test_a_run_folder_is_asked_for(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code in ((["run", str(here)], 2), (["run", str(here), "--check"], 0)):
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == code
    assert "-o OUT is needed" in (said := capsys.readouterr()).err
    assert said.out == f"{here / 'recipe.yaml'}: 3 steps, all valid\n"


def test_there_are_recipes() -> None:
    assert [folder.name for folder in RECIPES] >= ["demo", "llama2-7b", "llama3-8b"]


@EVERY_RECIPE
def test_the_recipe_is_valid(folder: Path) -> None:
    recipe = open_recipe(folder, Path("RUN"), placeholders(folder))
    assert len(recipe.steps) == len(recipe.file.stages) > 10
    assert all(step.about for step in recipe.steps), "every step says what it is for"
    if not placeholders(folder):
        check_sources(recipe)


@EVERY_RECIPE
def test_steps_sh_is_what_the_program_prints(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made by: zhllm run recipes/NAME --steps > recipes/NAME/steps.sh"""
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as left:
        main(["run", f"recipes/{folder.name}", "--steps"])
    assert left.value.code == 0
    script = folder / "steps.sh"
    assert script.read_text(encoding="utf-8") == capsys.readouterr().out
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


@EVERY_RECIPE
def test_every_command_of_steps_sh_is_the_step_of_the_recipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    recipe = open_recipe(folder, Path("RUN"), placeholders(folder))
    text = (folder / "steps.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    variables = {"RUN": "RUN", **{a.split("=")[0].upper(): a.split("=")[1] for a in placeholders(folder)}}
    lines = [shlex.split(line, comments=True) for line in text.splitlines() if line.startswith("zhllm ")]
    assert len(lines) == len(recipe.steps)
    for words, step in zip(lines, recipe.steps, strict=True):
        for name, value in variables.items():
            words = [word.replace(f"${name}", value) for word in words]
        found, out = parsed(words[1], words[2:])
        assert (words[1], found, out) == (step.stage.name, step.config, Path("RUN") / step.name)


VARIANTS = sorted((ROOT / "recipes").glob("*/production.yaml"))


@pytest.mark.parametrize("file", VARIANTS, ids=lambda file: file.parent.name)
def test_a_variant_is_its_recipe_with_other_settings(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps of a production variant, launched in as many processes as divide their rows; printed as such."""
    monkeypatch.chdir(ROOT)
    recipe, lab = (open_recipe(path, Path("RUN"), placeholders(file.parent)) for path in (file, file.parent))
    assert [step.name for step in recipe.steps] == [step.name for step in lab.steps]
    assert recipe.launch is not None and recipe.launch.processes == 8 and lab.launch is None
    launched = [step.name for step in recipe.steps if recipe.launch_of(step)]
    assert launched == ["pretrain", "sft"]
    words = as_shell(recipe).replace("\\\n", " ")
    for name in launched:
        line = next(x for x in words.splitlines() if f" -m zhllm {name} " in x)
        assert line.startswith("accelerate launch --config_file recipes/accelerate/fsdp2.yaml ")
        config, _ = parsed(name, shlex.split(line.split(f"zhllm {name} ")[1]))
        given = next(step.config for step in recipe.steps if step.name == name)
        assert {k: str(v).replace("$RUN", "RUN") for k, v in config if k != "model"} == {
            k: str(v) for k, v in given if k != "model"
        }


def test_each_recipe_for_gpus_has_a_variant() -> None:
    assert {file.parent.name for file in VARIANTS} == {folder.name for folder in RECIPES} - {"demo"}


def test_a_recipe_that_extends_another_replaces_single_settings(here: Path) -> None:
    variant = here / "more.yaml"
    variant.write_text("extends: recipe.yaml\nvars: {size: 70}\nstages: {clean: {valid_share: 0.3}}\n")
    found = {step.name: step.config for step in open_recipe(variant, here / "run").steps}
    assert found["clean"].valid_share == 0.3 and found["train-vocab"].size == 70  # type: ignore[attr-defined]
    assert found["clean"].documents == (here / "run/read",)  # type: ignore[attr-defined]
    assert [path.name for path in found["read"].source] == ["docs"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: recipe.yaml\nstages: {claen: {}}", 'recipe.yaml has no step of this name. Did you mean "clean"'),
        ("extends: ../recipe.yaml", "extends: ../recipe.yaml: must be a recipe in the same folder"),
        ("extends: none.yaml", "there is no recipe here"),
        ("extends: recipe.yaml\nstages: {clean: {vald_share: 0.3}}", "stages.clean.vald_share: unknown key"),
        ("extends: more.yaml", "extends: more.yaml: extends itself"),
        ("extends: 3", "extends: Input should be a valid string"),
        ("extends: recipe.yaml\nstages: [clean]", "stages: Input should be a valid dictionary"),
    ],
)  # fmt: skip
def test_a_variant_with_a_mistake_is_refused(here: Path, text: str, message: str) -> None:
    (here / "more.yaml").write_text(text)
    with pytest.raises(ConfigError) as found:
        open_recipe(here / "more.yaml", here / "run")
    assert message in str(found.value)


def parsed(name: str, arguments: list[str]) -> tuple[Config, Path]:
    """The config and output folder that the command line would run with."""
    context = stage_command(name, STAGES[name]).make_context(name, list(arguments))
    values = {key: value for key, value in context.params.items() if key not in ("out", "json")}
    return config_from_flags(load(name).config, values), context.params["out"]


def test_a_script_quotes_what_a_shell_would_read(here: Path) -> None:
    name = "my docs $(rm -rf)'s"
    (here / name).mkdir()
    script = as_shell(opened(here, f"documents={here / name}"))
    line = next(line for line in script.replace("\\\n", " ").splitlines() if line.startswith("zhllm collect"))
    assert shlex.split(line)[3] == str(here / name)
