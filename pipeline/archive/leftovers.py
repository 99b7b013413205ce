"""What a failed or killed writer leaves in an Archive and beside it, and its removal.

What lives here: the marker of an unfinished write, files that no version needs, half-made folders beside the Archive.
What does not: versions that nobody needs any more (`garbage`), and damage to what is needed (`checksums`).

    with unfinished(path) as repository:
        ...                                  # sweeps up what the last writer left, or this one if it fails
    found = leftovers(path)
    found.files, found.bytes

No reader ever sees any of it: a version names its files, and these are not among them.
"""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import icechunk

from ..failpoints import reach
from .repository import create_repository, half_made, is_empty, is_repository, open_repository, translated
from .writer_lock import LOCK_SECONDS, lock


@dataclass(frozen=True)
class Leftovers:
    """What a killed writer left.

    Attributes:
        unfinished: A write began and did not end.
        files: Files of the Archive that no version needs, and their `bytes`.
        beside: Half-made folders beside the Archive.
    """

    unfinished: bool
    files: int
    bytes: int
    beside: tuple[Path, ...]

    def __bool__(self) -> bool:
        return bool(self.unfinished or self.files or self.beside)


def leftovers(path: Path, remove: bool = False, lock_timeout: float = LOCK_SECONDS) -> Leftovers:
    """What a killed writer left; with `remove`, it is gone afterwards. Committed versions stay as they are.

    Args:
        path: Folder of the Archive.
        remove: Whether to sweep it up, as the next write would.
        lock_timeout: Seconds to wait for a writer at work, whose files look the same.

    Raises:
        ArchiveError: A writer is at work, or the Archive cannot be read or written.
    """
    with lock(path, lock_timeout), translated(path, "cleaned up" if remove else "read"):
        marker, folders, staged = _marker(path), _beside(path), _staged(path)
        found = Leftovers(marker.exists(), len(staged), sum(file.stat().st_size for file in staged), tuple(folders))
        repository = open_repository(path) if is_repository(path) else None
        if repository is not None:
            now = datetime.datetime.now(datetime.UTC)
            gone = repository.garbage_collect(now, dry_run=True)
            counts = (gone.chunks_deleted, gone.manifests_deleted, gone.snapshots_deleted)
            files = found.files + sum(counts) + gone.attributes_deleted + gone.transaction_logs_deleted
            found = Leftovers(found.unfinished, files, found.bytes + gone.bytes_deleted, found.beside)
        if remove and (repository is None or sweep(path, repository)):
            remove_beside(path)
            marker.unlink(missing_ok=True)
        return found


@contextmanager
def unfinished(path: Path) -> Iterator[icechunk.Repository]:
    """The repository to write to; remains of a failed or killed write are swept up, commits are never touched."""
    recover(path)
    marker, created = _marker(path), not is_repository(path)
    repository = create_repository(path) if created else open_repository(path)
    marker.touch()
    reach("archive.marker.set")
    try:
        yield repository
    except BaseException:
        reach("archive.write.failed")
        if created and is_empty(repository):
            _discard(path)
            marker.unlink(missing_ok=True)
        elif sweep(path, repository):
            marker.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # it is committed: a marker that stays costs the next write a sweep, and no more
        reach("archive.committed")
        marker.unlink()
        reach("archive.marker.removed")


def recover(path: Path) -> None:
    """Sweep up after a writer that was killed, if one was; only for the holder of the lock."""
    marker = _marker(path)
    if marker.exists() and (not is_repository(path) or sweep(path, open_repository(path))):
        marker.unlink()


def sweep(path: Path, repository: icechunk.Repository) -> bool:
    """Delete files that no version refers to, and say whether that could be done; only for the holder of the lock."""
    try:
        reach("archive.sweep.begun")
        remove_staged(path)
        repository.garbage_collect(datetime.datetime.now(datetime.UTC))
        reach("archive.sweep.ended")
    except (icechunk.IcechunkError, OSError):  # a disk in trouble must not hide the error that brought us here
        return False
    return True


def remove_staged(path: Path) -> None:
    """Delete the files that were being written; only for the holder of the lock."""
    for file in _staged(path):
        file.unlink(missing_ok=True)


def remove_beside(path: Path) -> None:
    """Delete the half-made folders beside the Archive; only for the holder of the lock."""
    for folder in _beside(path):
        shutil.rmtree(folder, ignore_errors=True)


def _discard(path: Path) -> None:
    """Delete an Archive without commits. Out of the way first: half of one could be neither opened nor made anew."""
    with suppress(OSError):
        os.rename(path, half_made(path))
        reach("archive.discard.renamed")
        shutil.rmtree(half_made(path))


def _marker(path: Path) -> Path:
    return Path(path).absolute().with_name(Path(path).name + ".unfinished")


def _beside(path: Path) -> list[Path]:
    """Folders in which an Archive was being made, or copied for a rehearsal of `collect`."""
    place = Path(path).absolute()
    return [*place.parent.glob(f".{place.name}.new"), *place.parent.glob(f".{place.name}.gc*")]


def _staged(path: Path) -> list[Path]:
    """Files that were being written: NAME#1 becomes NAME when it is whole. Icechunk does not list them."""
    return [file for file in Path(path).rglob("*#[0-9]*") if file.is_file()]
