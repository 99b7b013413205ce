"""The checks that decide whether a file may go in: one small function per rule, each with an id.

What lives here: the checks on values, masks, grids and times of fields that were already brought to the contract. What
does not: reading the values (`survey`), opening files and the rules broken while doing so (`sources`: Q-EMPTY,
Q-NOT-NETCDF, Q-NOT-ZARR, Q-TRUNCATED, Q-MISSING-VARIABLE, Q-UNITS, Q-DIMENSIONS, Q-TIME, Q-GRID), joining files
(`assembly`: Q-OVERLAP, Q-GAP), and what a configuration may allow (`suspicion`).

    survey = take_survey(fields).variables             # reads every value once, block by block
    check_finite(survey)                               # SourceError Q-INF

A check raises `SourceError`; `ingest` turns it into the `Rejection` of that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from .cadence import Cadence
from .errors import SourceError
from .fields import time_text
from .gaps import NO_GAPS, GapPolicy
from .sources.projection import CURVILINEAR
from .survey import Points, VariableSurvey


def check_finite(surveys: Mapping[str, VariableSurvey]) -> None:
    """No value is infinite, and some value is there.

    Raises:
        SourceError: ``Q-INF`` or ``Q-NAN``.
    """
    for name, survey in surveys.items():
        if survey.always_nan.all():
            raise SourceError("Q-NAN", f"variable {name!r} has no values at all, expected some; fetch it again")
        if not np.isfinite([survey.lowest, survey.highest]).all():
            raise SourceError("Q-INF", f"variable {name!r} has infinite values, expected finite ones; correct the file")


def check_mask(surveys: Mapping[str, VariableSurvey], masked: Points, nan_points: Mapping[str, int]) -> None:
    """Values are missing only at permanently masked points, and there where they are missing elsewhere.

    Args:
        surveys: Of one file.
        masked: The permanent mask, True = masked, bool [H, W].
        nan_points: For each variable, at how many points it is permanently missing by itself.

    Raises:
        SourceError: ``Q-NAN`` for gaps in time, ``Q-MASK`` for another mask.
    """
    for name, survey in surveys.items():
        if absent := int((survey.always_nan & ~masked).sum()):
            raise SourceError(
                "Q-MASK",
                f"variable {name!r} is missing throughout at {absent} points that are valid elsewhere, expected "
                "values; check its "
                "mask",
            )
        if gaps := int((survey.ever_nan & ~masked).sum()):
            raise SourceError(
                "Q-NAN",
                f"variable {name!r} is missing at times at {gaps} points outside the permanent mask, expected "
                "values; fill "
                "the gaps",
            )
        found, expected = int((~survey.ever_nan & masked).sum()), int(masked.sum()) - nan_points.get(name, 0)
        if found > expected:
            raise SourceError(
                "Q-MASK",
                f"variable {name!r} has values at {found - expected} points that are masked elsewhere, expected "
                "none; check "
                "its mask",
            )


def check_grid(fields: xr.Dataset, reference: xr.Dataset) -> None:
    """Dimensions and coordinates of space (and of time, within a sample) are those of the reference.

    Raises:
        SourceError: ``Q-DIMENSIONS``, ``Q-GRID`` or ``Q-TIME``.
    """
    found, expected = (_projection(one) for one in (fields, reference))
    if found.startswith(CURVILINEAR) and "lat" in reference.dims:
        raise SourceError(
            "Q-GRID", "its latitudes and longitudes are curvilinear, expected one axis of each; regrid the file"
        )
    if found and expected and found != expected:
        raise SourceError("Q-GRID", f"its grid is {found}, expected {expected}; regrid the file")
    if fields.sizes.keys() != reference.sizes.keys():
        raise SourceError(
            "Q-DIMENSIONS",
            f"dimensions are {', '.join(map(str, fields.sizes))}, expected {', '.join(map(str, reference.sizes))}; "
            "bring it to the same dimensions",
        )
    for dim in map(str, fields.dims):
        if dim == "sample" or (dim == "time" and "sample" not in fields.dims):
            continue
        got, wanted = fields.variables[dim].values, reference.variables[dim].values
        rule = "Q-TIME" if dim == "time" else "Q-GRID"
        if got.shape != wanted.shape:
            raise SourceError(
                rule, f"{len(got)} points along {dim!r}, expected {len(wanted)}; bring it to the same grid"
            )
        if got.dtype.kind != wanted.dtype.kind or not _close(got, wanted):
            raise SourceError(
                rule,
                f"{dim!r} runs from {got[0]} to {got[-1]}, expected {wanted[0]} to {wanted[-1]}; regrid it",
            )
    if fields.variables["time"].dtype.kind != reference.variables["time"].dtype.kind:
        raise SourceError("Q-TIME", "times are relative here and dates elsewhere, or the reverse; make them alike")


def _projection(fields: xr.Dataset) -> str:
    """What lies under the axes of the fields, as `sources.projection` puts it; empty where no variable says so."""
    attributes = [fields.variables[name].attrs for name in fields.data_vars]
    told = [str(each["projection"]) for each in attributes if "projection" in each]
    return told[0] if told else ""


def _close(got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> bool:
    """Equal within a thousandth of the spacing: coordinates kept in single precision are the same grid."""
    if np.array_equal(got, wanted):
        return True
    if got.dtype.kind == "M":
        return False
    spacing = float(np.abs(np.diff(wanted)).min()) if len(wanted) > 1 else 1.0
    return bool(np.allclose(got, wanted, rtol=0.0, atol=1e-3 * spacing))


def check_cadence(times: np.ndarray[Any, Any], cadence: Cadence | None, gaps: GapPolicy = NO_GAPS) -> None:
    """Neighbouring times of one file are one step apart, but for gaps that are allowed.

    Raises:
        SourceError: ``Q-TIME``.
    """
    count = gaps.row(times, cadence).count
    if count < len(times):
        raise SourceError(
            "Q-TIME",
            f"{time_text(times[count])} follows {time_text(times[count - 1])}, expected steps of {cadence}; "
            "fill the gap, leave the file out, or allow such gaps by quality.longest_gap or quality.allowed_gaps",
        )
