"""Who may import whom, and the budgets of STYLE.md, read from the source without importing it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from conftest import ROOT

PACKAGE = ROOT / "zhllm"
FILES = sorted(PACKAGE.rglob("*.py"))

# errors <- text <- vocab <- model <- train <- evals, infer, retrieve: a package imports those of lower rank.
RANK = {"errors": 0, "text": 1, "vocab": 2, "model": 3, "train": 4, "evals": 5, "infer": 5, "retrieve": 5}
CORE = set(RANK)
# What the rest may import of the rest.
BASE = {
    "errors",
    "ranks",
    "config",
    "manifest",
    "progress",
    "page",
    "chart",
    "chart_names",
    "bars",
    "measures",
    "commands",
    "zhllm",
}
SHELL = {
    "config": {"errors"},
    "yaml_file": {"errors"},
    "manifest": {"errors"},
    "ranks": set(),
    "progress": {"ranks"},
    "page": set(),
    "chart": {"page", "chart_names"},
    "chart_names": {"page"},
    "bars": {"page"},
    "measures": set(),
    "commands": set(),
    "stage": BASE,
    "flags": {*BASE, "stage"},
    "launch": {*BASE, "yaml_file"},
    "recipe": {*BASE, "stage", "yaml_file", "launch"},
    "stages": {*BASE, "stage", *CORE},
    "tools": {*BASE, "stage", "flags", "recipe", "yaml_file", *CORE},
    "cli": {*BASE, "flags"},
    "__main__": {"cli"},
    "zhllm": set(),
}
HEAVY = {"torch", "transformers", "peft", "accelerate", "datasets", "polars", "pyarrow", "numpy", "sentencepiece",
         "tokenizers", "safetensors", "gguf", "xllamacpp", "lxml", "opencc", "orjson", "jinja2"}  # fmt: skip


def module_of(path: Path) -> str:
    words = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(words[:-1] if words[-1] == "__init__" else words)


def part_of(path: Path) -> str:
    words = module_of(path).split(".")
    return words[1] if len(words) > 1 else "zhllm"


def each(parts: set[str] | None = None) -> pytest.MarkDecorator:
    """The test once for every file (of some parts)."""
    files = [path for path in FILES if parts is None or part_of(path) in parts]
    return pytest.mark.parametrize("path", files, ids=lambda path: str(path.relative_to(PACKAGE)))


PACKAGES = {module_of(path) for path in FILES if path.name == "__init__.py"}


@dataclass(frozen=True)
class Import:
    """One imported module: where, and whether it happens when the file is imported."""

    name: str
    line: int
    at_import: bool
    for_types_only: bool

    @property
    def top(self) -> str:
        return self.name.split(".")[0]

    @property
    def part(self) -> str:
        """The part of zhllm: a package or a module at its top; "" for anything else."""
        words = self.name.split(".")
        return "" if words[0] != "zhllm" else words[1] if len(words) > 1 else "zhllm"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path) -> list[Import]:
    return list(_imports(tree(path), at_import=True, for_types_only=False))


def _imports(node: ast.AST, at_import: bool, for_types_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, at_import, for_types_only)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0 and child.module, f"relative import in line {child.lineno}"
            for alias in child.names:
                full = f"{child.module}.{alias.name}"
                name = full if child.module in ("zhllm", *PACKAGES) and is_module(full) else child.module
                yield Import(name, child.lineno, at_import, for_types_only)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            types_only = isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
            yield from _imports(child, at_import and not inside, for_types_only or types_only)


def is_module(name: str) -> bool:
    place = ROOT / name.replace(".", "/")
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def at(path: Path, found: Import) -> str:
    return f"{path.relative_to(ROOT)}:{found.line} imports {found.name}"


def test_every_part_has_its_place() -> None:
    known = CORE | set(SHELL)
    assert {part_of(path) for path in FILES} <= known
    names = {path.stem for path in FILES} | {path.parent.name for path in FILES}
    assert not names & {"utils", "util", "common", "helpers", "core", "misc", "registry", "factory"}


@each()
def test_imports_go_to_the_left(path: Path) -> None:
    part = part_of(path)
    for found in imports(path):
        if not found.part:
            continue
        if part in CORE:
            lower = found.part in CORE and RANK[found.part] < RANK[part]
            assert lower or found.part in (part, "zhllm"), at(path, found)
        elif part != "stages" or found.part != "stages":
            assert found.part in SHELL[part] or found.part == part, at(path, found)


@each(CORE)
def test_the_core_knows_nothing_of_the_command_line(path: Path) -> None:
    for found in imports(path):
        assert found.top not in {"click", "yaml", "pydantic", "rich"}, at(path, found)
        if part_of(path) in ("text", "vocab"):
            assert found.top not in {"torch", "transformers", "peft", "accelerate"}, at(path, found)
    calls = [n.func for n in ast.walk(tree(path)) if isinstance(n, ast.Call)]
    assert not any(isinstance(f, ast.Name) and f.id in ("print", "input") for f in calls)


@cache
def loaded_late() -> set[str]:
    """Private modules of stages that are imported as a stage begins its work: inside functions, or by one another."""
    stages = [path for path in FILES if part_of(path) in ("stages", "tools")]
    private = {module_of(p) for p in stages if any(part.startswith("_") for part in p.relative_to(PACKAGE).parts)}
    early = {module_of(path) for path in stages} - private
    while True:
        found = {
            i.name
            for path in stages
            if module_of(path) in early
            for i in imports(path)
            if i.at_import and not i.for_types_only
        }
        if found & private <= early:
            return private - early
        early |= found & private


@each({"stages", "tools"})
def test_a_stage_meets_others_on_disk_only_and_is_light_to_import(path: Path) -> None:
    for found in imports(path):
        if found.part in ("stages", "tools"):
            assert found.name.startswith(("zhllm.stages._", "zhllm.tools._")), at(path, found)
        if found.at_import and not found.for_types_only and module_of(path) not in loaded_late():
            assert found.top not in HEAVY, at(path, found)
            assert found.part not in CORE - {"errors"}, at(path, found)


@pytest.mark.parametrize("name", ["cli", "commands", "config", "errors", "flags", "manifest", "recipe", "stage"])
def test_what_every_command_imports_is_light(name: str) -> None:
    path = PACKAGE / f"{name}.py"
    for found in imports(path):
        assert not found.at_import or found.top not in HEAVY, at(path, found)
        if name != "recipe":  # what a command with flags needs
            assert not found.at_import or (found.top != "yaml" and found.name != "zhllm.yaml_file"), at(path, found)
        if name in ("cli", "commands", "errors"):
            assert not found.at_import or found.top != "pydantic", at(path, found)


def test_there_are_no_import_cycles() -> None:
    """Counting imports inside functions too; an import for types only does nothing when the program runs."""
    graph = {
        module_of(path): {i.name for i in imports(path) if i.part and not i.for_types_only} - {module_of(path)}
        for path in FILES
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for following in sorted(graph.get(name, ())):
                visit(following, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())


@each()
def test_files_and_functions_stay_in_their_budgets(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1
            assert lines <= 60, f"{path.name}:{node.lineno} {node.name} has {lines} lines"


@each()
def test_everything_public_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(tree(path)), "the module has no docstring"
    nodes = [tree(path), *(n for n in tree(path).body if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))]
    for node in nodes:
        for child in node.body:
            if isinstance(child, ast.FunctionDef | ast.ClassDef) and not child.name.startswith("_"):
                assert ast.get_docstring(child), f"{path.name}:{child.lineno} {child.name} has no docstring"


def test_nine_functions_in_ten_have_at_most_thirty_lines() -> None:
    sizes = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef)
    )
    assert sizes[int(0.9 * len(sizes))] <= 30
