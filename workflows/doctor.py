"""The body of `minconv doctor`: look at the machine, say what works, what does not, and what to do.

diagnose(Console(), as_json=False)      # whether nothing that is needed is broken
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import RegistryError
from pipeline.health import Finding, examine
from pipeline.registry import Registry

from .console import Console


def diagnose(console: Console, as_json: bool) -> bool:
    """Show every finding.

    Returns:
        Whether nothing is broken.
    """
    found = [*examine(Path("runs")), *_environment()]
    broken = [one for one in found if one.state == "broken"]
    if as_json:
        findings = [dataclasses.asdict(one) for one in found]
        console.line(json.dumps({"ok": not broken, "findings": findings}, indent=1))
        return not broken
    console.table(
        "", ("", "what", "found", "what to do"), [(one.state, one.name, one.found, one.advice) for one in found]
    )
    notes = sum(one.state == "note" for one in found)
    console.line(f"{len(broken)} broken, {notes} to note, {len(found) - len(broken) - notes} in order")
    return not broken


def _environment() -> Iterator[Finding]:
    """What the environment's variables name."""
    if uri := os.environ.get("MLFLOW_TRACKING_URI"):
        try:
            Registry(uri, None, "doctor")
        except RegistryError as error:
            yield Finding("MLflow server", "broken", str(error), "start the server, or unset MLFLOW_TRACKING_URI")
        else:
            yield Finding("MLflow server", "ok", f"{uri} answers")
    if token := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        there = Path(token).is_file()
        advice = "" if there else "copy the head node's token file there; without it no cluster can be joined"
        yield Finding("Ray token", "ok" if there else "note", token if there else f"{token} is missing", advice)
