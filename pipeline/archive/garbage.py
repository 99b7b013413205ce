"""Versions of an Archive that nobody needs any more, and the space they take.

What lives here: which versions go, and their removal. What does not: who needs which (`workflows` asks the registry),
and leftovers of killed writers (`leftovers`).

    plan = collect(path, pinned={"1CECHNKREP0F1RSTCMT0"}, keep_days=30, apply=False)
    plan.dropped, plan.bytes

What the dropped commits noted (which files went in) moves to one new commit, so that ingest still knows every file.
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icechunk
import zarr

from ..failpoints import reach
from .checksums import GROUP
from .history import Commit, as_commit, log
from .leftovers import remove_beside, remove_staged
from .repository import BRANCH, open_repository, require_archive, translated
from .writer_lock import LOCK_SECONDS, lock

_PIN = "pinned-"


@dataclass(frozen=True)
class Garbage:
    """What a collection dropped, or would drop.

    Attributes:
        dropped: Versions, newest first.
        pinned: Older versions that stay because they are pinned.
        chunks: Chunk files, and `bytes` of all files, that no version needs then.
    """

    dropped: tuple[Commit, ...]
    pinned: tuple[str, ...]
    chunks: int
    bytes: int


def collect(
    path: Path, pinned: Collection[str], keep_days: float, apply: bool, lock_timeout: float = LOCK_SECONDS
) -> Garbage:
    """Drop versions that are older than `keep_days`, neither pinned nor the newest, and the files only they need.

    Args:
        path: Folder of the Archive.
        pinned: The snapshot_ids that must stay; those the Archive does not have are passed over.
        keep_days: Younger versions stay.
        apply: False: try it on a copy that shares the chunk files; the Archive is not touched.
        lock_timeout: Seconds to wait for a writer.

    Raises:
        ArchiveError: No Archive, locked, or it cannot be read or written.
    """
    require_archive(path)
    with lock(path, lock_timeout), translated(path, "cleaned up"):
        remove_beside(path)
        if apply:
            remove_staged(path)
            return _collect(path, pinned, keep_days)
        with tempfile.TemporaryDirectory(prefix=f".{Path(path).name}.gc", dir=Path(path).absolute().parent) as made:
            shutil.copytree(path, Path(made) / "copy", copy_function=_copy)
            reach("archive.gc.copied")
            return _collect(Path(made) / "copy", pinned, keep_days)


def _copy(source: str, target: str) -> None:
    """Chunks are never changed, only deleted, so a second name of the file is a copy; all else is copied."""
    if Path(source).parent.name == "chunks":
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _collect(path: Path, pinned: Collection[str], keep_days: float) -> Garbage:
    repository, now = open_repository(path), datetime.datetime.now(datetime.UTC)
    commits = log(path)
    # The newest is never dropped: a run may just have opened it.
    limit = min(now - datetime.timedelta(days=keep_days), commits[0].written_at)
    old = [commit for commit in commits if commit.written_at < limit]
    tagged = [tag.removeprefix(_PIN) for tag in repository.list_tags() if tag.startswith(_PIN)]
    here = {commit.snapshot_id for commit in commits} | set(tagged)
    stay = sorted(here & set(pinned))
    dropped = tuple(commit for commit in old if commit.snapshot_id not in stay)
    dropped += tuple(
        as_commit(repository.lookup_snapshot(name)) for name in sorted(set(tagged) - set(pinned) - _ids(old))
    )
    for name in set(stay) - set(tagged):
        repository.create_tag(_PIN + name, name)
        reach("archive.gc.pinned")
    if old:
        _fold(repository, commits)
    for name in set(tagged) - set(pinned):
        repository.delete_tag(_PIN + name)
        reach("archive.gc.unpinned")
    repository.expire_snapshots(limit)
    reach("archive.gc.expired")
    freed = repository.garbage_collect(datetime.datetime.now(datetime.UTC))
    reach("archive.gc.collected")
    kept = tuple(name for name in stay if name in _ids(old) | set(tagged))
    return Garbage(dropped, kept, freed.chunks_deleted, freed.bytes_deleted)


def _ids(commits: Sequence[Commit]) -> set[str]:
    return {commit.snapshot_id for commit in commits}


def _fold(repository: icechunk.Repository, commits: Sequence[Commit]) -> None:
    """One commit that notes what all others noted about files; the fields stay as they are."""
    notes: dict[str, Any] = {key: value for key, value in commits[-1].metadata.items() if key != "revised"}
    for key in ("files", "rejected", "accepted", "revised"):
        # this commit itself revises nothing
        folded = f"{key}_before" if key == "revised" else key
        lists = [commit.metadata.get(name, []) for commit in reversed(commits) for name in dict.fromkeys((folded, key))]
        if any(lists):
            # sorted: Icechunk gives the keys of a note back in any order
            entries = {json.dumps(one, sort_keys=True): one for each in lists for one in each}
            notes[folded] = list(entries.values())
    session = repository.writable_session(BRANCH)
    root = zarr.open_group(session.store, mode="r+")
    root.require_group(GROUP).attrs["versions_dropped_at"] = datetime.datetime.now(datetime.UTC).isoformat()
    session.commit("versions before this one were dropped by 'minconv archive gc'", notes)
    reach("archive.gc.folded")
