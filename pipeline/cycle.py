"""Cycles of time that a climatology is taken over, and the place of a time in them.

What lives here: the rule that chooses the cycle, and the arithmetic from times to slots. What does not: any field.

    cycle = cycle_of(times)                              # "hour_of_day"
    slots = slots_of(times, cycle, day_parts_of(times))  # 0..23

The cycle is the finest that the training period covers:

- ``dayofyear_hour``: steps below a month, at least a year; the year in 73 bins of five days, for each time of day where
  steps are below a day.
- ``month``: monthly steps, at least a year; the calendar month.
- ``hour_of_day``: steps below a day, at least one day; the time of day in UTC.
- ``mean``: anything else, and every archive of samples; one slot.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Cycle = Literal["hour_of_day", "month", "dayofyear_hour", "mean"]

YEAR_BINS = 73
YEAR_DAYS = 365.2425
_DAY = 86_400.0


def cycle_of(times: NDArray[Any]) -> Cycle:
    """The finest cycle that increasing training times cover (the rule above).

    Args:
        times: datetime64 [N]; other kinds (seconds of a simulation) have no cycle.
    """
    if not np.issubdtype(times.dtype, np.datetime64) or len(times) < 2:
        return "mean"
    seconds = times.astype("datetime64[ns]").astype(np.int64) / 1e9
    step = float(np.median(np.diff(seconds)))
    span = (seconds[-1] - seconds[0] + step) / _DAY
    if step < 28 * _DAY and span >= 365:
        return "dayofyear_hour"
    if step < _DAY and span >= 1:
        return "hour_of_day"
    months = times.astype("datetime64[M]")
    if bool(np.all(np.diff(months).astype(int) >= 1)) and step <= 31 * _DAY and len(np.unique(_month(times))) == 12:
        return "month"
    return "mean"


def slot_count(cycle: Cycle, parts: int) -> int:
    """Number of slots of a cycle with `parts` times of day."""
    return {"mean": 1, "month": 12, "hour_of_day": parts, "dayofyear_hour": YEAR_BINS * parts}[cycle]


def slots_of(times: NDArray[Any], cycle: Cycle, parts: int) -> NDArray[np.int64]:
    """Position of each time along K."""
    if cycle == "mean":
        return np.zeros(len(times), dtype=np.int64)
    if cycle == "month":
        return _month(times)
    part = day_part(times, parts)
    if cycle == "hour_of_day":
        return part
    year_bin = np.minimum((year_share(times) * YEAR_BINS).astype(np.int64), YEAR_BINS - 1)
    return year_bin * parts + part


def day_parts_of(times: NDArray[Any]) -> int:
    """Times of day told apart: as many as steps fit in a day, at most 24."""
    step = float(np.median(np.diff(times.astype("datetime64[ns]").astype(np.int64)))) / 1e9
    return int(np.clip(round(_DAY / step), 1, 24))


def day_part(times: NDArray[Any], parts: int) -> NDArray[np.int64]:
    """Which of `parts` equal parts of the UTC day each time is in, 0..parts-1."""
    seconds = (times - times.astype("datetime64[D]")) / np.timedelta64(1, "s")
    return np.asarray(np.minimum(seconds / _DAY * parts, parts - 1), dtype=np.int64)


def _month(times: NDArray[Any]) -> NDArray[np.int64]:
    return times.astype("datetime64[M]").astype(np.int64) % 12


def year_share(times: NDArray[Any]) -> NDArray[np.float64]:
    """Share of the calendar year gone by, 0 up to (not including) 1."""
    start = times.astype("datetime64[Y]")
    length = (start + 1).astype("datetime64[D]") - start.astype("datetime64[D]")
    return np.asarray((times - start.astype(times.dtype)) / length.astype("timedelta64[ns]"), dtype=np.float64)
