"""The file of a forecast: NetCDF or Zarr, whole or not at all.

check_target(path)                       # ForecastError where the name has another suffix
write_forecast(dataset, Path("forecast.nc"))
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import ForecastError
from ..interruption import held_back

FILE_SUFFIXES = (".nc", ".zarr")


def check_target(path: Path) -> None:
    """Refuse a file name that `write_forecast` could not serve, before any work is done.

    Raises:
        ForecastError: Neither ``.nc`` nor ``.zarr``.
    """
    if path.suffix not in FILE_SUFFIXES:
        raise ForecastError(
            f"output {path} must end in .nc (NetCDF) or .zarr, got {path.suffix or 'no suffix'!r}; rename it"
        )


def write_forecast(dataset: xr.Dataset, path: Path) -> None:
    """Write NetCDF or Zarr, by the name's suffix; the file appears whole or not at all.

    Raises:
        ForecastError: The name has another suffix, or the file cannot be written.
    """
    check_target(path)
    temporary = path.with_name(f".{path.name}.part")
    encoding: dict[str, dict[str, Any]] = {str(name): {"zlib": True, "complevel": 4} for name in dataset.data_vars}
    since = {"units": "seconds since 1970-01-01", "dtype": "int64"}
    times = {str(name): since for name, value in dataset.coords.items() if np.issubdtype(value.dtype, np.datetime64)}
    whole_hours = not (dataset["lead_time"].values % np.timedelta64(1, "h")).astype(np.int64).any()
    # tenths of an hour would not come back as they were
    lead = {"lead_time": {"units": "hours" if whole_hours else "seconds", "dtype": "float64"}}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        if path.suffix == ".nc":
            with held_back():
                dataset.to_netcdf(temporary, engine="netcdf4", encoding={**encoding, **times, **lead})
        else:
            dataset.to_zarr(temporary, zarr_format=3, consolidated=False, encoding={**times, **lead})
            _remove(path)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: what netCDF4 makes of a full disk
        reason = getattr(error, "strerror", None) or error
        raise ForecastError(
            f"forecast {path} cannot be written ({reason}); free some space or choose another place"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # its folder may not be there
            _remove(temporary)


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for _ in range(20):  # after a failed write, Zarr's threads may still add files for a moment
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.05)
