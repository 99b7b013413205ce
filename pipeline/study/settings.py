"""Settings of a configuration by dotted key, as `--set` names them: read, and put into another one.

with_settings(config, {"training.epochs": 3, "seed": 1})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..config import Config, check_config


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """A configuration with other settings, checked like those of a file.

    Args:
        config: To start from.
        settings: New values by dotted key.

    Raises:
        ConfigError: They are not valid.
    """
    tree = config.model_dump(mode="json")
    for key, value in settings.items():
        *sections, name = key.split(".")
        value_at(tree, ".".join(sections))[name] = value
    return check_config(tree)


def value_at(tree: dict[str, Any], key: str) -> Any:
    """What a tree has at a dotted key; the tree itself at an empty one."""
    node: Any = tree
    for part in filter(None, key.split(".")):
        node = node[part]
    return node
