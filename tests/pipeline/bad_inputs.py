"""Bad inputs as data: what is wrong, how it is made, the rule that must find it, and what must become of it.

Each is made beside a good input and goes through the real `ingest`; `python tests/pipeline/bad_inputs.py` prints how
many were tried, caught and missed. A new check gets a line in `CASES`.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import netCDF4
import numpy as np
import pandas as pd
import xarray as xr

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from pipeline.config import check_config
from pipeline.errors import ConfigError, SourceError
from pipeline.ingest import IngestResult, ingest

HOURS, ROWS, COLUMNS = 24, 12, 14
RNG = np.random.default_rng(7)
NOISE = RNG.normal(size=(4, 2 * HOURS, ROWS, COLUMNS))
START = np.datetime64("2020-01-01T00", "ns")
LAT = ("lat", 50.0 + np.arange(ROWS), {"units": "degrees_north", "standard_name": "latitude"})
LON = ("lon", -5.0 + np.arange(COLUMNS), {"units": "degrees_east", "standard_name": "longitude"})
KELVIN = {"units": "K", "standard_name": "air_temperature"}

Files = Callable[[Path], None]
Edit = Callable[[xr.Dataset], xr.Dataset]


# good inputs


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


# how bad ones are made


def save(path: Path, fields: xr.Dataset, **options: Any) -> Path:
    fields.to_netcdf(path, engine="netcdf4", **options)
    return path


def fields(
    edit: Edit, base: Callable[[int, int], xr.Dataset] = temperature, first: int = HOURS, **options: Any
) -> Files:
    """The file of the second day, edited before it is saved."""
    return lambda folder: void(save(folder / "b.nc", edit(base(first, first + HOURS)), **options))


def values(place: Any, value: Any, **options: Any) -> Files:
    def edit(dataset: xr.Dataset) -> xr.Dataset:
        dataset["t"].values[place] = value
        return dataset

    return fields(edit, **options)


def file(change: Callable[[Path], Any], **options: Any) -> Files:
    """The good file of the second day, changed after it was saved."""

    def make(folder: Path) -> None:
        change(save(folder / "b.nc", temperature(HOURS, 2 * HOURS), **options))

    return make


def zarr(change: Callable[[Path], Any], version: int = 3) -> Files:
    def make(folder: Path) -> None:
        store = folder / "b.zarr"
        temperature(HOURS, 2 * HOURS).drop_encoding().to_zarr(store, zarr_format=version, consolidated=False)
        change(store)

    return make


def table(edit: Callable[[pd.DataFrame], pd.DataFrame]) -> Files:
    return lambda folder: edit(stations(1)).to_csv(folder / "b.csv", index=False)


def void(_: object) -> None:
    return None


def flipped(path: Path) -> None:
    """One bit in the middle of the last chunk."""
    content = bytearray(path.read_bytes())
    content[-1500] ^= 1
    path.write_bytes(content)


def unknown_filter(path: Path) -> None:
    """The values stored in chunks that claim to have gone through a filter that nobody has."""
    whole = temperature(HOURS, 2 * HOURS)["t"].values
    with h5py.File(path, "r+") as opened:
        dims = [opened[name] for name in ("time", "lat", "lon")]
        attributes = dict(opened["t"].attrs)
        del opened["t"]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_chunk(whole.shape)
        plan.set_filter(32999, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(whole.shape)
        made = h5py.h5d.create(opened.id, b"t", h5py.h5t.IEEE_F32LE, space, dcpl=plan)
        made.write_direct_chunk((0, 0, 0), whole.tobytes(), 0)
        for number, dim in enumerate(dims):
            opened["t"].dims[number].attach_scale(dim)
        for key in ("units", "standard_name"):
            opened["t"].attrs[key] = attributes[key]


def unknown_codec(store: Path) -> None:
    path = store / "t" / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["codecs"][-1] = {"name": "nobody-has-it", "configuration": {}}
    path.write_text(json.dumps(metadata))


def endless(path: Path) -> None:
    """A small file whose header promises a time axis of 64 GiB."""
    with netCDF4.Dataset(path, "w") as made:
        made.createDimension("time", 2**33)
        for name, values in (("lat", LAT[1]), ("lon", LON[1])):
            made.createDimension(name, len(values))
            made.createVariable(name, "f8", (name,))[:] = values
        time = made.createVariable("time", "f8", ("time",), chunksizes=(1024,))
        time.units = "hours since 2020-01-01"
        time[0], time[2**33 - 1] = 0.0, 1.0
        made.createVariable("t", "f4", ("time", "lat", "lon"), chunksizes=(1, ROWS, COLUMNS)).units = "K"


def outside(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere.nc"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def chunk_outside(store: Path) -> None:
    chunk = next(path for path in sorted((store / "t" / "c").rglob("*")) if path.is_file())
    elsewhere = store.parent.parent / "chunk"
    shutil.move(chunk, elsewhere)
    chunk.symlink_to(elsewhere)


def sums(text: str) -> Callable[[Path], None]:
    return lambda path: void((path.parent / "SHA256SUMS").write_text(text))


def relative(names: Mapping[str, str]) -> Edit:
    return lambda data: data.rename(names)


def packed(**attributes: Any) -> Callable[[Path], None]:
    """The stored integers under other packing attributes than they were packed with."""

    def change(path: Path) -> None:
        with netCDF4.Dataset(path, "r+") as opened:
            opened["t"].setncatts(attributes)

    return change


PACKED = {"encoding": {"t": {"dtype": "int16", "scale_factor": 0.01, "add_offset": 285.0, "_FillValue": -32768}}}
CHECKSUMS = {"encoding": {"t": {"fletcher32": True, "zlib": True}}}


def big_endian(path: Path) -> None:
    """The same values in the other byte order."""
    with netCDF4.Dataset(path) as opened, netCDF4.Dataset(path.with_suffix(".new"), "w") as made:
        for name, dim in opened.dimensions.items():
            made.createDimension(name, dim.size)
        for name, old in opened.variables.items():
            attributes = {key: old.getncattr(key) for key in old.ncattrs() if key != "_FillValue"}
            fill = np.float32(np.nan) if name == "t" else None
            new = made.createVariable(name, old.dtype, old.dimensions, endian="big", fill_value=fill)
            new.setncatts(attributes)
            new[:] = old[:]
    path.with_suffix(".new").replace(path)


def strange_units(data: xr.Dataset) -> xr.Dataset:
    return data.assign_coords(time=("time", np.arange(float(data.sizes["time"])), {"units": "hours since the flood"}))


def gap_of(place: slice) -> Edit:
    return lambda data: data.isel(time=[*range(place.start), *range(place.stop, data.sizes["time"])])


def at(name: str, attrs: dict[str, str]) -> Edit:
    return lambda data: data.assign({name: data[name].assign_attrs(attrs)})


def lead(hours: float) -> Edit:
    """As of a GRIB file: starts of forecasts, and one lead time."""

    def edit(data: xr.Dataset) -> xr.Dataset:
        data["time"].attrs["standard_name"] = "forecast_reference_time"
        return data.assign_coords(step=((), hours, {"units": "hours", "standard_name": "forecast_period"}))

    return edit


def two_times(data: xr.Dataset) -> xr.Dataset:
    both = data.expand_dims(prediction_timedelta=[0, 6], axis=1)
    return both.assign_coords(prediction_timedelta=("prediction_timedelta", [0, 6], {"units": "hours"}))


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


@dataclass(frozen=True)
class BadInput:
    """One bad input.

    Attributes:
        name: What is wrong.
        rule: That finds it.
        action: ``reject``, ``fix``, ``warn``, ``wait``: what becomes of the bad input while the good one lands;
            ``refuse``: nothing is looked at.
        make: Writes it into the folder in which the good one lies.
        base: Makes the good fields; None: a table.
        config: Changes of the configuration.
        frames: That the archive holds at the end.
        exact: Whether what was fixed equals the good values bit by bit.
    """

    name: str
    rule: str
    action: str
    make: Files
    base: Callable[[int, int], xr.Dataset] | None = temperature
    config: dict[str, Any] = field(default_factory=dict)
    frames: int | None = None
    exact: bool = True


def sensor(name: str, rule: str, make: Files, action: str = "warn", **config: Any) -> BadInput:
    return BadInput(name, rule, action, make, None, {"sensors": config} if config else {})


CELSIUS = {"units": "degC"}
MOIST = {"t": {"units": "K"}, "p": {"units": "Pa"}, "d": {"units": "K"}, "q": {"units": "kg kg-1"}}
WIND = {name: {"units": "m s-1"} for name in ("u", "v", "speed")}
RAIN = {"t": {"units": "kg m-2 s-1"}}
LEVELS = {"t": {"units": "K", "levels": [850, 500]}}
SOURCE = "source"

CASES = (
    # files
    BadInput("no input folder", "Q-NO-FOLDER", "refuse", lambda folder: shutil.rmtree(folder)),
    BadInput("no file of that name", "Q-NO-FILES", "refuse", void, config={SOURCE: {"files": ["*.grb"]}}),
    BadInput("a link to a file that is gone", "Q-UNREADABLE", "reject", lambda f: (f / "b.nc").symlink_to(f / "gone")),
    BadInput("no bytes", "Q-EMPTY", "reject", lambda folder: void((folder / "b.nc").write_bytes(b""))),
    BadInput(
        "NetCDF-4 cut in half", "Q-TRUNCATED", "reject", file(lambda path: os.truncate(path, path.stat().st_size // 2))
    ),
    BadInput(
        "NetCDF-3 cut by its last frame",
        "Q-TRUNCATED",
        "reject",
        file(lambda path: os.truncate(path, path.stat().st_size - 4 * ROWS * COLUMNS), format="NETCDF3_64BIT"),
    ),
    BadInput(
        "a table cut in half",
        "Q-TRUNCATED",
        "reject",
        lambda folder: void((folder / "b.parquet").write_bytes(b"PAR1" * 9)),
        None,
    ),
    BadInput(
        "a page of HTML",
        "Q-NOT-NETCDF",
        "reject",
        lambda folder: void((folder / "b.nc").write_text("<html>404</html>")),
    ),
    BadInput("a folder without Zarr metadata", "Q-NOT-ZARR", "reject", lambda folder: (folder / "b.zarr").mkdir()),
    BadInput(
        "written to a second ago",
        "Q-UNSETTLED",
        "wait",
        file(lambda path: os.utime(path, (time.time() - 1, time.time() - 1))),
        config={SOURCE: {"settle_seconds": 600}},
    ),
    BadInput("unknown filter of HDF5", "Q-CODEC", "reject", file(unknown_filter)),
    BadInput("unknown codec of Zarr", "Q-CODEC", "reject", zarr(unknown_codec)),
    BadInput("a bit flipped under a checksum of HDF5", "Q-TRUNCATED", "reject", file(flipped, **CHECKSUMS)),
    BadInput("another sha256 than stated", "Q-CHECKSUM", "reject", file(sums(f"{'0' * 64}  b.nc\n"))),
    BadInput("the same times with another value", "Q-OVERLAP", "reject", values((3, 4, 4), 290.0, first=0)),
    BadInput("a link out of the folder", "Q-PATH", "reject", file(outside)),
    BadInput("a chunk of Zarr linked out of the folder", "Q-PATH", "reject", zarr(chunk_outside)),
    BadInput("SHA256SUMS names a file outside", "Q-PATH", "refuse", file(sums(f"{'0' * 64}  ../b.nc\n"))),
    BadInput("a pattern that leads out", "source.files", "refuse", void, config={SOURCE: {"files": ["../*.nc"]}}),
    BadInput("a time axis of 64 GiB", "Q-BUDGET", "reject", lambda folder: endless(folder / "b.nc")),
    BadInput(
        "more values than allowed",
        "Q-BUDGET",
        "reject",
        fields(lambda data: data, base=lambda first, last: temperature(first - 1, last)),
        config={"quality": {"max_values": HOURS * ROWS * COLUMNS}},
    ),
    BadInput("no frames", "Q-EMPTY", "reject", fields(lambda data: data.isel(time=slice(0, 0)))),
    BadInput("no longitudes", "Q-EMPTY", "reject", fields(lambda data: data.isel(lon=slice(0, 0)))),
    BadInput(
        "relative times where others have dates",
        "Q-TIME",
        "reject",
        fields(lambda data: data.assign_coords(time=np.arange(24.0))),
    ),
    BadInput(
        "y and x where others have degrees",
        "Q-DIMENSIONS",
        "reject",
        fields(lambda data: data.drop_vars(["lat", "lon"]).rename(lat="y", lon="x")),
    ),
    # variables
    BadInput(
        "no file has the variable", "Q-MISSING-VARIABLE", "refuse", void, config={"variables": {"w": {"units": "K"}}}
    ),
    BadInput("no units", "Q-UNITS", "reject", fields(lambda data: data.assign(t=data["t"].drop_attrs()))),
    BadInput("units of something else", "Q-UNITS", "reject", fields(at("t", {"units": "m"}))),
    BadInput(
        "an amount where rates are expected",
        "Q-UNITS",
        "reject",
        fields(at("t", {"units": "kg m-2"}), rain),
        rain,
        {"variables": RAIN},
    ),
    BadInput("degrees Celsius tagged K", "Q-PLAUSIBLE", "reject", fields(lambda data: data - 273.15)),
    BadInput(
        "a sum where others are means",
        "Q-MEANING",
        "reject",
        fields(at("t", {"cell_methods": "time: sum"}), rain),
        rain,
        {"variables": RAIN},
    ),
    BadInput(
        "a flux that is a sum, with nothing to compare it to",
        "Q-MEANING",
        "reject",
        fields(
            at("t", {"cell_methods": "time: sum"}), lambda first, last: at("t", {"cell_methods": ""})(rain(first, last))
        ),
        lambda first, last: at("t", {"cell_methods": ""})(rain(first, last)),
        {"variables": RAIN},
    ),
    BadInput(
        "another standard name", "Q-MEANING", "reject", fields(at("t", {"standard_name": "dew_point_temperature"}))
    ),
    BadInput(
        "text",
        "Q-DIMENSIONS",
        "reject",
        fields(lambda data: data.assign(t=data["t"].astype("S4").assign_attrs(KELVIN))),
    ),
    BadInput("scale_factor 0", "Q-PACKING", "reject", file(packed(scale_factor=0.0), **PACKED)),
    BadInput("scale_factor NaN", "Q-PACKING", "reject", file(packed(scale_factor=np.nan), **PACKED)),
    BadInput("add_offset infinite", "Q-PACKING", "reject", file(packed(add_offset=np.inf), **PACKED)),
    BadInput("-9999 undeclared", "Q-SENTINEL", "reject", values((3, 4, 4), -9999.0)),
    BadInput("1e20 undeclared", "Q-SENTINEL", "reject", values((3, 4, 4), 1e20)),
    BadInput(
        "degrees Celsius, declared",
        "Q-FIX-UNITS",
        "fix",
        fields(lambda data: (data - 273.15).assign(t=lambda d: (d["t"]).assign_attrs({**KELVIN, **CELSIUS}))),
        exact=False,
    ),
    BadInput("big-endian", "Q-FIX-PACKING", "fix", file(big_endian)),
    BadInput("packed as integers", "Q-FIX-PACKING", "fix", fields(lambda data: data, **PACKED), exact=False),
    # time
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
    # grid
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
    # values
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
    # sensors
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


# how they are tried


@dataclass(frozen=True)
class Outcome:
    """What became of a bad input: action and rule by the name of the input, and what was said."""

    found: frozenset[tuple[str, str, str]]
    said: tuple[str, ...]
    result: IngestResult | None


def settings(case: BadInput, folder: Path) -> dict[str, Any]:
    """The configuration of a case as a plain tree."""
    tree: dict[str, Any] = {
        "name": "test",
        "root": str(folder.parent / "runs"),
        "boundary": "closed",
        "source": {"path": str(folder), "max_rejected_share": 1.0, "files": ["*.nc", "*.zarr"]},
        "variables": {"t": {"units": "K"}},
    }
    if case.base is None:
        tree["source"]["files"] = ["*.csv", "*.parquet"]
        tree["sensors"] = {"lat": [50.5, 53.5, 1], "lon": [-3.5, -0.5, 1], "units": {"temp": "degC"}, "min_stations": 5}
        tree["variables"] = {"t": {"units": "K", "source_name": "temp", "valid_range": [200, 600]}}
    for section, change in case.config.items():
        tree[section] = change if section == "variables" else {**tree.get(section, {}), **change}
    if tree.get("sensors", {}).get("stations"):
        tree["sensors"]["stations"] = str(folder.parent / "stations.csv")
    return tree


def tried(case: BadInput, root: Path) -> Outcome:
    """A good input and the bad one through `ingest`."""
    folder = root / "input"
    folder.mkdir()
    if case.base is None:
        stations(0).to_csv(folder / "a.csv", index=False)
    else:
        save(folder / "a.nc", case.base(0, HOURS))
    for path in folder.iterdir():
        os.utime(path, (1.6e9, 1.6e9))
    case.make(folder)
    try:
        result = ingest(check_config(settings(case, folder)))
    except (SourceError, ConfigError) as error:
        return Outcome(frozenset(), (str(error),), None)
    told = {"reject": result.rejected, "fix": result.fixed, "warn": result.warned, "wait": result.waiting}
    found = {(action, one.rule, one.path.name) for action, all_ in told.items() for one in all_}
    said = tuple(map(str, [*result.rejected, *result.fixed, *result.warned, *result.waiting]))
    return Outcome(frozenset(found), said, result)


def is_caught(case: BadInput, outcome: Outcome) -> bool:
    """Whether the rule was found in the bad input, and what was to become of it did."""
    if case.action == "refuse":
        return outcome.result is None and case.rule in outcome.said[0]
    return any((action, rule, name[:2]) == (case.action, case.rule, "b.") for action, rule, name in outcome.found)


def main() -> None:
    """Try all, and print the table."""
    caught: dict[str, list[bool]] = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as root:
            outcome = tried(case, Path(root))
        hit = is_caught(case, outcome)
        caught.setdefault(case.action, []).append(hit)
        if not hit:
            print(
                f"missed: {case.name}: expected {case.action} {case.rule}, got {sorted(outcome.found)} {outcome.said}"
            )
    print("| to be | tried | caught | missed |\n|---|---|---|---|")
    everything = [hit for hits in caught.values() for hit in hits]
    for action, hits in (*caught.items(), ("all", everything)):
        print(f"| {action.capitalize()} | {len(hits)} | {sum(hits)} | {len(hits) - sum(hits)} |")


if __name__ == "__main__":
    main()
