"""The Icechunk repository under an Archive: where it is, whether it is one, and its errors as one sentence.

What lives here: making and opening the repository. What does not: what is in it (`history`, `reading`, `writing`), what
a killed writer left of one (`leftovers`).

    with translated(path, "read"):
        open_repository(path).lookup_branch(BRANCH)
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import icechunk

from ..errors import ArchiveError
from ..failpoints import reach

BRANCH = "main"


def create_repository(path: Path) -> icechunk.Repository:
    """An empty repository at `path`, made beside it and renamed so that it is never there half."""
    target = Path(path).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ArchiveError(f"{path} is there already and is not an archive; choose another name or move it away")
    made = half_made(path)
    shutil.rmtree(made, ignore_errors=True)
    try:
        icechunk.Repository.create(_storage(made))
        reach("archive.repository.made")
        os.rename(made, target)
        reach("archive.repository.renamed")
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    return open_repository(path)


def half_made(path: Path) -> Path:
    """Where an Archive lies while it is made, or removed."""
    return Path(path).absolute().with_name(f".{Path(path).name}.new")


def _storage(path: Path) -> icechunk.Storage:
    # it warns that a local filesystem has no safe concurrent commits, which is what the file lock is for
    icechunk.set_logs_filter("error")
    return icechunk.local_filesystem_storage(str(Path(path).absolute()))


def open_repository(path: Path) -> icechunk.Repository:
    """The repository of the Archive at `path`."""
    return icechunk.Repository.open(_storage(path))


def is_repository(path: Path) -> bool:
    """Whether `path` holds a repository, with commits or without."""
    # asking Icechunk about a folder that is not there would make it
    if not Path(path).is_dir() or not any(Path(path).iterdir()):
        return False
    with translated(path, "read"):
        return bool(icechunk.Repository.exists(_storage(path)))


def is_empty(repository: icechunk.Repository) -> bool:
    """Whether nothing was ever committed."""
    return next(iter(repository.ancestry(branch=BRANCH))).parent_id is None


def exists(path: Path) -> bool:
    """Whether `path` holds an Archive with at least one commit."""
    return _committed(path) is not None


def _committed(path: Path) -> icechunk.Repository | None:
    """The repository at `path`, if there is one with at least one commit."""
    if not is_repository(path):
        return None
    with translated(path, "read"):
        repository = open_repository(path)
        return None if is_empty(repository) else repository


def require_archive(path: Path) -> icechunk.Repository:
    """The repository of an Archive; raise an `ArchiveError` that says what is at `path` where there is none."""
    if (repository := _committed(path)) is not None:
        return repository
    if Path(path).exists() and not is_repository(path) and (Path(path).is_file() or any(Path(path).iterdir())):
        raise ArchiveError(f"{path} is not an archive; check the name, or run 'minconv ingest' under another one")
    raise ArchiveError(f"there is no archive at {path}; run 'minconv ingest' first")


def readonly_store(path: Path, snapshot_id: str | None) -> icechunk.IcechunkStore:
    """The Zarr store of a version, by default the newest; raises `ArchiveError` where there is none."""
    repository = require_archive(path)
    with translated(path, "read"):
        if snapshot_id is None:
            return repository.readonly_session(BRANCH).store
    try:
        return repository.readonly_session(snapshot_id=snapshot_id).store
    except icechunk.IcechunkError as error:
        raise ArchiveError(
            f"archive {path} has no version {snapshot_id!r}; 'minconv archive log' lists those it has"
        ) from error


@contextmanager
def translated(path: Path, verb: str) -> Iterator[None]:
    """Turn storage errors into one sentence."""
    try:
        yield
    except (icechunk.IcechunkError, OSError) as error:
        lines = str(error).strip().splitlines() or ["unknown cause"]
        if isinstance(error, OSError) and error.errno is not None:
            lines = [os.strerror(error.errno)]
        # Icechunk's first line says what failed, then comes where; a chain of causes, the deepest last, may follow.
        chain = [line for line in lines if line.strip().startswith(("|->", "`->"))]
        cause = (chain or lines)[-1 if chain else 0].strip(" `|->x")
        if os.strerror(errno.ENOSPC) in cause:
            cause, step = "no space left on the disk", "free some space, then run the command again"
        else:
            step = "check the disk and its permissions, then run the command again"
        kept = "; it is as it was before" if verb == "written" else ""
        raise ArchiveError(f"archive {path} could not be {verb} ({cause}){kept}; {step}") from error
