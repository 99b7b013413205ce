"""What lies under the axes y and x of a field: its map projection, or curvilinear coordinates; as one line of text.

projection(dataset, dataset["t2m"])      # "lambert_conformal_conic: standard_parallel=50, ..." or "" where none is told
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import numpy as np
import xarray as xr

from .axes import roles

CURVILINEAR = "curvilinear"
_NAMES = {"lat", "latitude", "nav_lat", "xlat", "lon", "longitude", "nav_lon", "xlong"}
_DEGREES = 4  # decimals that count, ten metres on the ground


def projection(dataset: xr.Dataset, field: xr.DataArray) -> str:
    """The grid mapping by CF attributes, else a digest of two-dimensional latitudes and longitudes, else nothing."""
    named = str(field.attrs.get("grid_mapping") or field.encoding.get("grid_mapping") or "").split(":")[0].strip()
    if named in dataset.variables:
        return _mapping(dataset[named])
    known = roles(dataset, field)
    if any(dim in dataset.coords for dim, role in known.items() if role in ("y", "x", "lat", "lon")):
        return ""
    variables = dataset.variables
    flat = [dataset[name] for name in dataset.coords if _is_curvilinear(name, variables[name], field)]
    if not flat:
        return ""
    total = hashlib.sha256()
    for data in sorted(flat, key=lambda one: str(one.name)):
        total.update(np.round(data.values.astype("float64"), _DEGREES).tobytes())
    return f"{CURVILINEAR} {total.hexdigest()[:8]}"


def _mapping(crs: xr.DataArray) -> str:
    name = str(crs.attrs.get("grid_mapping_name", ""))
    numbers = {
        str(key): np.atleast_1d(value) for key, value in crs.attrs.items() if np.atleast_1d(value).dtype.kind in "fiu"
    }
    # single precision, as many keep them in; text (crs_wkt, ...) is spelled in too many ways to be compared
    told = [f"{key}={' '.join(f'{number:.6g}' for number in values)}" for key, values in sorted(numbers.items())]
    return f"{name}{': ' if told else ''}{', '.join(told)}" if name and name != "latitude_longitude" else ""


def _is_curvilinear(name: Hashable, data: xr.Variable, field: xr.DataArray) -> bool:
    horizontal = str(name).lower() in _NAMES or data.attrs.get("standard_name") in ("latitude", "longitude")
    return horizontal and data.ndim == 2 and set(data.dims) <= set(field.dims)
