"""GRIB 1 and 2 through cfgrib: the messages of each wanted variable as one lazy field over time, level and grid.

What lives here: finding the messages of a variable, telling them from namesakes, their times. What does not: whether
the file is whole (`grib_messages`), units, axes and the choice of a level (`harmonise`, `levels`). Slow to import, and
there only with the extra `grib`: `opening` imports it where it meets a GRIB file.

    dataset = open_grib(Path("a.grib2"), {"t": VariableConfig(units="K", levels=[850, 500])}, {}, member=None)

A file is read once to list its messages and gets no index beside it. Frames stand at their valid times, so the
steps of one forecast, one step of many forecasts, and short forecasts put in a row are read alike; where a valid time
is forecast twice, no one can say which is meant, and the file is rejected.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cfgrib
import numpy as np
import xarray as xr
from cfgrib.xarray_plugin import ECCODES_LOCK, CfGribDataStore

from ..config import VariableConfig
from ..config_sections import GribKeys
from ..errors import SourceError
from ..fields import time_text
from .levels import holds_level
from .members import check_member

_NAMES = ("shortName", "cfVarName", "cfName")
# what tells apart fields that have nothing to do with each other, whatever they are called
_KINDS = ("paramId", "typeOfLevel", "stepType", "gridType", "numberOfPoints", "md5GridSection", "uvRelativeToGrid")
_CELL = ("level:float", "directionNumber", "frequencyNumber", "valid_time")
_TIMES = ("time", "step")
_INDEXED = (*_NAMES, *_KINDS, *_CELL, *_TIMES, "number", "stepRange")
_REGULAR = ("regular_ll", "regular_gg")
_PROJECTED = (
    *("rotated_ll", "rotated_gg", "lambert", "lambert_azimuthal_equal_area", "albers", "polar_stereographic"),
    "mercator",
)
_ROUNDING = 1e-6  # degrees
_CELL_METHODS = {"accum": "sum", "avg": "mean", "max": "maximum", "min": "minimum", "instant": "point"}


class _Store(CfGribDataStore):
    """What xarray reads fields from; it travels to other processes."""

    def __init__(self, fields: cfgrib.Dataset) -> None:
        self.lock = ECCODES_LOCK
        self.ds = fields


def open_grib(path: Path, variables: Mapping[str, VariableConfig], keys: GribKeys, member: int | None) -> xr.Dataset:
    """The wanted variables under the names by which they are wanted.

    Args:
        path: The file.
        variables: Wanted by short name, CF variable name or CF standard name.
        keys: Keys of messages and the values they must have, for all variables; those of a variable come on top.
        member: Number of the ensemble member; None: there are no members.

    Raises:
        SourceError: ``Q-TRUNCATED``: a message cannot be read; ``Q-MISSING-VARIABLE``: several kinds of field have the
            name; ``Q-MEMBER``: there is no such member; ``Q-DIMENSIONS``: several members, or variables with different
            times; ``Q-LEAD-TIME``: a valid time is forecast several times; ``Q-TIME``: a field is there twice with
            different values; ``Q-GRID``: the grid is none of rows and columns.
    """
    wanted: dict[str, list[VariableConfig]] = {}
    for name, variable in variables.items():
        wanted.setdefault(variable.source_name or name, []).append(variable)
    index = _listed(path, sorted({*keys, *(key for one in variables.values() for key in one.grib_keys)}))
    found = {
        source: field
        for source, asking in wanted.items()
        if (field := _field(index, source, asking, keys, member)) is not None
    }
    _check_together(found)
    names = sorted({name for name in index["shortName"] if name != "undef"})
    return xr.Dataset(found, attrs={"held": names})


def _listed(path: Path, keys: Iterable[str]) -> cfgrib.FieldsetIndex:
    """All messages with the keys by which they are chosen."""
    stream = cfgrib.FileStream(str(path), errors="raise")
    try:
        with ECCODES_LOCK:
            return cfgrib.FieldsetIndex.from_fieldset(
                stream, [*dict.fromkeys((*_INDEXED, *keys))], cfgrib.COMPUTED_KEYS
            )
    except Exception as error:  # ecCodes has some forty types, by which bytes are damaged
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise SourceError("Q-TRUNCATED", f"its messages cannot be read ({reason}); fetch it again") from error


def _field(
    index: cfgrib.FieldsetIndex, source: str, asking: list[VariableConfig], keys: GribKeys, member: int | None
) -> xr.DataArray | None:
    """The field that is called `source`, with a vertical axis of its own; None where there is none."""
    own = {**keys, **asking[0].grib_keys}
    if any(one.grib_keys != asking[0].grib_keys for one in asking):
        raise SourceError(
            "Q-MISSING-VARIABLE",
            f"{source!r} is asked for with different grib_keys; give the variables different source_names, by the "
            "short name (t), the CF variable name, or the CF standard name (air_temperature)",
        )
    named = [_narrowed(index, {key: source}) for key in _NAMES]
    messages = next((one for one in (_narrowed(each, own) for each in named) if one.field_ids_index), None)
    if messages is None:
        return None
    levels = [one.level for one in asking if one.level is not None]
    candidates = []
    for kind in _split(_of_member(messages, source, member)):
        field = _read(kind, source)
        if held := sum(holds_level(field.to_dataset(name=source), field, level) for level in levels) or not levels:
            candidates.append((int(held), kind, field))
    if not candidates:
        return None
    most = max(held for held, _, _ in candidates)
    best = [(kind, field) for held, kind, field in candidates if held == most]
    if len(best) > 1:
        raise SourceError(
            "Q-MISSING-VARIABLE",
            f"{len(best)} kinds of field are called {source!r}, which differ in "
            f"{_difference([one for one, _ in best])}; choose one by source.grib_keys or the grib_keys of the variable",
        )
    kind, field = best[0]
    _check_cells(kind, source)
    static = all(one.role == "static" for one in asking) and field.sizes["time"] == 1
    return field.isel(time=0, drop=True) if static else field


def _narrowed(index: cfgrib.FieldsetIndex, keys: GribKeys) -> cfgrib.FieldsetIndex:
    """The messages that have these values; numbers and their texts count as equal."""
    accepted = {}
    for key, value in keys.items():
        values = value if isinstance(value, tuple) else (value,)
        texts = {str(one) for one in values}
        accepted[key] = (
            [one for one in index[key] if one in values or str(one) in texts] if index.field_ids_index else []
        )
    return index.subindex(accepted)


def _of_member(messages: cfgrib.FieldsetIndex, source: str, member: int | None) -> cfgrib.FieldsetIndex:
    """Those of one member; what knows of no members is that of each."""
    numbers = messages["number"]
    if member is None:
        if len(numbers) > 1:
            raise SourceError(
                "Q-DIMENSIONS", f"variable {source!r} has the members {_listing(numbers)}; choose one by source.member"
            )
        return messages
    if numbers == ["undef"]:
        return messages
    check_member(member, numbers, member in numbers)
    return messages.subindex(number=member)


def _split(messages: cfgrib.FieldsetIndex) -> list[cfgrib.FieldsetIndex]:
    """By kind of field."""
    places = [messages.index_keys.index(key) for key in _KINDS]
    kinds = {tuple(values[place] for place in places) for values, _ in messages.field_ids_index}
    return [messages.subindex(dict(zip(_KINDS, kind, strict=True))) for kind in sorted(kinds, key=str)]


def _read(kind: cfgrib.FieldsetIndex, source: str) -> xr.DataArray:
    """Lazily: (time, level, two of space), with a size of one where there is one of them."""
    grid = kind.getone("gridType")
    if grid not in (*_REGULAR, *_PROJECTED):
        raise SourceError(
            "Q-GRID",
            f"variable {source!r} is on a grid of the type {grid}, expected rows and columns; convert the file, e.g. "
            "with 'cdo setgridtype,regular' or 'cdo sp2gpl'",
        )
    with ECCODES_LOCK:
        opened = cfgrib.open_from_index(kind, time_dims=("valid_time",), squeeze=False, errors="raise")
        # cfgrib takes longitudes to run eastward, which they need not do
        axes = _axes(kind, source) if grid in _REGULAR else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", xr.SerializationWarning)  # of times out of range, which `harmonise` rejects
        dataset = xr.open_dataset(_Store(opened), chunks=None, decode_timedelta=False)
    (field,) = dataset.data_vars.values()
    field.encoding["preferred_chunks"] = {}
    level = kind.getone("typeOfLevel")
    if field.attrs.get("standard_name") == "unknown":
        del field.attrs["standard_name"]
    if step := _CELL_METHODS.get(kind.getone("stepType")):
        field.attrs.setdefault("cell_methods", f"time: {step}")
    vertical = {level: f"{level}_of_{source}"} if level in field.dims else {}
    if "number" in field.dims:
        field = field.squeeze("number", drop=True)
    bare = field.drop_vars([name for name in ("time", "step") if name in field.coords])
    named = bare.rename({"valid_time": "time", **vertical})
    for name in vertical.values():
        named[name].attrs["axis"] = "Z"
    return named.assign_coords({name: named[name].copy(data=values) for name, values in axes.items()})


def _axes(kind: cfgrib.FieldsetIndex, source: str) -> dict[str, np.ndarray[Any, Any]]:
    """Latitudes and longitudes in the order in which the values are stored, of which there are eight."""
    first = kind.first()
    shape = (first["Ny"], first["Nx"])
    lat, lon = (np.reshape(first[key], shape) for key in ("latitudes", "longitudes"))
    if np.ptp(lat, axis=1).max() > _ROUNDING or np.ptp(lon, axis=0).max() > _ROUNDING:
        raise SourceError(
            "Q-GRID",
            f"the values of variable {source!r} are not stored row by row (scanning mode {first['scanningMode']}); "
            "rewrite the file, e.g. with 'cdo copy'",
        )
    return {"latitude": lat[:, 0], "longitude": lon[0]}


def _check_cells(kind: cfgrib.FieldsetIndex, source: str) -> None:
    """Each field is there once, or several times with the same values."""
    places = [kind.index_keys.index(key) for key in _CELL]
    cells: dict[tuple[Any, ...], list[tuple[tuple[Any, ...], list[Any]]]] = {}
    for values, ids in kind.field_ids_index:
        cells.setdefault(tuple(values[place] for place in places), []).append((values, ids))
    for cell, entries in cells.items():
        if len(entries) == 1 and len(entries[0][1]) == 1:
            continue
        when = time_text(np.datetime64(cell[-1], "s").astype("datetime64[ns]"))
        if len(entries) > 1:
            both = kind.subindex(valid_time=cell[-1], **{"level:float": cell[0]})
            rule = "Q-LEAD-TIME" if len(both["time"]) > 1 else "Q-TIME"
            raise SourceError(
                rule,
                f"variable {source!r} is there {len(entries)} times for {when}, with different {_difference([both])}; "
                "choose one by source.grib_keys, e.g. {step: 6}, or keep one forecast per file",
            )
        fields = [kind.get_field(one)["values"] for one in entries[0][1]]
        if any(not np.array_equal(fields[0], field) for field in fields[1:]):
            raise SourceError(
                "Q-TIME",
                f"variable {source!r} is there {len(fields)} times for {when}, with different values; correct it",
            )


def _check_together(fields: Mapping[str, xr.DataArray]) -> None:
    """The variables of a file share its times and its grid."""
    if not fields:
        return
    first_name, first = next(iter(fields.items()))
    for name, field in fields.items():
        for rule, what, keys in (("Q-DIMENSIONS", "times", ("time",)), ("Q-GRID", "points", ("latitude", "longitude"))):
            shared = [key for key in keys if key in field.coords and key in first.coords]
            if any(not np.array_equal(field[key], first[key]) for key in shared):
                counts = " and ".join(str(one[shared[0]].size) for one in (first, field))
                raise SourceError(
                    rule,
                    f"the variables {first_name!r} and {name!r} have different {what} ({counts}); put them in files of "
                    "their own, or choose what they share by source.grib_keys, e.g. {step: [6, 12]}",
                )


def _difference(kinds: list[cfgrib.FieldsetIndex]) -> str:
    """The keys whose values tell these messages apart, with the values."""
    told = []
    for key in (*_KINDS, *_TIMES, "stepRange"):
        values = [*dict.fromkeys(value for kind in kinds for value in kind[key])]
        if len(values) > 1 and key != "md5GridSection":
            told.append(f"{key} ({_listing(values, key)})")
    return " and ".join(told) or "the grid"


def _listing(values: list[Any], key: str = "") -> str:
    texts = [
        time_text(np.datetime64(one, "s").astype("datetime64[ns]")) if key == "time" else f"{one}" for one in values
    ]
    return ", ".join(texts) if len(texts) <= 5 else f"{', '.join(texts[:4])}, ... {texts[-1]}"
