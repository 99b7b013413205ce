import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.forcings import CHANNELS, ForcingFields
from pipeline.grid import GridSpec

GLOBE = GridSpec((-90.0, 0.0, 30.0), (-90.0, 0.0), "lat", "lon", True, "closed")
PLANE = GridSpec((0.0, 0.5), (0.0, 0.5), "y", "x", False, "periodic")
MASK = np.array([[True, False], [True, True], [False, True]])
moments = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2100, 1, 1)).map(np.datetime64)


def at(names, times, grid=GLOBE, mask=MASK):
    return ForcingFields(names, grid, mask).at(np.asarray(times))


def test_channels_follow_the_order_of_the_names():
    fields = ForcingFields(["mask", "longitude", "time_of_day"], GLOBE, MASK)
    assert fields.channels == ("mask", "longitude_sin", "longitude_cos", "time_of_day_sin", "time_of_day_cos")


def test_noon_and_six_in_the_morning():
    out = at(["time_of_day"], np.array(["2017-01-31T12:00", "1969-07-20T06:00"], "datetime64[ns]"))
    assert out.shape == (2, 2, 3, 2)
    np.testing.assert_allclose(out[:, :, 0, 0], [[0, -1], [1, 0]], atol=1e-6)
    assert (out == out[:, :, :1, :1]).all()


@pytest.mark.parametrize("middle", ["2017-07-02T12:00", "2020-07-02T00:00"])
def test_the_middle_of_a_year_leap_or_not(middle):
    out = at(["time_of_year"], np.array([middle], "datetime64[s]"))
    np.testing.assert_allclose(out[0, :, 0, 0], [0, -1], atol=1e-6)


@given(moments)
def test_a_day_and_a_year_end_where_the_next_begins(moment):
    day = moment.astype("datetime64[D]")
    just_before = (day + 1).astype("datetime64[us]") - np.timedelta64(1, "us")
    out = at(["time_of_day", "time_of_year"], np.array([just_before, day + 1], "datetime64[us]"))
    np.testing.assert_allclose(out[0], out[1], atol=1e-6)


@given(st.lists(moments, min_size=1, max_size=4))
def test_every_channel_is_finite_and_of_order_one(times):
    out = at(list(CHANNELS), np.array(times, "datetime64[us]"))
    assert out.dtype == np.float32
    assert np.isfinite(out).all()
    assert abs(out).max() < 1.04


def test_static_fields():
    out = at(["latitude", "longitude", "mask"], np.arange(6.0).reshape(2, 3))
    assert out.shape == (2, 3, 4, 3, 2)
    np.testing.assert_allclose(out[1, 2, 0, :, 0], [-1, 0, 0.5], atol=1e-6)
    np.testing.assert_allclose(out[0, 0, 1:3, 0, :], [[-1, 0], [0, 1]], atol=1e-6)
    np.testing.assert_array_equal(out[0, 1, 3], MASK)


def test_position_goes_round_once_along_each_axis():
    out = at(["position"], np.arange(2.0), PLANE, np.ones((2, 2), bool))
    np.testing.assert_allclose(out[1, :, :, 0], [[0, 0], [1, -1], [0, 0], [1, 1]], atol=1e-6)
    np.testing.assert_allclose(out[1, :, 0, :], [[0, 0], [1, 1], [0, 0], [1, -1]], atol=1e-6)


def test_no_forcing_gives_no_channel():
    assert at([], np.arange(5.0)).shape == (5, 0, 3, 2)


@pytest.mark.parametrize("name", ["time_of_day", "time_of_year"])
def test_refuses_the_time_of_day_of_a_simulation(name):
    with pytest.raises(ConfigError, match=f"'{name}' needs an archive with dates"):
        at([name], np.arange(5.0))


@pytest.mark.parametrize("name", ["latitude", "longitude"])
def test_refuses_latitude_on_a_plane(name):
    with pytest.raises(ConfigError, match=f"'{name}' needs a grid of latitude and longitude"):
        ForcingFields([name], PLANE, np.ones((2, 2), bool))
