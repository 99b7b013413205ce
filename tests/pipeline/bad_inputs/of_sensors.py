"""Tables of stations with bad stations, clocks or values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.pipeline.bad_inputs.case import BadInput
from tests.pipeline.bad_inputs.good import START, stations
from tests.pipeline.bad_inputs.making import Files, table


def sensor(name: str, rule: str, make: Files, action: str = "warn", **config: Any) -> BadInput:
    return BadInput(name, rule, action, make, None, {"sensors": config} if config else {})


def row(column: str, select: Callable[[pd.DataFrame], Any], change: Callable[[Any], Any]) -> Files:
    """One column of some rows of a table changed."""

    def edit(data: pd.DataFrame) -> pd.DataFrame:
        chosen = select(data)
        data.loc[chosen, column] = change(data.loc[chosen, column])
        return data

    return table(edit)


def second_of_that_name(data: pd.DataFrame) -> pd.DataFrame:
    other = data[data["station"] == 3].assign(lat=50.2, lon=-0.3)
    return pd.concat([data, other.assign(time=other["time"] + pd.Timedelta(minutes=7))])


def of(number: int, after: int = 0) -> Callable[[pd.DataFrame], Any]:
    return lambda data: (data["station"] == number) & (data["time"] >= START + np.timedelta64(24 + after, "h"))


def station_list(folder: Path) -> None:
    places = stations(0)[["station", "lat", "lon"]].drop_duplicates()
    places[places["station"] != 5].to_csv(folder.parent / "stations.csv", index=False)


def both(*makers: Files) -> Files:
    def make(folder: Path) -> None:
        for one in makers:
            one(folder)

    return make


SENSORS = (
    sensor(
        "a station that is not listed",
        "Q-STATION-UNKNOWN",
        both(station_list, table(lambda data: data)),
        stations="LIST",
    ),
    sensor("two stations of one name", "Q-STATION-TWICE", table(second_of_that_name)),
    sensor("a station that moved", "Q-STATION-MOVED", row("lat", of(3, 14), lambda old: old + 1.0)),
    sensor("a clock twelve hours off", "Q-STATION-CLOCK", row("time", of(3), lambda old: old + pd.Timedelta(hours=12))),
    sensor("a station in degF", "Q-STATION-UNITS", row("temp", of(3), lambda old: old * 1.8 + 32)),
    sensor("a station that changes to K", "Q-STATION-UNITS", row("temp", of(3, 18), lambda old: old + 273.15)),
    sensor("stuck for fourteen hours", "Q-STATION-STUCK", row("temp", of(3, 10), lambda old: 11.1)),
    sensor(
        "a spike",
        "Q-STATION-SPIKE",
        row("temp", lambda data: data.index == 170, lambda old: old + 12.0),
        max_spike={"temp": 8.0},
    ),
    sensor(
        "a clock seven seconds early",
        "Q-FIX-CLOCK",
        table(lambda data: data.assign(time=data["time"] - pd.Timedelta(minutes=5, seconds=7))),
        "fix",
    ),
    sensor("late rows", "Q-FIX-LATE", table(lambda data: pd.concat([data.iloc[30:], data.iloc[:30]])), "fix"),
    sensor(
        "a table of implausible values",
        "Q-RANGE",
        row("temp", lambda data: data.index >= 0, lambda old: old + 500),
        "reject",
    ),
)
