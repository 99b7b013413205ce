"""Fields on another regular grid of latitudes and longitudes.

Every method is a weighted mean, and its weights factorise into those along latitude and those along longitude. The
library xarray-regrid says what they are (linear, nearest) or how cells overlap (conservative, with areas on the
sphere: overlaps of latitude are measured in sin(lat), so that what is summed over the globe stays what it was).
Applying them is ours, because of the mask: a point that never has values does not count; a new point is valid where at
least half of its weight has values, and then holds the mean of those; where a point that usually has a value lacks it,
the new points that are made of it lack one too, so that gaps in time stay visible. Each output is a sum of its own, in
one order, so that it does not depend on how the frames are cut into blocks.

    fine = regridded(fields, RegridConfig(lat=(50, 60, 0.5), lon=(-8, 2, 0.5)), {"t2m": never_there})
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config_transforms import RegridConfig
from ..errors import SourceError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Axis = NDArray[np.float64]

_LEAST_SHARE = 0.5
_ROUNDING = 1e-9
_PIECE = 2**18  # values weighted at once: what lies beside a block in double precision stays small


def regridded(fields: xr.Dataset, target: RegridConfig, absent: Mapping[str, NDArray[np.bool_]]) -> xr.Dataset:
    """The fields at the points of another grid.

    Args:
        fields: Harmonised, with or without time: latitudes and longitudes ascending.
        target: The grid, and the method.
        absent: For each variable, where it never has values, [H, W].

    Raises:
        SourceError: ``Q-GRID``: the fields have no latitudes and longitudes, one point of them only, or do not reach
            some row or column of the grid.
    """
    if "lat" not in fields.dims:
        raise SourceError("Q-GRID", "source.regrid needs latitudes and longitudes, the file has y and x; remove it")
    rows, columns = (_weights(fields[dim].values, target, dim) for dim in ("lat", "lon"))
    whole = fields.chunk({"lat": -1, "lon": -1}) if fields.chunks else fields
    result = {}
    for name, field in whole.data_vars.items():
        apply = partial(_weighted, valid=~absent[str(name)], rows=rows, columns=columns)
        made = xr.apply_ufunc(
            apply,
            field.drop_vars(["lat", "lon"]),
            input_core_dims=[["lat", "lon"]],
            output_core_dims=[["new_lat", "new_lon"]],
            dask="parallelized",
            output_dtypes=["float32"],
            dask_gufunc_kwargs={"output_sizes": dict(zip(("new_lat", "new_lon"), target.shape, strict=True))},
        )
        result[name] = made.rename(new_lat="lat", new_lon="lon").transpose(*field.dims).assign_attrs(field.attrs)
    axes = {dim: (dim, target.points(dim), fields[dim].attrs) for dim in ("lat", "lon")}
    return xr.Dataset(result).assign_coords(axes)


def _weighted(
    values: NDArray[np.float32], valid: NDArray[np.bool_], rows: csr_array, columns: csr_array
) -> NDArray[np.float32]:
    """Weighted means of the valid values; a NaN among these makes NaN of all that has a share of it."""
    share = _both_axes(valid.astype("float64")[None], rows, columns)[0]
    divisor = np.where(share >= _LEAST_SHARE - _ROUNDING, share, np.nan)
    frames = values.reshape(-1, *valid.shape)
    result = np.empty((len(frames), *share.shape), "float32")
    few = max(1, _PIECE // valid.size)
    for start in range(0, len(frames), few):
        piece = np.where(valid, frames[start : start + few], 0.0)
        result[start : start + few] = _both_axes(piece, rows, columns) / divisor
    return result.reshape(*values.shape[:-2], *share.shape)


def _both_axes(values: Axis, rows: csr_array, columns: csr_array) -> Axis:
    """Rows @ values @ columns.T for each of [T, H, W]; sparse, so that a NaN reaches only what is made of it."""
    frames, height, width = values.shape
    along = rows @ values.transpose(1, 0, 2).reshape(height, frames * width)
    turned = along.reshape(-1, frames, width).transpose(2, 0, 1)
    across = columns @ turned.reshape(width, -1)
    result: Axis = across.reshape(-1, rows.shape[0], frames).transpose(2, 1, 0)
    return result


def _weights(source: Axis, target: RegridConfig, dim: Literal["lat", "lon"]) -> csr_array:
    """What share each old coordinate has in each new one, [new, old]; rows sum to one, or to the part that is covered.

    Raises:
        SourceError: ``Q-GRID``.
    """
    from scipy.sparse import csr_array

    if len(source) < 2:
        raise SourceError("Q-GRID", f"it has a single point along {dim!r}, regridding needs two; remove source.regrid")
    wanted = target.points(dim)
    found = (
        _overlaps(source, wanted, dim)
        if target.method == "conservative"
        else _interpolated(source, wanted, target, dim)
    )
    shares = found.sum(axis=1)
    if (bad := ~(shares > _ROUNDING)).any():
        raise SourceError(
            "Q-GRID",
            f"source.regrid has the {dim} {wanted[bad][0]:g}, which the file ({source[0]:g} to {source[-1]:g}) does "
            "not reach; choose a grid within the file's",
        )
    return csr_array(np.where(found > _ROUNDING, found, 0.0))


def _interpolated(source: Axis, wanted: Axis, target: RegridConfig, dim: Literal["lat", "lon"]) -> Axis:
    """The library's weights, as what becomes of fields that are one at a single point; NaN outside."""
    import xarray_regrid  # noqa: F401  (adds the accessor `.regrid`; slow to import)

    points = xr.DataArray(np.eye(len(source)), dims=("old", dim), coords={dim: source})
    grid = xr.Dataset(coords={dim: wanted})
    found = points.regrid.linear(grid, None) if target.method == "linear" else points.regrid.nearest(grid, None)
    result: Axis = found.transpose(dim, "old").values
    return result


def _overlaps(source: Axis, wanted: Axis, dim: Literal["lat", "lon"]) -> Axis:
    """The share of each new cell's area that lies in each old cell; longitudes also once around in either direction."""
    import pandas as pd
    from xarray_regrid.utils import overlap

    def cells(edges: Axis) -> Any:
        return pd.IntervalIndex.from_breaks(np.sin(np.deg2rad(edges)) if dim == "lat" else edges)

    old, new = _edges(source, dim), _edges(wanted, dim)
    turns = (0.0,) if dim == "lat" else (-360.0, 0.0, 360.0)
    total = sum(overlap(cells(old + turn), cells(new)).T for turn in turns)
    result: Axis = np.asarray(total) / cells(new).length.to_numpy()[:, None]
    return result


def _edges(middles: Axis, dim: str) -> Axis:
    """Borders of cells: half-way between neighbours, and no further than the poles."""
    between = (middles[:-1] + middles[1:]) / 2
    edges = np.r_[2 * middles[0] - between[0], between, 2 * middles[-1] - between[-1]]
    bounded: Axis = np.clip(edges, -90.0, 90.0) if dim == "lat" else edges
    return bounded
