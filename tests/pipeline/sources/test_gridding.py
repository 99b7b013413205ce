import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.gridding import gridded

LAT, LON = np.arange(50.0, 56.0), np.arange(-4.0, 4.0)
METHODS = ["nearest", "inverse_distance", "bin_mean"]
STATIONS = st.integers(1, 40).flatmap(
    lambda number: st.tuples(
        *(
            st.lists(st.floats(low, high, width=32), min_size=number, max_size=number).map(np.array)
            for low, high in ((47, 59), (-8, 8), (-50, 50))
        )
    )
)


def on_grid(lat, lon, values, method, grid_lon=LON):
    return gridded(lat, lon, values, LAT, grid_lon, method, neighbours=8, power=2.0)


@pytest.mark.parametrize("method", METHODS)
@given(stations=STATIONS)
def test_values_stay_between_those_of_the_stations_and_all_are_counted(method, stations):
    lat, lon, values = stations
    field, count = on_grid(lat, lon, values, method)
    assert field.shape == count.shape == (6, 8)
    assert (field >= values.min() - 1e-9).all()
    assert (field <= values.max() + 1e-9).all()
    inside = (lat >= 49.5) & (lat < 55.5) & (lon >= -4.5) & (lon < 3.5)
    assert count.sum() == inside.sum()


@pytest.mark.parametrize("method", METHODS)
@given(stations=STATIONS)
def test_adding_a_constant_adds_it_everywhere(method, stations):
    lat, lon, values = stations
    assert np.allclose(on_grid(lat, lon, values + 7.0, method)[0], on_grid(lat, lon, values, method)[0] + 7.0)


@given(stations=STATIONS)
def test_bin_mean_is_the_mean_in_each_cell_and_else_the_nearest(stations):
    lat, lon, values = stations
    field, count = on_grid(lat, lon, values, "bin_mean")
    nearest, _ = on_grid(lat, lon, values, "nearest")
    for row, south in enumerate(LAT - 0.5):
        for column, west in enumerate(LON - 0.5):
            inside = (lat >= south) & (lat < south + 1) & (lon >= west) & (lon < west + 1)
            assert count[row, column] == inside.sum()
            expected = values[inside].mean() if inside.any() else nearest[row, column]
            assert np.isclose(field[row, column], expected)


@pytest.mark.parametrize("method", METHODS)
def test_a_station_at_a_point_gives_its_value_there(method):
    lat, lon = np.array([51.0, 54.0, 58.0]), np.array([-2.0, 3.0, 0.0])
    field, _ = on_grid(lat, lon, np.array([10.0, 20.0, 99.0]), method)
    assert field[1, 2] == pytest.approx(10.0)
    assert field[4, 7] == pytest.approx(20.0)


def test_inverse_distance_by_hand():
    # two stations on the equator, 1 and 2 degrees from the point: weights 1 and 1/4
    field, _ = gridded(
        np.zeros(2), np.array([1.0, -2.0]), np.array([10.0, 20.0]), np.array([0.0, 1]), np.array([0.0, 1]),
        "inverse_distance", neighbours=8, power=2.0,
    )  # fmt: skip
    assert field[0, 0] == pytest.approx((10.0 + 20.0 / 4) / 1.25)


def test_the_nearest_is_found_across_the_date_line():
    field, count = on_grid(np.array([52.0, 52.0]), np.array([179.5, -170.0]), np.array([1.0, 2.0]), "nearest",
                           np.arange(-180.0, -172.0))  # fmt: skip
    assert field[2, 0] == 1.0
    assert field[2, 7] == 2.0
    assert count.sum() == 1  # 179.5 is within half a spacing of -180
