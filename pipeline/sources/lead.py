"""Forecast files, whose times are starts or lead times, told from files of fields at the times they are valid at.

check_valid_times(dataset, dataset["t2m"])       # SourceError Q-FORECAST where 'time' is the start of forecasts
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
import xarray as xr

from ..errors import SourceError
from .axes import axis_name, roles, scalar_time

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
    near = [name for name in dataset.coords if set(variables[name].dims) <= set(field.dims)]
    leads = [name for name in near if _is_lead(name, variables[name])]
    ahead = next((name for name in leads if np.asarray(variables[name].values).astype("float64").any()), None)
    # a scalar coordinate beside a time axis is a remark; along a dimension of its own it is a second axis of time
    along = next((name for name in leads if variables[name].shape[:1] > (1,)), None)
    axis = _time_axis(dataset, field)
    known = axis is not None and (axis == "valid_time" or variables[axis].attrs.get("standard_name") == "time")
    start = next((name for name in near if _is_start(name, variables[name]) and variables[name].dims), None)
    start = axis if axis is not None and _is_start(axis, variables[axis]) else None if known else start
    if axis is not None and _is_lead(axis, variables[axis]):
        along = axis
    if along is not None and not (known and axis is not None and variables[along].dims == variables[axis].dims):
        found = f"the axis {along!r} of lead times"
    elif start is not None and (ahead is not None or not leads):
        found = f"the times {start!r} at which forecasts start"
    elif ahead is not None and not known:
        lead = variables[ahead]
        found = f"a lead time {ahead!r} of {lead.values.flat[0]} {lead.attrs.get('units', '')}".rstrip()
    else:
        return
    raise SourceError(
        "Q-FORECAST",
        f"variable {field.name!r} has {found}, expected one axis of the times that its values are valid at; write one "
        "lead time along 'valid_time', or name a file of analyses",
    )


def _time_axis(dataset: xr.Dataset, field: xr.DataArray) -> str | None:
    dim = next((dim for dim, role in roles(dataset, field).items() if role == "time"), None)
    return scalar_time(dataset) if dim is None else axis_name(dataset, dim)


def _is_lead(name: Hashable, data: xr.Variable) -> bool:
    if data.attrs.get("standard_name") == "forecast_period":
        return True
    timely = data.dtype.kind == "m" or str(data.attrs.get("units", "")).lower() in _UNITS
    return str(name).lower() in _LEADS and timely


def _is_start(name: Hashable, data: xr.Variable) -> bool:
    return data.attrs.get("standard_name") == "forecast_reference_time" or str(name).lower() in _STARTS
