"""Variables made of others by the table of `derivations`, lazily and point by point.

What lives here: units of inputs and results, names by CF, the amounts behind accumulations. What does not: the formulas
(`derivations`), and what is made of what (`plan`).

    fields = derived(fields, making)                                     # one more variable
    start, amount = amounts(field, "24h", means, times, step=3600 * 10**6)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from ..config_transforms import seconds_of
from ..derivations import DERIVATIONS, Values
from ..errors import SourceError
from ..sources.units import conversion
from .plan import Making

Microseconds = np.ndarray[Any, np.dtype[np.int64]]

# A sum that falls by less than this share of the largest is the same sum, rounded (GRIB packs into 12 to 16 bits).
_ROUNDING = 2.0**-12
# A mean over the grid that falls by more than this share is a new sum.
_FALL = 1e-3


def derived(fields: xr.Dataset, making: Making, seconds: float | None = None) -> xr.Dataset:
    """The fields with one more variable.

    Args:
        fields: They hold its inputs, in units that convert to those of the derivation.
        making: What is made of what.
        seconds: What each frame stands for, where the function asks for it.
    """
    units = making.variable.units
    values = [
        _in(fields[name], wanted.format(units=units))
        for name, wanted in zip(making.inputs, making.derivation.inputs, strict=True)
    ]
    timed = (seconds,) if making.derivation.timed else ()
    compute = partial(_in_double, making.derivation.function)
    made = xr.apply_ufunc(compute, *values, *timed, dask="parallelized", output_dtypes=["float64"])
    result = _in(made.assign_attrs(units=making.derivation.units.format(units=units)), units).astype("float32")
    result.attrs = {"units": units, **_names(making, fields[making.inputs[0]].attrs)}
    return fields.assign({making.name: result})


def _in_double(function: Callable[..., Values], *values: Any) -> Values:
    """What Dask was told of the result has to be so: it would leave out a cast that it takes for needless."""
    return function(*(np.asarray(one, "float64") for one in values))


def amounts(
    field: xr.DataArray, since: str, means: np.ndarray[Any, Any], times: Microseconds, step: int, highest: float
) -> tuple[int, xr.DataArray]:
    """What came in each step, of sums that start anew now and then.

    Args:
        field: Sums.
        since: As `VariableConfig.accumulated`.
        means: Of each frame over the grid, [T] or [S, T].
        times: Of the frames, regular.
        step: Between them, in microseconds.
        highest: The largest sum of the file.

    Returns:
        The index of the first frame whose amount is known, and the amounts. What falls by no more than rounding is no
        amount at all; what falls by more is left negative, to be judged.

    Raises:
        SourceError: ``Q-TIME``: the time after which the sums start anew is no multiple of the step.
    """
    if since == "step":
        return 0, field
    if since == "start":
        mean = means.reshape(-1, means.shape[-1]).mean(axis=0)
        anew = np.r_[False, mean[1:] < mean[:-1] - _FALL * np.abs(mean[:-1])]
    else:
        period = seconds_of(since) * 10**6
        if period % step:
            raise SourceError(
                "Q-TIME",
                f"its steps of {step / 1e6:g} s do not divide {since}, after which sums start anew; correct "
                "accumulated",
            )
        anew = -(-(times - step) // period) != -(-times // period)
    before = field.shift(time=1).where(xr.DataArray(~anew, dims="time"), 0.0)
    amount = field - before
    rounded = amount.where((amount >= 0.0) | (amount < -_ROUNDING * abs(highest)) | amount.isnull(), 0.0)
    return (0 if anew[0] else 1), rounded.assign_attrs(field.attrs)


def _in(field: xr.DataArray, units: str) -> xr.DataArray:
    slope, offset = conversion(str(field.attrs["units"]), units, water=True)
    if (slope, offset) == (1.0, 0.0):
        return field
    return (field.astype("float64") * slope + offset).assign_attrs(units=units)


def _names(making: Making, source: dict[Any, Any]) -> dict[str, str]:
    """CF names: of the table, or those of the source with amounts, fluxes and integrals exchanged."""
    if making.derivation.standard_name is not None:
        return {"standard_name": making.derivation.standard_name}
    known, rate = str(source.get("standard_name", "")), making.derivation is DERIVATIONS["rate"]
    methods = {"cell_methods": "time: mean" if rate else "time: sum"}
    integral = "integral_wrt_time_of_"
    water = known.removeprefix("lwe_thickness_of_").removeprefix("lwe_")
    stem = next((water.removesuffix(end) for end in ("_amount", "_flux", "_rate") if water.endswith(end)), "")
    per_area, depth = ("kg m-2 s-1", "m s-1") if rate else ("kg m-2", "m")
    if stem and _converts(making.variable.units, per_area):
        name = f"{stem}_flux" if rate else f"{stem}_amount"
    elif stem and _converts(making.variable.units, depth):
        name = f"lwe_{stem}_rate" if rate else f"lwe_thickness_of_{stem}_amount"
    elif rate:
        name = known.removeprefix(integral) if known.startswith(integral) else ""
    else:
        name = f"{integral}{known}" if known else ""
    return {**methods, **({"standard_name": name} if name else {})}


def _converts(units: str, other: str) -> bool:
    try:
        conversion(units, other)
    except SourceError:
        return False
    return True
