"""Inputs whose variables are absent, of other units or meanings, or stored in other ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np

from tests.pipeline.bad_inputs.case import RAIN, BadInput
from tests.pipeline.bad_inputs.good import KELVIN, rain
from tests.pipeline.bad_inputs.making import PACKED, at, fields, file, values, void

CELSIUS = {"units": "degC"}


def packed(**attributes: Any) -> Callable[[Path], None]:
    """The stored integers under other packing attributes than they were packed with."""

    def change(path: Path) -> None:
        with netCDF4.Dataset(path, "r+") as opened:
            opened["t"].setncatts(attributes)

    return change


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


VARIABLES = (
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
)
