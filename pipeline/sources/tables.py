"""Tables of sensor readings, as CSV or Parquet, as a dataset on a grid.

What lives here: reading a table, leaving out its faulty rows, and cutting it into frames. What does not: faults of
whole stations (`stations`) and the methods of gridding (`gridding`). A table is read as a whole.

    dataset = open_table(Path("20200101.csv"), sensors, {"t2m": VariableConfig(units="K", source_name="temp")})
    dataset["temp"], dataset["temp_count"], dataset["temp_age"]         # each (time, lat, lon)

A frame at time T holds the readings of [T, T + step): its own day's file makes all frames of a day. A reading just
before T is one of T, by a clock that is early.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from ..config import VariableConfig
from ..config_sensors import SensorConfig
from ..errors import ConfigError, SourceError
from .gridding import Floats, gridded
from .stations import Faults, in_known_units, late, listed, moving, on_the_step, on_time, placed, without_spikes
from .units import conversion

_HOUR = np.timedelta64(3_600_000_000_000, "ns")
_KEYS: tuple[Literal["station", "time", "lat", "lon"], ...] = ("station", "time", "lat", "lon")
_Times = np.ndarray[Any, np.dtype[np.datetime64]]
_Field = tuple[tuple[str, ...], Floats, dict[str, str]]


def open_table(
    path: Path, sensors: SensorConfig, variables: Mapping[str, VariableConfig], off: Collection[str] = frozenset()
) -> xr.Dataset:
    """The columns that `variables` name, each gridded, with a count and an age beside it.

    ``X_count`` is how many stations have a value in the cell of a point. ``X_age`` is the time in hours from the
    reading of the nearest station to the end of the frame. Units are those of the archive. The attribute `findings`
    holds rule and message of what is wrong with single stations, whose readings are left out.

    Args:
        path: The table.
        sensors: The grid, and how it is filled.
        variables: Of the configuration.
        off: Rules about stations that are not looked at.

    Raises:
        SourceError: ``Q-TRUNCATED``: it cannot be read; ``Q-MISSING-VARIABLE``: it lacks a column; ``Q-UNITS``;
            ``Q-TIME``: no frame has enough stations; ``Q-RANGE``: too many readings are faulty.
    """
    faults = Faults(off)
    table = _at_their_places(_read(path, sensors), sensors, faults)
    found = {variable.source_name or name: variable for name, variable in variables.items()}
    columns = {column: variable for column, variable in found.items() if column in table}
    readings = {column: _sound(table, column, variable, sensors, faults) for column, variable in columns.items()}
    if not readings:
        return xr.Dataset()
    step = _step(sensors)
    frames = _frames(list(readings.values()), step, sensors.min_stations)
    fields: dict[str, _Field] = {}
    for column, rows in readings.items():
        timely = on_time(rows, frames[0], frames[-1] + step, faults)
        _check_share(column, len(timely), len(rows), sensors, faults)
        fields |= _fields(column, timely, frames, step, sensors, columns[column].units)
    lat, lon = _axis(sensors.lat), _axis(sensors.lon)
    coords = {"time": frames, "lat": lat, "lon": lon}
    silent = np.logical_or.reduce([np.isnan(fields[column][1]).all(axis=(1, 2)) for column in readings])
    # a frame without any reading is missing, as that of a file is which does not have it
    return xr.Dataset(fields, coords, attrs={"findings": tuple(faults.told)}).isel(time=~silent).chunk()


def _read(path: Path, sensors: SensorConfig) -> pd.DataFrame:
    """The table with canonical names of the four columns that say where and when."""
    names = {sensors.columns.get(key, key): key for key in _KEYS}
    try:
        table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise SourceError(
            "Q-TRUNCATED", f"the table cannot be read ({reason}), expected a whole one; fetch it again"
        ) from error
    if missing := [name for name in names if name not in table]:
        raise SourceError(
            "Q-MISSING-VARIABLE",
            f"expected a column {missing[0]!r}, the table has {', '.join(map(str, table.columns))}; "
            "correct sensors.columns",
        )
    times = pd.to_datetime(table[sensors.columns.get("time", "time")], utc=True, errors="coerce", format="ISO8601")
    named = table.rename(columns=names).assign(time=times.dt.tz_localize(None).astype("datetime64[ns]"))
    places = {key: pd.to_numeric(named[key], errors="coerce") for key in ("lat", "lon")}
    return named.assign(**places, station=_as_text(named["station"])).reset_index(drop=True)


def _as_text(names: pd.Series) -> pd.Series:
    """Stations by name, so that 7 and "7" are one; what is missing stays so."""
    return names.map(str, na_action="ignore").astype(object)


def _at_their_places(table: pd.DataFrame, sensors: SensorConfig, faults: Faults) -> pd.DataFrame:
    """The rows of stations that are known, from where they are and when."""
    late(table, faults)
    timed = on_the_step(table, _step(sensors), sensors.clock_seconds, faults)
    places = None if sensors.stations is None else _places(sensors.stations, sensors)
    kept = placed(listed(timed, places, faults), places, sensors.max_moved_km, faults)
    _check_share("each column", len(kept), len(table), sensors, faults)
    return kept


def _places(path: Path, sensors: SensorConfig) -> pd.DataFrame:
    """Latitude and longitude by station.

    Raises:
        ConfigError: The list cannot be read, lacks a column, or has a station twice.
    """
    names = {sensors.columns.get(key, key): key for key in ("station", "lat", "lon")}
    try:
        table = pd.read_csv(path).rename(columns=names)
        named = table.assign(station=_as_text(table["station"])).set_index("station")
        places = named[["lat", "lon"]].astype("float64")
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"sensors.stations must be a CSV file with the columns {', '.join(names)}, got {path} ({error}); correct it"
        ) from error
    if repeated := places.index[places.index.duplicated()].tolist():
        raise ConfigError(f"sensors.stations must have each station once, got {repeated[0]!r} twice; correct {path}")
    return places


def _step(sensors: SensorConfig) -> np.timedelta64:
    """Length of a frame."""
    return np.timedelta64(round(sensors.step_hours * 3600) * 10**9, "ns")


def _check_share(column: str, kept: int, total: int, sensors: SensorConfig, faults: Faults) -> None:
    """Not too many rows are left out for what is wrong with their stations.

    Raises:
        SourceError: With the rule that was broken last.
    """
    if faults.told and kept < total * (1.0 - sensors.max_faulty_share):
        rule, message = faults.told[-1]
        raise SourceError(
            rule, f"{total - kept} of {total} readings of {column}, more than sensors.max_faulty_share: {message}"
        )


def _sound(
    table: pd.DataFrame, column: str, variable: VariableConfig, sensors: SensorConfig, faults: Faults
) -> pd.DataFrame:
    """Station, time, place and value of the readings that can be used, by station and time.

    Left out: without a time, place or finite value; outside the valid range; and all readings of one station at one
    time that contradict each other. What is there twice counts once.
    """
    slope, offset = conversion(sensors.units.get(column, variable.units), variable.units)
    value = pd.to_numeric(table[column], errors="coerce").astype("float64") * slope + offset
    every = table[list(_KEYS)].assign(value=value).drop_duplicates()
    step = _step(sensors)
    whole = every[np.isfinite(every["value"]) & every["time"].notna() & every["station"].notna()]
    units = sensors.units.get(column, variable.units)
    alike = in_known_units(whole, step, units, variable.units, faults)
    _check_share(column, len(alike), len(whole), sensors, faults)
    rows = every[every.index.isin(alike.index) | ~every.index.isin(whole.index)]
    low, high = variable.valid_range or (-np.inf, np.inf)
    usable = (
        np.isfinite(rows["value"])
        & rows["value"].between(low, high)
        & rows["lat"].between(-90.0, 90.0)
        & rows["lon"].between(-180.0, 360.0)
        & rows["time"].notna()
        & rows["station"].notna()
    )
    sound = rows[usable].drop_duplicates(["station", "time"], keep=False)
    if len(sound) < len(rows) * (1.0 - sensors.max_faulty_share) or sound.empty:
        raise SourceError(
            "Q-RANGE",
            f"{len(rows) - len(sound)} of {len(rows)} readings of {column!r} are missing, outside the valid range or "
            f"contradict each other, expected at most {sensors.max_faulty_share:.0%} (sensors.max_faulty_share); are "
            "the "
            f"units {variable.units!r}?",
        )
    kept = without_spikes(sound, sensors.max_spike.get(column), faults)
    kept = moving(kept, sensors.stuck_hours, faults)
    result: pd.DataFrame = kept.assign(station=kept["station"].astype(str)).sort_values(["station", "time"])
    return result


def _frames(readings: list[pd.DataFrame], step: np.timedelta64, least: int) -> _Times:
    """Times of the frames, from the first to the last that has enough stations in each column.

    A clock that is days off so neither makes frames of its own nor stretches the row of them.
    """
    common: set[int] | None = None
    for rows in readings:
        number = rows["time"].to_numpy().astype("int64") // step.astype("int64")
        stations = rows["station"].groupby(number).nunique()
        full = set(stations.index[stations >= least].tolist())
        common = full if common is None else common & full
    if not common:
        raise SourceError(
            "Q-TIME", f"no frame has readings of {least} stations; correct sensors.min_stations or step_hours"
        )
    frames: _Times = (np.arange(min(common), max(common) + 1) * step.astype("int64")).astype("datetime64[ns]")
    return frames


def _fields(
    column: str, rows: pd.DataFrame, frames: _Times, step: np.timedelta64, sensors: SensorConfig, units: str
) -> dict[str, _Field]:
    """Value, count and age on the grid, NaN in frames where no station has a value."""
    number = rows["time"].to_numpy().astype("int64") // step.astype("int64")
    taken = rows.assign(frame=(number * step.astype("int64")).astype("datetime64[ns]"))
    grouped = taken.groupby(["frame", "station"]).agg({"value": "mean", "time": "last", "lat": "last", "lon": "last"})
    # a frame before the first may hold what is kept
    every = np.union1d(frames, taken["frame"].to_numpy())
    last = {key: grouped[key].unstack().reindex(every).ffill().reindex(frames).to_numpy() for key in grouped.columns}
    lat, lon = _axis(sensors.lat), _axis(sensors.lon)
    shape = (len(frames), len(lat), len(lon))
    value, count, age = np.full(shape, np.nan), np.zeros(shape), np.full(shape, np.nan)
    hours = (frames[:, None] + step - last["time"]) / _HOUR
    with_value = hours <= sensors.step_hours + sensors.keep_hours
    for index, there in enumerate(with_value):
        if not there.any():
            continue
        places = last["lat"][index, there], last["lon"][index, there]
        value[index], count[index] = gridded(
            *places, last["value"][index, there], lat, lon, sensors.method, sensors.neighbours, sensors.power
        )
        age[index], _ = gridded(*places, hours[index, there], lat, lon, "nearest", 1, 1.0)
    dims = ("time", "lat", "lon")
    return {
        column: (dims, value, {"units": units}),
        f"{column}_count": (dims, count, {"units": "1", "long_name": f"stations with a value of {column} in the cell"}),
        f"{column}_age": (dims, age, {"units": "h", "long_name": f"age of the nearest reading of {column}"}),
    }


def _axis(spec: tuple[float, float, float]) -> Floats:
    first, last, spacing = spec
    return first + spacing * np.arange(int((last - first) / spacing + 1e-6) + 1)
