"""The commits of an Archive: which is the newest, what their writers noted.

What lives here: reading the history. What does not: the fields of a version (`reading`).

    log(path)[0].snapshot_id == head(path)
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icechunk

from .repository import BRANCH, readonly_store, require_archive, translated


@dataclass(frozen=True)
class Commit:
    """One version of an Archive, and what its writer noted about it."""

    snapshot_id: str
    parent_id: str
    written_at: datetime.datetime
    message: str
    metadata: dict[str, Any]


def head(path: Path) -> str:
    """The snapshot_id of the newest commit.

    Raises:
        ArchiveError: There is no Archive at `path`.
    """
    repository = require_archive(path)
    with translated(path, "read"):
        return str(repository.lookup_branch(BRANCH))


def log(path: Path, snapshot_id: str | None = None) -> list[Commit]:
    """All commits up to a version, newest first.

    Args:
        path: Folder of the Archive.
        snapshot_id: The version; None: the newest.

    Raises:
        ArchiveError: There is no Archive at `path`, or no such version.
    """
    if snapshot_id is not None:
        readonly_store(path, snapshot_id)
    repository = require_archive(path)
    with translated(path, "read"):
        last = {"branch": BRANCH} if snapshot_id is None else {"snapshot_id": snapshot_id}
        # the oldest entry is Icechunk's own empty snapshot, which nobody wrote
        return [as_commit(entry) for entry in repository.ancestry(**last) if entry.parent_id is not None]


def as_commit(entry: icechunk.SnapshotInfo) -> Commit:
    """What Icechunk keeps of a commit, in our words."""
    return Commit(entry.id, entry.parent_id, entry.written_at, entry.message, dict(entry.metadata))
