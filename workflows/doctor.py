"""The bodies of `minconv doctor` and `minconv check`: look, say what works, what does not, and what to do.

diagnose(Console(), as_json=False)      # whether nothing that is needed is broken
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipeline.errors import RegistryError
from pipeline.health import Finding, examine
from pipeline.preflight import check, model_findings
from pipeline.registry import Registry

from .console import Console
from .context import Context


def diagnose(console: Console, as_json: bool) -> bool:
    """Look at this machine; whether nothing is broken."""
    return show(console, [*examine(Path("runs")), *_environment()], as_json)


def check_configuration(context: Context, model: str | None, as_json: bool) -> bool:
    """Look at a configuration and its data, and at a registered model if one is named; whether nothing is broken."""
    with context.console.stage("check") as progress:
        found = list(check(context.config, progress))
        if model is not None:
            found += model_findings(context.config, context.registry.load(model))
    return show(context.console, found, as_json)


def show(console: Console, found: Sequence[Finding], as_json: bool) -> bool:
    """Findings as a table or as JSON; whether nothing is broken."""
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
