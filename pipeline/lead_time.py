"""Names of lead times: the unit they read best in, sortable labels for metrics, and labels for people.

What lives here: `LeadTimes`, made from timedeltas. What does not: forecasts and scores, which only carry timedeltas.

    LeadTimes.of(dataset["lead_time"].values).keys     # ("01h", "02h", ..., "24h")

The unit is the largest in which every lead time is a whole number: months (steps of 28 to 31 days), days, hours,
minutes; else seconds, with decimals where needed. The unitless time of a simulation counts as seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SECOND = 10**9
_MONTH = 30.436875 * 86_400 * _SECOND
_ROUND = {"h": (1, 2, 3, 6, 12, 24, 48, 72, 120), "mo": (1, 2, 3, 6, 12, 24, 60), "d": (1, 2, 3, 5, 7, 10, 15, 30, 60)}
_DECIMAL = tuple(digit * 10.0**power for power in range(-3, 6) for digit in (1, 2, 5))
_UNITS = (("d", "days", 86_400 * _SECOND), ("h", "hours", 3_600 * _SECOND), ("min", "minutes", 60 * _SECOND))


@dataclass(frozen=True)
class LeadTimes:
    """Lead times as numbers in one unit.

    Attributes:
        values: The numbers, e.g. ``(1.0, 2.0)``.
        symbol: Short unit, e.g. ``"h"``.
        name: Unit in words, e.g. ``"hours"``.
    """

    values: tuple[float, ...]
    symbol: str
    name: str

    @classmethod
    def of(cls, lead_times: NDArray[np.timedelta64] | Sequence[np.timedelta64]) -> LeadTimes:
        """Choose the unit for increasing, positive lead times (see the module's rule)."""
        nanoseconds = np.asarray(lead_times, dtype="timedelta64[ns]").astype(np.int64)
        if nanoseconds.size and _is_monthly(nanoseconds):
            months = np.rint(nanoseconds / _MONTH)
            return cls(tuple(float(value) for value in months), "mo", "months")
        for symbol, name, size in _UNITS:
            if nanoseconds.size and np.all(nanoseconds % size == 0):
                return cls(tuple(float(value) for value in nanoseconds // size), symbol, name)
        return cls(tuple(float(value) for value in nanoseconds / _SECOND), "s", "seconds")

    @property
    def keys(self) -> tuple[str, ...]:
        """Zero-padded to one width, so that text order is time order: ``06h``; letters, digits and ``.`` only."""
        decimals = max((_decimals(value) for value in self.values), default=0)
        texts = [f"{value:.{decimals}f}" for value in self.values]
        width = max((len(text) for text in texts), default=0)
        width = max(width, 2 + (decimals + 1 if decimals else 0))
        return tuple(f"{text.zfill(width)}{self.symbol}" for text in texts)

    @property
    def labels(self) -> tuple[str, ...]:
        """For people: ``+6 h``, ``+1 month``."""
        if self.symbol == "mo":
            return tuple(f"+{value:g} month{'s' if value > 1 else ''}" for value in self.values)
        return tuple(f"+{value:.12g} {self.symbol}" for value in self.values)


def milestones(leads: LeadTimes, wanted: int = 5) -> tuple[int, ...]:
    """Positions of at most `wanted` lead times to show: the first, the last, round ones between (+6, +12, +18 h)."""
    values = np.asarray(leads.values)
    last = len(values) - 1
    if len(values) <= wanted:
        return tuple(range(len(values)))
    target = values[-1] / (wanted - 1)
    step = min(_ROUND.get(leads.symbol, _DECIMAL), key=lambda size: abs(np.log(size / target)))
    between = [position for position in range(1, last) if values[position] % step == 0][: wanted - 2]
    if len(between) < min(2, wanted - 2):
        between = [round(share * last / (wanted - 1)) for share in range(1, wanted - 1)]
    return tuple(sorted({0, *between, last}))


def _is_monthly(nanoseconds: NDArray[np.int64]) -> bool:
    days = nanoseconds / (86_400 * _SECOND)
    off = np.abs(nanoseconds - np.rint(nanoseconds / _MONTH) * _MONTH) / (86_400 * _SECOND)
    steps = np.diff(days, prepend=0.0)
    # A run of calendar months strays from that many mean months by at most about two and a half days.
    return bool(np.all((steps >= 28) & (steps <= 31)) and np.all(off < 3))


def _decimals(value: float) -> int:
    text = f"{value:.9f}".rstrip("0")
    return len(text.partition(".")[2])
