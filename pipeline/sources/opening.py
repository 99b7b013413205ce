"""Opening one input lazily: a NetCDF or HDF5 file, a Zarr group of version 2 or 3, or an Icechunk repository.

What lives here: choosing the library by what the input is, the group inside it, and the size of the blocks. What does
not: telling whether the input is whole (`files`) and what its variables mean (`harmonise`).

    dataset = open_lazily(Path("day.nc"), "forecast/surface")      # Dask arrays, a few MB per block
"""

from __future__ import annotations

import functools
import math
import warnings
from pathlib import Path

import icechunk
import xarray as xr
from zarr.errors import GroupNotFoundError

from ..errors import SourceError
from .codecs import remedy, rule_of_unreadable
from .files import is_icechunk

_BLOCK_BYTES = 16 * 2**20
_LONGEST = 2**27  # points along a dimension: its coordinate is read as a whole, 1 GiB of it


def open_lazily(path: Path, group: str | None = None) -> xr.Dataset:
    """Open an input with Dask blocks of about 16 MiB that follow its own chunks.

    Args:
        path: A NetCDF file, the folder of a Zarr group, or that of an Icechunk repository, of which the newest version
            of branch `main` is read.
        group: Path of the group inside it; None is the outermost.

    Raises:
        SourceError: ``Q-TRUNCATED`` where the library cannot open it, ``Q-CODEC`` where it lacks what decodes it,
            ``Q-TIME`` where its times cannot be read, ``Q-MISSING-VARIABLE`` where there is no such group,
            ``Q-BUDGET`` where a dimension is longer than any can be.
    """
    try:
        with warnings.catch_warnings():
            # a file may state several fill values; all of them become NaN, which is what we want
            warnings.simplefilter("ignore", xr.SerializationWarning)
            dataset = _indexed(_opened(path, group))
    except (OSError, RuntimeError, KeyError, icechunk.IcechunkError) as error:
        if group is not None and _lacks_group(error):
            raise SourceError(
                "Q-MISSING-VARIABLE", f"expected the group {group!r}, it has no such; correct source.group or the file"
            ) from error
        raise SourceError(
            "Q-TRUNCATED", f"it cannot be opened ({_cause(error)}), expected a whole file; fetch it again"
        ) from error
    except ValueError as error:
        if (rule := rule_of_unreadable(error)) == "Q-CODEC":
            raise SourceError(
                rule, f"it cannot be decoded ({_cause(error)}), expected a known codec; {remedy(rule)}"
            ) from error
        raise SourceError(
            "Q-TIME",
            f"its coordinates cannot be decoded ({_cause(error)}), expected times as CF has them; correct the file",
        ) from error
    stat = path.stat()
    token = f"{path.absolute()}-{group}-{stat.st_mtime_ns}-{stat.st_size}"
    blocks = dataset.chunk(_block_sizes(dataset), token=token)
    # the copy in blocks does not inherit the right to close the file
    blocks.set_close(dataset.close)
    return blocks


def _opened(path: Path, group: str | None) -> xr.Dataset:
    if not path.is_dir():
        return xr.open_dataset(
            path, engine="netcdf4", group=group, chunks=None, decode_timedelta=False, create_default_indexes=False
        )
    store = str(path)
    if is_icechunk(path):
        repository = icechunk.Repository.open(icechunk.local_filesystem_storage(store))
        store = repository.readonly_session("main").store
    dataset: xr.Dataset = xr.open_zarr(
        store, group=group, consolidated=False, chunks=None, decode_timedelta=False, create_default_indexes=False
    )
    return dataset


def _indexed(dataset: xr.Dataset) -> xr.Dataset:
    """The coordinates along dimensions read, as xarray does when it opens; but not before their lengths are known.

    Raises:
        SourceError: ``Q-BUDGET``.
    """
    for dim, size in dataset.sizes.items():
        if size > _LONGEST:
            raise SourceError(
                "Q-BUDGET",
                f"it has {size} points along {str(dim)!r}, expected at most {_LONGEST}; is its header damaged? fetch "
                "it again",
            )
    lacking = [str(dim) for dim in dataset.dims if dim in dataset.coords and dim not in dataset.xindexes]
    if not lacking:
        return dataset
    indexed = functools.reduce(xr.Dataset.set_xindex, lacking, dataset)
    indexed.set_close(dataset.close)  # a new dataset does not inherit the right to close the file
    return indexed


def _lacks_group(error: Exception) -> bool:
    """Zarr has a type for it, netCDF only words."""
    return isinstance(error, GroupNotFoundError) or "group not found" in str(error)


def _cause(error: Exception) -> str:
    lines = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _block_sizes(dataset: xr.Dataset) -> dict[str, int]:
    """Points per block: whole fields, cut along sample and time at multiples of the file's chunks."""
    if not dataset.data_vars:
        return {}
    field = max(dataset.data_vars.values(), key=lambda data: data.size)
    stored: dict[str, int] = {str(dim): size for dim, size in field.encoding.get("preferred_chunks", {}).items()}
    blocks = {str(dim): size for dim, size in dataset.sizes.items()}
    for axis, dim in enumerate(map(str, field.dims[:-2])):
        step = stored.get(dim, 1)
        rows = _BLOCK_BYTES // max(1, math.prod(field.shape[axis + 1 :]) * 4) // step * step
        blocks[dim] = min(max(rows, step), field.sizes[dim])
        if rows:
            break
    return blocks
