"""How a bad input is made: the good one of the second day, edited before or changed after it was saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from tests.pipeline.bad_inputs.good import HOURS, stations, temperature

Files = Callable[[Path], None]
Edit = Callable[[xr.Dataset], xr.Dataset]


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


def at(name: str, attrs: dict[str, str]) -> Edit:
    return lambda data: data.assign({name: data[name].assign_attrs(attrs)})


PACKED = {"encoding": {"t": {"dtype": "int16", "scale_factor": 0.01, "add_offset": 285.0, "_FillValue": -32768}}}
