"""Fields on a coarser grid: means over blocks of points, weighted by area.

A point that never has values does not count. A coarse point is valid where at least half of its area has values, and
then holds the mean of those; where a point that usually has a value lacks it, its coarse point lacks one too, so that
gaps in time stay visible. On evenly spaced latitudes the global mean by cos(latitude) stays what it was, as the sum of
cos over a block of rows is the same multiple of the cos of its middle for every block.

    coarse = coarsened(fields, 2, {name: survey.always_nan for name, survey in surveys.items()})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ..errors import SourceError

_LEAST_SHARE = 0.5


def coarsened(fields: xr.Dataset, factor: int, absent: Mapping[str, np.ndarray[Any, np.dtype[np.bool_]]]) -> xr.Dataset:
    """Means over blocks of `factor` x `factor` points.

    Args:
        fields: Harmonised fields, with or without time.
        factor: Points of a block along each side; 1 changes nothing.
        absent: For each variable, where it never has values, [H, W].

    Raises:
        SourceError: ``Q-GRID``: the grid is no multiple of the blocks.
    """
    if factor == 1:
        return fields
    space = ("lat", "lon") if "lat" in fields.dims else ("y", "x")
    if odd := [dim for dim in space if fields.sizes[dim] % factor]:
        raise SourceError(
            "Q-GRID",
            f"{fields.sizes[odd[0]]} points along {odd[0]!r} are no multiple of source.coarsen ({factor}); choose a "
            "source.region that holds a multiple, or another factor",
        )
    rows, columns = (xr.ones_like(fields[dim], dtype="float64") for dim in space)
    area = rows * columns
    if space[0] == "lat":
        area = area * np.cos(np.deg2rad(fields["lat"])).clip(min=0.0)
    whole = _block_sums(area, space, factor)
    result = {}
    for name, field in fields.data_vars.items():
        weights = area.where(~absent[str(name)], 0.0)
        used = _block_sums(weights, space, factor)
        # what is absent for good counts as zero here, any other NaN makes its block NaN
        total = _block_sums(field.where(weights > 0, 0.0) * weights, space, factor)
        mean = (total / used.where(used > 0)).where(used >= _LEAST_SHARE * whole)
        result[name] = mean.transpose(*field.dims).astype("float32").assign_attrs(field.attrs)
    middles = {dim: fields[dim].coarsen({dim: factor}).mean().assign_attrs(fields[dim].attrs) for dim in space}
    return xr.Dataset(result).assign_coords(middles)


def _block_sums(field: xr.DataArray, space: tuple[str, str], factor: int) -> xr.DataArray:
    bare = field.drop_vars([dim for dim in space if dim in field.coords])
    blocks = bare.coarsen(dict.fromkeys(space, factor)).construct({dim: (dim, f"{dim}_within") for dim in space})
    sums: xr.DataArray = blocks.sum([f"{dim}_within" for dim in space], skipna=False)
    return sums
