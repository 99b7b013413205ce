"""Fields at a longer step in time.

An interval of `source.resample` stands for the frames within it, all of them: one of which some frame is not there
yet is not made. A value that is missing in some frame is missing in the interval, be it for good or in a gap.

    whole = intervals(times, step, ResampleConfig(step="6h"))
    six_hourly = resampled(fields, whole, ResampleConfig(step="6h"), {"pr": "sum"})
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ..config_transforms import How, ResampleConfig

Microseconds = np.ndarray[Any, np.dtype[np.int64]]

_METHODS: dict[str, str] = {"mean": "mean", "sum": "sum", "min": "minimum", "max": "maximum"}


@dataclass(frozen=True)
class Intervals:
    """The whole intervals in a row of frames.

    Attributes:
        start: Index of the first frame of the first; `stop`: of the first frame after the last.
        frames: In each.
        step: Between the frames, in microseconds.
        labels: What time each is named by, in microseconds.
    """

    start: int
    stop: int
    frames: int
    step: int
    labels: Microseconds


def intervals(times: Microseconds, step: int, resample: ResampleConfig) -> Intervals:
    """The whole intervals.

    Args:
        times: Of the frames, `step` apart.
        step: In microseconds; divides that of `resample`.
        resample: Which intervals.
    """
    length = resample.seconds * 10**6
    frames = length // step

    def place(time: Microseconds) -> Microseconds:
        # the end of an interval that holds its end, or the start of one that holds its start
        return -(-time // length) if resample.label == "right" else time // length

    places = place(np.r_[times[:1] - step, times])
    first = np.flatnonzero(places[1:] != places[:-1])
    if not len(first):
        return Intervals(0, 0, frames, step, times[:0])
    start = int(first[0])
    count = (len(times) - start) // frames
    return Intervals(start, start + count * frames, frames, step, length * places[1:][start::frames][:count])


def resampled(fields: xr.Dataset, whole: Intervals, resample: ResampleConfig, hows: Mapping[str, How]) -> xr.Dataset:
    """The fields at the whole intervals.

    Args:
        fields: With the frames that `whole` was made of.
        whole: At least one.
        resample: Says how, and in words for the attributes.
        hows: Says how for variables that differ.
    """
    cut = fields.isel(time=slice(whole.start, whole.stop))
    if cut.chunks:
        # blocks of whole intervals, so that each is made of one block
        size = max(cut.chunksizes["time"]) // whole.frames * whole.frames
        cut = cut.chunk(time=max(size, whole.frames))
    result = {
        str(name): _over(field, hows.get(str(name), resample.how), whole) for name, field in cut.data_vars.items()
    }
    made = xr.Dataset({name: field.transpose(*fields[name].dims) for name, field in result.items()})
    for name in result:
        made[name].attrs = {
            **fields[name].attrs,
            "cell_methods": _cell_methods(fields[name].attrs, hows.get(name, resample.how), whole, resample),
        }
    dated = fields["time"].dtype.kind == "M"
    labels = whole.labels.astype("datetime64[us]").astype("datetime64[ns]") if dated else whole.labels / 1e6
    others = {name: data for name, data in cut.coords.items() if "time" not in data.dims}
    return made.assign_coords({"time": ("time", labels, fields["time"].attrs), **others})


def _over(field: xr.DataArray, how: How, whole: Intervals) -> xr.DataArray:
    rows = field.drop_vars(list(field.coords)).coarsen(time=whole.frames).construct(time=("time", "within"))
    if how in ("first", "last"):
        return rows.isel(within=0 if how == "first" else -1)
    wide = rows.astype("float64") if how in ("mean", "sum") else rows
    made: xr.DataArray = getattr(wide, how)("within", skipna=False)
    return made.astype("float32")


def _cell_methods(attrs: Mapping[Any, Any], how: How, whole: Intervals, resample: ResampleConfig) -> str:
    seconds = whole.step / 1e6
    method = f"time: {_METHODS.get(how, 'point')}"
    side = "up to" if resample.label == "right" else "from"
    note = f"(interval: {seconds:g} s comment: {how} over the {resample.step} {side} the time)"
    return " ".join(text for text in (str(attrs.get("cell_methods", "")), method, note) if text)
