"""Inputs whose times are absent, irregular, or not those that the values are valid at."""

from __future__ import annotations

import numpy as np
import xarray as xr

from tests.pipeline.bad_inputs.case import BadInput
from tests.pipeline.bad_inputs.good import HOURS
from tests.pipeline.bad_inputs.making import Edit, fields


def strange_units(data: xr.Dataset) -> xr.Dataset:
    return data.assign_coords(time=("time", np.arange(float(data.sizes["time"])), {"units": "hours since the flood"}))


def gap_of(place: slice) -> Edit:
    return lambda data: data.isel(time=[*range(place.start), *range(place.stop, data.sizes["time"])])


def lead(hours: float) -> Edit:
    """As of a GRIB file: starts of forecasts, and one lead time."""

    def edit(data: xr.Dataset) -> xr.Dataset:
        data["time"].attrs["standard_name"] = "forecast_reference_time"
        return data.assign_coords(step=((), hours, {"units": "hours", "standard_name": "forecast_period"}))

    return edit


def two_times(data: xr.Dataset) -> xr.Dataset:
    both = data.expand_dims(prediction_timedelta=[0, 6], axis=1)
    return both.assign_coords(prediction_timedelta=("prediction_timedelta", [0, 6], {"units": "hours"}))


TIMES = (
    BadInput("no time axis", "Q-TIME", "reject", fields(lambda data: data.isel(time=0, drop=True))),
    BadInput("times that cannot be parsed", "Q-TIME", "reject", fields(strange_units)),
    BadInput(
        "a calendar without leap years",
        "Q-TIME",
        "reject",
        fields(lambda data: data.convert_calendar("noleap", use_cftime=True)),
    ),
    BadInput("every third hour", "Q-TIME", "reject", fields(lambda data: data.isel(time=slice(0, None, 3)))),
    BadInput(
        "a time twice with other values",
        "Q-TIME",
        "reject",
        fields(lambda data: data.assign_coords(time=data["time"].values[[0, *range(23)]])),
    ),
    BadInput("a gap inside", "Q-TIME", "reject", fields(gap_of(slice(4, 7)))),
    BadInput("a gap before", "Q-GAP", "wait", fields(lambda data: data.isel(time=slice(5, None)))),
    BadInput(
        "a time missing",
        "Q-TIME",
        "reject",
        fields(lambda data: data.assign_coords(time=[*data["time"].values[:-1], np.datetime64("NaT")])),
    ),
    BadInput("starts of forecasts 6 h ahead", "Q-FORECAST", "reject", fields(lead(6.0))),
    BadInput("starts and lead times", "Q-FORECAST", "reject", fields(two_times)),
    BadInput("out of order", "Q-FIX-TIME", "fix", fields(lambda data: data.isel(time=[1, 0, *range(2, HOURS)]))),
    BadInput("a frame twice", "Q-FIX-TIME", "fix", fields(lambda data: data.isel(time=[*range(HOURS), HOURS - 1]))),
    BadInput(
        "off by milliseconds",
        "Q-FIX-TIME",
        "fix",
        fields(lambda data: data.assign_coords(time=data["time"] + np.timedelta64(7, "ms"))),
    ),
)
