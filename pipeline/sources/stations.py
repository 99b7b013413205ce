"""Faults of single stations in a table of readings: found, left out, and told.

What lives here: stations that are unknown, there twice, moved, in another unit, off in time, stuck or spiking. What
does not: rows without a time, a place or a plausible value, and contradictions (`tables`); what a configuration does
about what is told (`ingest`).

    faults = Faults(off={"Q-STATION-STUCK"})
    kept = placed(table, places, max_km=1.0, faults=faults)
    faults.told              # [("Q-STATION-MOVED", "station 17 ...")]

Every function takes rows with the columns station, time, lat, lon (and value) and returns those to keep, in order. A
rule that is off is not looked at and leaves nothing out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..fields import time_text
from .units import conversion

# units that stations are set to by mistake, by what they measure
_FAMILIES = (
    ("K", "degC", "degF"),
    ("Pa", "hPa", "kPa", "mmHg"),
    ("m s-1", "knot", "km h-1", "mile h-1"),
    ("mm", "cm", "m", "inch"),
    ("1", "percent"),
)
_EARTH_KM = 6371.0
_ODD, _ORDINARY = 8.0, 3.0  # in standard deviations from the median of all stations
_LEAST_READINGS, _LEAST_STATIONS = 3, 5
_SHARE_OF_ODD = 0.1
_SHARE_OUTSIDE = 0.2
_STUCK_READINGS = 6
_SHOWN = 5


@dataclass
class Faults:
    """What was found.

    Attributes:
        off: Rules that are not looked at.
        told: Rule and message of each finding.
    """

    off: Collection[str] = frozenset()
    told: list[tuple[str, str]] = field(default_factory=list)

    def tell(self, rule: str, rows: pd.DataFrame, what: str) -> None:
        """A finding about the rows that are left out; none where there are none."""
        if rows.empty:
            return
        names = sorted(map(str, rows["station"].unique()))
        shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
        self.told.append((rule, f"{what} (station {shown}); {len(rows)} readings left out, look at the station"))


def late(table: pd.DataFrame, faults: Faults) -> None:
    """Tell of rows that stand after later ones of their station; every use of a table sorts it."""
    before = table.groupby("station")["time"].cummax()
    if number := int((table["time"] < before).sum()):
        faults.told.append(("Q-FIX-LATE", f"{number} rows stood after later ones of their station, put in their place"))


def on_the_step(table: pd.DataFrame, step: np.timedelta64, seconds: float, faults: Faults) -> pd.DataFrame:
    """Readings a little before the time of a frame, by a clock that is a little early, as made at that time.

    What is a little after it lies within the frame anyway. Left alone are stations that read within twice the tolerance
    before or after, as they have a reading for that frame, and what would make a frame after the last of the others.
    """
    if "Q-FIX-CLOCK" in faults.off:
        return table
    tolerance, length = pd.Timedelta(seconds=seconds), step.astype("int64")
    stations = table.sort_values(["station", "time"], kind="stable").groupby("station")["time"]
    near = [(stations.shift(by) - table["time"]).abs() <= 2 * tolerance for by in (-1, 1)]
    instants = table["time"].astype("int64").where(table["time"].notna(), 0)
    early = -instants % length
    off = (early > 0) & (early <= tolerance.value)
    last = (instants[~off] // length * length).max() if not off.all() else np.inf
    moved = off & ~near[0] & ~near[1] & (instants + early <= last)
    if not moved.any():
        return table
    most = f"{early[moved].max() / 1e9:g} s"
    faults.told.append(
        ("Q-FIX-CLOCK", f"{int(moved.sum())} readings up to {most} before the time of a frame are put on it")
    )
    return table.assign(time=table["time"] + pd.to_timedelta(early.where(moved, 0), unit="ns"))


def listed(table: pd.DataFrame, places: pd.DataFrame | None, faults: Faults) -> pd.DataFrame:
    """Readings of stations that are in the list, if there is one: `places` has lat and lon by station."""
    if places is None or "Q-STATION-UNKNOWN" in faults.off:
        return table
    known = table["station"].isin(places.index) | table["station"].isna()
    faults.tell("Q-STATION-UNKNOWN", table[~known], "expected stations of sensors.stations, found others")
    return table[known]


def placed(table: pd.DataFrame, places: pd.DataFrame | None, max_km: float, faults: Faults) -> pd.DataFrame:
    """Readings from where their station is: by the list, else where it has most of its readings.

    A station whose readings come from two places by turns is two; without a list none of them is kept.
    """
    home = places if places is not None else _usual_places(table)
    at = home.reindex(table["station"])
    away = (_kilometres(table["lat"], table["lon"], at["lat"].to_numpy(), at["lon"].to_numpy()) > max_km).to_numpy()
    moves = pd.DataFrame({"station": table["station"], "time": table["time"], "away": away}, index=table.index)
    moves = moves.sort_values(["station", "time"], kind="stable")
    before = moves.groupby("station")["away"].shift(fill_value=False)
    changes = (moves["away"] != before).groupby(moves["station"]).sum()
    turning = table["station"].isin(changes.index[changes > 2])
    twice = turning & (away if places is not None else True) & ("Q-STATION-TWICE" not in faults.off)
    moved = ~turning & away & ("Q-STATION-MOVED" not in faults.off)
    faults.tell(
        "Q-STATION-TWICE",
        table[twice],
        f"expected one place, found two by turns more than {max_km:g} km apart",
    )
    faults.tell(
        "Q-STATION-MOVED",
        table[moved],
        f"expected readings within {max_km:g} km of its place, found others",
    )
    kept: pd.DataFrame = table[~(twice | moved)]
    return kept


def _usual_places(table: pd.DataFrame) -> pd.DataFrame:
    rounded = table[["station", "lat", "lon"]].round({"lat": 3, "lon": 3})
    counts = rounded.value_counts(sort=True).reset_index()
    return counts.drop_duplicates("station").set_index("station")[["lat", "lon"]]


def _kilometres(lat: Any, lon: Any, other_lat: Any, other_lon: Any) -> Any:
    """Along the great circle."""
    north, other_north = np.deg2rad(lat), np.deg2rad(other_lat)
    half = np.sin((north - other_north) / 2) ** 2
    half += np.cos(north) * np.cos(other_north) * np.sin(np.deg2rad(lon - other_lon) / 2) ** 2
    return 2 * _EARTH_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0)))


def in_known_units(rows: pd.DataFrame, step: np.timedelta64, found: str, wanted: str, faults: Faults) -> pd.DataFrame:
    """Readings of stations that do not look as if read in another unit.

    Such a station has readings far from all others that come near them once they are taken in another unit.

    Args:
        rows: `value` in the archive's units.
        step: Length of a frame.
        found: Units of the table, which are to be those of every station.
        wanted: Units of the archive.
        faults: Is told.
    """
    family = next((family for family in _FAMILIES if found in family), ())
    if "Q-STATION-UNITS" in faults.off or not family or rows["station"].nunique() < _LEAST_STATIONS:
        return rows
    frame = rows["time"].to_numpy().astype("datetime64[ns]").astype("int64") // step.astype("int64")
    usual = rows["value"].groupby(frame).transform("median")
    spread = 1.4826 * float((rows["value"] - usual).abs().median())
    odd = (rows["value"] - usual).abs() > _ODD * spread
    slope, offset = conversion(found, wanted)
    wrong: set[Any] = set()
    for unit in family if spread > 0 else ():
        if unit == found:
            continue
        other_slope, other_offset = conversion(unit, wanted)
        read_so = (rows["value"] - offset) / slope * other_slope + other_offset
        explained = odd & ((read_so - usual).abs() < _ORDINARY * spread)
        counts = explained.groupby(rows["station"]).agg(["sum", "mean"])
        stations = counts.index[(counts["sum"] >= _LEAST_READINGS) & (counts["mean"] >= _SHARE_OF_ODD)]
        told = rows[rows["station"].isin(set(stations) - wrong)]
        faults.tell("Q-STATION-UNITS", told, f"expected {found}, found readings that are like the others' in {unit}")
        wrong |= set(stations)
    return rows[~rows["station"].isin(wrong)]


def on_time(rows: pd.DataFrame, first: np.datetime64, end: np.datetime64, faults: Faults) -> pd.DataFrame:
    """Readings of stations whose clock is right: they do not have many outside of the frames that the others make."""
    if "Q-STATION-CLOCK" in faults.off:
        return rows
    outside = ((rows["time"] < first) | (rows["time"] >= end)).groupby(rows["station"]).mean()
    wrong = rows["station"].isin(outside.index[outside > _SHARE_OUTSIDE])
    faults.tell(
        "Q-STATION-CLOCK", rows[wrong], f"expected times from {time_text(first)} on, as others have, found many others"
    )
    return rows[~wrong]


def moving(rows: pd.DataFrame, hours: float, faults: Faults) -> pd.DataFrame:
    """Readings without those that repeat the one before, in runs that last so many hours; zeros may last."""
    if "Q-STATION-STUCK" in faults.off:
        return rows
    ordered = rows.sort_values(["station", "time"], kind="stable")
    new = (ordered["value"] != ordered["value"].shift()) | (ordered["station"] != ordered["station"].shift())
    runs = ordered.groupby(new.cumsum())["time"]
    lasting = (runs.transform("max") - runs.transform("min")) >= pd.Timedelta(hours=hours)
    stuck = ~new & lasting & (runs.transform("size") >= _STUCK_READINGS) & (ordered["value"] != 0.0)
    faults.tell("Q-STATION-STUCK", ordered[stuck], f"expected a change within {hours:g} h, found the same value")
    return rows[~stuck.reindex(rows.index)]


def without_spikes(rows: pd.DataFrame, bound: float | None, faults: Faults) -> pd.DataFrame:
    """Readings without those farther than `bound` from the median of themselves and both neighbours in time."""
    if "Q-STATION-SPIKE" in faults.off or bound is None:
        return rows
    ordered = rows.sort_values(["station", "time"], kind="stable")
    stations = ordered.groupby("station")["value"]
    around = np.stack([stations.shift(1), ordered["value"], stations.shift(-1)])
    # at the ends of a row of readings there is no neighbour, and the median is NaN
    spiky = (ordered["value"] - np.median(around, axis=0)).abs() > bound
    faults.tell(
        "Q-STATION-SPIKE",
        ordered[spiky],
        f"expected readings within {bound:g} of those before and after, found spikes",
    )
    kept: pd.DataFrame = rows[~spiky.reindex(rows.index)]
    return kept
