"""One sentence for a configuration that breaks a rule: where, what was expected, what was found.

What lives here: pydantic's findings in words that fit a YAML file. What does not: the rules (`config`).

    sentence(error, Config)      # "unknown key 'training.epoch'; did you mean 'epochs'?"
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_SHOWN = 80  # characters of a wrong value

# Python's words for what a YAML file holds.
_WORDS = (
    (r"a valid dictionary or instance of \w+", "a section (keys with values)"),
    (r"a valid dictionary", "a mapping (keys with values)"),
    (r"\btuple\b", "list"),
    (r" after validation, not \d+", ""),
)


def sentence(error: ValidationError, tree: type[BaseModel]) -> str:
    """The first unknown key, else the first problem.

    Args:
        error: What pydantic found.
        tree: The model that was validated.
    """
    problems = error.errors(include_url=False)
    first = next((problem for problem in problems if problem["type"] == "extra_forbidden"), problems[0])
    location = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        return _unknown_key(location, tree)
    if location[-1:] == ["[key]"]:
        return f"{'.'.join(location[:-2])}: a key must be text, got {shown(first['input'])}; quote it"
    return _broken_rule(".".join(location), first)


def shown(value: Any) -> str:
    """A value as a YAML file has it, shortened."""
    plain = {None: "null", True: "true", False: "false"}
    text = plain[value] if value is None or isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _unknown_key(location: Sequence[str], tree: type[BaseModel]) -> str:
    valid = _keys_at(location[:-1], tree)
    near = difflib.get_close_matches(location[-1], valid, n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"valid keys here: {', '.join(valid)}"
    return f"unknown key '{'.'.join(location)}'; {hint}"


def _broken_rule(path: str, problem: Mapping[str, Any]) -> str:
    if problem["type"] == "missing":
        return f"{path} is missing; add it"
    reason = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"{path}: {reason}" if path else reason
    for python, yaml in _WORDS:
        reason = re.sub(python, yaml, reason)
    found, hint = problem["input"], ""
    if problem["type"] == "string_type" and isinstance(found, int | float):
        hint = "; put it in quotes"
    return f"{path or 'the configuration'}: {reason[:1].lower()}{reason[1:]}, got {shown(found)}{hint}"


def _keys_at(location: Sequence[str], tree: type[BaseModel]) -> list[str]:
    """Valid keys of the section at `location`; keys of a mapping (a variable's name) are stepped over."""
    section = tree
    for part in location:
        if part in section.model_fields:
            found = _section_type(section.model_fields[part].annotation)
            section = found if found is not None else section
    return list(section.model_fields)


def _section_type(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _section_type(arg)) is not None), None)
