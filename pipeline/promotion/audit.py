"""The audit trail: who changed the champion or was refused, when and why.

What lives here: writing an entry and reading them all. What does not: the changes themselves (`transaction`).

    write_entry(registry, version, "promoted", by="ann", why="better by 4 %", other=3)
    for entry in audit_trail(registry.versions()): ...

An entry is a tag of the version that it is about, under a name of its own, so that none replaces another; the same tag
is set on the version's run, which stays where a version is deleted.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from ..registry import ModelVersion, Registry

_PREFIX = "audit."


@dataclass(frozen=True)
class Entry:
    """One thing that happened.

    Attributes:
        at: UTC, ISO 8601.
        what: promoted, refused, rolled back, or repaired.
        version: The version it happened to.
        other: The champion before a promotion, or after a rollback; None: there was none.
        by: Who did it.
        why: In sentences.
    """

    at: str
    what: str
    version: int
    other: int | None
    by: str
    why: str


def write_entry(
    registry: Registry, version: ModelVersion, what: str, *, by: str, why: str, other: int | None = None
) -> None:
    """Add an entry about a version, dated now."""
    now = datetime.datetime.now(datetime.UTC)
    entry = Entry(f"{now:%Y-%m-%dT%H:%M:%S}Z", what, version.version, other, by, why)
    tag = {f"{_PREFIX}{now:%Y%m%dT%H%M%S.%fZ}": json.dumps(asdict(entry), ensure_ascii=False)}
    if version.run_id:
        registry.open_run(version.run_id).set_tags(tag)
    registry.set_tags(version.version, tag)


def audit_trail(versions: Iterable[ModelVersion]) -> list[Entry]:
    """All entries about these versions, the oldest first."""
    tags = [item for version in versions for item in version.tags.items() if item[0].startswith(_PREFIX)]
    return [Entry(**json.loads(value)) for _, value in sorted(tags)]


def entries_of(version: ModelVersion) -> Iterator[Entry]:
    """The entries about one version, the newest first."""
    yield from reversed(audit_trail([version]))
