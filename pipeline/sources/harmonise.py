"""Foreign gridded data brought to the contract: names, dimensions, units, dtype.

What lives here: a file's variables taken, named and converted. Lazily: nothing is loaded but the axes. What does not:
the order and direction of the axes (`laid_out`).

fields = harmonise(open_lazily(path), {"t2m": VariableConfig(units="K", source_name="Tair")})
fields["t2m"].dims         # ("time", "lat", "lon"), latitude and longitude ascending, float32, NaN where missing
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import xarray as xr

from ..config import RegionConfig, VariableConfig
from ..errors import SourceError
from ..fields import FIELD_DIMS
from .axes import axis_values, roles, scalar_time
from .laid_out import LaidOut, in_space, in_time
from .lead import check_valid_times
from .levels import at_level, holds_level
from .projection import projection
from .units import conversion, is_dimensionless

_KEPT = ("standard_name", "long_name", "cell_methods", "projection")


def present_variables(dataset: xr.Dataset, variables: Mapping[str, VariableConfig]) -> dict[str, str]:
    """Which of the configured variables a dataset holds, at their levels: name in the archive to name in the file."""
    names = {name: variable.source_name or name for name, variable in variables.items()}
    return {
        name: source
        for name, source in names.items()
        if source in dataset.data_vars and holds_level(dataset, dataset.variables[source], variables[name].level)
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
    fields = {name: _in_units(name, field, variables[name]) for name, (field, _) in placed.items()}
    if len({(field.dims, field.shape) for field in fields.values()}) > 1:
        raise SourceError(
            "Q-DIMENSIONS",
            f"the variables {', '.join(present)} have different dimensions; put them in files of their own",
        )
    laid = in_space(in_time(LaidOut(fields, _axes(next(iter(placed.values()))[1]))), region)
    return laid.dataset(next(dims for dims in FIELD_DIMS if set(dims) == set(laid.sizes)))


def harmonise_static(dataset: xr.Dataset, variables: Mapping[str, VariableConfig]) -> xr.Dataset:
    """The static variables of `dataset` that are there, as `harmonise` does it but without time: [lat, lon] or [y, x].

    Raises:
        SourceError: As in `harmonise`; ``Q-DIMENSIONS`` where a variable has several times.
    """
    fields: dict[str, xr.Variable] = {}
    axes: dict[str, xr.Variable] = {}
    for name, source in present_variables(dataset, variables).items():
        bare, _, coords = _bare(dataset, source, variables[name].level)
        if bare.sizes.get("time", 1) > 1 or "sample" in bare.dims:
            raise SourceError(
                "Q-DIMENSIONS", f"variable {source!r} has {bare.sizes.get('time', 1)} times, expected a static field"
            )
        flat = bare.isel(time=0) if "time" in bare.dims else bare
        if set(flat.dims) not in ({"lat", "lon"}, {"y", "x"}):
            raise SourceError(
                "Q-DIMENSIONS",
                f"variable {source!r} has the dimensions {tuple(map(str, flat.dims))}, expected lat, lon or y, x",
            )
        axes = {**{dim: axis for dim, axis in _axes(coords).items() if dim != "time"}, **axes}
        fields[name] = _in_units(name, flat, variables[name])
    laid = in_space(LaidOut(fields, axes), None)
    return laid.dataset(("lat", "lon") if "lat" in laid.sizes else ("y", "x"))


def _placed(dataset: xr.Dataset, source: str, level: float | None) -> tuple[xr.Variable, dict[str, xr.Variable | None]]:
    """One variable with canonical dimension names, and the coordinates along those that have some."""
    field = dataset[source]
    check_valid_times(dataset, field)
    bare, found, coords = _bare(dataset, source, level)
    if told := projection(dataset, field):
        bare.attrs["projection"] = told
    if "time" not in found.values() and (name := scalar_time(dataset)) is not None:
        bare = cast("xr.Variable", bare.expand_dims("time"))
        coords["time"] = cast("xr.Variable", dataset.variables[name].expand_dims("time"))
    if not any(set(dims) == set(map(str, bare.dims)) for dims in FIELD_DIMS):
        rule = "Q-TIME" if "time" not in bare.dims else "Q-DIMENSIONS"
        raise SourceError(
            rule,
            f"variable {source!r} has the dimensions {tuple(map(str, field.dims))}, expected time and lat, "
            "lon (or y, x), with 'sample' for simulations; name or describe its axes by CF attributes",
        )
    if empty := [str(dim) for dim, size in bare.sizes.items() if size == 0]:
        raise SourceError(
            "Q-EMPTY", f"variable {source!r} has no values along {empty[0]!r}, expected some; fetch it again"
        )
    return bare, coords


def _bare(
    dataset: xr.Dataset, source: str, level: float | None
) -> tuple[xr.Variable, dict[str, str], dict[str, xr.Variable | None]]:
    """One variable with canonical dimension names, the roles of its dimensions, and their values."""
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
    bare = field.variable.isel(dict.fromkeys(extra, 0)).copy(deep=False)
    bare.dims = tuple(found[str(dim)] for dim in bare.dims)
    return bare, found, coords


def _axes(coords: Mapping[str, xr.Variable | None]) -> dict[str, xr.Variable]:
    return {role: xr.Variable(role, data.values, data.attrs) for role, data in coords.items() if data is not None}


def _in_units(name: str, field: xr.Variable, variable: VariableConfig) -> xr.Variable:
    found = field.attrs.get("units")
    if found is None and not is_dimensionless(variable.units):
        raise SourceError(
            "Q-UNITS",
            f"variable {name!r} has no units, expected some convertible to {variable.units!r}; add them",
        )
    try:
        given = str(found if found is not None else "1").strip() or "1"
        slope, offset = conversion(given, variable.units, water=variable.water)
    except SourceError as error:
        raise SourceError(error.rule, f"variable {name!r}: {error.message}") from error
    same = (slope, offset) == (1.0, 0.0)
    result: xr.Variable = field.copy(deep=False) if same else field.astype("float64") * slope + offset
    result.attrs = {**{key: field.attrs[key] for key in _KEPT if key in field.attrs}, "units": variable.units}
    return result
