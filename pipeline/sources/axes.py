"""Which dimension of a field is time, latitude, longitude, y, x or sample: by CF attributes, else by common names.

roles(dataset, dataset["Tair"])      # {"time": "time", "latitude": "lat", "longitude": "lon"}
"""

from __future__ import annotations

from collections.abc import Mapping

import cf_xarray  # noqa: F401  (adds the accessor `.cf`)
import xarray as xr
from cf_xarray.criteria import coordinate_criteria

from ..errors import SourceError

_NAMES = {
    "sample": {"sample", "samples", "simulation", "realization", "trajectory"},
    "time": {"time", "times", "t", "valid_time", "date", "datetime"},
    "lat": {"lat", "lats", "latitude", "nav_lat"},
    "lon": {"lon", "lons", "longitude", "long", "nav_lon"},
    "y": {"y", "yc", "northing", "projection_y_coordinate"},
    "x": {"x", "xc", "easting", "projection_x_coordinate"},
}
_CF_COORDINATES = {"time": "time", "lat": "latitude", "lon": "longitude"}
_CF_AXES = {"time": "T", "y": "Y", "x": "X"}


def _meanings() -> dict[tuple[str, str], set[str]]:
    """By CF, which axes or coordinates (keys of cf-xarray) a word in an attribute of a coordinate means."""
    found: dict[tuple[str, str], set[str]] = {}
    for key, criteria in coordinate_criteria.items():
        for attribute, words in {**criteria, "standard_name": (*criteria.get("standard_name", ()), key)}.items():
            for word in words:
                found.setdefault((attribute, word), set()).add(key)
    return found


_MEANINGS = _meanings()


def roles(dataset: xr.Dataset, field: xr.DataArray) -> dict[str, str]:
    """Role of each dimension of `field`; a dimension that has none of the known roles is left out.

    Raises:
        SourceError: ``Q-DIMENSIONS``: two dimensions have the same role.
    """
    found: dict[str, str] = {}
    known = described(dataset)
    for dim in map(str, field.dims):
        role = _role(dataset, known, dim)
        if role is None:
            continue
        if role in found.values():
            raise SourceError("Q-DIMENSIONS", f"variable {field.name!r} has two dimensions that look like {role!r}")
        found[dim] = role
    return found


def axis_values(dataset: xr.Dataset, dim: str) -> xr.Variable | None:
    """The one-dimensional coordinate along `dim` (see `axis_name`)."""
    name = axis_name(dataset, dim)
    return None if name is None else dataset.variables[name]


def axis_name(dataset: xr.Dataset, dim: str) -> str | None:
    """Name of the one-dimensional coordinate along `dim`: the same, else any other one."""
    if dim in dataset.coords:
        return dim
    variables = dataset.variables
    return next((str(name) for name in dataset.coords if variables[name].dims == (dim,)), None)


def scalar_time(dataset: xr.Dataset) -> str | None:
    """Name of a scalar time coordinate, as in files of one time step."""
    variables = dataset.variables
    flat = [str(name) for name in dataset.coords if variables[name].ndim == 0]
    names = [name for name in flat if variables[name].dtype.kind == "M"]
    return "time" if "time" in names else next(iter(names), None)


def described(dataset: xr.Dataset) -> dict[str, set[str]]:
    """Names of the coordinates whose attributes say what they are by CF: an axis (T, Z, ...), time, vertical...

    As ``dataset.cf.axes`` and ``dataset.cf.coordinates`` find them, by the same criteria; but those make an array of
    each coordinate for each key, which takes as long as opening a small file.
    """
    variables, names = dataset.variables, [str(name) for name in dataset.coords]
    if any(data.attrs.get("cf_role") == "grid_topology" for data in variables.values()):
        return {str(key): set(map(str, found)) for key, found in {**dataset.cf.axes, **dataset.cf.coordinates}.items()}
    # a file may state which variables are its coordinates; those along dimensions are some in any case
    stated = str(dataset.attrs.get("coordinates") or dataset.encoding.get("coordinates") or "").split()
    near = {*stated, *map(str, dataset.xindexes)} if stated else set(names)
    found: dict[str, set[str]] = {}
    for name in names:
        for attribute, word in variables[name].attrs.items():
            for key in _MEANINGS.get((attribute, word), ()) if isinstance(word, str) else ():
                if name in near or (attribute, word) == ("standard_name", key):
                    found.setdefault(key, set()).add(name)
    return found


def _role(dataset: xr.Dataset, known: Mapping[str, set[str]], dim: str) -> str | None:
    names = {dim, axis_name(dataset, dim) or dim}
    if dim.lower() in _NAMES["sample"]:
        return "sample"
    for role, key in _CF_COORDINATES.items():
        if names & known.get(key, set()):
            return role
    for role, aliases in _NAMES.items():
        if {name.lower() for name in names} & aliases:
            return role
    for role, key in _CF_AXES.items():
        if names & known.get(key, set()):
            return role
    return None
