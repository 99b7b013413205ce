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


def roles(dataset: xr.Dataset, field: xr.DataArray) -> dict[str, str]:
    """Role of each dimension of `field`; a dimension that has none of the known roles is left out.

    Raises:
        SourceError: ``Q-DIMENSIONS``: two dimensions have the same role.
    """
    found: dict[str, str] = {}
    for dim in map(str, field.dims):
        role = _role(dataset, dim)
        if role is None:
            continue
        if role in found.values():
            raise SourceError("Q-DIMENSIONS", f"variable {field.name!r} has two dimensions that look like {role!r}")
        found[dim] = role
    return found


def axis_values(dataset: xr.Dataset, dim: str) -> xr.DataArray | None:
    """The one-dimensional coordinate along `dim`: of the same name, else any other one."""
    if dim in dataset.coords:
        return dataset[dim]
    return next((data for data in dataset.coords.values() if data.dims == (dim,)), None)


def scalar_time(dataset: xr.Dataset) -> str | None:
    """Name of a scalar time coordinate, as in files of one time step."""
    names = [str(name) for name, data in dataset.coords.items() if data.ndim == 0 and data.dtype.kind == "M"]
    return "time" if "time" in names else next(iter(names), None)


def described(dataset: xr.Dataset, key: str) -> set[str]:
    """Names of the coordinates whose attributes say by CF that they are `key`: an axis (T, Z, ...), time, vertical...

    As ``dataset.cf.axes`` and ``dataset.cf.coordinates`` find them, by the same criteria; but those make an array of
    each coordinate for each key, which takes as long as opening a small file.
    """
    variables = dataset.variables
    if any(data.attrs.get("cf_role") == "grid_topology" for data in variables.values()):
        return {str(name) for name in {**dataset.cf.axes, **dataset.cf.coordinates}.get(key, ())}
    # a file may state which variables are its coordinates; those along dimensions are some in any case
    stated = str(dataset.attrs.get("coordinates") or dataset.encoding.get("coordinates") or "").split()
    near = {*stated, *map(str, dataset.xindexes)} if stated else {*map(str, dataset.coords)}
    attributes = {str(name): variables[name].attrs for name in dataset.coords}
    return {
        name
        for name, attrs in attributes.items()
        if str(attrs.get("standard_name")) == key or (name in near and _meets(attrs, key))
    }


def _meets(attrs: Mapping[str, object], key: str) -> bool:
    words = {attribute: word for attribute, word in attrs.items() if isinstance(word, str)}
    return any(words.get(attribute) in expected for attribute, expected in coordinate_criteria[key].items())


def _role(dataset: xr.Dataset, dim: str) -> str | None:
    values = axis_values(dataset, dim)
    names = {dim} if values is None else {dim, str(values.name)}
    if dim.lower() in _NAMES["sample"]:
        return "sample"
    for role, key in _CF_COORDINATES.items():
        if names & described(dataset, key):
            return role
    for role, aliases in _NAMES.items():
        if {name.lower() for name in names} & aliases:
            return role
    for role, key in _CF_AXES.items():
        if names & described(dataset, key):
            return role
    return None
