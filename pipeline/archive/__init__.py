"""The Archive: analysis-ready fields in sharded Zarr v3, versioned by Icechunk. The only writer and reader of it.

What lives here: creating, appending, replacing, opening and describing an Archive; no other room knows Icechunk or
Zarr. What does not: checking input (`quality`), choosing what goes in (`ingest`), cutting windows (`windows`).

An Archive is a folder. A write is one commit, all or nothing, under a file lock beside the folder (``<archive>.lock``):
Icechunk on a local filesystem loses commits without one. Killed at any moment, `main` still names the previous commit;
the next write (or `recover`) sweeps up what the killed one left. After `os.fork` Icechunk deadlocks: start worker
processes with spawn or forkserver and let them open the Archive themselves.

    commit = write(path, dataset, ArchiveConfig(), message="January", metadata={"files": [...]})
    dataset = open_dataset(path, commit.snapshot_id)
"""

from __future__ import annotations

from ..fields import time_text
from .checksums import Damage, Verification, verify
from .export import export
from .garbage import Garbage, collect
from .history import Commit, head, log
from .leftovers import Leftovers, leftovers, recover
from .reading import ArchiveInfo, info, open_arrays, open_dataset
from .replacing import Replacement
from .repository import exists
from .writer_lock import lock
from .writing import write

__all__ = [
    "ArchiveInfo",
    "Commit",
    "Damage",
    "Garbage",
    "Leftovers",
    "Replacement",
    "Verification",
    "collect",
    "exists",
    "export",
    "head",
    "info",
    "leftovers",
    "lock",
    "log",
    "open_arrays",
    "open_dataset",
    "recover",
    "time_text",
    "verify",
    "write",
]
