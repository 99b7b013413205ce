"""The checks of values that look wrong but need not be: what is done about them is a matter of configuration.

What lives here: bounds, marks for missing values, fields that are zero, frozen or jump. What does not: what no
configuration can allow (`quality`), reading the values (`quality.take_survey`), plausible values by name (`plausible`).

    check_range(surveys, {"t2m": (180.0, 340.0)})       # SourceError Q-RANGE
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .errors import SourceError
from .quality import Points, VariableSurvey

Surveys = Mapping[str, VariableSurvey]
# Marks for missing values that people use and forget to declare; none is a value of a field of ours.
SENTINELS = (-9999.0, -99999.0, -999999.0, -32767.0, -32768.0, -1e20, -1e30, -9.96921e36, 1e20, 1e30, 1e35, 9.96921e36)


def check_range(surveys: Mapping[str, VariableSurvey], ranges: Mapping[str, tuple[float, float] | None]) -> None:
    """Every value lies in the valid range of its variable, ends included.

    Raises:
        SourceError: ``Q-RANGE``.
    """
    for name, survey in surveys.items():
        bounds = ranges.get(name)
        # what is stored is float32, so the bounds are compared as such
        if bounds is not None and (survey.lowest < np.float32(bounds[0]) or survey.highest > np.float32(bounds[1])):
            raise SourceError(
                "Q-RANGE",
                f"variable {name!r} runs from {survey.lowest:g} to {survey.highest:g}, expected {bounds[0]:g} to "
                f"{bounds[1]:g}; are the units of the file right?",
            )


def check_plausible(surveys: Surveys, ranges: Mapping[str, tuple[float, float] | None]) -> None:
    """Every value is one that the standard name of its variable can have, ends included.

    Raises:
        SourceError: ``Q-PLAUSIBLE``.
    """
    for name, survey in surveys.items():
        bounds = ranges.get(name)
        if bounds is not None and (survey.lowest < np.float32(bounds[0]) or survey.highest > np.float32(bounds[1])):
            raise SourceError(
                "Q-PLAUSIBLE",
                f"variable {name!r} runs from {survey.lowest:g} to {survey.highest:g}, by its standard name expected "
                f"{bounds[0]:g} to {bounds[1]:g}; correct the units, or set variables.{name}.valid_range",
            )


def check_sentinels(surveys: Surveys, scales: Mapping[str, tuple[float, float]]) -> None:
    """Neither the smallest nor the largest value is a mark for missing values.

    Args:
        surveys: Of one file.
        scales: Slope and offset by which the units of the file were converted.

    Raises:
        SourceError: ``Q-SENTINEL``.
    """
    for name, survey in surveys.items():
        slope, offset = scales.get(name, (1.0, 0.0))
        for mark in SENTINELS:
            with np.errstate(over="ignore"):  # a mark beyond what float32 holds is Inf by now, and found as such
                found = np.float32(np.float32(mark) * slope + offset)
            if np.isclose([survey.lowest, survey.highest], found, rtol=1e-6, atol=0.0).any():
                raise SourceError(
                    "Q-SENTINEL",
                    f"variable {name!r} has the value {mark:g}, which marks missing values; declare it as _FillValue",
                )


def check_zero(surveys: Surveys) -> None:
    """Some value is not zero.

    Raises:
        SourceError: ``Q-ZERO``.
    """
    for name, survey in surveys.items():
        if survey.lowest == survey.highest == 0.0:
            raise SourceError("Q-ZERO", f"variable {name!r} is zero throughout; is that so?")


def check_frozen(surveys: Surveys, frames: int) -> None:
    """No field stays the same for `frames` frames.

    Raises:
        SourceError: ``Q-FROZEN``.
    """
    for name, survey in surveys.items():
        length, end = _longest(survey.unchanged)
        if length + 1 >= frames:
            raise SourceError(
                "Q-FROZEN",
                f"variable {name!r} stays the same for {length + 1} frames (up to number {end + 1} of "
                f"{survey.unchanged.shape[-1] + 1}), expected less than {frames}; is its source stuck?",
            )


def check_jumps(surveys: Surveys, bounds: Mapping[str, float]) -> None:
    """The mean over the grid changes by no more than its bound from frame to frame.

    Raises:
        SourceError: ``Q-JUMP``.
    """
    for name, survey in surveys.items():
        changes = np.abs(np.diff(survey.means, axis=-1))
        if name in bounds and changes.size and changes.max() > bounds[name]:
            place = int(np.unravel_index(int(changes.argmax()), changes.shape)[-1])
            raise SourceError(
                "Q-JUMP",
                f"the mean of variable {name!r} changes by {changes.max():g} from frame {place} to {place + 1}, "
                f"expected at most {bounds[name]:g} (quality.max_jump); look at these frames",
            )


def check_falls(surveys: Surveys) -> None:
    """No rate of something that only adds up is negative.

    Raises:
        SourceError: ``Q-ACCUMULATION``.
    """
    for name, survey in surveys.items():
        if survey.lowest < 0.0:
            raise SourceError(
                "Q-ACCUMULATION",
                f"what variable {name!r} is made of falls where it does not start anew (a rate of {survey.lowest:g}); "
                f"does it sum up since something else than variables.{name}.accumulated says?",
            )


def _longest(flags: Points) -> tuple[int, int]:
    """Length of the longest run of true flags along the last axis, and the index of its last."""
    longest, end = 0, 0
    for row in flags.reshape(-1, flags.shape[-1]) if flags.size else ():
        run = 0
        for place, flag in enumerate(row):
            run = run + 1 if flag else 0
            if run > longest:
                longest, end = run, place + 1
    return longest, end
