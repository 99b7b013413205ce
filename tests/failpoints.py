"""The failpoints in the source, so that a test can hold them against those it reached."""

from __future__ import annotations

import ast
from pathlib import Path


def failpoints(*files: Path) -> list[str]:
    """Every name that is given to `reach`, which must be a literal, in order."""
    found = []
    for file in files:
        calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
        for node in sorted(calls, key=lambda node: node.lineno):
            if ast.unparse(node.func) == "reach":
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{file}:{node.lineno}"
                found.append(name.value)
    return found
