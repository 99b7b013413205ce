"""Inputs that are bad as files: absent, cut, of another kind, outside the folder, too large."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import netCDF4
import numpy as np

from tests.pipeline.bad_inputs.case import SOURCE, BadInput
from tests.pipeline.bad_inputs.good import COLUMNS, HOURS, LAT, LON, ROWS, temperature
from tests.pipeline.bad_inputs.making import fields, file, values, void, zarr

CHECKSUMS = {"encoding": {"t": {"fletcher32": True, "zlib": True}}}


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


FILES = (
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
)
