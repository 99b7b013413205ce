"""Writing to an Archive: one dataset, one commit, all or nothing.

What lives here: cutting a dataset into slabs of whole shards, their encoding, the commit. What does not: the lock
(`writer_lock`), what is swept up after a failure (`leftovers`).

    commit = write(path, dataset, ArchiveConfig(), message="January", metadata={"files": [...]})
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from ..config import ArchiveConfig
from ..errors import ArchiveError
from ..executor import DaskScheduler
from ..failpoints import reach
from ..fields import check_continues, contract_fields, field_dims, numbered
from ..layout import ArrayLayout, blocks, plan, slabs
from ..memory_budget import MemoryBudget
from ..presence import PRESENT
from ..progress import Event, Progress, silent
from .checksums import HashingStore, record
from .history import Commit, as_commit
from .integrity import CHECKSUM, checked
from .leftovers import unfinished
from .missing import mark_filled, with_flags
from .reading import open_store
from .replacing import Replacement, check_replacements, replace_frames
from .repository import BRANCH, is_empty, translated
from .writer_lock import LOCK_SECONDS, lock

SLAB_BYTES = 64 * 2**20
_TIME_ENCODING = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}


def write(
    path: Path,
    dataset: xr.Dataset | None,
    layout: ArchiveConfig,
    *,
    message: str,
    metadata: dict[str, Any],
    replacements: Sequence[Replacement] = (),
    progress: Progress = silent,
    scheduler: DaskScheduler = "threads",
    memory: MemoryBudget | None = None,
    lock_timeout: float = LOCK_SECONDS,
) -> Commit:
    """Create the Archive, append to it, replace some of it, as one commit: all of that or nothing.

    Appends along `sample` where there is one, else along `time`. Blocks are computed with Dask, a slab of whole shards
    at a time, so memory stays at a few slabs (64 MiB, or shard_time x the grid if that is more) whatever the input's
    size. With another scheduler than threads the slabs are computed elsewhere, but compressed and written here.

    Args:
        path: Folder of the Archive; made when absent.
        dataset: Fields as in `pipeline.fields`, lazy or in memory, with `mask` (int8, 1 = valid) for the first commit.
            Samples are numbered anew. None: nothing is appended.
        layout: Chunks and shards; those of the first commit hold for good.
        message: One line for the log.
        metadata: JSON-able notes kept with the commit.
        replacements: Other values for frames that are there already.
        progress: Called after each slab, in MB.
        scheduler: What Dask computes with.
        memory: What may be written at once; None: SLAB_BYTES.
        lock_timeout: Seconds to wait for another writer.

    Raises:
        ArchiveError: Locked, not an Archive, disk full, `dataset` does not continue what is there, or what is to be
            replaced is not; nothing changed.
    """
    fields = None if dataset is None else contract_fields(dataset)
    size = 0 if fields is None else sum(data.nbytes for data in fields.data_vars.values())
    written = _counted(size + sum(one.values.nbytes for one in replacements), progress)
    with (
        lock(path, lock_timeout),
        translated(path, "written"),
        checked(),  # an append reads the shard that it goes on with
        unfinished(path) as repository,
        # Its end waits for its threads: of a write that failed, none still writes when its remains are swept up.
        ThreadPoolExecutor(os.cpu_count()) as threads,
    ):
        session = repository.writable_session(BRANCH)
        store = HashingStore(session.store)
        if is_empty(repository):
            if replacements:
                raise ArchiveError(f"archive {path} holds nothing that could be replaced; append first")
            if fields is None or "mask" not in fields.coords:
                raise ArchiveError("the first commit of an archive needs the coordinate 'mask'; add it to the dataset")
            arrays = plan(field_dims(fields), {str(dim): size for dim, size in fields.sizes.items()}, layout)
            _write_slabs(store, fields, 0, arrays, written, scheduler, threads, memory)
        else:
            archived = open_store(session.store)
            check_replacements(path, archived, replacements)
            slab_bytes = SLAB_BYTES if memory is None else memory.slab_bytes
            replace_frames(store, replacements, slab_bytes, scheduler, written)
            mark_filled(store, archived, replacements)
            if fields is not None:
                check_continues(path, archived, fields)
                length = archived.sizes[field_dims(archived)[0]]
                ordered = numbered(fields[[str(name) for name in archived.data_vars]], length)
                ordered = with_flags(store, archived, ordered)
                layout_there = _stored_layout(session.store, ordered)
                _write_slabs(store, ordered, length, layout_there, written, scheduler, threads, memory)
        record(session, repository.readonly_session(BRANCH).store, threads, store.digests)
        reach("archive.commit.before")
        snapshot_id = session.commit(message, metadata)
    with translated(path, "read"):
        return as_commit(repository.lookup_snapshot(snapshot_id))


def _write_slabs(
    store: HashingStore,
    fields: xr.Dataset,
    start: int,
    layout: ArrayLayout,
    written: Callable[[int], None],
    scheduler: DaskScheduler,
    threads: ThreadPoolExecutor,
    memory: MemoryBudget | None,
) -> None:
    """Write `fields` from index `start` of the growing axis on; creates the arrays where `start` is 0."""
    dims = field_dims(fields)
    axis, shards = dims[0], dict(zip(dims, layout.shards, strict=True))
    length, size = fields.sizes[axis], sum(data.nbytes for data in fields.data_vars.values())
    slab_bytes = SLAB_BYTES
    if memory is not None:
        slab_bytes = memory.slab_bytes
        memory.check_row(size // length * min(shards[axis], length), shards[axis])
    for first, last in slabs(start, start + length, shards[axis], slab_bytes * length // size):
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
        reach("archive.slab.arrays")
        write.compute(scheduler="threads", pool=threads)
        reach("archive.slab.written")
        written(sum(data.nbytes for data in slab.data_vars.values()))


def _counted(size: int, progress: Progress) -> Callable[[int], None]:
    """Tells how much of `size` bytes is written, from how much each piece has."""
    done = 0

    def written(more: int) -> None:
        nonlocal done
        done += more
        progress(Event("ingest", _megabytes(done), _megabytes(size), "MB", message="writing"))

    return written


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
            "compressors": (codec, CHECKSUM),
            "fill_value": np.float32(np.nan),
            "_FillValue": np.float32(np.nan),
        }
        for name in fields.data_vars
    }
    for name, data in fields.coords.items():
        growing = name in ("time", "sample", PRESENT)
        encoding[str(name)] = {"chunks": (4096,) if growing else data.shape, "compressors": (ZstdCodec(), CHECKSUM)}
        if data.dtype.kind == "M":
            encoding[str(name)] |= _TIME_ENCODING
        elif data.dtype.kind == "f":
            encoding[str(name)]["_FillValue"] = None
    return encoding


def _stored_layout(store: icechunk.IcechunkStore, fields: xr.Dataset) -> ArrayLayout:
    array = dict(zarr.open_group(store, mode="r").arrays())[str(next(iter(fields.data_vars)))]
    return ArrayLayout(array.chunks, array.shards or array.chunks)
