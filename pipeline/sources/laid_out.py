"""Variables of one file on their common axes, put in order: times sorted and unique, axes of space ascending, a region.

What lives here: reading what a file says of its axes, and turning its variables with them. What does not: which axis is
which (`axes`), names and units of the variables (`harmonise`).

    laid = in_space(in_time(LaidOut({"t2m": variable}, {"time": times, "lat": lat, "lon": lon})), region=None)
    laid.dataset(("time", "lat", "lon"))

A dataset is made once, at the end: each step on one builds indexes and compares axes, which takes as long as reading a
small file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from ..config import RegionConfig
from ..errors import SourceError
from ..fields import time_text
from .units import conversion, is_dimensionless

_KEPT = ("standard_name", "long_name", "cell_methods", "projection", "units")
_ROUNDING = 1e-6  # degrees
_AXIS_ATTRS = {
    "lat": {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north", "axis": "Y"},
    "lon": {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east", "axis": "X"},
}


@dataclass(frozen=True)
class LaidOut:
    """Variables of the same dimensions, lazy or not, and the coordinates along those that have some."""

    variables: Mapping[str, xr.Variable]
    axes: Mapping[str, xr.Variable]

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each dimension."""
        first = next(iter(self.variables.values()))
        return {str(dim): size for dim, size in first.sizes.items()}

    def axis(self, dim: str) -> xr.Variable:
        """The coordinate along a dimension; counts points where there is none."""
        return self.axes[dim] if dim in self.axes else xr.Variable(dim, np.arange(self.sizes[dim]))

    def with_axes(self, axes: Mapping[str, xr.Variable]) -> LaidOut:
        """The same variables with other coordinates."""
        return replace(self, axes={**self.axes, **axes})

    def at(self, **places: Any) -> LaidOut:
        """A part of it, by place along dimensions, or another order."""
        axes = {dim: axis.isel({dim: places[dim]}) if dim in places else axis for dim, axis in self.axes.items()}
        return LaidOut({name: data.isel(places) for name, data in self.variables.items()}, axes)

    def same_at(self, dim: str, first: int, second: int) -> bool:
        """Whether all values agree at two places along a dimension."""
        pairs = [data.isel({dim: [first, second]}).compute(scheduler="threads") for data in self.variables.values()]
        ends = [(pair.isel({dim: 0}), pair.isel({dim: 1})) for pair in pairs]
        return all(one.equals(other) for one, other in ends)  # type: ignore[no-untyped-call]

    def dataset(self, order: Sequence[str]) -> xr.Dataset:
        """As float32, with dimensions in this order."""
        # what is not read yet is read by the conversion; transposing it before would read it point by point
        fields = {name: data.astype("float32", copy=False).transpose(*order) for name, data in self.variables.items()}
        return xr.Dataset(fields, self.axes)


def in_time(laid: LaidOut) -> LaidOut:
    """Times in seconds' precision, sorted and unique.

    Raises:
        SourceError: ``Q-TIME``.
    """
    if "time" not in laid.axes and "sample" not in laid.sizes:
        raise SourceError("Q-TIME", "the time axis has no values; add a CF time coordinate")
    time = laid.axis("time")
    values = _instants(time) if time.dtype.kind == "M" else _seconds(time, geographic="lat" in laid.sizes)
    attrs = {"standard_name": "time", "long_name": "time", "axis": "T"}
    if values.dtype.kind == "f":
        attrs["units"] = "s"
    return _unique(laid.with_axes({"time": xr.Variable("time", values, attrs)}))


def _instants(time: xr.Variable) -> np.ndarray[Any, Any]:
    values = time.values.astype("datetime64[ns]")
    if np.isnat(values).any():
        raise SourceError("Q-TIME", f"{int(np.isnat(values).sum())} times are missing, expected none; correct the file")
    # half a second is far below any cadence and far above the jitter of times kept as floating-point days
    return (values + np.timedelta64(500_000_000, "ns")).astype("datetime64[s]").astype("datetime64[ns]")


def _seconds(time: xr.Variable, geographic: bool) -> np.ndarray[Any, Any]:
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


def _unique(laid: LaidOut) -> LaidOut:
    """Sorted by time, with identical duplicates dropped."""
    times = laid.axes["time"].values
    order = np.argsort(times, kind="stable")
    sorted_times = times[order]
    repeated = np.flatnonzero(sorted_times[1:] == sorted_times[:-1]) + 1
    for place in repeated:
        if not laid.same_at("time", int(order[place - 1]), int(order[place])):
            raise SourceError(
                "Q-TIME",
                f"the time {time_text(sorted_times[place])} is there twice with different values, expected it once; "
                "correct the "
                "file",
            )
    kept = np.delete(order, repeated)
    return laid if np.array_equal(kept, np.arange(len(times))) else laid.at(time=kept)


def in_space(laid: LaidOut, region: RegionConfig | None) -> LaidOut:
    """Both axes of space ascending, as float64, cut to the region.

    Raises:
        SourceError: ``Q-GRID``.
    """
    result = _ascending(laid, [dim for dim in ("lat", "y", "x", "lon") if dim in laid.sizes])
    if region is not None:
        if "lat" not in result.sizes:
            raise SourceError("Q-GRID", "source.region needs latitudes and longitudes, the file has y and x; remove it")
        lat = result.axes["lat"].values
        inside = (lat >= region.lat[0] - _ROUNDING) & (lat <= region.lat[1] + _ROUNDING)
        result = result.at(lat=np.flatnonzero(inside))
    result = _longitude(result, region) if "lon" in result.sizes else result
    if region is not None and 0 in (result.sizes["lat"], result.sizes["lon"]):
        raise SourceError("Q-GRID", "the file has no point in source.region; correct it, or leave the file out")
    return result


def _ascending(laid: LaidOut, dims: Sequence[str]) -> LaidOut:
    axes: dict[str, xr.Variable] = {}
    turned: dict[str, slice] = {}
    for dim in dims:
        if dim in ("lat", "lon") and dim not in laid.axes:
            raise SourceError(
                "Q-GRID",
                f"the axis {dim!r} has no values, expected degrees along it; add them, or regrid curvilinear fields",
            )
        axis = laid.axis(dim)
        values = axis.values.astype("float64")
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
        kept = {key: axis.attrs[key] for key in _KEPT if key in axis.attrs}
        axes[dim] = xr.Variable(dim, values, _AXIS_ATTRS.get(dim, kept))
        if len(steps) and steps[0] < 0:
            turned[dim] = slice(None, None, -1)
    result = laid.with_axes(axes)
    return result.at(**turned) if turned else result


def _longitude(laid: LaidOut, region: RegionConfig | None) -> LaidOut:
    """Longitudes in [-180, 180) or from the region's western edge on, ascending, without an equal cyclic column."""
    values = laid.axes["lon"].values
    span = values[-1] - values[0]
    if span > 360.001 or np.abs(values).max() > 720.0:
        raise SourceError(
            "Q-GRID", f"longitudes run from {values[0]:g} to {values[-1]:g}, expected at most 360 degrees"
        )
    cyclic = len(values) > 2 and abs(span - 360.0) < 1e-3
    if cyclic:
        if not laid.same_at("lon", 0, len(values) - 1):
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
        return laid
    result = laid.at(lon=order) if turned or cyclic else laid
    return result.with_axes({"lon": xr.Variable("lon", wrapped[order], _AXIS_ATTRS["lon"])})
