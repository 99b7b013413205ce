import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.lead_time import LeadTimes, milestones


def leads(*values, unit="h"):
    return LeadTimes.of(np.array(values, dtype=f"timedelta64[{unit}]"))


@pytest.mark.parametrize(
    ("values", "unit", "keys", "labels"),
    [
        ((1, 6, 24), "h", ("01h", "06h", "24h"), ("+1 h", "+6 h", "+24 h")),
        ((6, 120), "h", ("006h", "120h"), ("+6 h", "+120 h")),
        ((24, 48), "h", ("01d", "02d"), ("+1 d", "+2 d")),
        ((36,), "h", ("36h",), ("+36 h",)),
        ((10, 90), "m", ("10min", "90min"), ("+10 min", "+90 min")),
        ((1, 30), "s", ("01s", "30s"), ("+1 s", "+30 s")),
        ((250, 1000), "ms", ("00.25s", "01.00s"), ("+0.25 s", "+1 s")),
        ((31, 59, 90), "D", ("01mo", "02mo", "03mo"), ("+1 month", "+2 months", "+3 months")),
        ((7, 14), "D", ("07d", "14d"), ("+7 d", "+14 d")),
    ],
)
def test_names(values, unit, keys, labels):
    found = leads(*values, unit=unit)
    assert found.keys == keys
    assert found.labels == labels


def test_calendar_months_over_years_are_months():
    starts = np.arange("2010-01", "2020-09", dtype="datetime64[M]").astype("datetime64[ns]")
    for first in range(12):
        found = LeadTimes.of(starts[first + 1 : first + 37] - starts[first])
        assert (found.symbol, found.values) == ("mo", tuple(range(1, 37)))


def test_thirty_days_every_four_weeks_are_not_months_for_ever():
    assert leads(*(28 * step for step in range(1, 13)), unit="D").symbol == "d"


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40, unique=True).map(sorted), st.sampled_from("hms"))
def test_text_order_is_time_order(values, unit):
    keys = leads(*values, unit=unit).keys
    assert list(keys) == sorted(keys)
    assert len(set(keys)) == len(values)
    assert all(re.fullmatch(r"[0-9.]+(mo|d|h|min|s)", key) for key in keys)


@pytest.mark.parametrize(
    ("count", "unit", "expected"),
    [
        (24, "h", [1, 6, 12, 18, 24]),
        (12, "h", [1, 3, 6, 9, 12]),
        (20, "s", [1, 5, 10, 15, 20]),
        (30, "s", [1, 10, 20, 30]),
    ],
)
def test_milestones_are_round(count, unit, expected):
    found = leads(*range(1, count + 1), unit=unit)
    assert [found.values[position] for position in milestones(found)] == expected


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(2, 9), st.sampled_from([1, 3, 6, 7, 11]), st.sampled_from("hms"))
def test_milestones_hold_the_first_and_the_last(count, wanted, step, unit):
    chosen = milestones(leads(*(step * number for number in range(1, count + 1)), unit=unit), wanted)
    assert chosen[0] == 0
    assert chosen[-1] == count - 1
    assert len(chosen) <= wanted
    assert list(chosen) == sorted(set(chosen))
