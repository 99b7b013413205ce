"""Input files: finding them, telling whether they are whole, and opening them lazily.

paths = find(Path("data"), ["*.nc"])
check_container(paths[0])
dataset = open_lazily(paths[0])         # Dask arrays, a few MB per block
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from ..errors import SourceError
from .netcdf3 import expected_size

_BLOCK_BYTES = 16 * 2**20
_MAGIC = (b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02", b"CDF\x05")


def find(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The input files in `folder` that match one of `patterns`, by name; files that start with a dot are left out.

    Raises:
        SourceError: The folder is missing or nothing matches.
    """
    if not folder.is_dir():
        raise SourceError(
            "Q-NO-FOLDER", f"input folder {folder} does not exist; set source.path to the folder of the files"
        )
    found = {path for pattern in patterns for path in folder.glob(pattern) if not path.name.startswith(".")}
    if not found:
        raise SourceError(
            "Q-NO-FILES",
            f"no file in {folder} matches {', '.join(patterns)}; correct source.path or source.files",
        )
    return sorted(found)


def digest(path: Path) -> str:
    """The sha256 of a file's bytes, or of all names and bytes in a Zarr folder."""
    total = hashlib.sha256()
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        if file != path:
            total.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                total.update(block)
    return total.hexdigest()


def check_container(path: Path) -> None:
    """Check that a file is there, is NetCDF, and is as long as it should be; a Zarr folder needs its metadata.

    Raises:
        SourceError: ``Q-EMPTY``, ``Q-NOT-NETCDF`` or ``Q-TRUNCATED``.
    """
    if path.is_dir():
        if not any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zmetadata")):
            raise SourceError(
                "Q-NOT-ZARR", "the folder has no Zarr metadata; name NetCDF files or Zarr groups in source.files"
            )
        return
    size = path.stat().st_size
    if size == 0:
        raise SourceError("Q-EMPTY", "the file is empty; fetch it again")
    with path.open("rb") as file:
        start = file.read(8)
    if not start.startswith(_MAGIC):
        raise SourceError(
            "Q-NOT-NETCDF",
            f"expected a NetCDF file, but it starts with {start!r}; fetch it again or exclude it in source.files",
        )
    try:
        expected = expected_size(path)
    except EOFError as error:
        raise SourceError("Q-TRUNCATED", "the header is cut short; fetch it again") from error
    if expected is not None and size < expected:
        raise SourceError("Q-TRUNCATED", f"the header promises {expected} bytes, the file has {size}; fetch it again")


def open_lazily(path: Path) -> xr.Dataset:
    """Open a NetCDF file or Zarr folder with Dask blocks of about 16 MiB that follow the file's own chunks.

    Raises:
        SourceError: ``Q-TRUNCATED`` where the library cannot open it, ``Q-TIME`` where its times cannot be read.
    """
    try:
        with warnings.catch_warnings():
            # a file may state several fill values; all of them become NaN, which is what we want
            warnings.simplefilter("ignore", xr.SerializationWarning)
            if path.is_dir():
                dataset: xr.Dataset = xr.open_zarr(path, consolidated=False, chunks=None, decode_timedelta=False)
            else:
                dataset = xr.open_dataset(path, engine="netcdf4", chunks=None, decode_timedelta=False)
    except (OSError, RuntimeError, KeyError) as error:
        raise SourceError("Q-TRUNCATED", f"it cannot be opened ({_cause(error)}); fetch it again") from error
    except ValueError as error:
        raise SourceError("Q-TIME", f"its coordinates cannot be decoded ({_cause(error)}); correct the file") from error
    stat = path.stat()
    blocks = dataset.chunk(_block_sizes(dataset), token=f"{path.absolute()}-{stat.st_mtime_ns}-{stat.st_size}")
    # the copy in blocks does not inherit the right to close the file
    blocks.set_close(dataset.close)
    return blocks


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
