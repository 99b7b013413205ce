"""Foreign gridded data brought to the contract: names, dimensions, units, axes, dtype.

Lazily: nothing is loaded but the axes.

fields = harmonise(open_lazily(path), {"t2m": VariableConfig(units="K", source_name="Tair")})
fields["t2m"].dims         # ("time", "lat", "lon"), latitude and longitude ascending, float32, NaN where missing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..config import RegionConfig, VariableConfig
from ..errors import SourceError
from ..fields import FIELD_DIMS, time_text
from .axes import axis_values, roles, scalar_time
from .lead import check_valid_times
from .levels import at_level, holds_level
from .projection import projection
from .units import conversion, is_dimensionless

_KEPT = ("standard_name", "long_name", "cell_methods", "projection")
_ROUNDING = 1e-6  # degrees
_AXIS_ATTRS = {
    "lat": {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"},
}


def present_variables(dataset: xr.Dataset, variables: Mapping[str, VariableConfig]) -> dict[str, str]:
    """Which of the configured variables a dataset holds, at their levels: name in the archive to name in the file."""
    names = {name: variable.source_name or name for name, variable in variables.items()}
    return {
        name: source
        for name, source in names.items()
        if source in dataset.data_vars and holds_level(dataset, dataset[source], variables[name].level)
    }


def harmonise(
    dataset: xr.Dataset, variables: Mapping[str, VariableConfig], region: RegionConfig | None = None
) -> xr.Dataset:
    """The configured variables of `dataset` that are there, brought to the contract of `pipeline.fields`.

    With a `region`, only its points, their longitudes going on eastward from its western edge (170, 175, 180, 185).

    Fixed: names, units, dimension order, size-one dimensions, direction of axes, longitudes to -180...180 ascending,
    an equal cyclic column, unsorted times, identical duplicate times, float jitter of times, packing and fill values.

    Raises:
        SourceError: ``Q-MISSING-VARIABLE``, ``Q-UNITS``, ``Q-DIMENSIONS``, ``Q-TIME``, ``Q-FORECAST``, ``Q-GRID`` or
            ``Q-EMPTY``.
    """
    present = present_variables(dataset, variables)
    if not present:
        wanted = ", ".join(variable.source_name or name for name, variable in variables.items())
        there = ", ".join(map(str, dataset.data_vars)) or "none"
        raise SourceError(
            "Q-MISSING-VARIABLE",
            f"expected the variable {wanted}, the file has {there}; set source_name in the configuration",
        )
    placed = {name: _placed(dataset, source, variables[name].level) for name, source in present.items()}
    fields = {name: _in_units(field.rename(name), variables[name]) for name, (field, _) in placed.items()}
    if len({(field.dims, field.shape) for field in fields.values()}) > 1:
        raise SourceError(
            "Q-DIMENSIONS",
            f"the variables {', '.join(present)} have different dimensions; put them in files of their own",
        )
    axes = next(iter(placed.values()))[1]
    merged = _space(_time(xr.Dataset({name: field.variable for name, field in fields.items()}, coords=axes)), region)
    order = next(dims for dims in FIELD_DIMS if set(dims) == set(merged.dims))
    return merged.transpose(*order).astype("float32", copy=False)


def harmonise_static(dataset: xr.Dataset, variables: Mapping[str, VariableConfig]) -> xr.Dataset:
    """The static variables of `dataset` that are there, as `harmonise` does it but without time: [lat, lon] or [y, x].

    Raises:
        SourceError: As in `harmonise`; ``Q-DIMENSIONS`` where a variable has several times.
    """
    fields = []
    for name, source in present_variables(dataset, variables).items():
        bare, _, coords = _bare(dataset, source, variables[name].level)
        if bare.sizes.get("time", 1) > 1 or "sample" in bare.dims:
            raise SourceError(
                "Q-DIMENSIONS", f"variable {source!r} has {bare.sizes.get('time', 1)} times, expected a static field"
            )
        flat = bare.squeeze("time", drop=True) if "time" in bare.dims else bare
        if set(flat.dims) not in ({"lat", "lon"}, {"y", "x"}):
            raise SourceError(
                "Q-DIMENSIONS",
                f"variable {source!r} has the dimensions {tuple(map(str, flat.dims))}, expected lat, lon or y, x",
            )
        named = flat.assign_coords(_axes({dim: data for dim, data in coords.items() if dim != "time"}))
        fields.append(_in_units(named.rename(name), variables[name]))
    merged = _space(xr.merge(fields, join="override", compat="override", combine_attrs="override"), None)
    return merged.transpose(*(("lat", "lon") if "lat" in merged.dims else ("y", "x"))).astype("float32")


def _placed(
    dataset: xr.Dataset, source: str, level: float | None
) -> tuple[xr.DataArray, dict[str, tuple[str, Any, dict[Any, Any]]]]:
    """One variable with canonical dimension names and no coordinates, and the coordinates along them."""
    check_valid_times(dataset, dataset[source])
    bare, found, coords = _bare(dataset, source, level)
    if told := projection(dataset, dataset[source]):
        bare.attrs["projection"] = told
    if "time" not in found.values() and (name := scalar_time(dataset)) is not None:
        bare = bare.expand_dims("time")
        coords["time"] = dataset[name].expand_dims("time")
    if not any(set(dims) == set(map(str, bare.dims)) for dims in FIELD_DIMS):
        rule = "Q-TIME" if "time" not in bare.dims else "Q-DIMENSIONS"
        raise SourceError(
            rule,
            f"variable {source!r} has the dimensions {tuple(map(str, dataset[source].dims))}, expected time and lat, "
            "lon (or y, x), with 'sample' for simulations; name or describe its axes by CF attributes",
        )
    if empty := [str(dim) for dim, size in bare.sizes.items() if size == 0]:
        raise SourceError(
            "Q-EMPTY", f"variable {source!r} has no values along {empty[0]!r}, expected some; fetch it again"
        )
    return bare, _axes(coords)


def _bare(
    dataset: xr.Dataset, source: str, level: float | None
) -> tuple[xr.DataArray, dict[str, str], dict[str, xr.DataArray | None]]:
    """One variable with canonical dimension names and no coordinates, the roles of its dimensions, and their values."""
    field = dataset[source] if level is None else at_level(dataset, dataset[source], level)
    if field.dtype.kind not in "fiub":
        raise SourceError(
            "Q-DIMENSIONS", f"variable {source!r} holds {field.dtype}, expected numbers; name another variable"
        )
    found = roles(dataset, field)
    extra = {str(dim): field.sizes[dim] for dim in field.dims if str(dim) not in found}
    if long := {dim: size for dim, size in extra.items() if size != 1}:
        dim, size = next(iter(long.items()))
        raise SourceError(
            "Q-DIMENSIONS",
            f"variable {source!r} has the dimension {dim!r} of length {size}, expected time, two of space and at most "
            "'sample'; name its levels in the configuration, choose a member by source.member, or select one entry and "
            "write that to a file of its own",
        )
    coords = {role: axis_values(dataset, dim) for dim, role in found.items()}
    bare = field.squeeze(list(extra), drop=True).reset_coords(drop=True)
    return bare.drop_vars(list(bare.coords)).rename(found), found, coords


def _axes(coords: Mapping[str, xr.DataArray | None]) -> dict[str, tuple[str, Any, dict[Any, Any]]]:
    return {role: (role, data.values, data.attrs) for role, data in coords.items() if data is not None}


def _in_units(field: xr.DataArray, variable: VariableConfig) -> xr.DataArray:
    found = field.attrs.get("units")
    if found is None and not is_dimensionless(variable.units):
        raise SourceError(
            "Q-UNITS",
            f"variable {field.name!r} has no units, expected some convertible to {variable.units!r}; add them",
        )
    try:
        given = str(found if found is not None else "1").strip() or "1"
        slope, offset = conversion(given, variable.units, water=variable.water)
    except SourceError as error:
        raise SourceError(error.rule, f"variable {field.name!r}: {error.message}") from error
    result = field.copy(deep=False) if (slope, offset) == (1.0, 0.0) else field.astype("float64") * slope + offset
    result.attrs = {**{name: field.attrs[name] for name in _KEPT if name in field.attrs}, "units": variable.units}
    return result


def _time(fields: xr.Dataset) -> xr.Dataset:
    """Times in seconds' precision, sorted and unique."""
    if "time" not in fields.coords and "sample" not in fields.dims:
        raise SourceError("Q-TIME", "the time axis has no values; add a CF time coordinate")
    time = fields["time"]  # counts frames where there is no coordinate
    values = _instants(time) if time.dtype.kind == "M" else _seconds(time, geographic="lat" in fields.dims)
    attrs = {"standard_name": "time", "long_name": "time", "axis": "T"}
    if values.dtype.kind == "f":
        attrs["units"] = "s"
    return _unique(fields.assign_coords(time=("time", values, attrs)))


def _instants(time: xr.DataArray) -> np.ndarray[Any, Any]:
    values = time.values.astype("datetime64[ns]")
    if np.isnat(values).any():
        raise SourceError("Q-TIME", f"{int(np.isnat(values).sum())} times are missing, expected none; correct the file")
    # half a second is far below any cadence and far above the jitter of times kept as floating-point days
    return (values + np.timedelta64(500_000_000, "ns")).astype("datetime64[s]").astype("datetime64[ns]")


def _seconds(time: xr.DataArray, geographic: bool) -> np.ndarray[Any, Any]:
    """Relative times; without units they count as seconds."""
    units = str(time.attrs.get("units", "1"))
    if time.dtype.kind not in "fiu":
        calendar = getattr(time.values.flat[0], "calendar", time.dtype)
        raise SourceError(
            "Q-TIME", f"times are in the calendar {calendar}, expected the standard one; convert the file"
        )
    if geographic:
        raise SourceError(
            "Q-TIME", f"the time axis has the units {units!r}, expected e.g. 'hours since 1970-01-01'; correct them"
        )
    try:
        slope = 1.0 if units in ("s", "1") or is_dimensionless(units) else conversion(units, "s")[0]
    except SourceError as error:
        raise SourceError("Q-TIME", f"the time axis: {error.message}") from error
    values: np.ndarray[Any, Any] = time.values.astype("float64") * slope
    if not np.isfinite(values).all():
        raise SourceError("Q-TIME", "some times are not finite; correct the file")
    return values


def _unique(fields: xr.Dataset) -> xr.Dataset:
    """Sorted by time, with identical duplicates dropped."""
    times = fields["time"].values
    order = np.argsort(times, kind="stable")
    sorted_times = times[order]
    repeated = np.flatnonzero(sorted_times[1:] == sorted_times[:-1]) + 1
    for place in repeated:
        pair = fields.isel(time=[int(order[place - 1]), int(order[place])]).compute(scheduler="threads")
        if not pair.isel(time=0, drop=True).equals(pair.isel(time=1, drop=True)):
            raise SourceError(
                "Q-TIME",
                f"the time {time_text(sorted_times[place])} is there twice with different values, expected it once; "
                "correct the "
                "file",
            )
    kept = np.delete(order, repeated)
    if np.array_equal(kept, np.arange(len(times))):
        return fields
    return fields.isel(time=kept)


def _space(fields: xr.Dataset, region: RegionConfig | None) -> xr.Dataset:
    """Both axes of space ascending, as float64, cut to the region."""
    result = fields
    result = _ascending(result, [dim for dim in ("lat", "y", "x", "lon") if dim in result.dims])
    if region is not None:
        if "lat" not in result.dims:
            raise SourceError("Q-GRID", "source.region needs latitudes and longitudes, the file has y and x; remove it")
        inside = (result["lat"].values >= region.lat[0] - _ROUNDING) & (
            result["lat"].values <= region.lat[1] + _ROUNDING
        )
        result = result.isel(lat=np.flatnonzero(inside))
    result = _longitude(result, region) if "lon" in result.dims else result
    if region is not None and 0 in (result.sizes["lat"], result.sizes["lon"]):
        raise SourceError("Q-GRID", "the file has no point in source.region; correct it, or leave the file out")
    return result


def _ascending(fields: xr.Dataset, dims: Sequence[str]) -> xr.Dataset:
    axes: dict[str, tuple[str, Any, dict[Any, Any]]] = {}
    turned: dict[str, slice] = {}
    for dim in dims:
        if dim in ("lat", "lon") and dim not in fields.coords:
            raise SourceError(
                "Q-GRID",
                f"the axis {dim!r} has no values, expected degrees along it; add them, or regrid curvilinear fields",
            )
        values = fields[dim].values.astype("float64")  # counts points where there is no coordinate
        steps = np.diff(values)
        if not np.isfinite(values).all() or not ((steps > 0).all() or (steps < 0).all()):
            raise SourceError(
                "Q-GRID",
                f"the values along {dim!r} turn or repeat, expected them strictly increasing or decreasing; "
                "correct them",
            )
        if dim == "lat" and np.abs(values).max() > 90.001:
            raise SourceError(
                "Q-GRID", f"latitudes reach {np.abs(values).max():g}, expected -90...90; are the axes swapped?"
            )
        kept = {key: fields[dim].attrs[key] for key in (*_KEPT, "units") if key in fields[dim].attrs}
        axes[dim] = (dim, values, _AXIS_ATTRS.get(dim, kept))
        if len(steps) and steps[0] < 0:
            turned[dim] = slice(None, None, -1)
    result = fields.assign_coords(axes)  # all at once: each call takes as long as reading a small file
    return result.isel(turned) if turned else result


def _longitude(fields: xr.Dataset, region: RegionConfig | None) -> xr.Dataset:
    """Longitudes in [-180, 180) or from the region's western edge on, ascending, without an equal cyclic column."""
    values = fields["lon"].values
    span = values[-1] - values[0]
    if span > 360.001 or np.abs(values).max() > 720.0:
        raise SourceError(
            "Q-GRID", f"longitudes run from {values[0]:g} to {values[-1]:g}, expected at most 360 degrees"
        )
    cyclic = len(values) > 2 and abs(span - 360.0) < 1e-3
    if cyclic:
        edges = fields.isel(lon=[0, -1]).compute(scheduler="threads")
        if not edges.isel(lon=0, drop=True).equals(edges.isel(lon=1, drop=True)):
            raise SourceError(
                "Q-GRID", "the first and last longitude are one place with different values; correct the file"
            )
        values = values[:-1]
    west, width = (-180.0, 360.0) if region is None else (region.west, region.width)
    # six decimals take away the noise of the modulo, a tenth of a metre on the ground
    outside = values.min() < west or values.max() >= west + 360.0
    wrapped = np.round((values - west) % 360.0, 6) % 360.0 + west if outside else values
    order = np.argsort(wrapped, kind="stable")
    order = order[wrapped[order] <= west + width + _ROUNDING]
    turned = not np.array_equal(order, np.arange(len(values)))
    steps = np.diff(wrapped[order])
    if turned and len(steps) and steps.max() > 1.5 * float(np.median(np.diff(values))):
        raise SourceError(
            "Q-GRID",
            f"its longitudes have a gap of {steps.max():g} degrees where they should run on from {west:g}; name a "
            "source.region that the file covers, e.g. lon: [170, -170] across the date line",
        )
    if not (turned or cyclic or outside):
        return fields
    result = fields.isel(lon=order) if turned or cyclic else fields
    return result.assign_coords(lon=("lon", wrapped[order], _AXIS_ATTRS["lon"]))
