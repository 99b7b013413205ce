"""What made two model versions differ: their data, their code and their configuration.

What lives here: the comparison of where two versions come from. What does not: the comparison of their errors
(`comparison`).

    for one in differences(a, b):
        (one.what, one.name, one.a, one.b)     # ("configuration", "model.cell", "minconvgru", "convlstm")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .registry import RegisteredModel

# Tags of a version that say where it comes from, and what each is about.
_TAGS = {"snapshot_id": "data", "statistics_hash": "data", "code_hash": "code", "code_version": "code"}
_ABSENT = "not set"


@dataclass(frozen=True)
class Difference:
    """One thing in which two versions differ: `what` is data, code, configuration or model."""

    what: str
    name: str
    a: str
    b: str


def differences(a: RegisteredModel, b: RegisteredModel) -> tuple[Difference, ...]:
    """Everything that differs between where `a` and `b` come from; empty where nothing does."""
    found = [
        Difference(what, tag, str(a.version.tags.get(tag, _ABSENT)), str(b.version.tags.get(tag, _ABSENT)))
        for tag, what in _TAGS.items()
    ]
    first, second = (flat(model.metadata.get("config", {})) for model in (a, b))
    found += [
        Difference("configuration", key, _text(first.get(key, _ABSENT)), _text(second.get(key, _ABSENT)))
        for key in sorted({*first, *second})
    ]
    sizes = (sum(parameter.numel() for parameter in model.forecaster.parameters()) for model in (a, b))
    found.append(Difference("model", "parameters", *(f"{size:,}" for size in sizes)))
    return tuple(one for one in found if one.a != one.b)


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A tree of mappings as one mapping with dotted keys: ``training.epochs``."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for key, value in tree.items():
        leaves |= flat(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def _text(value: Any) -> str:
    return "none" if value is None else str(value)
