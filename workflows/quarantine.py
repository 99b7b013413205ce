"""The bodies of `minconv quarantine`: rejected files shown, tried again, accepted by a person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipeline import archive, quarantine
from pipeline.quarantine import Entry

from . import commands, stages
from .console import bytes_text
from .context import Context

ACCEPT_SECONDS = 10.0  # a person is waiting


def show(context: Context, every: bool, as_json: bool) -> None:
    """The entries, as a table or as JSON."""
    found = [
        entry for entry in quarantine.entries(context.config.quarantine_path) if every or entry.state == "rejected"
    ]
    if as_json:
        context.console.line(json.dumps([asdict(entry) for entry in found], indent=1, ensure_ascii=False))
        return
    if not found:
        context.console.line(f"no rejected file in {context.config.quarantine_path}")
        return
    header = ("entry", "rule", "state", "since (UTC)", "size", "file")
    rows = [
        (entry.name, entry.rule, _state(entry), entry.first_at, bytes_text(entry.size), entry.path) for entry in found
    ]
    context.console.table("", header, rows, right=(4,))
    for entry in found:
        context.console.line(f"{entry.name} {entry.rule}: {Path(entry.path).name}: {entry.message}")


def retry(context: Context, names: Sequence[str]) -> None:
    """Ingest again the files of some entries, or of all that are rejected."""
    folder = context.config.quarantine_path
    if names:
        chosen = [quarantine.find_entry(folder, name) for name in names]
    else:
        chosen = [entry for entry in quarantine.entries(folder) if entry.state == "rejected"]
    there = {Path(entry.path) for entry in chosen if Path(entry.path).exists()}
    for entry in chosen:
        if Path(entry.path) not in there:
            context.console.line(f"gone        {entry.path} ({entry.name})")
    if not there:
        context.console.line("nothing to ingest again")
        return
    result, outcome = stages.ingest_files(context, there)
    commands.show_ingest(context.console, result, outcome)


def accept(context: Context, name: str, rules: Sequence[str], why: str) -> None:
    """Overrule rules for one file."""
    from .promotion import user

    with archive.lock(context.config.archive_path, ACCEPT_SECONDS):  # an ingest writes entries too
        entry = quarantine.accept(context.config.quarantine_path, name, rules, by=user(), why=why)
    step = entry.accepted[-1]
    context.console.line(f"{entry.name} {entry.path}: accepted against {', '.join(step.rules)} by {step.by}")
    context.console.line(f"next: minconv quarantine retry {entry.name}")


def _state(entry: Entry) -> str:
    """The state, and whether a person has spoken."""
    spoken = entry.state == "rejected" and entry.accepted
    return f"{entry.state}, accepted against {', '.join(sorted(entry.accepted_rules))}" if spoken else entry.state
