"""The Archive: analysis-ready fields in sharded Zarr v3, versioned by Icechunk. The only writer and reader of it.

What lives here: creating, appending, opening and describing an Archive; no other file knows Icechunk or Zarr. What does
not: checking input (`quality`), choosing what goes in (`ingest`), cutting windows (`windows`).

An Archive is a folder. A write is one commit, all or nothing, under a file lock beside the folder (``<archive>.lock``):
Icechunk on a local filesystem loses commits without one. Killed at any moment, `main` still names the previous commit;
the next write sweeps up what the killed one left. After `os.fork` Icechunk deadlocks: start worker processes with
spawn or forkserver and let them open the Archive themselves.

    commit = write(path, dataset, ArchiveConfig(), message="January", metadata={"files": [...]})
    dataset = open_dataset(path, commit.snapshot_id)
"""

from __future__ import annotations

import datetime
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import icechunk
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from .config import ArchiveConfig
from .errors import ArchiveError
from .executor import DaskScheduler
from .fields import check_continues, contract_fields, field_dims, numbered, time_text
from .layout import ArrayLayout, blocks, plan, slabs
from .progress import Event, Progress, silent

__all__ = [
    "ArchiveInfo",
    "Commit",
    "exists",
    "head",
    "info",
    "lock",
    "log",
    "open_arrays",
    "open_dataset",
    "time_text",
    "write",
]

BRANCH = "main"
LOCK_SECONDS = 600.0
_SLAB_BYTES = 64 * 2**20
_TIME_ENCODING = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}


@dataclass(frozen=True)
class Commit:
    """One version of an Archive, and what its writer noted about it."""

    snapshot_id: str
    parent_id: str
    written_at: datetime.datetime
    message: str
    metadata: dict[str, Any]


@dataclass(frozen=True)
class ArchiveInfo:
    """What an Archive holds at one version.

    Attributes:
        dims: Length of each dimension, in array order.
        variables: Units of each field.
        chunks: Points per chunk along `dims`; `shards` likewise.
        first_time: First and `last_time` of the time axis as text (ISO 8601, or seconds where time is relative).
        size_bytes: Bytes of the folder on disk, all versions together.
    """

    path: Path
    snapshot_id: str
    dims: dict[str, int]
    variables: dict[str, str]
    chunks: tuple[int, ...]
    shards: tuple[int, ...]
    first_time: str
    last_time: str
    size_bytes: int
    commits: int


@contextmanager
def lock(path: Path, timeout: float = LOCK_SECONDS) -> Iterator[None]:
    """Hold the only right to write to the Archive at `path`; a thread that holds it may take it again.

    Args:
        path: Folder of the Archive; need not exist yet.
        timeout: Seconds to wait for another writer.

    Raises:
        ArchiveError: Another writer did not finish in time, or the folder beside the Archive cannot be written.
    """
    lock_path = Path(path).absolute().with_name(Path(path).name + ".lock")
    guard = filelock.FileLock(lock_path, is_singleton=True)
    try:
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        guard.acquire(timeout=timeout)
    except filelock.Timeout as error:
        raise ArchiveError(
            f"archive {path} is locked: another process was still writing to it after {timeout:g} s; "
            "wait for it to end, then run the command again"
        ) from error
    except OSError as error:
        raise ArchiveError(f"archive {path} cannot be locked ({error.strerror}); check its folder's rights") from error
    try:
        yield
    finally:
        guard.release()


def exists(path: Path) -> bool:
    """Whether `path` holds an Archive with at least one commit."""
    if not _is_repository(path):
        return False
    with _translated(path, "read"):
        return next(iter(_open(path).ancestry(branch=BRANCH))).parent_id is not None


def head(path: Path) -> str:
    """The snapshot_id of the newest commit.

    Raises:
        ArchiveError: There is no Archive at `path`.
    """
    _require(path)
    with _translated(path, "read"):
        return str(_open(path).lookup_branch(BRANCH))


def log(path: Path) -> list[Commit]:
    """All commits, newest first.

    Raises:
        ArchiveError: There is no Archive at `path`.
    """
    _require(path)
    with _translated(path, "read"):
        # the oldest entry is Icechunk's own empty snapshot, which nobody wrote
        return [_commit(entry) for entry in _open(path).ancestry(branch=BRANCH) if entry.parent_id is not None]


def open_dataset(path: Path, snapshot_id: str | None = None, chunks: dict[str, int] | None = None) -> xr.Dataset:
    """Open a version lazily.

    Args:
        path: Folder of the Archive.
        snapshot_id: The version; None: the newest.
        chunks: Dask chunks along dimensions ({}: those on disk); None: no Dask, reads happen on access.

    Returns:
        Fields float32 with dims (time, lat, lon), (time, y, x) or (sample, time, y, x); among the coordinates `mask`
        (1 = valid).

    Raises:
        ArchiveError: No Archive, or no such version.
    """
    store = _readonly_store(path, snapshot_id)
    with _translated(path, "read"):
        return _open_store(store, chunks)


def open_arrays(path: Path, names: Sequence[str], snapshot_id: str | None = None) -> dict[str, zarr.Array[Any]]:
    """Open arrays of a version for direct reading, without xarray and Dask.

    Raises:
        ArchiveError: No Archive, no such version, or no such array.
    """
    store = _readonly_store(path, snapshot_id)
    with _translated(path, "read"):
        group = zarr.open_group(store, mode="r")
        arrays = dict(group.arrays())
    if missing := [name for name in names if name not in arrays]:
        raise ArchiveError(
            f"archive {path} has no variable {missing[0]!r}; it holds {', '.join(sorted(arrays))}; correct the name"
        )
    return {name: arrays[name] for name in names}


def info(path: Path, snapshot_id: str | None = None) -> ArchiveInfo:
    """Describe a version of the Archive.

    Raises:
        ArchiveError: No Archive, or no such version.
    """
    commits = log(path)
    names = [commit.snapshot_id for commit in commits]
    with open_dataset(path, snapshot_id) as dataset:
        field = next(iter(dataset.data_vars.values()))
        arrays = open_arrays(path, [str(field.name)], snapshot_id)
        array = arrays[str(field.name)]
        return ArchiveInfo(
            path=Path(path),
            snapshot_id=names[0] if snapshot_id is None else snapshot_id,
            dims={str(dim): size for dim, size in field.sizes.items()},
            variables={str(name): str(data.attrs.get("units", "1")) for name, data in dataset.data_vars.items()},
            chunks=array.chunks,
            shards=array.shards or array.chunks,
            first_time=time_text(dataset["time"].values[0]),
            last_time=time_text(dataset["time"].values[-1]),
            size_bytes=sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file()),
            commits=len(commits) - (0 if snapshot_id is None else names.index(snapshot_id)),
        )


def write(
    path: Path,
    dataset: xr.Dataset,
    layout: ArchiveConfig,
    *,
    message: str,
    metadata: dict[str, Any],
    progress: Progress = silent,
    scheduler: DaskScheduler = "threads",
    lock_timeout: float = LOCK_SECONDS,
) -> Commit:
    """Create the Archive, or append to it, as one commit: all of `dataset` or nothing.

    Appends along `sample` where there is one, else along `time`. Blocks are computed with Dask, a slab of whole shards
    at a time, so memory stays at a few slabs (64 MiB, or shard_time x the grid if that is more) whatever the input's
    size. With another scheduler than threads the slabs are computed elsewhere, but compressed and written here.

    Args:
        path: Folder of the Archive; made when absent.
        dataset: Fields as in `pipeline.fields`, lazy or in memory, with `mask` (int8, 1 = valid) for the first commit.
            Samples are numbered anew.
        layout: Chunks and shards; those of the first commit hold for good.
        message: One line for the log.
        metadata: JSON-able notes kept with the commit.
        progress: Called after each slab, in MB.
        scheduler: What Dask computes with.
        lock_timeout: Seconds to wait for another writer.

    Raises:
        ArchiveError: Locked, not an Archive, disk full, or `dataset` does not continue what is there; nothing changed.
    """
    fields = contract_fields(dataset)
    with (
        lock(path, lock_timeout),
        _translated(path, "written"),
        _unfinished(path) as repository,
        # Its end waits for its threads: of a write that failed, none still writes when its remains are swept up.
        ThreadPoolExecutor(os.cpu_count()) as threads,
    ):
        session = repository.writable_session(BRANCH)
        if _is_empty(repository):
            if "mask" not in fields.coords:
                raise ArchiveError("the first commit of an archive needs the coordinate 'mask'; add it to the dataset")
            arrays = plan(field_dims(fields), {str(dim): size for dim, size in fields.sizes.items()}, layout)
            _write_slabs(session.store, fields, 0, arrays, progress, scheduler, threads)
        else:
            archived = _open_store(session.store)
            check_continues(path, archived, fields)
            length = archived.sizes[field_dims(archived)[0]]
            ordered = numbered(fields[[str(name) for name in archived.data_vars]], length)
            layout_there = _stored_layout(session.store, ordered)
            _write_slabs(session.store, ordered, length, layout_there, progress, scheduler, threads)
        session.commit(message, metadata)
        return _commit(next(iter(repository.ancestry(branch=BRANCH))))


def _write_slabs(
    store: icechunk.IcechunkStore,
    fields: xr.Dataset,
    start: int,
    layout: ArrayLayout,
    progress: Progress,
    scheduler: DaskScheduler,
    threads: ThreadPoolExecutor,
) -> None:
    """Write `fields` from index `start` of the growing axis on; creates the arrays where `start` is 0."""
    dims = field_dims(fields)
    axis, shards = dims[0], dict(zip(dims, layout.shards, strict=True))
    length, size = fields.sizes[axis], sum(data.nbytes for data in fields.data_vars.values())
    done = 0
    for first, last in slabs(start, start + length, shards[axis], _SLAB_BYTES * length // size):
        slab = fields.isel({axis: slice(first - start, last - start)})
        if scheduler != "threads":  # other processes would write to copies of the session, and that is lost
            slab = slab.compute(scheduler=scheduler)
        cut: dict[str, Any] = {**shards, axis: blocks(first, last, shards[axis])}
        slab = slab.assign({name: data.chunk(cut) for name, data in slab.data_vars.items()})
        # Dask blocks are cut at shard boundaries above; xarray's own check also asks for whole shards at both ends
        common: dict[str, Any] = {"zarr_format": 3, "consolidated": False, "compute": False, "safe_chunks": False}
        if first == 0:
            write = slab.to_zarr(store, mode="w-", encoding=_encoding(slab, layout), **common)
        else:
            there = [name for name, data in slab.coords.items() if axis not in data.dims]
            write = slab.drop_vars(there).to_zarr(store, append_dim=axis, **common)
        write.compute(scheduler="threads", pool=threads)
        done += last - first
        progress(Event("ingest", _megabytes(size * done // length), _megabytes(size), "MB", message="writing"))


def _megabytes(size: int) -> int:
    return -(-size // 2**20)


def _encoding(fields: xr.Dataset, layout: ArrayLayout) -> dict[str, dict[str, Any]]:
    """Everything that decides how values become bytes, stated once at creation; appends follow the arrays."""
    codec = BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=4)
    encoding: dict[str, dict[str, Any]] = {
        str(name): {
            "dtype": "float32",
            "chunks": layout.chunks,
            "shards": layout.shards,
            "compressors": (codec,),
            "fill_value": np.float32(np.nan),
            "_FillValue": np.float32(np.nan),
        }
        for name in fields.data_vars
    }
    for name, data in fields.coords.items():
        growing = name in ("time", "sample")
        encoding[str(name)] = {"chunks": (4096,) if growing else data.shape}
        if data.dtype.kind == "M":
            encoding[str(name)] |= _TIME_ENCODING
        elif data.dtype.kind == "f":
            encoding[str(name)]["_FillValue"] = None
    return encoding


def _stored_layout(store: icechunk.IcechunkStore, fields: xr.Dataset) -> ArrayLayout:
    array = dict(zarr.open_group(store, mode="r").arrays())[str(next(iter(fields.data_vars)))]
    return ArrayLayout(array.chunks, array.shards or array.chunks)


def _open_store(store: icechunk.IcechunkStore, chunks: dict[str, int] | None = None) -> xr.Dataset:
    dataset: xr.Dataset = xr.open_zarr(store, consolidated=False, chunks=chunks, decode_timedelta=False)
    # a store lists its arrays in no certain order
    return dataset[sorted(map(str, dataset.data_vars))]


@contextmanager
def _unfinished(path: Path) -> Iterator[icechunk.Repository]:
    """The repository to write to; what a failed or killed write left behind is swept up, `main` is never touched."""
    marker = Path(path).absolute().with_name(Path(path).name + ".unfinished")
    created = not _is_repository(path)
    repository = _create(path) if created else _open(path)
    if marker.exists():
        _sweep(repository)
    marker.touch()
    try:
        yield repository
    except BaseException:
        if created:
            shutil.rmtree(path, ignore_errors=True)
        else:
            _sweep(repository)
        marker.unlink(missing_ok=True)
        raise
    marker.unlink()


def _sweep(repository: icechunk.Repository) -> None:
    """Delete objects that no commit refers to; only ever called by the holder of the lock."""
    with suppress(icechunk.IcechunkError):  # a disk in trouble must not hide the error that brought us here
        repository.garbage_collect(datetime.datetime.now(datetime.UTC))


def _create(path: Path) -> icechunk.Repository:
    """An empty repository at `path`, made beside it and renamed so that it is never there half."""
    target = Path(path).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ArchiveError(f"{path} is there already and is not an archive; choose another name or move it away")
    made = target.with_name(f".{target.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    icechunk.Repository.create(_storage(made))
    os.rename(made, target)
    return _open(path)


def _storage(path: Path) -> icechunk.Storage:
    # it warns that a local filesystem has no safe concurrent commits, which is what the file lock is for
    icechunk.set_logs_filter("error")
    return icechunk.local_filesystem_storage(str(Path(path).absolute()))


def _open(path: Path) -> icechunk.Repository:
    return icechunk.Repository.open(_storage(path))


def _is_repository(path: Path) -> bool:
    # asking Icechunk about a folder that is not there would make it
    return Path(path).is_dir() and any(Path(path).iterdir()) and bool(icechunk.Repository.exists(_storage(path)))


def _is_empty(repository: icechunk.Repository) -> bool:
    return next(iter(repository.ancestry(branch=BRANCH))).parent_id is None


def _require(path: Path) -> None:
    if exists(path):
        return
    if Path(path).exists() and not _is_repository(path) and (Path(path).is_file() or any(Path(path).iterdir())):
        raise ArchiveError(f"{path} is not an archive; check the name, or run 'minconv ingest' under another one")
    raise ArchiveError(f"there is no archive at {path}; run 'minconv ingest' first")


def _readonly_store(path: Path, snapshot_id: str | None) -> icechunk.IcechunkStore:
    _require(path)
    with _translated(path, "read"):
        repository = _open(path)
        if snapshot_id is None:
            return repository.readonly_session(BRANCH).store
    try:
        return repository.readonly_session(snapshot_id=snapshot_id).store
    except icechunk.IcechunkError as error:
        raise ArchiveError(
            f"archive {path} has no version {snapshot_id!r}; 'minconv archive log' lists those it has"
        ) from error


def _commit(entry: icechunk.SnapshotInfo) -> Commit:
    return Commit(entry.id, entry.parent_id, entry.written_at, entry.message, dict(entry.metadata))


@contextmanager
def _translated(path: Path, verb: str) -> Iterator[None]:
    """Turn storage errors into one sentence."""
    try:
        yield
    except (icechunk.IcechunkError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            cause = os.strerror(error.errno)
        else:
            lines = str(error).strip().splitlines() or ["unknown cause"]
            cause = lines[-1].strip(" `|->x")
        if os.strerror(errno.ENOSPC) in cause:
            cause, step = "no space left on the disk", "free some space, then run the command again"
        else:
            step = "check the disk and its permissions, then run the command again"
        kept = "; it is as it was before" if verb == "written" else ""
        raise ArchiveError(f"archive {path} could not be {verb} ({cause}){kept}; {step}") from error
