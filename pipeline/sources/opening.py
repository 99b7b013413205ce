"""Opening one input lazily: NetCDF or HDF5, Zarr of version 2 or 3, Icechunk, GRIB, a table, or pictures.

What lives here: choosing the room and the library by what the input is, the group and the member inside it, the size of
the blocks. What does not: telling whether the input is whole (`files`) and what its variables mean (`harmonise`).

    dataset = open_input(config, Path("day.grib2"))                # Dask arrays, a few MB per block
    dataset = open_lazily(Path("day.nc"), "forecast/surface")
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import icechunk
import xarray as xr
from zarr.errors import GroupNotFoundError

from ..config import Config
from ..errors import ConfigError, SourceError
from ..file_pattern import FilePattern
from .files import FILMS, PICTURES, TABLES, is_icechunk
from .grib_messages import looks_like_grib
from .members import of_member
from .remote import storage_options
from .tables import open_table
from .zarr_pointer import pointed_url

_BLOCK_BYTES = 16 * 2**20


def open_input(config: Config, path: Path) -> xr.Dataset:
    """An input of whatever kind, as the sections source, sensors and variables say.

    Raises:
        SourceError: As in `open_lazily`, `open_table`, `open_grib` and `open_images`.
        ConfigError: The library for this kind of input is not installed.
    """
    if config.sensors is not None and path.suffix in TABLES:
        return open_table(path, config.sensors, config.variables)
    if path.is_file() and looks_like_grib(path):
        return _grib(config, path)
    if path.suffix.lower() in (*PICTURES, *FILMS):
        return _images(config, path)
    url = None if config.source.url is None else pointed_url(path, config.source.url)
    return of_member(open_lazily(path, config.source.group, url), config.source.member)


def names_held(dataset: xr.Dataset) -> list[str]:
    """Names of the variables of an input, also of those that were not opened."""
    return [*dict.fromkeys((*map(str, dataset.data_vars), *dataset.attrs.get("held", ())))]


def _grib(config: Config, path: Path) -> xr.Dataset:
    try:
        from .grib import open_grib
    except (ImportError, RuntimeError) as error:  # the second where ecCodes itself is missing
        raise _lacking(path, "cfgrib and eccodes", "grib", error) from error
    return _in_blocks(open_grib(path, config.variables, config.source.grib_keys, config.source.member), path, None)


def _images(config: Config, path: Path) -> xr.Dataset:
    try:
        from .images import open_images
    except ImportError as error:
        raise _lacking(path, "imageio and av", "video", error) from error
    name = path.relative_to(config.source_path).as_posix()
    starts = (FilePattern.parse(pattern).start(name) for pattern in config.source.files)
    start = next((start for start in starts if start is not None), None)
    return _in_blocks(open_images(path, start, config.source.every), path, None)


def _lacking(path: Path, libraries: str, extra: str, error: Exception) -> ConfigError:
    reason = str(error).partition("\n")[0]
    return ConfigError(f"{path.name} needs {libraries} ({reason}); run: pip install 'minconv-pipeline[{extra}]'")


def open_lazily(path: Path, group: str | None = None, url: str | None = None) -> xr.Dataset:
    """Open an input with Dask blocks of about 16 MiB that follow its own chunks.

    Args:
        path: A NetCDF file, the folder of a Zarr group, or that of an Icechunk repository, of which the newest version
            of branch `main` is read.
        group: Path of the group inside it; None is the outermost.
        url: Of the Zarr group that the file at `path` stands for.

    Raises:
        SourceError: ``Q-TRUNCATED`` where the library cannot open it, ``Q-TIME`` where its times cannot be read,
            ``Q-MISSING-VARIABLE`` where there is no such group.
    """
    try:
        with warnings.catch_warnings():
            # a file may state several fill values; all of them become NaN, which is what we want
            warnings.simplefilter("ignore", xr.SerializationWarning)
            dataset = _opened(path, group) if url is None else _opened_at(url, group)
    except (OSError, RuntimeError, KeyError, icechunk.IcechunkError) as error:
        if group is not None and _lacks_group(error):
            raise SourceError(
                "Q-MISSING-VARIABLE", f"expected the group {group!r}, it has no such; correct source.group or the file"
            ) from error
        raise SourceError("Q-TRUNCATED", f"it cannot be opened ({_cause(error)}); fetch it again") from error
    except ValueError as error:
        raise SourceError("Q-TIME", f"its coordinates cannot be decoded ({_cause(error)}); correct the file") from error
    return _in_blocks(dataset, path, group)


def _in_blocks(dataset: xr.Dataset, path: Path, group: str | None) -> xr.Dataset:
    stat = path.stat()
    token = f"{path.absolute()}-{group}-{stat.st_mtime_ns}-{stat.st_size}"
    blocks = dataset.chunk(_block_sizes(dataset), token=token)
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


def _opened_at(url: str, group: str | None) -> xr.Dataset:
    options = storage_options(url.partition("://")[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # metadata that is not consolidated is read all the same
        dataset: xr.Dataset = xr.open_zarr(
            url, group=group, chunks=None, decode_timedelta=False, storage_options=options or None
        )
    return dataset


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
