"""Configuration files: YAML and overrides read into a plain tree.

What lives here: YAML that refuses a repeated key, and `section.key=value`. What does not: what the keys mean
(`config`, `study.space`).

    tree = read_tree(Path("my.yaml"), ["training.epochs=5"])     # {"training": {"epochs": 5, ...}, ...}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError

# What PyYAML raises for text that is no YAML: its constructors let dates (2024-13-01), explicit tags (!!bool maybe) and
# endless nesting fail with Python's own errors.
_NOT_YAML = (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError)
_MERGE = "tag:yaml.org,2002:merge"


class _RepeatedKeyError(yaml.YAMLError):
    """A mapping has a key twice; plain YAML readers keep the last one without a word."""


class _Loader(yaml.SafeLoader):
    """Plain data only, and no key twice in one mapping."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping, checked before ``<<`` merges another into it, as a merged key may be overridden."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE:
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    place = f"line {line}" if lines[name] == line else f"lines {lines[name]} and {line}"
                    raise _RepeatedKeyError(f"key {key.value!r} is there twice, in {place}")
                lines[name] = line
        return node


def read_tree(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file and apply overrides.

    Args:
        path: The file.
        overrides: ``"training.epochs=5"`` each: a dotted path and a YAML value.

    Raises:
        ConfigError: The file cannot be read, is no YAML mapping or has a key twice, or an override has no such form.
    """
    tree = read_yaml(path, "configuration")
    if tree is None:
        raise ConfigError(
            f"configuration {path} is empty; add at least 'generate: {{}}' or 'source: {{path: FOLDER}}', or start "
            "from a shipped one"
        )
    if not isinstance(tree, dict):
        kind = "a list" if isinstance(tree, list) else f"the {type(tree).__name__} {str(tree)[:40]!r}"
        raise ConfigError(f"configuration {path} must be a mapping of sections, got {kind}; start lines with 'key:'")
    for override in overrides:
        _apply_override(tree, override)
    return tree


def read_yaml(path: Path, what: str) -> Any:
    """The plain data of a YAML file; `what` it is, for messages.

    Raises:
        ConfigError: It cannot be read, is no YAML, or has a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{what} {path} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what} {path} is not valid YAML ({error}); save it as UTF-8 text") from error
    try:
        return _parse(text)
    except _RepeatedKeyError as error:
        raise ConfigError(f"{what} {path}: {error}; remove one") from error
    except _NOT_YAML as error:
        detail = " ".join(str(error).split())
        raise ConfigError(f"{what} {path} is not valid YAML ({detail}); correct that line") from error


def read_value(text: str, where: str) -> Any:
    """A YAML value that was typed; `where`, for messages.

    Raises:
        ConfigError: It is no YAML, or has a key twice.
    """
    try:
        return _parse(text)
    except _RepeatedKeyError as error:
        raise ConfigError(f"{where}: {error}; remove one") from error
    except _NOT_YAML as error:
        raise ConfigError(f"{where}: the value is not valid YAML; quote it") from error


def _parse(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # safe: the loader is a SafeLoader


def _apply_override(tree: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        raise ConfigError(f"override {override!r} must have the form section.key=value, e.g. training.epochs=5")
    value = read_value(text, f"override {override!r}")
    node = tree
    for depth, key in enumerate(keys[:-1]):
        child = node.get(key)
        if child is None:
            child = node[key] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {'.'.join(keys[: depth + 1])} is a value, not a section")
        node = child
    node[keys[-1]] = value
