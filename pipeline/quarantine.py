"""The quarantine: which files were rejected, by which rule, and what came of them; one JSON file per rejected file.

What lives here: the entries (`quarantine/<sha256>.json` in the folder of a pipeline), and a person's word that a rule
does not apply to one file. What does not: the rules (`rules`), judging (`quality`), and ingesting again (`ingest`).

    for entry in entries(config.quarantine_path):
        entry.state, entry.rule, entry.path, entry.message
    accept(config.quarantine_path, "3f2a9c10", ["Q-RANGE"], by="ann", why="a heat wave, checked at the station")

A rejected file stays where it is: it is neither moved nor deleted. An entry is known by the sha256 of the bytes, so
that the same bytes are one entry under any name, and a file that was fetched again is another one.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from .durable_file import write_text
from .errors import QuarantineError
from .rules import RULES

State = Literal["rejected", "ingested", "replaced"]
SHORT = 8
_SHORTEST = 4


@dataclass(frozen=True)
class Rejected:
    """What is known of a file when it is rejected."""

    sha256: str
    path: Path
    size: int
    rule: str
    message: str


@dataclass(frozen=True)
class Step:
    """One thing that happened to an entry: `what` is rejected, accepted, ingested or replaced.

    Attributes:
        at: UTC, ISO 8601.
        rules: The rules that it is about.
        by: Who accepted; empty for what the pipeline did.
        why: The reason, or the message of the rule.
    """

    at: str
    what: str
    rules: tuple[str, ...]
    by: str = ""
    why: str = ""


@dataclass(frozen=True)
class Entry:
    """A file in quarantine.

    Attributes:
        state: ``rejected``; ``ingested`` once its values are in the archive; ``replaced`` once other bytes under the
            same name are.
        first_at: When it was first rejected; `last_at` when last. UTC, ISO 8601.
        config_hash: Of the configuration that it was last rejected under.
        history: All that happened to it, the oldest first; nothing is ever taken out.
    """

    sha256: str
    path: str
    size: int
    rule: str
    message: str
    state: State
    first_at: str
    last_at: str
    config_hash: str
    history: tuple[Step, ...] = field(default=())

    @property
    def name(self) -> str:
        """The short name of the entry."""
        return self.sha256[:SHORT]

    @property
    def accepted(self) -> tuple[Step, ...]:
        """The rules that were overruled, by whom and why."""
        return tuple(step for step in self.history if step.what == "accepted")

    @property
    def accepted_rules(self) -> frozenset[str]:
        """The rules that are not applied to this file."""
        return frozenset(rule for step in self.accepted for rule in step.rules)


def entries(folder: Path) -> list[Entry]:
    """All entries, the oldest first; none where there is no quarantine.

    Raises:
        QuarantineError: An entry cannot be read.
    """
    found = [read_entry(path) for path in sorted(folder.glob("*.json"))]
    return sorted(found, key=lambda entry: (entry.first_at, entry.path))


def read_entry(path: Path) -> Entry:
    """The entry that a file holds.

    Raises:
        QuarantineError: It cannot be read, or is of another file than its name says.
    """
    try:
        tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        history = tuple(Step(**{**step, "rules": tuple(step["rules"])}) for step in tree.pop("history"))
        entry = Entry(**tree, history=history)
        if entry.sha256 != path.stem:
            raise ValueError("it has another sha256 than its name")
        return entry
    except (ValueError, TypeError, KeyError) as error:
        raise QuarantineError(
            f"{path} is no entry of a quarantine ({type(error).__name__}); move it elsewhere, the next ingest "
            "writes it anew"
        ) from error


def find_entry(folder: Path, name: str) -> Entry:
    """The entry whose sha256 starts with `name`.

    Raises:
        QuarantineError: There is none, or several.
    """
    found = [entry for entry in entries(folder) if entry.sha256.startswith(name.lower())]
    if len(found) == 1 and len(name) >= _SHORTEST:
        return found[0]
    told = f"{len(found)} entries of the quarantine start with it" if found else "no entry of the quarantine does"
    raise QuarantineError(
        f"{name!r} must be at least {_SHORTEST} digits that start the sha256 of one entry, {told}; "
        "see 'minconv quarantine list --all'"
    )


def record(folder: Path, rejected: Iterable[Rejected], config_hash: str) -> None:
    """Write an entry for each rejected file, or bring it up to date; doing it again changes nothing but `last_at`."""
    now = _now()
    for one in rejected:
        known = read_entry(_place(folder, one.sha256)) if _place(folder, one.sha256).is_file() else None
        step = Step(now, "rejected", (one.rule,), why=one.message)
        if known is None:
            _write(
                folder,
                Entry(
                    one.sha256,
                    str(one.path.absolute()),
                    one.size,
                    one.rule,
                    one.message,
                    "rejected",
                    now,
                    now,
                    config_hash,
                    (step,),
                ),
            )
            continue
        news = (known.state, known.rule, known.message) != ("rejected", one.rule, one.message)
        _write(
            folder,
            replace(
                known,
                path=str(one.path.absolute()),
                rule=one.rule,
                message=one.message,
                state="rejected",
                last_at=now,
                config_hash=config_hash,
                history=(*known.history, step) if news else known.history,
            ),
        )


def settle(folder: Path, archived: Collection[str], seen: Mapping[Path, str]) -> None:
    """Close the entries of files that are no longer rejected.

    Args:
        folder: The quarantine.
        archived: The sha256 of all files whose values are in the archive.
        seen: The sha256 of the files that were looked at, by path.
    """
    paths = {str(path.absolute()): sha256 for path, sha256 in seen.items()}
    for entry in entries(folder):
        if entry.state != "rejected":
            continue
        other = paths.get(entry.path, entry.sha256)
        if entry.sha256 in archived:
            _write(folder, _ended(entry, "ingested", "its values are in the archive"))
        elif other != entry.sha256 and other in archived:
            _write(folder, _ended(entry, "replaced", f"the file of this name is now {other[:SHORT]}, which was taken"))


def accept(folder: Path, name: str, rules: Sequence[str], *, by: str, why: str) -> Entry:
    """Write down that rules do not apply to one file; the next ingest takes it if it breaks no other.

    Raises:
        QuarantineError: No such entry, no reason, a rule that nobody can overrule, or the file is no longer rejected.
    """
    entry = find_entry(folder, name)
    if not why.strip():
        raise QuarantineError("to accept a file against a rule needs a reason for the audit trail; add --why 'TEXT'")
    if entry.state != "rejected":
        raise QuarantineError(f"{entry.name} ({entry.path}) is {entry.state}, expected rejected; nothing is to be done")
    named = tuple(dict.fromkeys(rules or [entry.rule]))
    acceptable = ", ".join(rule.id for rule in RULES.values() if rule.acceptable)
    for rule in named:
        if rule not in RULES or not RULES[rule].acceptable:
            raise QuarantineError(
                f"{rule} cannot be accepted, only {acceptable} can; correct or replace {entry.path}, then run "
                f"'minconv quarantine retry {entry.name}'"
            )
    updated = replace(entry, history=(*entry.history, Step(_now(), "accepted", named, by, why.strip())))
    _write(folder, updated)
    return updated


def _ended(entry: Entry, state: State, why: str) -> Entry:
    return replace(entry, state=state, history=(*entry.history, Step(_now(), state, (entry.rule,), why=why)))


def _place(folder: Path, sha256: str) -> Path:
    return folder / f"{sha256}.json"


def _write(folder: Path, entry: Entry) -> None:
    write_text(_place(folder, entry.sha256), json.dumps(asdict(entry), indent=1, ensure_ascii=False))


def _now() -> str:
    return f"{datetime.datetime.now(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
