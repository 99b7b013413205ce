"""Inputs whose values are missing, impossible, or at odds with each other."""

from __future__ import annotations

import numpy as np

from tests.pipeline.bad_inputs.case import RAIN, BadInput
from tests.pipeline.bad_inputs.good import HOURS, NOISE, moist, rain, temperature, wind
from tests.pipeline.bad_inputs.making import fields, values

MOIST = {"t": {"units": "K"}, "p": {"units": "Pa"}, "d": {"units": "K"}, "q": {"units": "kg kg-1"}}
WIND = {name: {"units": "m s-1"} for name in ("u", "v", "speed")}
VALUES = (
    BadInput("a value missing", "Q-NAN", "reject", values((3, 4, 4), np.nan)),
    BadInput("a frame missing", "Q-NAN", "reject", values(3, np.nan)),
    BadInput("everything missing", "Q-NAN", "reject", values(slice(None), np.nan)),
    BadInput("infinite", "Q-INF", "reject", values((3, 4, 4), np.inf)),
    BadInput(
        "a block of zeros",
        "Q-ZERO-BLOCK",
        "reject",
        values((5, slice(4, 8), slice(4, 8)), 0.0),
        config={"quality": {"rules": {"Q-PLAUSIBLE": "off"}}},
    ),
    BadInput(
        "a block of zeros in wind",
        "Q-ZERO-BLOCK",
        "reject",
        fields(
            lambda data: data.assign(
                u=data["u"].where(
                    (data["lat"] < 56) | (data["lon"] < 3),
                    0.0,
                ),
            ),
            wind,
        ),
        wind,
        {"variables": {"u": {"units": "m s-1"}}},
    ),
    BadInput("zero throughout", "Q-ZERO", "warn", fields(lambda data: data * 0.0, rain), rain, {"variables": RAIN}),
    BadInput(
        "outside valid_range",
        "Q-RANGE",
        "reject",
        values((3, 4, 4), 330.0),
        config={"variables": {"t": {"units": "K", "valid_range": [200, 320]}}},
    ),
    BadInput(
        "frozen",
        "Q-FROZEN",
        "warn",
        values(slice(4, 12), np.where(np.isnan(temperature(0, 1)["t"].values[0]), np.nan, NOISE[1, 0] + 285)),
    ),
    BadInput(
        "a day copied under the next date",
        "Q-REPEATED",
        "warn",
        fields(lambda data: data.assign_coords(time=data["time"] + np.timedelta64(HOURS, "h")), first=0),
    ),
    BadInput(
        "an hour copied within the day",
        "Q-REPEATED",
        "warn",
        fields(lambda data: data.isel(time=[*range(20), *range(2, 6)]).assign_coords(time=data["time"])),
    ),
    BadInput(
        "a jump",
        "Q-JUMP",
        "warn",
        fields(lambda data: data + 20.0 * (np.arange(HOURS) >= 10)[:, None, None]),
        config={"quality": {"max_jump": {"t": 10.0}}},
    ),
    BadInput(
        "dew point above temperature",
        "Q-CROSS",
        "warn",
        fields(lambda data: data.assign(d=(data["d"] + 9.0).assign_attrs(data["d"].attrs)), moist),
        moist,
        {"variables": MOIST},
    ),
    BadInput(
        "more humidity than saturation",
        "Q-CROSS",
        "warn",
        fields(lambda data: data.assign(q=(data["q"] * 6.0).assign_attrs(data["q"].attrs)), moist),
        moist,
        {"variables": MOIST},
    ),
    BadInput(
        "a speed that is not that of the components",
        "Q-CROSS",
        "warn",
        fields(lambda data: data.assign(speed=(data["speed"] * 1.944).assign_attrs(data["speed"].attrs)), wind),
        wind,
        {"variables": WIND},
    ),
    BadInput(
        "precipitation a hair below zero",
        "Q-FIX-NEGATIVE",
        "fix",
        fields(lambda data: data.assign(t=data["t"].where(data["t"] > 0, data["t"] - np.float32(1e-8))), rain),
        rain,
        {"variables": RAIN},
    ),
    BadInput(
        "precipitation well below zero",
        "Q-PLAUSIBLE",
        "reject",
        fields(lambda data: data.assign(t=data["t"].where(data["t"] > 0, data["t"] - np.float32(1e-4))), rain),
        rain,
        {"variables": RAIN},
    ),
)
