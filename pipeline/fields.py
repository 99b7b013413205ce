"""The fields of an Archive as an xarray dataset: dimensions, coordinates, dtype, names for people, and what may follow
what.

What lives here: the contract between those who make such datasets and the Archive that keeps them. What does not: files
(`archive`) and bringing foreign data to the contract (`sources`).

    fields = contract_fields(dataset)            # float32, dims in order, nothing but the contract's coordinates
    check_continues(path, archive_dataset, fields)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .errors import ArchiveError
from .presence import PRESENT

FIELD_DIMS = (("sample", "time", "y", "x"), ("time", "lat", "lon"), ("time", "y", "x"))


def field_dims(dataset: xr.Dataset) -> tuple[str, ...]:
    """The dimensions of the fields in array order; the first is the one that grows."""
    return tuple(str(dim) for dim in next(iter(dataset.data_vars.values())).dims)


def contract_fields(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset in the Archive's dtype and dimension order, without encodings inherited from its files.

    Coordinates over both dimensions of space stay, the mask and static fields, and which frames are there.

    Raises:
        ArchiveError: The dimensions are none of `FIELD_DIMS`, or one has no coordinate.
    """
    moved = dataset.set_coords("mask") if "mask" in dataset.data_vars else dataset
    present = {str(dim) for data in moved.data_vars.values() for dim in data.dims}
    order = next((dims for dims in FIELD_DIMS if set(dims) == present), None)
    if order is None or any(set(data.dims) != present for data in moved.data_vars.values()):
        wanted = " or ".join(str(dims) for dims in FIELD_DIMS)
        raise ArchiveError(f"fields of an archive need the dims {wanted}, got {sorted(present)}; rename or drop some")
    if missing := [dim for dim in order if dim != "sample" and dim not in moved.coords]:
        raise ArchiveError(
            f"fields of an archive need a coordinate for every dimension; {missing[0]!r} has none; add it"
        )
    kept = moved.drop_vars(
        [name for name, data in moved.coords.items() if name not in (*order, PRESENT) and data.dims != order[-2:]]
    )
    return numbered(kept, 0).transpose(*order, missing_dims="ignore").astype("float32").drop_encoding()


def is_whole(dataset: xr.Dataset) -> bool:
    """Whether no Dask cut the arrays into blocks."""
    return dataset.__dask_graph__() is None  # type: ignore[no-untyped-call]


def long_name(attributes: Mapping[Any, Any], name: object) -> str:
    """A variable's name for people: its `long_name`, else its `standard_name` in plain words, else its name."""
    given = attributes.get("long_name") or str(attributes.get("standard_name") or "").replace("_", " ")
    text = str(given or name)
    return text[:1].upper() + text[1:]


def numbered(fields: xr.Dataset, start: int) -> xr.Dataset:
    """The fields with samples numbered from `start`; unchanged where there is no `sample`."""
    if "sample" not in fields.dims:
        return fields
    numbers = np.arange(start, start + fields.sizes["sample"])
    return fields.assign_coords(sample=("sample", numbers, {"long_name": "number of the simulation", "units": "1"}))


def check_continues(path: Path, archived: xr.Dataset, fields: xr.Dataset) -> None:
    """Check that `fields` can be appended to what is `archived` at `path`.

    Raises:
        ArchiveError: Other variables, dimensions or grid, or times that do not follow the archive's.
    """
    old, new = sorted(str(name) for name in archived.data_vars), sorted(str(name) for name in fields.data_vars)
    if old != new:
        raise ArchiveError(
            f"archive {path} holds the variables {', '.join(old)}, got {', '.join(new)}; use an archive of another name"
        )
    dims, got = field_dims(archived), field_dims(fields)
    if dims != got:
        raise ArchiveError(f"archive {path} has the dims {dims}, got {got}; use an archive of another name")
    axis = dims[0]
    for dim in dims:
        if dim != axis and not np.array_equal(archived[dim].values, fields[dim].values):
            raise ArchiveError(
                f"archive {path} has other values along {dim!r} than the data to append; use an archive of another name"
            )
    if axis == "time":
        last, first = archived["time"].values[-1], fields["time"].values[0]
        if archived["time"].dtype.kind != fields["time"].dtype.kind or first <= last:
            raise ArchiveError(
                f"archive {path} ends at {time_text(last)}, but the data to append starts at {time_text(first)}; "
                "append later times only"
            )


def time_text(value: np.datetime64 | float) -> str:
    """A time as text: ISO 8601 to the minute or second, or seconds where time is relative."""
    if not isinstance(value, np.datetime64):
        return f"{value:g} s"
    text = str(value.astype("datetime64[s]"))
    return text[:-3] if text.endswith(":00") else text
