import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cadence import Cadence, infer


def dates(start, count, step, unit):
    return (np.datetime64(start, unit) + np.arange(count) * np.timedelta64(step, unit)).astype("datetime64[ns]")


@given(st.integers(1, 100_000), st.integers(2, 200), st.integers(0, 2**31))
def test_a_fixed_step_is_found_and_followed(step, count, start):
    times = (start + step * np.arange(count)).astype("datetime64[s]").astype("datetime64[ns]")
    cadence = infer(times)
    # steps of exactly the length of a month are months only when their number is steadier than their length
    assert cadence == Cadence(seconds=float(step))
    assert cadence.follows(times).all()


@given(st.floats(1e-3, 1e4), st.integers(2, 100))
def test_relative_times(step, count):
    times = step * np.arange(count)
    assert infer(times).follows(times).all()


@pytest.mark.parametrize("months", [1, 3, 12])
def test_calendar_months(months):
    times = dates("2010-01", 40, months, "M")
    assert infer(times) == Cadence(months=months)
    assert infer(times).follows(times).all()
    assert not infer(times).follows(np.delete(times, 5)).all()


def test_mid_months_vary_and_are_still_months():
    middle = dates("2010-01", 24, 1, "M") + np.timedelta64(14, "D") * np.array([1] * 12 + [1] * 12)
    middle[1] += np.timedelta64(36, "h")
    assert infer(middle) == Cadence(months=1)


def test_a_gap_does_not_hide_the_step():
    times = np.delete(dates("2020-01-01", 40, 6, "h"), [7, 8, 20])
    cadence = infer(times)
    assert str(cadence) == "6 h"
    assert np.flatnonzero(~cadence.follows(times)).tolist() == [6, 17]


def test_one_time_has_no_step():
    assert infer(dates("2020-01-01", 1, 1, "h")) is None


@pytest.mark.parametrize(
    ("cadence", "text"),
    [(Cadence(86_400), "1 d"), (Cadence(90), "90 s"), (Cadence(600), "10 min"), (Cadence(months=1), "1 month(s)")],
)
def test_text(cadence, text):
    assert str(cadence) == text


def test_hours_and_seconds_go_on():
    last = np.datetime64("2020-02-28T23:00", "ns")
    found = Cadence(seconds=3600.0).after(last, 2)
    assert found.dtype == last.dtype
    assert found.astype("datetime64[h]").astype(str).tolist() == ["2020-02-29T00", "2020-02-29T01"]
    np.testing.assert_allclose(Cadence(seconds=0.25).after(np.float64(1.5), 3), [1.75, 2.0, 2.25])
    assert len(Cadence(seconds=1.0).after(np.float64(0), 0)) == 0


def test_months_go_on_and_a_day_that_is_not_there_is_the_last():
    ends = Cadence(months=1).after(np.datetime64("2019-12-31", "ns"), 4).astype("datetime64[D]").astype(str).tolist()
    assert ends == ["2020-01-31", "2020-02-29", "2020-03-31", "2020-04-30"]
    quarters = Cadence(months=3).after(np.datetime64("2020-11-16T12", "ns"), 2).astype("datetime64[h]")
    assert quarters.astype(str).tolist() == ["2021-02-16T12", "2021-05-16T12"]


@given(st.integers(1, 40), st.integers(1, 30), st.sampled_from(["h", "D", "m"]), st.integers(1, 7))
def test_what_comes_after_follows(known, more, unit, every):
    times = np.datetime64("2019-11-05", "ns") + np.arange(known + 1) * np.timedelta64(every, unit)
    cadence = infer(times)
    whole = np.concatenate([times, cadence.after(times[-1], more)])
    assert cadence.follows(whole).all()


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 5), st.integers(1, 28))
def test_months_that_come_after_follow(known, more, every, day):
    months = np.datetime64("2019-11") + np.arange(0, every * (known + 1), every)
    times = (months.astype("datetime64[D]") + day - 1).astype("datetime64[ns]")
    after = Cadence(months=every).after(times[-1], more)
    assert Cadence(months=every).follows(np.concatenate([times, after])).all()
    assert ((after.astype("datetime64[D]") - after.astype("datetime64[M]")).astype(int) == day - 1).all()
