"""The formulas of derived quantities: wind taken apart and put together, compass directions, rates and amounts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.derivations import DERIVATIONS

SPEED, FROM, EAST, NORTH = (
    DERIVATIONS[name].function for name in ("wind_speed", "wind_direction", "eastward_wind", "northward_wind")
)
COMPONENT = st.floats(-100, 100, allow_subnormal=False)


@pytest.mark.parametrize(
    ("u", "v", "degrees"),
    [(0, -1, 0), (-1, 0, 90), (0, 1, 180), (1, 0, 270), (-1, -1, 45), (0, 0, 0), (-0.0, -0.0, 0), (1e-20, -1, 0)],
)
def test_directions_are_those_the_wind_blows_from(u, v, degrees):
    assert FROM(np.float64(u), np.float64(v)) == pytest.approx(degrees, abs=1e-12)


@given(COMPONENT, COMPONENT)
def test_speed_and_direction_give_the_components_back(u, v):
    speed, direction = SPEED(np.float64(u), np.float64(v)), FROM(np.float64(u), np.float64(v))
    assert 0.0 <= direction < 360.0
    assert EAST(speed, direction) == pytest.approx(u, abs=1e-9)
    assert NORTH(speed, direction) == pytest.approx(v, abs=1e-9)


@given(st.floats(0, 1e3), st.integers(1, 10**6))
def test_an_amount_of_a_rate_of_an_amount_is_the_amount(amount, seconds):
    rate = DERIVATIONS["rate"].function(np.float64(amount), seconds)
    assert DERIVATIONS["amount"].function(rate, seconds) == pytest.approx(amount, rel=1e-12)


def test_what_is_missing_stays_missing():
    gone = np.array([np.nan, 1.0])
    for function in (SPEED, FROM, EAST, NORTH):
        assert np.isnan(function(gone, np.ones(2))).tolist() == [True, False]
        assert np.isnan(function(np.ones(2), gone)).tolist() == [True, False]
