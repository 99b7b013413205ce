"""Static fields brought from their own file to the points of the Archive.

What lives here: the Archive's points picked out of a larger grid, and the checks that they are there and agree with
what is there already. What does not: names, units and axes (`sources`).

    field = on_grid(land_sea_mask, archived, SourceConfig())     # [lat, lon], on the Archive's very coordinates
    placed, rejected = place_statics(config, files, reference, archived=None)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .config import Config, SourceConfig
from .errors import SourceError
from .reference import Reference
from .rejection import Rejection
from .survey import Points
from .transforms import coarsened, regridded

Axis = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class StaticFile:
    """The static fields of a file, on its own grid; `alone` where it holds nothing else that is wanted."""

    path: Path
    digest: str
    fields: xr.Dataset
    alone: bool


def place_statics(
    config: Config, files: Sequence[StaticFile], reference: Reference, archived: xr.Dataset | None
) -> tuple[dict[str, xr.DataArray], list[Rejection]]:
    """The static fields of new files at the Archive's points, and the files that do not fit.

    Args:
        config: Read are `variables` and `source`.
        files: Harmonised.
        reference: The Archive's grid and mask.
        archived: What is there already.

    Raises:
        SourceError: The Archive has none yet, and a static field does not fit.
    """
    placed: dict[str, xr.DataArray] = {}
    rejected = []
    for one in files:
        try:
            for name, field in one.fields.data_vars.items():
                found = on_grid(field, reference.grid, config.source)
                check_static(found, reference.masked, config.variables[str(name)].valid_range)
                known = placed.get(str(name)) if archived is None else archived[name]
                if known is not None and not np.array_equal(found.values, known.values, equal_nan=True):
                    raise SourceError(
                        "Q-OVERLAP", f"static field {name!r} has other values than the one that is there; remove one"
                    )
                placed[str(name)] = found
        except SourceError as error:
            if archived is None:
                raise SourceError(error.rule, f"{one.path.name}: {error.message}") from error
            rejected.append(Rejection(error.rule, one.path, error.message))
    return placed, rejected


def on_grid(field: xr.DataArray, grid: xr.Dataset, source: SourceConfig) -> xr.DataArray:
    """The field at the points of a grid.

    Args:
        field: Harmonised, on a grid that has these points and perhaps others; on any that covers them where it is
            regridded.
        grid: The Archive's coordinates.
        source: How the Archive's fields are regridded, or coarsened, which needs even spacing.

    Raises:
        SourceError: ``Q-GRID``: a point of the Archive is not among the field's.
    """
    dims = tuple(str(dim) for dim in field.dims)
    if not set(dims) <= set(grid.dims):
        raise SourceError("Q-GRID", f"static field {field.name!r} is on {dims}, the archive is not; regrid it")
    name = str(field.name)
    if source.regrid is None:
        places = {dim: _places(field, dim, _finer(grid[dim].values, source.coarsen)) for dim in dims}
        picked = field.isel(places).compute(scheduler="threads").to_dataset(name=name)
        made = coarsened(picked, source.coarsen, {name: np.isnan(picked[name].values)})[name]
    else:
        whole = field.compute(scheduler="threads").to_dataset(name=name)
        made = regridded(whole, source.regrid, {name: np.isnan(whole[name].values)})[name]
    return made.assign_coords({dim: grid[dim].variable for dim in dims}).assign_attrs(field.attrs)


def check_static(field: xr.DataArray, masked: Points, valid_range: tuple[float, float] | None) -> None:
    """There is a finite, plausible value at every valid point.

    Raises:
        SourceError: ``Q-NAN`` or ``Q-RANGE``.
    """
    values = field.values[~masked]
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise SourceError("Q-NAN", f"static field {field.name!r} has no value at {count} valid points; fill them")
    if valid_range is not None and (values.min() < valid_range[0] or values.max() > valid_range[1]):
        raise SourceError(
            "Q-RANGE",
            f"static field {field.name!r} runs from {values.min():g} to {values.max():g}, expected {valid_range[0]:g} "
            f"to {valid_range[1]:g}; are the units of the file right?",
        )


def _finer(axis: Axis, factor: int) -> Axis:
    """The evenly spaced points whose block means are the axis."""
    if factor == 1:
        return axis
    step = (axis[-1] - axis[0]) / max(len(axis) - 1, 1) / factor
    within = (np.arange(factor) - (factor - 1) / 2) * step
    finer: Axis = (axis[:, None] + within).reshape(-1)
    return finer


def _places(field: xr.DataArray, dim: str, wanted: Axis) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Index of each wanted coordinate among the field's, longitudes modulo 360."""
    distance = np.abs(field[dim].values[None, :] - wanted[:, None])
    if dim == "lon":
        distance = np.abs((distance + 180.0) % 360.0 - 180.0)
    nearest: np.ndarray[Any, np.dtype[np.intp]] = distance.argmin(axis=1)
    spacing = float(np.abs(np.diff(field[dim].values)).min()) if field.sizes[dim] > 1 else 1.0
    missing = distance[np.arange(len(wanted)), nearest] > 1e-3 * spacing
    if missing.any():
        raise SourceError(
            "Q-GRID",
            f"static field {field.name!r} has no value at {dim} {wanted[missing][0]:g} of the archive; its {dim} runs "
            f"from {field[dim].values[0]:g} to {field[dim].values[-1]:g}; regrid it",
        )
    return nearest
