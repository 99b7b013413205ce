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
