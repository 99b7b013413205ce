"""Which frames of an Archive are there: the others are gaps in time, kept as frames without values.

The time axis of an Archive has no breaks. A frame that is missing has NaN at every point and 0 in the coordinate
`present`; an Archive without that coordinate lacks none. So every frame keeps its number when a gap is filled
(docs/adr/0006-gaps-are-frames.md).

What lives here: the coordinate, and putting frames without values between others. What does not: which gaps are allowed
(`gaps`), what leaves them out (`windows`, `forecast`).

    fields = with_missing(fields, missing_times)
    present(fields)               # bool [T]
    gaps_of(present(fields))      # [(12, 15)]: frames 12 to 14
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

PRESENT = "present"
_ATTRIBUTES = {
    "long_name": "whether the frame is there",
    "flag_values": np.array([0, 1], "int8"),
    "flag_meanings": "missing present",
}


def present(fields: xr.Dataset) -> NDArray[np.bool_]:
    """Whether each frame is there, [T]."""
    if PRESENT not in fields.coords:
        return np.ones(fields.sizes["time"], dtype=bool)
    there: NDArray[np.bool_] = fields[PRESENT].values == 1
    return there


def with_missing(fields: xr.Dataset, missing: NDArray[Any]) -> xr.Dataset:
    """The fields with frames without values at some more times, lazily; as they are where there are none."""
    if not len(missing):
        return fields
    filled = fields.reindex(time=np.union1d(fields["time"].values, missing))
    filled["time"].attrs.update(fields["time"].attrs)
    return filled.assign_coords({PRESENT: flags(~np.isin(filled["time"].values, missing))})


def flags(there: NDArray[np.bool_]) -> xr.DataArray:
    """The coordinate `present`."""
    return xr.DataArray(there.astype("int8"), dims="time", attrs=_ATTRIBUTES)


def gaps_of(there: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First frame of each gap, and the frame after it."""
    edges = np.flatnonzero(np.diff(~there, prepend=False, append=False)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def whole(there: NDArray[np.bool_], before: int, after: int = 0) -> NDArray[np.intp]:
    """The frames that end a row of `before` frames without a gap, and are followed by `after` more of it."""
    length = before + after
    if length > len(there):
        return np.empty(0, dtype=np.intp)
    rows = np.lib.stride_tricks.sliding_window_view(there, length)
    return np.asarray(np.flatnonzero(rows.all(axis=1)) + before - 1)
