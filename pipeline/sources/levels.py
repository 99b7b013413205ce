"""One entry of a field's vertical axis.

Pressures are compared in hPa whatever their unit in the file; heights, depths and numbered levels as they are.

    at_level(dataset, dataset["z"], 850.0).dims      # ("time", "lat", "lon")
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ..errors import SourceError
from .axes import described
from .units import conversion

_NAMES = {"level", "lev", "levels", "plev", "pressure", "pressure_level", "isobaricinhpa", "height", "depth", "z"}
_HECTOPASCAL = {"hPa", "hectopascal", "mbar", "millibar", "millibars", "mb"}


def holds_level(dataset: xr.Dataset, field: xr.Variable | xr.DataArray, level: float | None) -> bool:
    """Whether the field has this level; any field has None."""
    return level is None or _place(_vertical(dataset, field), level) is not None


def at_level(dataset: xr.Dataset, field: xr.DataArray, level: float) -> xr.DataArray:
    """The field at one level, without the vertical axis.

    Raises:
        SourceError: ``Q-MISSING-VARIABLE``: there is no such level.
    """
    axis = _vertical(dataset, field)
    place = _place(axis, level)
    if axis is None or place is None:
        there = "no vertical axis" if axis is None else ", ".join(f"{value:g}" for value in _values(axis))
        raise SourceError("Q-MISSING-VARIABLE", f"variable {field.name!r} has no level {level:g}, it has {there}")
    return field.isel({axis.dims[0]: place}, drop=True) if axis.dims else field


def pressure_label(dataset: xr.Dataset, field: xr.Variable) -> str:
    """The units of the field's vertical axis, where they are those of a pressure but not hPa; else nothing."""
    axis = _vertical(dataset, field)
    units = "" if axis is None else str(axis.attrs.get("units", ""))
    if not units or units in _HECTOPASCAL:
        return ""
    try:
        conversion(units, "hPa")
    except SourceError:
        return ""
    return units


def _vertical(dataset: xr.Dataset, field: xr.Variable | xr.DataArray) -> xr.Variable | None:
    """The coordinate along the field's vertical dimension, or a scalar one."""
    known, variables = described(dataset), dataset.variables
    named = known.get("vertical", set()) | known.get("Z", set())
    candidates = [
        str(name)
        for name in dataset.coords
        if (name in named or str(name).lower() in _NAMES)
        and variables[name].ndim <= 1
        and set(variables[name].dims) <= set(field.dims)
    ]
    found = max(candidates, key=lambda name: variables[name].ndim, default=None)
    return None if found is None else variables[found]


def _place(axis: xr.Variable | None, level: float) -> int | None:
    if axis is None:
        return None
    values = _values(axis)
    # a thousandth of the level is far below the distance of any two and far above the rounding of single precision
    found = np.flatnonzero(np.isclose(values, level, rtol=1e-3, atol=1e-9))
    return int(found[0]) if len(found) == 1 else None


def _values(axis: xr.Variable) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Values along the axis; hPa where they are pressures."""
    values = np.atleast_1d(axis.values).astype("float64")
    try:
        slope, _ = conversion(str(axis.attrs.get("units", "1")), "hPa")
    except SourceError:
        return values
    return values * slope
