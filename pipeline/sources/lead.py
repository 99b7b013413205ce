"""Forecast files, whose times are starts or lead times, told from files of fields at the times they are valid at.

check_valid_times(dataset, dataset["t2m"])       # SourceError Q-FORECAST where 'time' is the start of forecasts
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from ..errors import SourceError
from .axes import axis_values, roles, scalar_time

_LEADS = {"step", "lead", "lead_time", "leadtime", "prediction_timedelta", "forecast_period", "forecast_hour"}
_STARTS = {"init_time", "initial_time", "reference_time", "forecast_reference_time", "reftime"}
_UNITS = {"s", "second", "seconds", "min", "minute", "minutes", "h", "hr", "hour", "hours", "d", "day", "days"}


def check_valid_times(dataset: xr.Dataset, field: xr.DataArray) -> None:
    """The time axis of a field counts the times that it is valid at.

    Accepted are analyses in the form of forecasts, whose lead times are all zero, and forecasts that are laid out along
    their valid time (CF: ``time`` beside ``forecast_reference_time``).

    Raises:
        SourceError: ``Q-FORECAST``.
    """
    variables = dataset.variables
    names = [name for name in dataset.coords if set(variables[name].dims) <= set(field.dims)]
    # few coordinates are of these two kinds, and an array is made of those alone
    near = [dataset[name] for name in names if _is_lead(name, variables[name]) or _is_start(name, variables[name])]
    leads = [data for data in near if _is_lead(data.name, data.variable)]
    ahead = next((data for data in leads if np.asarray(data.values).astype("float64").any()), None)
    # a scalar coordinate beside a time axis is a remark; along a dimension of its own it is a second axis of time
    along = next((data for data in leads if data.dims and data.sizes[data.dims[0]] > 1), None)
    axis = _time_axis(dataset, field)
    known = axis is not None and (axis.name == "valid_time" or axis.attrs.get("standard_name") == "time")
    start = next((data for data in near if _is_start(data.name, data.variable) and data.dims), None)
    start = axis if axis is not None and _is_start(axis.name, axis.variable) else None if known else start
    if axis is not None and _is_lead(axis.name, axis.variable):
        along = axis
    if along is not None and not (known and along.dims == getattr(axis, "dims", ())):
        found = f"the axis {along.name!r} of lead times"
    elif start is not None and (ahead is not None or not leads):
        found = f"the times {start.name!r} at which forecasts start"
    elif ahead is not None and not known:
        found = f"a lead time {ahead.name!r} of {ahead.values.flat[0]} {ahead.attrs.get('units', '')}".rstrip()
    else:
        return
    raise SourceError(
        "Q-FORECAST",
        f"variable {field.name!r} has {found}, expected one axis of the times that its values are valid at; write one "
        "lead time along 'valid_time', or name a file of analyses",
    )


def _time_axis(dataset: xr.Dataset, field: xr.DataArray) -> xr.DataArray | None:
    dim = next((dim for dim, role in roles(dataset, field).items() if role == "time"), None)
    if dim is not None:
        return axis_values(dataset, dim)
    name = scalar_time(dataset)
    return None if name is None else dataset[name]


def _is_lead(name: Hashable, data: xr.Variable) -> bool:
    if data.attrs.get("standard_name") == "forecast_period":
        return True
    timely = data.dtype.kind == "m" or str(data.attrs.get("units", "")).lower() in _UNITS
    return str(name).lower() in _LEADS and timely


def _is_start(name: Hashable, data: xr.Variable) -> bool:
    return data.attrs.get("standard_name") == "forecast_reference_time" or str(name).lower() in _STARTS
