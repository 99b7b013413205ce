"""Opening and describing one version of an Archive.

What lives here: a version as an xarray dataset, as Zarr arrays, in words. What does not: its history (`history`).

    dataset = open_dataset(path, snapshot_id)
    arrays = open_arrays(path, ["t2m"], snapshot_id)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icechunk
import xarray as xr
import zarr

from ..errors import ArchiveError
from ..fields import time_text
from ..presence import PRESENT, present
from .history import log
from .integrity import ReadingStore, readable
from .repository import readonly_store


@dataclass(frozen=True)
class ArchiveInfo:
    """What an Archive holds at one version.

    Attributes:
        dims: Length of each dimension, in array order.
        variables: Units of each field.
        chunks: Points per chunk along `dims`; `shards` likewise.
        first_time: First and `last_time` of the time axis as text (ISO 8601, or seconds where time is relative).
        missing: Frames in gaps.
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
    missing: int
    size_bytes: int
    commits: int


def open_dataset(path: Path, snapshot_id: str | None = None, chunks: dict[str, int] | None = None) -> xr.Dataset:
    """Open a version lazily.

    Args:
        path: Folder of the Archive.
        snapshot_id: The version; None: the newest.
        chunks: Dask chunks along dimensions ({}: those on disk); None: no Dask, reads happen on access.

    Returns:
        Fields float32 with dims (time, lat, lon), (time, y, x) or (sample, time, y, x); among the coordinates `mask`
        (1 = valid). Reading them raises `ArchiveError` where a chunk is damaged or missing.

    Raises:
        ArchiveError: No Archive, or no such version.
    """
    store = readonly_store(path, snapshot_id)
    with readable(path):
        return open_store(ReadingStore(store, path), chunks)


def open_arrays(path: Path, names: Sequence[str], snapshot_id: str | None = None) -> dict[str, zarr.Array[Any]]:
    """Open arrays of a version for direct reading, without xarray and Dask.

    Raises:
        ArchiveError: No Archive, no such version, or no such array.
    """
    store = readonly_store(path, snapshot_id)
    with readable(path):
        group = zarr.open_group(ReadingStore(store, path), mode="r")
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
    commits = log(path, snapshot_id)
    with open_dataset(path, snapshot_id) as dataset:
        field = next(iter(dataset.data_vars.values()))
        arrays = open_arrays(path, [str(field.name)], snapshot_id)
        array = arrays[str(field.name)]
        return ArchiveInfo(
            path=Path(path),
            snapshot_id=commits[0].snapshot_id,
            dims={str(dim): size for dim, size in field.sizes.items()},
            variables={str(name): str(data.attrs.get("units", "1")) for name, data in dataset.data_vars.items()},
            chunks=array.chunks,
            shards=array.shards or array.chunks,
            first_time=time_text(dataset["time"].values[0]),
            last_time=time_text(dataset["time"].values[-1]),
            missing=int((~present(dataset)).sum()),
            size_bytes=sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file()),
            commits=len(commits),
        )


def open_store(store: icechunk.IcechunkStore | ReadingStore, chunks: dict[str, int] | None = None) -> xr.Dataset:
    """The fields behind a Zarr store, decoded, in the order of their names."""
    dataset: xr.Dataset = xr.open_zarr(store, consolidated=False, chunks=chunks, decode_timedelta=False)
    # an array that a later commit added is no coordinate to those that were there
    fields = dataset.set_coords(PRESENT) if PRESENT in dataset.data_vars else dataset
    # a store lists its arrays in no certain order
    return fields[sorted(map(str, fields.data_vars))]
