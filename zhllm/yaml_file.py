"""YAML as people write it by hand: a key that stands twice is an error, and every error tells its line.

Apart from `config`, as importing YAML takes 50 ms that a command given by flags need not wait for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from zhllm.errors import ConfigError


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML's own rule keeps the last of two equal keys in silence; here that is an error."""


def _unique_mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.MarkedYAMLError(problem=f'the key "{key}" stands twice', problem_mark=key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file's mapping; raises ConfigError with file, line and column."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ConfigError(f"{path}{where}: not valid YAML: {error.problem}.") from error
    if content is None:
        raise ConfigError(f"{path}: holds nothing; it should name keys and their values.")
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds {type(content).__name__}, not a mapping of keys.")
    return content


def parse_assignment(text: str) -> tuple[str, Any]:
    """Split one `--set key=value`; the value is read as YAML (numbers, lists, null)."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text}: is not key=value.")
    try:
        return key.strip(), yaml.safe_load(value) if value.strip() else ""
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not valid YAML.") from error
