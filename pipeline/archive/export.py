"""A version of an Archive for other tools: plain Zarr, or NetCDF.

What lives here: writing such a copy, whole or not at all. What does not: choosing variables or
times (xarray does that).

    export(path, Path("january.nc"))
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ..errors import ArchiveError
from ..failpoints import reach
from ..interruption import held_back
from .reading import open_arrays, open_dataset
from .repository import translated

_MEANING = ("dtype", "units", "calendar", "_FillValue")


def export(path: Path, target: Path, snapshot_id: str | None = None) -> None:
    """Copy a version, a shard at a time, into a file or folder that was not there.

    Args:
        path: Folder of the Archive.
        target: ``NAME.nc`` or ``NAME.zarr``.
        snapshot_id: The version; None: the newest.

    Raises:
        ArchiveError: No Archive, no such version, another ending, `target` is there, or it cannot be written.
    """
    place = Path(target).absolute()
    if place.suffix not in (".nc", ".zarr"):
        raise ArchiveError(f"an export is named NAME.nc or NAME.zarr, got {target}; choose one of these endings")
    if place.exists():
        raise ArchiveError(f"{target} is there already; choose another name or move it away")
    with open_dataset(path, snapshot_id) as fields:
        field = next(iter(fields.data_vars.values()))
        array = open_arrays(path, [str(field.name)], snapshot_id)[str(field.name)]
        shards = dict(zip(map(str, field.dims), array.shards or array.chunks, strict=True))
    made = place.with_name(f".{place.stem}.new{place.suffix}")
    _remove(made)
    try:
        with translated(path, f"exported to {target}"), open_dataset(path, snapshot_id) as stored:
            made.parent.mkdir(parents=True, exist_ok=True)
            fields = stored.assign({name: data.chunk(shards) for name, data in stored.data_vars.items()})
            if place.suffix == ".nc":
                for data in fields.variables.values():  # chunks and codecs of Zarr mean nothing to NetCDF
                    data.encoding = {key: data.encoding[key] for key in _MEANING if key in data.encoding}
                growing = [field.dims[0]]
                with held_back():
                    values: Any = fields.to_netcdf(made, engine="netcdf4", unlimited_dims=growing, compute=False)
                values.compute(scheduler="threads")  # long work; in threads, which no signal interrupts
            else:
                fields.to_zarr(made, zarr_format=3, consolidated=False)
            reach("archive.export.made")
            os.rename(made, place)
            reach("archive.export.renamed")
    finally:
        _remove(made)


def _remove(made: Path) -> None:
    if made.is_dir():
        shutil.rmtree(made)
    else:
        made.unlink(missing_ok=True)
