"""The documentation against the program: commands, flags, paths, tables and worked examples.

`python tests/unit/test_docs.py --write` brings the README's table of stages up to date.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import click
import pytest

from zhllm.cli import cli
from zhllm.commands import STAGES, TOOLS
from zhllm.config import make
from zhllm.errors import ZhllmError
from zhllm.flags import config_from_flags
from zhllm.recipe import Recipe, open_recipe
from zhllm.stage import execute, load
from zhllm.stages._evaluate_config import TaskName
from zhllm.yaml_file import read_yaml

ROOT = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
RECIPES = sorted(path.parent for path in ROOT.glob("recipes/*/recipe.yaml"))
DOCS = [
    ENGLISH,
    CHINESE,
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "corpora/README.md", "vocab/README.md")),
    *(folder / "README.md" for folder in RECIPES),
]
HOW_TO_WRITE = "Run: python tests/unit/test_docs.py --write"
every_doc = pytest.mark.parametrize("doc", DOCS, ids=lambda doc: doc.relative_to(ROOT).as_posix())
every_recipe = pytest.mark.parametrize("folder", RECIPES, ids=lambda folder: folder.name)

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_OURS = re.compile(
    r"(?:zhllm|recipes|corpora|tests|vocab|\.ci)/[\w./*-]*|[\w.-]+\.(?:md|toml)|Makefile|LICENSE|constraints\.txt"
)
_ABSOLUTE = re.compile(r"(?<![\w.:/~$})*…-])/(?!v1/)\w[\w.-]*/\w|[A-Z]:\\")


def fenced(doc: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [text for kind, text in _FENCE.findall(doc.read_text(encoding="utf-8")) if kind == language]


def prose(doc: Path) -> str:
    return _FENCE.sub("", doc.read_text(encoding="utf-8"))


def commands(doc: Path) -> Iterator[list[str]]:
    """The words of every command in the sh blocks, without comments."""
    for block in fenced(doc, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.shlex(line, posix=True, punctuation_chars=True)
            words.whitespace_split = True
            if found := list(words):
                yield found


def zhllm_commands(doc: Path) -> list[list[str]]:
    """The arguments of every zhllm command in the sh blocks, up to a pipe or redirection."""
    found = []
    for words in commands(doc):
        stop = next((i for i, word in enumerate(words) if word in ("|", ">", ">>", "&&", ";")), len(words))
        if Path(words[0]).name == "zhllm":
            found.append(words[1:stop])
        elif words[0] in ("accelerate", "torchrun") and "zhllm" in words:
            found.append(words[words.index("zhllm") + 1 : stop])
    return found


def between(doc: Path, marker: str) -> str:
    text = doc.read_text(encoding="utf-8")
    return text.split(f"<!-- {marker} -->\n")[1].split(f"<!-- /{marker} -->")[0]


def cells(table: str) -> list[list[str]]:
    """The body rows of a Markdown table."""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()]
    return rows[2:]


# --- The table of stages ---


def proof_of(doc: str) -> str:
    """What a stage's docstring says after "proves", or its last sentence where it does not say so."""
    text = " ".join(inspect.cleandoc(doc).split("\b")[0].split())
    found = re.search(r"[Pp]roves(?: that)?:? (.*?)\.(?:\s|$)", text)
    promise = found[1] if found else re.split(r"(?<=\.)\s+(?=[A-Z])", text)[-1].removesuffix(".")
    return promise[0].upper() + promise[1:]


def stages_table() -> str:
    rows = ["| command | what it does | what it proves, or promises |", "| --- | --- | --- |"]
    for name, line in STAGES.items():
        proof = re.sub(r"(--[a-z][a-z-]+)", r"`\1`", proof_of(load(name).run.__doc__ or ""))
        rows.append(f"| `{name}` | {line.removesuffix('.')} | {proof.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_stages_is_that_of_the_program() -> None:
    assert between(ENGLISH, "stages") == stages_table(), HOW_TO_WRITE


def test_the_chinese_table_has_the_same_commands() -> None:
    chinese = cells(between(CHINESE, "stages"))
    assert [row[0] for row in chinese] == [f"`{name}`" for name in STAGES], "add or move a row in README.zh-CN.md"
    assert all(len(row) == 3 and all(row) for row in chinese)


@pytest.mark.parametrize("doc", [ENGLISH, CHINESE], ids=["english", "chinese"])
def test_the_line_of_tools_names_every_tool(doc: Path) -> None:
    line = doc.read_text(encoding="utf-8").split("<!-- /stages -->\n")[1].strip().splitlines()[0]
    assert sorted(_SPAN.findall(line)) == sorted(f"zhllm {name}" for name in TOOLS)


def test_both_readmes_have_the_same_structure() -> None:
    english, chinese = (list(commands(doc)) for doc in (ENGLISH, CHINESE))
    assert english == chinese and len(english) > 20
    levels = [[len(mark) for mark in re.findall(r"^(#+) ", prose(doc), re.MULTILINE)] for doc in (ENGLISH, CHINESE)]
    assert levels[0] == levels[1]
    assert _LINK.findall(prose(ENGLISH))[1:] == _LINK.findall(prose(CHINESE))[1:]


@pytest.mark.parametrize("doc", [ENGLISH, CHINESE], ids=["english", "chinese"])
def test_the_demo_numbers_are_those_of_its_summary(doc: Path) -> None:
    summary = read_yaml(ROOT / "recipes/demo/recipe.yaml")["summary"]
    assert [row[0] for row in cells(between(doc, "demo-numbers"))] == [f"`{key}`" for key in [*summary, "seconds"]]


# --- Commands and flags ---


@pytest.fixture
def no_path_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths in commands are the reader's; only their place in the command counts."""
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: self.coerce_path_result(value))
    monkeypatch.chdir(ROOT)


def command_of(name: str) -> click.Command:
    """The real command; an unknown name is an error as on the command line."""
    context = click.Context(cli, info_name="zhllm")
    command = cli.get_command(context, name)  # type: ignore[attr-defined]
    if command is None:
        raise click.UsageError(f'there is no command "{name}"')
    return command  # type: ignore[no-any-return]


def check_command(args: list[str]) -> None:
    """Parse one command as the program does, up to the checked config or recipe; run nothing."""
    command = command_of(args[0])
    try:
        values = command.make_context(args[0], args[1:]).params
    except click.exceptions.Exit:  # --help
        return
    if args[0] in STAGES:
        config_from_flags(load(args[0]).config, {k: v for k, v in values.items() if k not in ("out", "json")})
    if args[0] == "run":
        open_filled(values["recipe"], values["assignments"], fill=values["steps"])


def open_filled(recipe: Path, assignments: tuple[str, ...] = (), fill: bool = True) -> Recipe:
    """A checked recipe, its variables without a value filled in where `fill` says so."""
    folder = recipe if recipe.is_dir() else recipe.parent
    unset = [name for name, value in read_yaml(folder / "recipe.yaml").get("vars", {}).items() if value is None]
    return open_recipe(recipe, Path("RUN"), [*(f"{name}=x" for name in unset if fill), *assignments])


@every_doc
@pytest.mark.usefixtures("no_path_is_needed")
def test_every_command_is_one_the_program_takes(doc: Path) -> None:
    for args in zhllm_commands(doc):
        try:
            check_command(args)
        except (click.ClickException, ZhllmError) as error:
            pytest.fail(f"{doc.name}: zhllm {' '.join(args)}: {error}")


def test_the_documentation_has_commands() -> None:
    assert {doc.parent.name for doc in DOCS if len(zhllm_commands(doc)) > 1} >= {
        ROOT.name,
        "vocab",
        "demo",
        "llama2-7b",
    }
    assert {args[0] for args in zhllm_commands(ENGLISH)} >= {"run", "status", "show", "chat", "collect", "clean"}


def flags_of(name: str) -> set[str]:
    """The flags a command takes."""
    return {"--help"}.union(*(set(p.opts + p.secondary_opts) for p in command_of(name).params))


@every_doc
def test_commands_and_flags_in_the_text_exist(doc: Path) -> None:
    flags = {name: flags_of(name) for name in [*STAGES, *TOOLS]}
    every = set().union(*flags.values())
    for span in _SPAN.findall(prose(doc)):
        words = [word.split("=")[0] for word in span.split()]
        used = {word for word in words if word.startswith("--")}
        if words[0].startswith("--"):
            assert used <= every, f"{doc.name}: `{span}`"
        elif words[0] == "zhllm" and len(words) > 1 and not words[1].startswith("--"):
            known = every if words[1].isupper() else flags.get(words[1])
            assert known is not None and used <= known, f"{doc.name}: `{span}`"


def test_helps_name_tasks_that_evaluate_has() -> None:
    known = get_args(TaskName)
    fields = [(name, field) for name in STAGES for field in load(name).config.model_fields.values()]
    named = [(name, task) for name, field in fields for task in re.findall(r"--task (\w+)", field.description or "")]
    assert named and not [pair for pair in named if pair[1] not in known]


@every_doc
def test_make_targets_exist(doc: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    spans = [span.split() for span in _SPAN.findall(prose(doc))]
    for words in [*commands(doc), *spans]:
        words = [word for word in words if not re.match(r"[A-Z_]+=", word)]
        if words[0] == "make":
            assert set(words[1:]) <= targets, f"{doc.name}: {' '.join(words)}"


# --- Paths ---


@every_doc
def test_links_and_paths_exist(doc: Path) -> None:
    for link in _LINK.findall(prose(doc)):
        if not link.startswith(("http", "#")):
            assert (doc.parent / link).exists(), f"{doc.name}: {link}"
    made = {words[i + 1] for words in commands(doc) for i, word in enumerate(words[:-1]) if word == ">"}
    words = [word for span in _SPAN.findall(prose(doc)) for word in span.split()]
    words += [word for command in commands(doc) for part in command for word in re.split(r"[\[\],= ]+", part)]
    for word in words:
        if _OURS.fullmatch(word) and word not in made | {"README.md", "recipe.yaml", "zhllm/stages/sample.py"}:
            assert list(ROOT.glob(word.rstrip("/"))) or (doc.parent / word).exists(), f"{doc.name}: {word}"


@every_doc
def test_anchors_are_headings(doc: Path) -> None:
    text = prose(doc)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert {link[1:] for link in _LINK.findall(text) if link.startswith("#")} <= anchors


@every_doc
def test_paths_in_a_run_folder_are_steps_of_its_recipe(doc: Path) -> None:
    """`runs/demo/...` is a run of recipes/demo; `runs/mine/...` one of the page's recipe, or of llama2-7b."""
    mine = doc.parent if doc.parent in RECIPES and doc.parent.name != "demo" else ROOT / "recipes/llama2-7b"
    runs = {"demo": open_filled(ROOT / "recipes/demo"), "mine": open_filled(mine)}
    made = {words[i + 1] for words in commands(doc) for i, word in enumerate(words[:-1]) if word == "-o"}
    words = [*_SPAN.findall(prose(doc)), *(word for command in commands(doc) for word in command)]
    for word in words:
        parts = Path(word).parts
        if (
            len(parts) < 3
            or parts[0] != "runs"
            or word in made
            or any(word.startswith(f"{path}/") for path in made if path.count("/") > 1)
        ):
            continue
        assert parts[1] in runs, f"{doc.name}: {word}"
        steps = {step.name: step.config for step in runs[parts[1]].steps}
        assert parts[2] in {*steps, "summary.json", "run.json", "answers.json", "index.html"}, f"{doc.name}: {word}"
        if word.endswith(".gguf"):
            export: Any = steps[parts[2]]
            assert parts[3] in [f"{export.name}-{kind}.gguf" for kind in export.type], f"{doc.name}: {word}"


@every_doc
def test_no_path_of_some_machine(doc: Path) -> None:
    assert not _ABSOLUTE.findall(doc.read_text(encoding="utf-8")), doc.name


# --- Recipes, vocabulary, worked examples ---


def test_there_are_recipes_and_each_has_a_page() -> None:
    assert {folder.name for folder in RECIPES} >= {"demo", "llama2-7b", "llama3-8b", "qwen3-8b"}
    assert len(RECIPES) + 1 == sum(path.is_dir() for path in (ROOT / "recipes").iterdir()), "and accelerate's configs"
    assert all((folder / "README.md").is_file() for folder in RECIPES)


@every_recipe
def test_the_recipe_is_valid_and_its_page_names_real_settings(folder: Path) -> None:
    fields = {step.name: type(step.config).model_fields for step in open_filled(folder).steps}
    named = re.findall(r"`([a-z0-9-]+)\.([a-z_]+)(?:=[^`]*)?`", prose(folder / "README.md"))
    settings = [
        (step, field)
        for step, field in named
        if field not in ("json", "jsonl", "md", "yaml", "tsv", "model", "parquet")
    ]
    assert len(settings) > 5
    assert [f"{step}.{field}" for step, field in settings if field not in fields.get(step, {})] == []


@every_recipe
def test_example_records_are_records_that_convert_and_evaluate_take(folder: Path, tmp_path: Path) -> None:
    from zhllm.evals.questions import read_questions
    from zhllm.text.shapes.converting import converted
    from zhllm.text.shapes.recognise import recognise
    from zhllm.text.shapes.record import Options, Unit

    for block in fenced(folder / "README.md", "json"):
        record = json.loads(block)
        if "question" in record:
            (tmp_path / "q.jsonl").write_text(json.dumps(record), encoding="utf-8")
            assert read_questions(tmp_path / "q.jsonl")
        else:
            made = converted(Unit(1, record, recognise(record)), "示例", "a.json", Options())
            assert [chat.messages[-1]["role"] for chat in made.chats] == ["assistant"]


def test_every_example_term_becomes_a_piece() -> None:
    from toys import ENGLISH as WORDS

    from zhllm.stages.extend_vocab import read_pieces
    from zhllm.text.han import is_han
    from zhllm.vocab.base import train_base
    from zhllm.vocab.extend import extend

    file = ROOT / "vocab/example-terms.tsv"
    header, *lines = file.read_text(encoding="utf-8").splitlines()
    assert header == "piece\tcount" and all(re.fullmatch(r"[^\t]+\t[1-9]\d*", line) for line in lines)
    pieces = read_pieces(file)
    assert all(map(is_han, pieces)) and sum(len(piece) > 1 for piece in pieces) >= 30
    added = extend(train_base([" ".join(WORDS)] * 50, 420), pieces)
    assert added.left_out == {} and added.added == pieces


def contributing(language: str, holds: str) -> str:
    return next(block for block in fenced(ROOT / "CONTRIBUTING.md", language) if holds in block)


def test_the_reader_of_contributing_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zhllm.text.read import sources
    from zhllm.text.read.shards import read_documents

    names = {**vars(sources), "re": re}
    exec(contributing("python", "_read_srt"), names)
    monkeypatch.setitem(sources.READERS, ".srt", names["_read_srt"])
    file = tmp_path / "a.srt"
    file.write_bytes("1\r\n00:00:01,000 --> 00:00:03,500\r\n仪器先预热十分钟。\r\n".encode())
    assert [document.text.strip() for document in read_documents([file])] == ["仪器先预热十分钟。"]


def test_the_rule_of_contributing_judges() -> None:
    from zhllm.text.clean import quality
    from zhllm.text.clean.charclass import count_chars

    names = dict(vars(quality))
    exec(contributing("python", "_judge_lost"), names)
    found = [names["_judge_lost"](text, count_chars(text)) for text in ("?????????? 2026", "几点？十点半，对吗?")]
    assert found[0].reason == "lost_characters" and found[1] is None


def test_the_stage_of_contributing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zhllm.text.document import Document
    from zhllm.text.read.shards import read_documents, write_documents

    module = ModuleType("zhllm.stages.sample")
    monkeypatch.setitem(sys.modules, module.__name__, module)  # where pydantic looks annotations up
    exec(contributing("python", '"sample"'), module.__dict__)
    stage, source, out = module.STAGE, tmp_path / "in", tmp_path / "out"
    source.mkdir()
    write_documents(source, "documents", (Document(f"d{i}", f"第{i}篇", "a") for i in range(9)))
    result = execute(stage, make(stage.config, {"documents": [source], "count": 4}), out)
    assert result.manifest.metrics == {"docs_in": 9, "docs": 4}
    assert len(list(read_documents([out]))) == 4
    assert proof_of(stage.run.__doc__).startswith("The shards hold")


def test_the_recipe_of_contributing_is_valid(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(contributing("yaml", "extend-vocab"), encoding="utf-8")
    assert len(open_filled(tmp_path).steps) == 4


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/unit/test_docs.py --write")
    ENGLISH.write_text(
        ENGLISH.read_text(encoding="utf-8").replace(between(ENGLISH, "stages"), stages_table()), encoding="utf-8"
    )
