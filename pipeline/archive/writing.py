"""Writing to an Archive: one dataset, one commit, all or nothing.

What lives here: cutting a dataset into slabs of whole shards, their encoding, the commit. What does not: the lock
(`writer_lock`), what is swept up after a failure (`repository`).

    commit = write(path, dataset, ArchiveConfig(), message="January", metadata={"files": [...]})
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr
from zarr.codecs import BloscCodec

from ..config import ArchiveConfig
from ..errors import ArchiveError
from ..executor import DaskScheduler
from ..fields import check_continues, contract_fields, field_dims, numbered
from ..layout import ArrayLayout, blocks, plan, slabs
from ..memory_budget import MemoryBudget
from ..progress import Event, Progress, silent
from .checksums import record
from .history import Commit, as_commit
from .reading import open_store
from .repository import BRANCH, is_empty, translated, unfinished
from .writer_lock import LOCK_SECONDS, lock

SLAB_BYTES = 64 * 2**20
_TIME_ENCODING = {"units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}


def write(
    path: Path,
    dataset: xr.Dataset,
    layout: ArchiveConfig,
    *,
    message: str,
    metadata: dict[str, Any],
    progress: Progress = silent,
    scheduler: DaskScheduler = "threads",
    memory: MemoryBudget | None = None,
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
        memory: What may be written at once; None: SLAB_BYTES.
        lock_timeout: Seconds to wait for another writer.

    Raises:
        ArchiveError: Locked, not an Archive, disk full, or `dataset` does not continue what is there; nothing changed.
    """
    fields = contract_fields(dataset)
    with (
        lock(path, lock_timeout),
        translated(path, "written"),
        unfinished(path) as repository,
        # Its end waits for its threads: of a write that failed, none still writes when its remains are swept up.
        ThreadPoolExecutor(os.cpu_count()) as threads,
    ):
        session = repository.writable_session(BRANCH)
        if is_empty(repository):
            if "mask" not in fields.coords:
                raise ArchiveError("the first commit of an archive needs the coordinate 'mask'; add it to the dataset")
            arrays = plan(field_dims(fields), {str(dim): size for dim, size in fields.sizes.items()}, layout)
            _write_slabs(session.store, fields, 0, arrays, progress, scheduler, threads, memory)
        else:
            archived = open_store(session.store)
            check_continues(path, archived, fields)
            length = archived.sizes[field_dims(archived)[0]]
            ordered = numbered(fields[[str(name) for name in archived.data_vars]], length)
            layout_there = _stored_layout(session.store, ordered)
            _write_slabs(session.store, ordered, length, layout_there, progress, scheduler, threads, memory)
        record(session, threads)
        session.commit(message, metadata)
        return as_commit(next(iter(repository.ancestry(branch=BRANCH))))


def _write_slabs(
    store: icechunk.IcechunkStore,
    fields: xr.Dataset,
    start: int,
    layout: ArrayLayout,
    progress: Progress,
    scheduler: DaskScheduler,
    threads: ThreadPoolExecutor,
    memory: MemoryBudget | None,
) -> None:
    """Write `fields` from index `start` of the growing axis on; creates the arrays where `start` is 0."""
    dims = field_dims(fields)
    axis, shards = dims[0], dict(zip(dims, layout.shards, strict=True))
    length, size = fields.sizes[axis], sum(data.nbytes for data in fields.data_vars.values())
    done, slab_bytes = 0, SLAB_BYTES
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
