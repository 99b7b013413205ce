"""The checks of values that look wrong but need not be: what is done about them is a matter of configuration.

What lives here: bounds, marks for missing values, fields that are zero, frozen, repeated or jump, and variables that
contradict each other. What does not: what no configuration can allow (`quality`), reading the values
(`survey.take_survey`), plausible values by name (`plausible`).

    check_range(surveys, {"t2m": (180.0, 340.0)})       # SourceError Q-RANGE
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .cadence import Times
from .errors import SourceError
from .fields import time_text
from .relations import Relation
from .survey import Points, Prints, Series, VariableSurvey

Surveys = Mapping[str, VariableSurvey]
# Marks for missing values that people use and forget to declare; none is a value of a field of ours.
SENTINELS = (-9999.0, -99999.0, -999999.0, -32767.0, -32768.0, -1e20, -1e30, -9.96921e36, 1e20, 1e30, 1e35, 9.96921e36)


def check_range(surveys: Surveys, ranges: Mapping[str, tuple[float, float] | None]) -> None:
    """Every value lies in the valid range of its variable, ends included.

    Raises:
        SourceError: ``Q-RANGE``.
    """
    for _, runs, bounds in _beyond(surveys, ranges):
        raise SourceError("Q-RANGE", f"{runs}, expected {bounds}; are the units of the file right?")


def check_plausible(surveys: Surveys, ranges: Mapping[str, tuple[float, float] | None]) -> None:
    """Every value is one that the standard name of its variable can have, ends included.

    Raises:
        SourceError: ``Q-PLAUSIBLE``.
    """
    for name, runs, bounds in _beyond(surveys, ranges):
        advice = f"correct the units, or set variables.{name}.valid_range"
        raise SourceError("Q-PLAUSIBLE", f"{runs}, by its standard name expected {bounds}; {advice}")


def _beyond(surveys: Surveys, ranges: Mapping[str, tuple[float, float] | None]) -> Iterator[tuple[str, str, str]]:
    """Each variable with a value out of bounds; from where to where it runs, and the bounds, in words."""
    for name, survey in surveys.items():
        bounds = ranges.get(name)
        # what is stored is float32, so the bounds are compared as such
        if bounds is not None and (survey.lowest < np.float32(bounds[0]) or survey.highest > np.float32(bounds[1])):
            runs = f"variable {name!r} runs from {survey.lowest:g} to {survey.highest:g}"
            yield name, runs, f"{bounds[0]:g} to {bounds[1]:g}"


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
        with np.errstate(over="ignore"):  # a mark beyond what float32 holds is Inf by now, and found as such
            marks = (np.asarray(SENTINELS, "float32") * slope + offset).astype("float32")
        found = np.isclose([[survey.lowest], [survey.highest]], marks, rtol=1e-6, atol=0.0).any(axis=0)
        if found.any():
            raise SourceError(
                "Q-SENTINEL",
                f"variable {name!r} has the value {SENTINELS[int(found.argmax())]:g}, which marks missing values, "
                "expected it to be declared; declare it as _FillValue",
            )


def check_zero(surveys: Surveys) -> None:
    """Some value is not zero.

    Raises:
        SourceError: ``Q-ZERO``.
    """
    for name, survey in surveys.items():
        if survey.lowest == survey.highest == 0.0:
            raise SourceError("Q-ZERO", f"variable {name!r} is zero throughout, expected some other value; is that so?")


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


def check_zero_blocks(surveys: Surveys) -> None:
    """No frame has a block of zeros where zero is not among its values otherwise.

    Raises:
        SourceError: ``Q-ZERO-BLOCK``.
    """
    for name, survey in surveys.items():
        if (found := survey.zero_blocks).any():
            frame = int(np.argwhere(found)[0][-1])
            raise SourceError(
                "Q-ZERO-BLOCK",
                f"variable {name!r} is zero in a block of {int(found.max())} points in {np.count_nonzero(found)} of "
                f"{found.size} frames (first in number {frame}), expected values as around it; fetch it again, or mark "
                "what is missing by _FillValue",
            )


def check_repeated(surveys: Surveys) -> None:
    """No field that varies over the grid comes again later in the file, other than right after itself (Q-FROZEN).

    Raises:
        SourceError: ``Q-REPEATED``.
    """
    for name, survey in surveys.items():
        length = survey.prints.shape[-1]
        for row, varied in zip(survey.prints.reshape(-1, length), survey.varied.reshape(-1, length), strict=True):
            if (pair := _repeated(row, varied)) is not None:
                raise SourceError(
                    "Q-REPEATED",
                    f"variable {name!r} has the same field in frame {pair[1]} as in {pair[0]} of {length}, expected "
                    "fields to differ; was a period copied?",
                )


def check_copies(
    name: str, survey: VariableSurvey, times: Times, file: str, seen: dict[Hashable, tuple[str, Any]]
) -> None:
    """No frame of a file is one of another file at another time.

    Args:
        name: Of the variable.
        survey: Of this file.
        times: Of its frames.
        file: Its name.
        seen: Frames of the files before, by what tells them from others; those of this file are added.

    Raises:
        SourceError: ``Q-REPEATED``.
    """
    for place in np.flatnonzero(survey.varied).tolist():
        time = times[place]
        other, then = seen.setdefault((name, int(survey.prints[place])), (file, time))
        if other != file and then != time:
            raise SourceError(
                "Q-REPEATED",
                f"variable {name!r} has the same field at {time_text(time)} as {other} at {time_text(then)}, expected "
                "fields to differ; was a file copied under another name?",
            )


def check_relations(relations: Sequence[Relation], excesses: Sequence[Series]) -> None:
    """Variables of one file do not contradict each other.

    Args:
        relations: Between them.
        excesses: By how much each is broken at most, in each frame.

    Raises:
        SourceError: ``Q-CROSS``.
    """
    for relation, excess in zip(relations, excesses, strict=True):
        if (excess > 0.0).any():
            raise SourceError(
                "Q-CROSS",
                f"variables {', '.join(map(repr, relation.names))} have {relation.words} in "
                f"{np.count_nonzero(excess > 0.0)} of {excess.size} frames, by {excess.max():.3g} {relation.units} "
                "more than the tolerance, expected none; are the names and units right?",
            )


def _repeated(prints: Prints, varied: Points) -> tuple[int, int] | None:
    """Numbers of two equal frames that have another one between them, the first such pair."""
    seen: dict[int, int] = {}
    for place in np.flatnonzero(varied).tolist():
        before = seen.get(mark := int(prints[place]), place)
        if place - before > 1:
            return before, place
        seen[mark] = place
    return None


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
