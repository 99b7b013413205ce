"""The right to write to an Archive: a file lock beside its folder, held by one process at a time.

What lives here: taking and giving back that lock. What does not: what is done under it (`writing`).

    with lock(path):
        ...
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from ..errors import ArchiveError
from ..failpoints import reach

LOCK_SECONDS = 600.0
_TOLD_EVERY_SECONDS = 1.0


@contextmanager
def lock(path: Path, timeout: float = LOCK_SECONDS, waiting: Callable[[float], None] | None = None) -> Iterator[None]:
    """Hold the only right to write to the Archive at `path`; a thread that holds it may take it again.

    Args:
        path: Folder of the Archive; need not exist yet.
        timeout: Seconds to wait for another writer.
        waiting: Called every second while there is one, with the seconds so far.

    Raises:
        ArchiveError: Another writer did not finish in time, or the folder beside the Archive cannot be written.
    """
    lock_path = Path(path).absolute().with_name(Path(path).name + ".lock")
    guard = filelock.FileLock(lock_path, is_singleton=True)
    try:
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        _acquire(guard, timeout, waiting)
    except filelock.Timeout as error:
        raise ArchiveError(
            f"archive {path} is locked: another process was still writing to it after {timeout:g} s; "
            "wait for it to end, then run the command again"
        ) from error
    except OSError as error:
        raise ArchiveError(f"archive {path} cannot be locked ({error.strerror}); check its folder's rights") from error
    try:
        reach("archive.lock.taken")
        yield
    finally:
        guard.release()


def _acquire(guard: filelock.BaseFileLock, timeout: float, waiting: Callable[[float], None] | None) -> None:
    began = time.monotonic()
    while True:
        left = timeout - (time.monotonic() - began)
        try:
            guard.acquire(timeout=max(0.0, min(left, _TOLD_EVERY_SECONDS)))
            return
        except filelock.Timeout:
            if left <= _TOLD_EVERY_SECONDS:
                raise
            if waiting is not None:
                waiting(time.monotonic() - began)
