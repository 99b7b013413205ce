"""Insolation: night, noon, equinox, solstices, the mean over a day and over a year."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.forcings import ForcingFields
from pipeline.grid import GridSpec
from pipeline.insolation import daily_insolation, insolation

MINUTE = np.timedelta64(1, "m")
moments = st.integers(0, 40 * 366 * 1440).map(lambda minutes: np.datetime64("1990-01-01", "ns") + minutes * MINUTE)
latitudes = st.floats(-90, 90)
longitudes = st.floats(-180, 360)


def at(time, lat, lon):
    return insolation(np.array(time), np.array([lat]), np.array([lon])).item()


@given(moments, latitudes, longitudes)
def test_it_is_of_order_one_and_never_negative(time, lat, lon):
    assert 0.0 <= at(time, lat, lon) < 1.04


@given(moments, latitudes, longitudes)
def test_where_it_is_night_the_other_side_of_the_earth_has_day(time, lat, lon):
    here, there = at(time, lat, lon), at(time, -lat, lon + 180)
    assert here == 0.0 or there < 1e-12


@given(moments, latitudes, st.floats(-180, 180))
def test_local_time_follows_longitude(time, lat, lon):
    there = time + np.timedelta64(round(lon * 240), "s")  # four minutes for each degree
    assert at(time, lat, lon) == pytest.approx(at(there, lat, 0.0), abs=6e-3)


@given(moments, latitudes)
def test_the_mean_of_a_day_is_the_mean_of_its_moments(time, lat):
    day = time + np.arange(-720, 720, 10) * MINUTE
    exact = insolation(day, np.array([lat]), np.array([0.0])).mean()
    assert daily_insolation(np.array(time), np.array([lat])).item() == pytest.approx(exact, abs=2e-3)


def test_at_an_equinox_day_and_night_are_equal_everywhere():
    time = np.array(np.datetime64("2021-03-20T09:37", "ns"))
    lat = np.linspace(-89, 89, 90)
    np.testing.assert_allclose(daily_insolation(time, lat), np.cos(np.deg2rad(lat)) / np.pi, atol=6e-3)


def test_solstices_have_a_polar_day_and_a_polar_night():
    june = np.datetime64("2021-06-21", "ns") + np.arange(0, 1440, 30) * MINUTE
    arctic, antarctic = (insolation(june, np.array([lat]), np.array([10.0])) for lat in (80.0, -80.0))
    assert arctic.min() > 0.2
    assert antarctic.max() == 0.0
    # the north pole gets more in a day of June than the equator ever does
    assert daily_insolation(june[:1], np.array([90.0])).item() > daily_insolation(june[:1], np.array([0.0])).item()


def test_known_values():
    # noon at Greenwich in June: the sun at a height of 90 - 51.48 + 23.44 degrees and 1.0163 times its mean distance
    noon = np.datetime64("2021-06-21T12:02", "ns")
    assert at(noon, 51.48, 0.0) == pytest.approx(np.sin(np.deg2rad(61.96)) / 1.0163**2, abs=1e-3)
    # the earth is nearest to the sun in January, by 3.4 % in radiation
    january, july = (
        daily_insolation(np.array(np.datetime64(day, "ns")), np.array([0.0])) for day in ("2021-01-04", "2021-07-05")
    )
    assert (january / july).item() == pytest.approx((1.0167 / 0.9833) ** 2, rel=3e-3)


def test_the_mean_over_the_globe_and_the_year_is_a_quarter():
    times = np.datetime64("2021-01-01T12", "ns") + np.arange(365) * np.timedelta64(1, "D")
    lat = np.linspace(-89.5, 89.5, 180)
    weights = np.cos(np.deg2rad(lat))
    assert (daily_insolation(times, lat) * weights).sum() / weights.sum() / 365 == pytest.approx(0.25, abs=2e-4)


def test_the_forcing_has_its_mean_over_the_day_where_steps_are_long():
    grid = GridSpec((-30.0, 0.0, 50.0), (0.0, 90.0, 180.0, 270.0), "lat", "lon", True, "closed")
    times = np.array([["2020-01-01T00", "2020-07-01T06"]], dtype="datetime64[ns]")
    mask = np.ones(grid.shape, bool)
    short, long = (ForcingFields(["insolation"], grid, mask, daily=daily).at(times) for daily in (False, True))
    assert short.shape == long.shape == (1, 2, 1, 3, 4)
    np.testing.assert_allclose(short[:, :, 0], insolation(times, np.asarray(grid.y), np.asarray(grid.x)), rtol=1e-6)
    np.testing.assert_allclose(long[0, :, 0, :, 0], daily_insolation(times[0], np.asarray(grid.y)), rtol=1e-6)
    np.testing.assert_array_equal(long[..., 0], long[..., 3])


def test_it_needs_dates_and_latitudes():
    grid = GridSpec((0.0, 1.0), (0.0, 1.0), "lat", "lon", True, "closed")
    plane = GridSpec((0.0, 1.0), (0.0, 1.0), "y", "x", False, "closed")
    with pytest.raises(ConfigError, match="'insolation' needs an archive with dates"):
        ForcingFields(["insolation"], grid, np.ones((2, 2), bool)).at(np.array([1.0]))
    with pytest.raises(ConfigError, match="'insolation' needs a grid of latitude and longitude"):
        ForcingFields(["insolation"], plane, np.ones((2, 2), bool))
