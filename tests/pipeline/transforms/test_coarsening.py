"""Coarser grids: what is kept by averaging, and what a mask does to it."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceError
from pipeline.grid import GridSpec
from pipeline.transforms import coarsened


def made(height, width, frames=2, seed=0, geographic=True):
    values = np.random.default_rng(seed).normal(280, 10, (frames, height, width)).astype("f4")
    if not geographic:
        return xr.Dataset({"t": (("time", "y", "x"), values)}, {"y": np.arange(height), "x": np.arange(width)})
    step = 120 / height
    coords = {"lat": -60 + step * (np.arange(height) + 0.5), "lon": np.arange(width) * 360 / width}
    return xr.Dataset({"t": (("time", "lat", "lon"), values, {"units": "K"})}, coords)


def area_mean(dataset):
    weights = GridSpec.from_dataset(dataset, "closed").area_weights()
    return (dataset["t"].values.astype("f8") * weights).mean(axis=(1, 2))


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99), st.booleans())
def test_the_mean_over_the_area_is_kept(factor, rows, columns, seed, geographic):
    before = made(factor * rows, factor * columns, seed=seed, geographic=geographic)
    after = coarsened(before, factor, {"t": np.zeros((factor * rows, factor * columns), bool)})
    assert after["t"].shape == (2, rows, columns)
    np.testing.assert_allclose(area_mean(after), area_mean(before), rtol=1e-6)
    assert after["t"].dtype == np.float32
    assert after["t"].attrs == before["t"].attrs


@given(st.integers(0, 2**16 - 1))
def test_a_point_is_valid_where_half_of_its_area_is_and_is_the_mean_of_that(bits):
    absent = ((bits >> np.arange(16)) & 1).astype(bool).reshape(4, 4)
    before = made(4, 4, geographic=False)
    masked = before.where(~xr.DataArray(absent, dims=("y", "x")))
    after = coarsened(masked, 2, {"t": absent})["t"].values
    for row in range(2):
        for column in range(2):
            block = np.s_[2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            gone = absent[block]
            if gone.sum() > 2:
                assert np.isnan(after[:, row, column]).all()
            else:
                wanted = before["t"].values[(slice(None), *block)][:, ~gone].mean(axis=1)
                np.testing.assert_allclose(after[:, row, column], wanted, rtol=1e-6)


def test_a_gap_in_time_stays_a_gap():
    before = made(4, 4)
    before["t"].values[1, 0, 0] = np.nan
    after = coarsened(before, 2, {"t": np.zeros((4, 4), bool)})["t"].values
    assert np.isnan(after[1, 0, 0])
    assert np.isfinite(after).sum() == 7


def test_coordinates_are_those_of_the_middle_and_weights_are_by_area():
    before = made(2, 2)
    after = coarsened(before, 2, {"t": np.zeros((2, 2), bool)})
    assert after["lat"].values.tolist() == [0.0]
    assert after["lon"].values.tolist() == [90.0]
    tilted = xr.Dataset(
        {"t": (("time", "lat", "lon"), np.array([[[0.0], [1.0]]], "f4").repeat(2, 2))},
        {"lat": [0.0, 60.0], "lon": [0, 1]},
    )
    found = coarsened(tilted, 2, {"t": np.zeros((2, 2), bool)})["t"].item()
    assert found == pytest.approx(0.5 / 1.5)  # cos 60 degrees is a half


def test_a_grid_that_is_no_multiple_is_refused():
    with pytest.raises(SourceError, match=r"5 points along 'lat' are no multiple of source.coarsen \(2\)"):
        coarsened(made(5, 4), 2, {"t": np.zeros((5, 4), bool)})
