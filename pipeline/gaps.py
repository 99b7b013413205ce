"""Which gaps in time an Archive may have, and what is missing in them. Pure arithmetic on times.

What lives here: the policy of a configuration, and how far a row of times goes under it. What does not: the step
between times (`cadence`), how an Archive keeps what is missing (`presence`).

    policy = GapPolicy.of(config.quality)
    found = policy.row(times, cadence)
    times[: found.count], found.missing        # those without a gap that is not allowed; what is missing among them
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .cadence import Cadence, Times
from .config_quality import QualityConfig


@dataclass(frozen=True)
class Row:
    """Times that follow each other, apart from gaps that are allowed.

    Attributes:
        count: How many they are, from the first time on.
        missing: The times between them that are not there.
    """

    count: int
    missing: Times


@dataclass(frozen=True)
class GapPolicy:
    """The gaps that are allowed.

    Attributes:
        longest: Seconds that a gap may last at any time: from the first missing time to the time after the gap.
        periods: Start and end (not included) of spans of time in which a gap may last however long.
    """

    longest: float = 0.0
    periods: tuple[tuple[np.datetime64, np.datetime64], ...] = ()

    @classmethod
    def of(cls, quality: QualityConfig) -> GapPolicy:
        """That of a configuration; a date that ends a period is included with the whole day, month or hour it names."""
        periods = tuple((np.datetime64(first), np.datetime64(last) + 1) for first, last in quality.allowed_gaps)
        return cls(quality.longest_gap_seconds, periods)

    def row(self, times: Times, cadence: Cadence | None) -> Row:
        """How far ascending times go without a gap that is not allowed; all the way where no step is known."""
        missing = [times[:0]]
        if cadence is None:
            return Row(len(times), missing[0])
        for place in np.flatnonzero(~cadence.follows(times)).tolist():
            absent = cadence.between(times[place], times[place + 1])
            if absent is None or not self._allows(absent, times[place + 1]):
                return Row(place + 1, np.concatenate(missing))
            missing.append(absent)
        return Row(len(times), np.concatenate(missing))

    def _allows(self, absent: Times, after: Any) -> bool:
        if not len(absent):
            return False
        dated = absent.dtype.kind == "M"
        lasts = (after - absent[0]) / np.timedelta64(1, "s") if dated else after - absent[0]
        if lasts <= self.longest:
            return True
        known = [(absent >= first) & (absent < end) for first, end in self.periods] if dated else []
        return bool(known) and bool(np.logical_or.reduce(known).all())


NO_GAPS = GapPolicy()
