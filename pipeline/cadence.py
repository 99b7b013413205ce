"""The step of a time axis: a fixed number of seconds, or of calendar months. Pure arithmetic on times.

cadence = infer(times)                  # Cadence(seconds=3600.0)
cadence.follows(times)                  # whether each time comes one step after the one before
cadence.after(times[-1], 3)             # the three times that come next
cadence.between(times[0], times[-1])    # all that lie between the two
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Times = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Cadence:
    """The distance of neighbouring times: `seconds`, or `months` where that is not zero."""

    seconds: float = 0.0
    months: int = 0

    def follows(self, times: Times) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """For each time but the first, whether it is one step after the one before; bool [len(times) - 1]."""
        if self.months:
            result: np.ndarray[Any, np.dtype[np.bool_]] = np.diff(_months(times)) == self.months
            return result
        return np.isclose(np.diff(_seconds(times)), self.seconds, rtol=1e-6, atol=0.0)

    def after(self, last: Any, count: int) -> Times:
        """The `count` times that come after `last`; a day that a month does not have is its last day."""
        steps = np.arange(1, count + 1)
        if not self.months:
            dated = np.issubdtype(last.dtype, np.datetime64)
            step = np.timedelta64(round(self.seconds * 1e9), "ns") if dated else self.seconds
            return np.asarray(last + steps * step, dtype=last.dtype)
        start = last.astype("datetime64[M]")
        months = start + self.months * steps
        ends = (months + 1).astype(last.dtype) - np.timedelta64(1, "D")
        return np.asarray(np.minimum(months.astype(last.dtype) + (last - start.astype(last.dtype)), ends))

    def between(self, before: Any, after: Any) -> Times | None:
        """The times between two that are a whole number of steps apart; None where they are not."""
        pair = np.asarray([before, after])
        steps = float(np.diff(_months(pair) / self.months if self.months else _seconds(pair) / self.seconds)[0])
        if steps < 0.5 or abs(steps - round(steps)) > 1e-3:
            return None
        return self.after(pair[0], round(steps) - 1)

    def __str__(self) -> str:
        if self.months:
            return f"{self.months} month(s)"
        for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
            if self.seconds >= size and self.seconds % size == 0:
                return f"{self.seconds / size:g} {unit}"
        return f"{self.seconds:g} s"


def infer(times: Times) -> Cadence | None:
    """The step that most neighbours keep, or None for fewer than two times.

    Months are recognised where their number is steadier than that of seconds.

    Args:
        times: Ascending; datetime64, or float seconds.
    """
    if len(times) < 2:
        return None
    seconds, share = _mode(np.diff(_seconds(times)))
    if times.dtype.kind == "M":
        months, month_share = _mode(np.diff(_months(times)))
        if months > 0 and month_share > share:
            return Cadence(months=int(months))
    return Cadence(seconds=float(seconds))


def _mode(steps: Times) -> tuple[float, float]:
    """The commonest step, the smallest of several, and its share."""
    values, counts = np.unique(np.round(steps, 6), return_counts=True)
    place = int(np.argmax(counts))
    exact = steps[np.isclose(steps, values[place], rtol=1e-6, atol=1e-6)]
    return float(exact[0]), float(counts[place] / len(steps))


def _seconds(times: Times) -> Times:
    result: Times = times.astype("datetime64[s]").astype("int64") if times.dtype.kind == "M" else times
    return result.astype("float64")


def _months(times: Times) -> Times:
    result: Times = times.astype("datetime64[M]").astype("int64")
    return result
