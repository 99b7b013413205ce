"""Opening one input lazily: a NetCDF or HDF5 file, a Zarr group of version 2 or 3, or an Icechunk repository.

What lives here: choosing the library by what the input is, the group inside it, and the size of the blocks. What does
not: telling whether the input is whole (`files`) and what its variables mean (`harmonise`).

    dataset = open_lazily(Path("day.nc"), "forecast/surface")      # Dask arrays, a few MB per block
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import icechunk
import xarray as xr
from zarr.errors import GroupNotFoundError

from ..errors import SourceError
from .files import is_icechunk

_BLOCK_BYTES = 16 * 2**20


def open_lazily(path: Path, group: str | None = None, block_bytes: int = _BLOCK_BYTES) -> xr.Dataset:
    """Open an input with Dask blocks that follow its own chunks.

    Args:
        path: A NetCDF file, the folder of a Zarr group, or that of an Icechunk repository, of which the newest version
            of branch `main` is read.
        group: Path of the group inside it; None is the outermost.
        block_bytes: About the size of a block, as float32; one chunk of the input is the least.

    Raises:
        SourceError: ``Q-TRUNCATED`` where the library cannot open it, ``Q-TIME`` where its times cannot be read,
            ``Q-MISSING-VARIABLE`` where there is no such group.
    """
    try:
        with warnings.catch_warnings():
            # a file may state several fill values; all of them become NaN, which is what we want
            warnings.simplefilter("ignore", xr.SerializationWarning)
            dataset = _opened(path, group)
    except (OSError, RuntimeError, KeyError, icechunk.IcechunkError) as error:
        if group is not None and _lacks_group(error):
            raise SourceError(
                "Q-MISSING-VARIABLE", f"expected the group {group!r}, it has no such; correct source.group or the file"
            ) from error
        raise SourceError("Q-TRUNCATED", f"it cannot be opened ({_cause(error)}); fetch it again") from error
    except ValueError as error:
        raise SourceError("Q-TIME", f"its coordinates cannot be decoded ({_cause(error)}); correct the file") from error
    stat = path.stat()
    token = f"{path.absolute()}-{group}-{block_bytes}-{stat.st_mtime_ns}-{stat.st_size}"
    blocks = dataset.chunk(_block_sizes(dataset, block_bytes), token=token)
    # the copy in blocks does not inherit the right to close the file
    blocks.set_close(dataset.close)
    return blocks


def _opened(path: Path, group: str | None) -> xr.Dataset:
    if not path.is_dir():
        return xr.open_dataset(path, engine="netcdf4", group=group, chunks=None, decode_timedelta=False)
    store = str(path)
    if is_icechunk(path):
        repository = icechunk.Repository.open(icechunk.local_filesystem_storage(store))
        store = repository.readonly_session("main").store
    dataset: xr.Dataset = xr.open_zarr(store, group=group, consolidated=False, chunks=None, decode_timedelta=False)
    return dataset


def _lacks_group(error: Exception) -> bool:
    """Zarr has a type for it, netCDF only words."""
    return isinstance(error, GroupNotFoundError) or "group not found" in str(error)


def _cause(error: Exception) -> str:
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _block_sizes(dataset: xr.Dataset, block_bytes: int) -> dict[str, int]:
    """Points per block: whole fields, cut along sample and time at multiples of the file's chunks."""
    if not dataset.data_vars:
        return {}
    field = max(dataset.data_vars.values(), key=lambda data: data.size)
    stored: dict[str, int] = {str(dim): size for dim, size in field.encoding.get("preferred_chunks", {}).items()}
    blocks = {str(dim): size for dim, size in dataset.sizes.items()}
    for axis, dim in enumerate(map(str, field.dims[:-2])):
        step = stored.get(dim, 1)
        rows = block_bytes // max(1, math.prod(field.shape[axis + 1 :]) * 4) // step * step
        blocks[dim] = min(max(rows, step), field.sizes[dim])
        if rows:
            break
    return blocks
