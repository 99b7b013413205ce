"""What was put right in a file on its way to the contract, in words; what has one right reading is no reason to reject.

What lives here: telling, from a file and what `sources.harmonise` made of it. What does not: the repairs themselves.

    for rule, message in repairs(dataset, {"t2m": "Tair"}, fields, cut=False):      # "Q-FIX-ORDER", "'lat' ran ..."
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import xarray as xr

from .sources.axes import axis_values, roles
from .sources.levels import pressure_label


def repairs(dataset: xr.Dataset, held: Mapping[str, str], fields: xr.Dataset, cut: bool) -> Iterator[tuple[str, str]]:
    """Rule and message of each repair of a file, at most one of a rule.

    Args:
        dataset: As it was opened.
        held: Name in the archive to name in the file.
        fields: What was made of it.
        cut: Whether a region was cut out, so that missing longitudes are no repair.
    """
    theirs, ours = dataset.variables, fields.variables
    found = {
        name: (str(theirs[source].attrs["units"]), str(ours[name].attrs["units"]))
        for name, source in held.items()
        if "units" in theirs[source].attrs
    }
    for name, (came_in, wanted) in found.items():
        if came_in.strip() != wanted:
            yield "Q-FIX-UNITS", f"variable {name!r} came in {came_in!r}, taken as {wanted!r}"
            break
    if levels := sorted({label for source in held.values() if (label := pressure_label(dataset, theirs[source]))}):
        yield "Q-FIX-LEVEL", f"levels came in {levels[0]!r}, taken as hPa"
    field = dataset[next(iter(held.values()))]
    known = roles(dataset, field)
    came = {role: axis_values(dataset, dim) for dim, role in known.items()}
    yield from _order(came, fields)
    if (time := came.get("time")) is not None and time.dtype.kind == "M":
        yield from _time(time, fields)
    if (lon := came.get("lon")) is not None and not cut:
        yield from _longitude(lon, fields)


def _order(came: Mapping[str, xr.Variable | None], fields: xr.Dataset) -> Iterator[tuple[str, str]]:
    descending = [
        role
        for role, axis in came.items()
        if role in ("lat", "y", "x") and axis is not None and axis.size > 1 and axis.values[0] > axis.values[-1]
    ]
    dims = [str(dim) for dim in next(iter(fields.data_vars.values())).dims if dim in came]
    if descending:
        yield "Q-FIX-ORDER", f"{descending[0]!r} ran downwards, turned"
    elif list(came) != dims:
        yield "Q-FIX-ORDER", f"dimensions came as {', '.join(came)}, taken as {', '.join(dims)}"


def _time(time: xr.Variable, fields: xr.Dataset) -> Iterator[tuple[str, str]]:
    values = time.values.astype("datetime64[ns]")
    taken = fields.variables["time"].values
    if len(values) > len(taken):
        yield "Q-FIX-TIME", f"{len(values) - len(taken)} frames were there twice with the same values, taken once"
    elif (np.diff(values) < np.timedelta64(0, "ns")).any():
        yield "Q-FIX-TIME", "times were not in order, sorted"
    elif not np.array_equal(values, taken):
        yield "Q-FIX-TIME", "times were off full seconds by rounding, rounded"


def _longitude(lon: xr.Variable, fields: xr.Dataset) -> Iterator[tuple[str, str]]:
    values, taken = lon.values.astype("float64"), fields.variables["lon"].values
    if len(values) > len(taken):
        yield "Q-FIX-LONGITUDE", "the last longitude repeated the first with the same values, taken once"
    elif not np.allclose(np.sort(values), taken, rtol=0.0, atol=1e-5):
        yield "Q-FIX-LONGITUDE", f"longitudes ran from {values[0]:g} to {values[-1]:g}, taken as -180 to 180"
