import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.cycle import YEAR_BINS, cycle_of, day_parts_of, slot_count, slots_of, year_share


def times(start, stop, step):
    return np.arange(np.datetime64(start, "m"), np.datetime64(stop, "m"), np.timedelta64(*step)).astype(
        "datetime64[ns]"
    )


@pytest.mark.parametrize(
    ("axis", "cycle"),
    [
        (times("2017-01-01", "2017-01-19", (1, "h")), "hour_of_day"),
        (times("2017-01-01", "2017-01-02", (1, "h")), "hour_of_day"),
        (times("2017-01-01", "2017-01-01T20", (1, "h")), "mean"),
        (times("2017-01-01", "2018-01-01", (6, "h")), "dayofyear_hour"),
        (times("2017-01-01", "2017-12-31", (6, "h")), "hour_of_day"),
        (times("2016-01-01", "2019-01-01", (1, "D")), "dayofyear_hour"),
        (times("2017-01-01", "2017-06-01", (1, "D")), "mean"),
        (times("2016-01-01", "2019-01-01", (7, "D")), "dayofyear_hour"),
        (times("2016-01-01", "2017-01-01", (5, "D")), "dayofyear_hour"),
        (np.arange("2010-01", "2016-05", dtype="datetime64[M]").astype("datetime64[ns]"), "month"),
        (np.arange("2010-01", "2011-01", dtype="datetime64[M]").astype("datetime64[ns]"), "month"),
        (np.arange("2010-01", "2010-12", dtype="datetime64[M]").astype("datetime64[ns]"), "mean"),
        (np.arange("1990", "2020", dtype="datetime64[Y]").astype("datetime64[ns]"), "mean"),
        (np.arange(50.0), "mean"),
        (times("2017-01-01", "2017-01-01T01", (1, "h")), "mean"),
    ],
)
def test_finest_cycle_that_is_covered(axis, cycle):
    assert cycle_of(axis) == cycle


@pytest.mark.parametrize(("minutes", "parts"), [(10, 24), (60, 24), (180, 8), (360, 4), (1440, 1)])
def test_times_of_day_told_apart(minutes, parts):
    assert day_parts_of(times("2017-01-01", "2017-01-04", (minutes, "m"))) == parts


def test_slots_of_hours_and_months():
    hours = np.array(["2017-01-01T00", "2017-03-05T13:59", "2017-03-05T23:59"], dtype="datetime64[ns]")
    assert slots_of(hours, "hour_of_day", 24).tolist() == [0, 13, 23]
    assert slots_of(hours, "hour_of_day", 4).tolist() == [0, 2, 3]
    assert slots_of(hours, "month", 1).tolist() == [0, 2, 2]
    assert slots_of(hours, "mean", 1).tolist() == [0, 0, 0]


@settings(deadline=None)
@given(
    st.integers(-(10**9), 4 * 10**9).map(
        lambda second: np.array([second], dtype="datetime64[s]").astype("datetime64[ns]")
    ),
    st.sampled_from(["hour_of_day", "month", "dayofyear_hour", "mean"]),
    st.integers(1, 24),
)
def test_every_time_has_a_slot(time, cycle, parts):
    used = parts if cycle in ("hour_of_day", "dayofyear_hour") else 1
    assert 0 <= slots_of(time, cycle, used)[0] < slot_count(cycle, used)


def test_the_year_is_cut_evenly_leap_or_not():
    for year in (2016, 2017):
        days = np.arange(f"{year}-01-01", f"{year + 1}-01-01", dtype="datetime64[D]").astype("datetime64[ns]")
        share = year_share(days)
        assert share[0] == 0
        assert share[-1] == pytest.approx(1 - 1 / len(days))
        counts = np.bincount(slots_of(days, "dayofyear_hour", 1), minlength=YEAR_BINS)
        assert set(counts[:-1].tolist()) <= {5, 6}
        assert len(counts) == YEAR_BINS
        assert counts.sum() == len(days)
