"""Other grids: what each method keeps, what a mask and a gap become, and that blocks make no difference."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config_transforms import RegridConfig
from pipeline.errors import SourceError
from pipeline.transforms import regridded


def made(lat, lon, frames=2, seed=0):
    values = np.random.default_rng(seed).normal(280, 10, (frames, len(lat), len(lon))).astype("f4")
    coords = {"lat": ("lat", lat, {"units": "degrees_north"}), "lon": ("lon", lon, {"units": "degrees_east"})}
    return xr.Dataset({"t": (("time", "lat", "lon"), values, {"units": "K"})}, coords)


def axis(first, last, count):
    """Middles of `count` cells between two edges."""
    step = (last - first) / count
    return first + step * (np.arange(count) + 0.5)


def target(lat, lon, method="conservative"):
    def triple(points):
        return (float(points[0]), float(points[-1]), float(points[1] - points[0]))

    return RegridConfig(lat=triple(lat), lon=triple(lon), method=method)


def none_absent(fields):
    return {"t": np.zeros(fields["t"].shape[-2:], bool)}


def area_mean(fields):
    weights = np.cos(np.deg2rad(fields["lat"].values))[:, None] * np.ones(fields.sizes["lon"])
    return (fields["t"].values.astype("f8") * weights).sum(axis=(1, 2)) / weights.sum()


SIDES = st.tuples(*[st.integers(2, 12)] * 4)


@given(SIDES, st.integers(0, 99), st.sampled_from([0.0, 7.25, 90.0]))
def test_conservative_keeps_the_mean_over_the_globe(sides, seed, turn):
    before = made(axis(-90, 90, sides[0]), axis(-180, 180, sides[1]), seed=seed)
    after = regridded(
        before, target(axis(-90, 90, sides[2]), axis(-180 + turn, 180 + turn, sides[3])), none_absent(before)
    )
    assert after["t"].shape == (2, sides[2], sides[3])
    np.testing.assert_allclose(area_mean(after), area_mean(before), rtol=2e-6)
    assert after["t"].dtype == np.float32
    assert after["t"].attrs == {"units": "K"}


@given(SIDES, st.integers(0, 99))
def test_conservative_keeps_the_mean_over_a_region(sides, seed):
    before = made(axis(40, 60, sides[0]), axis(-10, 20, sides[1]), seed=seed)
    after = regridded(before, target(axis(40, 60, sides[2]), axis(-10, 20, sides[3])), none_absent(before))
    np.testing.assert_allclose(area_mean(after), area_mean(before), rtol=2e-6)


@given(SIDES, st.sampled_from(["conservative", "linear", "nearest"]))
def test_a_constant_stays_constant(sides, method):
    before = made(axis(-90, 90, sides[0]), axis(-180, 180, sides[1]))
    before["t"].values[:] = 281.25
    after = regridded(before, target(axis(-90, 90, sides[2]), axis(-180, 180, sides[3]), method), none_absent(before))
    np.testing.assert_allclose(after["t"].values, 281.25, rtol=1e-7)


@pytest.mark.parametrize("method", ["conservative", "linear", "nearest"])
@given(SIDES)
def test_the_same_grid_changes_nothing(method, sides):
    before = made(axis(-90, 90, sides[0]), axis(-180, 180, sides[1]))
    after = regridded(before, target(axis(-90, 90, sides[0]), axis(-180, 180, sides[1]), method), none_absent(before))
    np.testing.assert_allclose(after["t"].values, before["t"].values, rtol=2e-6 if method != "nearest" else 0)


@pytest.mark.parametrize("method", ["conservative", "linear", "nearest"])
def test_the_same_grid_of_plain_numbers_changes_not_a_bit(method):
    before = made(np.arange(50.0, 55.0), np.arange(-4.0, 4.0, 0.5))
    after = regridded(before, target(before["lat"].values, before["lon"].values, method), none_absent(before))
    np.testing.assert_array_equal(after["t"].values, before["t"].values)


def test_linear_is_exact_for_what_is_linear():
    lat, lon = np.arange(40.0, 61.0, 2), np.arange(-10.0, 11.0, 2)
    before = made(lat, lon)
    before["t"].values[:] = 3 * lat[:, None] + lon[None] + 0.5
    after = regridded(before, target(np.arange(41, 60, 0.75), np.arange(-9, 9, 0.4), "linear"), none_absent(before))
    expected = 3 * after["lat"].values[:, None] + after["lon"].values[None] + 0.5
    np.testing.assert_allclose(after["t"].values[0], expected, rtol=1e-5)


def test_nearest_takes_the_nearest_point():
    before = made(np.arange(4.0), np.arange(4.0), frames=1)
    after = regridded(before, target(np.arange(0.4, 3, 0.8), np.arange(0.4, 3, 0.8), "nearest"), none_absent(before))
    place = np.round(np.arange(0.4, 3, 0.8)).astype(int)
    np.testing.assert_array_equal(after["t"].values[0], before["t"].values[0][np.ix_(place, place)])


@pytest.mark.parametrize("method", ["conservative", "linear", "nearest"])
def test_a_globe_goes_on_across_the_date_line(method):
    lon = np.arange(-180.0, 180.0, 10)
    before = made(np.arange(-85.0, 90, 10), lon)
    before["t"].values[:] = np.cos(np.deg2rad(lon))  # smooth across the date line
    after = regridded(before, target(np.arange(-45, 50, 10.0), np.arange(165, 195.1, 2.5), method), none_absent(before))
    tolerance = 0.02 if method != "nearest" else 0.05
    np.testing.assert_allclose(after["t"].values[0, 0], np.cos(np.deg2rad(after["lon"].values)), atol=tolerance)


@given(st.integers(0, 2**16 - 1))
def test_a_point_is_valid_where_half_of_its_area_is_and_is_the_mean_of_that(bits):
    absent = ((bits >> np.arange(16)) & 1).astype(bool).reshape(4, 4)
    lat, lon = np.array([-1.5, -0.5, 0.5, 1.5]), np.arange(4.0)
    before = made(lat, lon)
    masked = before.where(~xr.DataArray(absent, dims=("lat", "lon")))
    after = regridded(masked, target(np.array([-1.0, 1.0]), np.array([0.5, 2.5])), {"t": absent})["t"].values
    area = np.diff(np.sin(np.deg2rad([-2, -1, 0, 1, 2])))[:, None] * np.ones(4)
    for row in range(2):
        for column in range(2):
            block = np.s_[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            weights = np.where(absent[block], 0.0, area[block])
            if weights.sum() < 0.5 * area[block].sum() - 1e-9:
                assert np.isnan(after[:, row, column]).all()
            else:
                wanted = (before["t"].values[(slice(None), *block)] * weights).sum(axis=(1, 2)) / weights.sum()
                np.testing.assert_allclose(after[:, row, column], wanted, rtol=1e-6)


@pytest.mark.parametrize(("method", "gone"), [("conservative", 1), ("linear", 4), ("nearest", 1)])
def test_a_gap_in_time_stays_a_gap_in_its_frame_and_place(method, gone):
    before = made(np.arange(0.0, 8), np.arange(0.0, 8))
    before["t"].values[1, 2, 2] = np.nan
    grid = {
        "conservative": target(np.arange(0.5, 8, 2), np.arange(0.5, 8, 2)),
        "linear": target(np.arange(0.5, 7, 1), np.arange(0.5, 7, 1), "linear"),
        "nearest": target(np.arange(0.0, 8), np.arange(0.0, 8), "nearest"),
    }[method]
    after = regridded(before, grid, none_absent(before))["t"].values
    assert np.isfinite(after[0]).all()
    assert np.isnan(after[1]).sum() == gone


@pytest.mark.parametrize("method", ["conservative", "linear"])
def test_blocks_in_time_make_no_difference_and_nothing_is_computed_early(method):
    before = made(axis(40, 60, 30), axis(-10, 20, 40), frames=23)
    before["t"].values[:, 3:9, 4:20] = np.nan
    absent = {"t": np.isnan(before["t"].values).all(axis=0)}
    grid = target(np.arange(42, 58, 0.7), np.arange(-8, 18, 0.9), method)
    whole = regridded(before, grid, absent)["t"].values
    for rows in (1, 5, 23):
        lazy = regridded(before.chunk(time=rows), grid, absent)["t"]
        assert lazy.chunks is not None
        assert lazy.chunksizes["time"] == before.chunk(time=rows).chunksizes["time"]
        np.testing.assert_array_equal(lazy.values, whole)
    assert 0 < np.isnan(whole[0]).sum() < whole[0].size


@pytest.mark.parametrize(
    ("lat", "method", "message"),
    [
        (np.arange(50, 71, 1.0), "conservative", "has the lat 61, which the file .* does not reach"),
        (np.arange(30, 51, 1.0), "linear", "has the lat 30, which the file .* does not reach"),
    ],
)
def test_a_grid_beyond_the_file_is_refused(lat, method, message):
    before = made(np.arange(40.0, 61), np.arange(0.0, 5))
    with pytest.raises(SourceError, match=message):
        regridded(before, target(lat, np.arange(1.0, 4), method), none_absent(before))


def test_a_plane_and_a_single_row_are_refused():
    grid = target(np.arange(3.0), np.arange(3.0))
    plane = made(np.arange(3.0), np.arange(3.0)).rename(lat="y", lon="x")
    with pytest.raises(SourceError, match="needs latitudes and longitudes"):
        regridded(plane, grid, none_absent(plane))
    row = made(np.arange(1.0), np.arange(3.0))
    with pytest.raises(SourceError, match="a single point along 'lat'"):
        regridded(row, grid, none_absent(row))
