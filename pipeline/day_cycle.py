"""The mean cycle of a day, as far as the days tell it from chance.

What lives here: the daily harmonics of a field, their spread from day to day, and the mean cycle without those that do
not stand out of it. What does not: the means themselves, and other cycles (`climatology`).

    days = DaySpread(parts=24, shape=(H, W))
    days.add(values, finite, slots)          # frames in order of time
    cycle = days.smoothed(means)             # [24, H, W]

The mean of a few days of each hour is mostly the weather of those days. A harmonic of it is an estimate whose squared
error is s² / n, with the variance s² of the harmonic from day to day and n days. To keep it makes the cycle better
where its own square is above twice that (Mallows' Cp, Technometrics 15, 661-675, 1973): below, zero is the better
estimate. That is decided for each harmonic over all points together.

A front that passes makes a day end elsewhere than it began, which all harmonics see as a saw-tooth. So each day is
taken without the straight line from its first frame to that of the next day (the non-cyclic change of geomagnetism,
Chapman and Bartels, Geomagnetism, 1940, chapter 16): what is left is what may come again every day.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STANDS_OUT = 2.0  # power of a harmonic of the mean, over the variance of that mean
_FEWEST_DAYS = 3


class DaySpread:
    """Daily harmonics of a field, summed over the days of each point that lack nothing, nor the frame after them.

    Args:
        parts: Times of day.
        shape: Of a frame, (H, W).
    """

    def __init__(self, parts: int, shape: tuple[int, ...]) -> None:
        self._parts, harmonics = parts, parts // 2
        turns = np.arange(1, harmonics + 1)[:, None] * np.arange(parts) / parts
        self._waves = np.exp(-2j * np.pi * turns)[:, :, None, None]  # [harmonic, slot, 1, 1]
        self._line = (self._waves[:, :, 0, 0] @ np.arange(parts) / parts)[:, None, None]  # a rise of 1 in a day
        self._sum = np.zeros((harmonics, *shape), dtype=np.complex128)
        self._squares = np.zeros((harmonics, *shape))
        self._days = np.zeros(shape)
        self._today = np.zeros((harmonics, *shape), dtype=np.complex128)
        self._seen = np.zeros(shape)  # frames of today
        self._first = np.zeros(shape)  # of them

    def add(self, values: NDArray[np.float64], finite: NDArray[np.bool_], slots: NDArray[np.int64]) -> None:
        """Frames that follow those before.

        Args:
            values: [T, H, W], zero where nothing is.
            finite: Where something is, [T, H, W].
            slots: Time of day of each, [T].
        """
        for frame, there, slot in zip(values, finite, slots, strict=True):
            if slot == 0:
                self._end_day(frame, there)
                self._today[:], self._seen[:], self._first[:] = 0.0, 0.0, frame
            self._today += self._waves[:, slot] * frame
            self._seen += there

    def _end_day(self, next_first: NDArray[np.float64], there: NDArray[np.bool_]) -> None:
        whole = (self._seen == self._parts) & there
        day = np.where(whole, self._today - self._line * (next_first - self._first), 0.0)
        self._sum += day
        self._squares += np.abs(day) ** 2
        self._days += whole

    def standing_out(self) -> NDArray[np.bool_]:
        """Which harmonics of the mean cycle, the first to the last, are told from chance; of too few days all are."""
        enough = self._days >= _FEWEST_DAYS
        if not enough.any():
            return np.ones(len(self._sum), dtype=bool)
        days = self._days[enough]
        power = np.abs(self._sum[:, enough] / days) ** 2
        variance = np.maximum(self._squares[:, enough] / days - power, 0.0) / (days - 1)
        found: NDArray[np.bool_] = power.sum(axis=1) > _STANDS_OUT * variance.sum(axis=1)
        return found

    def smoothed(self, means: NDArray[np.float64]) -> NDArray[np.float64]:
        """A mean cycle [parts, H, W] without the harmonics that chance may have made, nowhere beyond its extremes."""
        harmonics = np.fft.rfft(means, axis=0)
        harmonics[1:][~self.standing_out()] = 0.0
        cycle = np.fft.irfft(harmonics, len(means), axis=0)
        return np.asarray(np.clip(cycle, means.min(axis=0), means.max(axis=0)))
