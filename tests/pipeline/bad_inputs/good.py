"""Good inputs: gridded fields of two days and a table of stations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

HOURS, ROWS, COLUMNS = 24, 12, 14
RNG = np.random.default_rng(7)
NOISE = RNG.normal(size=(4, 2 * HOURS, ROWS, COLUMNS))
START = np.datetime64("2020-01-01T00", "ns")
LAT = ("lat", 50.0 + np.arange(ROWS), {"units": "degrees_north", "standard_name": "latitude"})
LON = ("lon", -5.0 + np.arange(COLUMNS), {"units": "degrees_east", "standard_name": "longitude"})
KELVIN = {"units": "K", "standard_name": "air_temperature"}


def gridded(first: int, last: int, **variables: tuple[int, float, float, dict[str, str]]) -> xr.Dataset:
    """Hourly frames `first` to `last`; by variable its noise, mean, size and attributes. One corner is sea."""
    made = {}
    for name, (number, mean, size, attrs) in variables.items():
        values = (mean + size * NOISE[number, first:last]).astype("float32")
        values[:, 0, :2] = np.nan
        made[name] = (("time", "lat", "lon"), values, attrs)
    times = START + np.arange(first, last) * np.timedelta64(1, "h")
    return xr.Dataset(made, coords={"time": times, "lat": LAT, "lon": LON})


def temperature(first: int, last: int) -> xr.Dataset:
    return gridded(first, last, t=(0, 285.0, 3.0, KELVIN))


def rain(first: int, last: int) -> xr.Dataset:
    attrs = {"units": "kg m-2 s-1", "standard_name": "precipitation_flux", "cell_methods": "time: mean"}
    fields = gridded(first, last, t=(0, 0.0, 1e-4, attrs))
    return fields.assign(t=fields["t"].clip(min=0.0, keep_attrs=True))


def wind(first: int, last: int) -> xr.Dataset:
    fields = gridded(
        first,
        last,
        u=(0, 3.0, 4.0, {"units": "m s-1", "standard_name": "eastward_wind"}),
        v=(1, -2.0, 4.0, {"units": "m s-1", "standard_name": "northward_wind"}),
    )
    speed = np.hypot(fields["u"], fields["v"]).assign_attrs(units="m s-1", standard_name="wind_speed")
    return fields.assign(speed=speed)


def moist(first: int, last: int) -> xr.Dataset:
    fields = gridded(
        first,
        last,
        t=(0, 285.0, 3.0, KELVIN),
        p=(1, 1.0e5, 300.0, {"units": "Pa", "standard_name": "surface_air_pressure"}),
    )
    dew = (fields["t"] - 4.0).assign_attrs(units="K", standard_name="dew_point_temperature")
    humid = (0.004 + 0.0 * fields["t"] + 1e-4 * NOISE[2, first:last]).astype("float32")
    return fields.assign(d=dew, q=humid.assign_attrs(units="kg kg-1", standard_name="specific_humidity"))


def levels(first: int, last: int) -> xr.Dataset:
    fields = temperature(first, last)["t"]
    axis = ("level", [850.0, 500.0], {"units": "hPa", "standard_name": "air_pressure", "positive": "down"})
    both = xr.concat([fields, fields - 40.0], dim="level").transpose("time", "level", "lat", "lon")
    return both.assign_coords(level=axis).to_dataset(name="t")


def ensemble(first: int, last: int) -> xr.Dataset:
    fields = temperature(first, last)
    return xr.concat([fields, fields + 1.0, fields - 1.0], dim=pd.Index([0, 1, 2], name="number"))


def projected(first: int, last: int) -> xr.Dataset:
    fields = temperature(first, last).rename(lat="y", lon="x")
    fields = fields.assign_coords(
        y=("y", 1e4 * np.arange(ROWS), {"units": "m", "standard_name": "projection_y_coordinate"}),
        x=("x", 1e4 * np.arange(COLUMNS), {"units": "m", "standard_name": "projection_x_coordinate"}),
    )
    crs = {"grid_mapping_name": "lambert_conformal_conic", "standard_parallel": [50.0, 50.0]}
    return fields.assign(t=fields["t"].assign_attrs(grid_mapping="crs"), crs=((), 0, crs))


def stations(day: int) -> pd.DataFrame:
    """Twenty stations, a reading every 30 minutes."""
    places = np.random.default_rng(1)
    lat, lon = places.uniform(50, 54, 20), places.uniform(-4, 0, 20)
    number, tick = (one.ravel() for one in np.meshgrid(np.arange(20), np.arange(48), indexing="ij"))
    times = START + (day * 48 + tick) * np.timedelta64(30, "m") + np.timedelta64(5, "m")
    values = 10.0 + 3.0 * np.sin(2 * np.pi * tick / 48) + np.random.default_rng(day).normal(0, 0.3, len(tick))
    return pd.DataFrame({"station": number, "time": times, "lat": lat[number], "lon": lon[number], "temp": values})
