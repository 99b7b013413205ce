"""What all files of an Archive must agree on: grid, step in time, permanent mask.

Taken from the Archive where there is one. In a first batch the majority (by frames) decides, so that one odd file does
not turn out the others.

    reference = reference_of(candidates, archived=None, nan_points={})
    reference.masked        # True where some variable is missing in every frame
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import xarray as xr

from .assembly import Candidate
from .cadence import Cadence, infer
from .survey import Points

T = TypeVar("T")


@dataclass(frozen=True)
class Reference:
    """The measure for every file.

    Attributes:
        grid: A dataset with the dimensions and coordinates.
        cadence: The step in time, None while there is a single time or where samples share one time axis.
        masked: True at permanently masked points, bool [H, W].
        nan_points: For each variable, at how many points it is permanently missing by itself.
    """

    grid: xr.Dataset
    cadence: Cadence | None
    masked: Points
    nan_points: Mapping[str, int]


def grid_of(candidates: Sequence[Candidate], archived: xr.Dataset | None) -> xr.Dataset:
    """The dataset whose dimensions and coordinates the others must have."""
    if archived is not None:
        return archived
    return _prevailing((_grid_key(one.fields), _frames(one.fields), one.fields) for one in candidates)


def reference_of(
    candidates: Sequence[Candidate], archived: xr.Dataset | None, nan_points: Mapping[str, int]
) -> Reference:
    """The measure for candidates that are already on one grid.

    Args:
        candidates: At least one.
        archived: What is there already; decides everything where it is given.
        nan_points: Those noted at the first commit.
    """
    grid = grid_of(candidates, archived)
    cadence = None
    if "sample" not in grid.dims:
        cadence = infer(grid["time"].values) if archived is not None else None
        if cadence is None:
            found = [(infer(one.times), _frames(one.fields)) for one in candidates]
            known = [(step, frames, step) for step, frames in found if step is not None]
            cadence = _prevailing(known) if known else None
    if archived is not None:
        return Reference(grid, cadence, archived["mask"].values == 0, nan_points)
    names = dict.fromkeys(name for one in candidates for name in one.surveys)
    masks = {
        name: _prevailing(
            (_digest(one.surveys[name].always_nan), _frames(one.fields), one.surveys[name].always_nan)
            for one in candidates
            if name in one.surveys
        )
        for name in names
    }
    masked = np.logical_or.reduce(list(masks.values()))
    return Reference(grid, cadence, masked, {name: int(mask.sum()) for name, mask in masks.items()})


def mask_coordinate(reference: Reference) -> xr.DataArray:
    """The permanent mask as the Archive keeps it: int8, 1 = valid in every variable."""
    dims = [dim for dim in ("lat", "lon", "y", "x") if dim in reference.grid.dims]
    attrs = {
        "long_name": "permanent mask",
        "flag_values": np.array([0, 1], "int8"),
        "flag_meanings": "masked valid",
    }
    return xr.DataArray((~reference.masked).astype("int8"), dims=dims, attrs=attrs)


def _frames(fields: xr.Dataset) -> int:
    return int(fields.sizes["time"] * fields.sizes.get("sample", 1))


def _grid_key(fields: xr.Dataset) -> Hashable:
    fixed = [str(dim) for dim in fields.dims if dim != "sample" and (dim != "time" or "sample" in fields.dims)]
    # single precision, so that the same grid kept in two precisions has one key
    return tuple(fields.sizes), tuple(fields.variables[dim].values.astype("float32").tobytes() for dim in sorted(fixed))


def _digest(points: Points) -> str:
    return hashlib.sha256(np.packbits(points).tobytes()).hexdigest()


def _prevailing(items: Iterable[tuple[Hashable, int, T]]) -> T:
    """The value whose key has the greatest weight; the first of several."""
    weights: Counter[Hashable] = Counter()
    values: dict[Hashable, T] = {}
    for key, weight, value in items:
        weights[key] += weight
        values.setdefault(key, value)
    return values[weights.most_common(1)[0][0]]
