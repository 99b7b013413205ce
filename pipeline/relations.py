"""What variables of one file must have to do with each other, by their CF standard names.

What lives here: the relations, as fields that are at most zero where they hold. What does not: reading the values
(`survey.take_survey` reads them together with all else) and what is done about a breach (`suspicion`).

    for relation in relations_of(fields, levels={}):
        relation.words, relation.excess        # "dew point above temperature", a lazy field in K

Saturation over water is that of Bolton (1980), doi 10.1175/1520-0493(1980)108<1046:TCOEPT>2.0.CO;2, eq. 10.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import xarray as xr

from .errors import SourceError
from .sources.units import conversion

# what may be there by packing, interpolation and means over time
_DEW_POINT_KELVIN = 1.0
_SUPERSATURATION = 1.3
_WIND_SHARE, _WIND_METRES = 0.05, 1.0
_SPEED = "wind_speed"


@dataclass(frozen=True)
class Relation:
    """One relation between variables.

    Attributes:
        names: The variables, as the configuration calls them.
        words: What a breach is, in words.
        excess: By how much it is broken, above zero where it is; like the variables, lazy.
        units: Of the excess.
    """

    names: tuple[str, ...]
    words: str
    excess: xr.DataArray
    units: str


def relations_of(fields: xr.Dataset, levels: Mapping[str, float | None]) -> Iterator[Relation]:
    """The relations between the variables of a file that are at one level.

    Args:
        fields: Harmonised.
        levels: In hPa where it is a pressure, by variable; what is not named has none.
    """
    for level in dict.fromkeys(levels.get(str(name)) for name in fields.data_vars):
        known = {
            str(fields.variables[name].attrs.get("standard_name")): str(name)
            for name in fields.data_vars
            if levels.get(str(name)) == level
        }
        yield from _dew_point(fields, known)
        yield from _saturation(fields, known, level)
        yield from _speed(fields, known)


def _dew_point(fields: xr.Dataset, known: Mapping[str, str]) -> Iterator[Relation]:
    pair = ("dew_point_temperature", "air_temperature")
    if (found := _in_units(fields, known, dict.fromkeys(pair, "K"))) is not None:
        excess = found[pair[0]] - found[pair[1]] - _DEW_POINT_KELVIN
        yield Relation(_named(known, pair), "dew point above temperature", excess, "K")


def _saturation(fields: xr.Dataset, known: Mapping[str, str], level: float | None) -> Iterator[Relation]:
    wanted = {"specific_humidity": "kg kg-1", "air_temperature": "K"}
    if level is None:
        wanted["surface_air_pressure"] = "Pa"
    found = _in_units(fields, known, wanted)
    if found is None or (level is not None and level <= 1.0):
        return
    celsius = found["air_temperature"] - 273.15
    vapour = 611.2 * np.exp(17.67 * celsius / (celsius + 243.5))
    pressure = found["surface_air_pressure"] if level is None else 100.0 * level
    most = 0.622 * vapour / (pressure - 0.378 * vapour)
    # in thin, warm air water boils: any humidity is possible
    excess = (found["specific_humidity"] - _SUPERSATURATION * most).where(vapour < pressure, -1.0)
    yield Relation(_named(known, wanted), "more humidity than saturation", excess, "kg kg-1")


def _speed(fields: xr.Dataset, known: Mapping[str, str]) -> Iterator[Relation]:
    parts = (_SPEED, "eastward_wind", "northward_wind")
    found = _in_units(fields, known, dict.fromkeys(parts, "m s-1"))
    if found is None:
        return
    speed = found[_SPEED]
    difference = xr.apply_ufunc(np.hypot, found[parts[1]], found[parts[2]], dask="allowed") - speed
    # the mean of a speed is larger than the speed of the mean wind, never smaller
    if not any("mean" in str(fields[name].attrs.get("cell_methods", "")) for name in _named(known, parts)):
        difference = abs(difference)
    yield Relation(
        _named(known, parts),
        "a wind speed other than that of its components",
        difference - _WIND_SHARE * abs(speed) - _WIND_METRES,
        "m s-1",
    )


def _named(known: Mapping[str, str], wanted: Mapping[str, str] | tuple[str, ...]) -> tuple[str, ...]:
    return tuple(known[name] for name in wanted)


def _in_units(
    fields: xr.Dataset, known: Mapping[str, str], wanted: Mapping[str, str]
) -> dict[str, xr.DataArray] | None:
    """The fields by standard name, in these units; None where one is absent or measures something else."""
    found = {}
    for name, units in wanted.items():
        if name not in known:
            return None
        field = fields[known[name]]
        try:
            slope, offset = conversion(str(field.attrs.get("units", "")), units)
        except SourceError:
            return None
        found[name] = field if (slope, offset) == (1.0, 0.0) else field * slope + offset
    return found
