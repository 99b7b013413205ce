"""Inputs on other grids, levels or members."""

from __future__ import annotations

import numpy as np
import xarray as xr

from tests.pipeline.bad_inputs.case import LEVELS, BadInput
from tests.pipeline.bad_inputs.good import COLUMNS, ROWS, ensemble, levels, projected
from tests.pipeline.bad_inputs.making import fields, values


def curvilinear(data: xr.Dataset) -> xr.Dataset:
    lat, lon = np.meshgrid(data["lat"], data["lon"], indexing="ij")
    turned = data.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")
    return turned.assign_coords(latitude=(("y", "x"), lat + 0.01 * lon), longitude=(("y", "x"), lon - 0.01 * lat))


def other_projection(data: xr.Dataset) -> xr.Dataset:
    data["crs"].attrs["standard_parallel"] = [48.0, 48.0]
    return data


def swapped(data: xr.Dataset) -> xr.Dataset:
    """The numbers of one axis under the name of the other."""
    turned = data.isel(lat=slice(0, ROWS), lon=slice(0, ROWS))
    return turned.assign_coords(lat=("lat", turned["lon"].values), lon=("lon", turned["lat"].values))


GRIDS = (
    BadInput("a row less", "Q-GRID", "reject", fields(lambda data: data.isel(lat=slice(1, None)))),
    BadInput(
        "shifted by a quarter degree",
        "Q-GRID",
        "reject",
        fields(lambda data: data.assign_coords(lon=data["lon"] + 0.25)),
    ),
    BadInput("another projection", "Q-GRID", "reject", fields(other_projection, projected), projected),
    BadInput("another mask", "Q-MASK", "reject", values((slice(None), 5, 5), np.nan)),
    BadInput("values on the sea", "Q-MASK", "reject", values((slice(None), 0, 0), 285.0)),
    BadInput("latitudes and longitudes swapped", "Q-GRID", "reject", fields(swapped)),
    BadInput(
        "latitudes beyond the pole", "Q-GRID", "reject", fields(lambda data: data.assign_coords(lat=data["lat"] + 40))
    ),
    BadInput(
        "longitudes of more than a turn",
        "Q-GRID",
        "reject",
        fields(lambda data: data.assign_coords(lon=40.0 * np.arange(COLUMNS))),
    ),
    BadInput("rows out of order", "Q-GRID", "reject", fields(lambda data: data.isel(lat=[1, 0, *range(2, ROWS)]))),
    BadInput(
        "a longitude NaN",
        "Q-GRID",
        "reject",
        fields(lambda data: data.assign_coords(lon=[np.nan, *data["lon"].values[1:]])),
    ),
    BadInput("latitudes without values", "Q-GRID", "reject", fields(lambda data: data.drop_vars("lat"))),
    BadInput("curvilinear", "Q-GRID", "reject", fields(curvilinear)),
    BadInput(
        "an undeclared third axis", "Q-DIMENSIONS", "reject", fields(lambda data: data.expand_dims(member=2, axis=1))
    ),
    BadInput(
        "a level less",
        "Q-LEVEL",
        "reject",
        fields(lambda data: data.isel(level=[0]), levels),
        levels,
        {"variables": LEVELS},
    ),
    BadInput(
        "a member of the ensemble less",
        "Q-MEMBER",
        "reject",
        fields(lambda data: data.isel(number=[0, 1]), ensemble),
        ensemble,
        {"source": {"member": 2}},
    ),
    BadInput(
        "another member of the ensemble",
        "Q-MEMBER",
        "reject",
        fields(lambda data: data.isel(number=1), ensemble),
        ensemble,
        {"source": {"member": 2}},
    ),
    BadInput(
        "latitudes from north to south", "Q-FIX-ORDER", "fix", fields(lambda data: data.isel(lat=slice(None, None, -1)))
    ),
    BadInput(
        "dimensions in another order", "Q-FIX-ORDER", "fix", fields(lambda data: data.transpose("lon", "time", "lat"))
    ),
    BadInput(
        "longitudes of 0 to 360",
        "Q-FIX-LONGITUDE",
        "fix",
        fields(lambda data: data.assign_coords(lon=data["lon"] + 360.0)),
    ),
    BadInput(
        "levels in Pa",
        "Q-FIX-LEVEL",
        "fix",
        fields(
            lambda data: data.assign_coords(
                level=("level", 100.0 * data["level"].values, {"units": "Pa", "standard_name": "air_pressure"})
            ),
            levels,
        ),
        levels,
        {"variables": LEVELS},
    ),
)
