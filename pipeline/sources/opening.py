"""Opening one input lazily: NetCDF or HDF5, Zarr of version 2 or 3, Icechunk, GRIB, a table, or pictures.

What lives here: choosing the room and the library by what the input is, the group and the member inside it, the size of
the blocks. What does not: telling whether the input is whole (`files`) and what its variables mean (`harmonise`).

    dataset = open_input(config, Path("day.grib2"))                # Dask arrays, a few MB per block
    dataset = open_lazily(Path("day.nc"), "forecast/surface")
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import icechunk
import xarray as xr
from zarr.errors import GroupNotFoundError

from ..config import Config, VariableConfig
from ..errors import ConfigError, SourceError
from ..file_pattern import FilePattern
from ..memory_budget import MemoryBudget
from .codecs import remedy, rule_of_unreadable
from .files import FILMS, PICTURES, TABLES, is_icechunk
from .grib_messages import looks_like_grib
from .icechunk_input import store_at, store_in
from .members import of_member
from .remote import storage_options
from .tables import open_table
from .zarr_pointer import Pointed, pointed

_BLOCK_BYTES = 16 * 2**20
_LONGEST = 2**27  # points along a dimension: its coordinate is read as a whole, 1 GiB of it


def open_input(
    config: Config,
    path: Path,
    wanted: Mapping[str, VariableConfig] | None = None,
    off: frozenset[str] = frozenset(),
    whole: int = 0,
) -> xr.Dataset:
    """An input of whatever kind, as the sections source and sensors say.

    Args:
        config: Read are these sections.
        path: The input.
        wanted: What may be read of it; None: the variables of the configuration.
        off: Rules that are not looked at.
        whole: As in `open_lazily`.

    Raises:
        SourceError: As in `open_lazily`, `open_table`, `open_grib` and `open_images`.
        ConfigError: The library for this kind of input is not installed.
    """
    read = config.variables if wanted is None else wanted
    if config.sensors is not None and path.suffix in TABLES:
        return open_table(path, config.sensors, read, off)
    if path.is_file() and looks_like_grib(path):
        return _grib(config, path, read)
    if path.suffix.lower() in (*PICTURES, *FILMS):
        return _images(config, path)
    there = None if config.source.url is None else pointed(path, config.source.url)
    opened = open_lazily(path, config.source.group, there, _block_bytes(config), whole)
    return of_member(opened, config.source.member)


def in_blocks(config: Config, dataset: xr.Dataset, path: Path) -> xr.Dataset:
    """An input that was opened whole, as it is when it is not."""
    return _in_blocks(dataset, path, config.source.group, _block_bytes(config))


def _block_bytes(config: Config) -> int:
    return MemoryBudget.of(config.compute.memory_bytes).block_bytes


def names_held(dataset: xr.Dataset) -> list[str]:
    """Names of the variables of an input, also of those that were not opened."""
    return [*dict.fromkeys((*map(str, dataset.data_vars), *dataset.attrs.get("held", ())))]


def _grib(config: Config, path: Path, wanted: Mapping[str, VariableConfig]) -> xr.Dataset:
    try:
        from .grib import open_grib
    except (ImportError, RuntimeError) as error:  # the second where ecCodes itself is missing
        raise _lacking(path, "cfgrib and eccodes", "grib", error) from error
    dataset = open_grib(path, wanted, config.source.grib_keys, config.source.member)
    return _in_blocks(dataset, path, None, _block_bytes(config))


def _images(config: Config, path: Path) -> xr.Dataset:
    try:
        from .images import open_images
    except ImportError as error:
        raise _lacking(path, "imageio and av", "video", error) from error
    name = path.relative_to(config.source_path).as_posix()
    starts = (FilePattern.parse(pattern).start(name) for pattern in config.source.files)
    start = next((start for start in starts if start is not None), None)
    dataset = open_images(path, start, config.source.every)
    return _in_blocks(dataset, path, None, _block_bytes(config))


def _lacking(path: Path, libraries: str, extra: str, error: Exception) -> ConfigError:
    reason = str(error).partition("\n")[0]
    return ConfigError(f"{path.name} needs {libraries} ({reason}); run: pip install 'minconv-pipeline[{extra}]'")


def open_lazily(
    path: Path,
    group: str | None = None,
    there: Pointed | None = None,
    block_bytes: int = _BLOCK_BYTES,
    whole: int = 0,
) -> xr.Dataset:
    """Open an input with Dask blocks that follow its own chunks.

    Args:
        path: A NetCDF file, the folder of a Zarr group, or that of an Icechunk repository, of which the newest version
            of branch `main` is read.
        group: Path of the group inside it; None is the outermost.
        there: The Zarr group or Icechunk repository that the file at `path` stands for.
        block_bytes: About the size of a block, as float32; one chunk of the input is the least.
        whole: A NetCDF file of up to so many bytes of values, but one block at most, is read on access, without Dask,
            whose graph takes longer than reading it.

    Raises:
        SourceError: ``Q-TRUNCATED`` where the library cannot open it, ``Q-CODEC`` where it lacks what decodes it,
            ``Q-TIME`` where its times cannot be read, ``Q-MISSING-VARIABLE`` where there is no such group,
            ``Q-BUDGET`` where a dimension is longer than any can be.
    """
    try:
        with warnings.catch_warnings():
            # a file may state several fill values; all of them become NaN, which is what we want
            warnings.simplefilter("ignore", xr.SerializationWarning)
            dataset = _indexed(_opened(path, group) if there is None else _opened_at(there, group))
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
    if there is None and path.is_file() and dataset.nbytes <= min(whole, block_bytes):
        return dataset
    return _in_blocks(dataset, path, group, block_bytes)


def _in_blocks(dataset: xr.Dataset, path: Path, group: str | None, block_bytes: int) -> xr.Dataset:
    stat = path.stat()
    token = f"{path.absolute()}-{group}-{block_bytes}-{stat.st_mtime_ns}-{stat.st_size}"
    blocks = dataset.chunk(_block_sizes(dataset, block_bytes), token=token)
    # the copy in blocks does not inherit the right to close the file
    blocks.set_close(dataset.close)
    return blocks


def _opened(path: Path, group: str | None) -> xr.Dataset:
    if not path.is_dir():
        return xr.open_dataset(
            path,
            engine="netcdf4",
            group=group,
            chunks=None,
            cache=False,
            decode_timedelta=False,
            create_default_indexes=False,
        )
    return _group(store_in(path) if is_icechunk(path) else str(path), group)


def _group(store: Any, group: str | None) -> xr.Dataset:
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


def _opened_at(there: Pointed, group: str | None) -> xr.Dataset:
    if there.icechunk:
        return _group(store_at(there.url), group)
    options = storage_options(there.url.partition("://")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # metadata that is not consolidated is read all the same
        dataset: xr.Dataset = xr.open_zarr(
            there.url, group=group, chunks=None, decode_timedelta=False, storage_options=options or None
        )
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
