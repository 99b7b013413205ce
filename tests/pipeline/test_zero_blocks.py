import numpy as np
import pytest
import xarray as xr

from pipeline.survey import take_survey

RNG = np.random.default_rng(4)


def smooth(frames=6, rows=40, columns=60):
    """Noise averaged over nine by nine points, so that areas have ragged edges."""
    noise = RNG.normal(size=(frames, rows + 8, columns + 8))
    windows = np.lib.stride_tricks.sliding_window_view(noise, (9, 9), axis=(1, 2))
    return 9 * windows.mean(axis=(-2, -1))


def found(values):
    data = xr.DataArray(values.astype("float32"), dims=("time", "lat", "lon"), name="t").chunk(time=4)
    return take_survey(data.to_dataset()).variables["t"].zero_blocks


@pytest.mark.parametrize(
    "values",
    [
        np.clip(smooth(), 0, None),  # rain
        np.round(np.clip(smooth() + 1, 0, None), 1),  # rain in steps of a gauge
        np.clip(np.sin(np.linspace(-2, 4, 60)) * np.ones((6, 40, 1)), 0, None),  # night with a straight edge
        np.where(smooth() > 0, 271.0, 0.0) * (np.arange(6) > 2)[:, None, None],  # ragged, or zero throughout
        smooth(),
    ],
    ids=["rain", "gauge", "night", "ragged", "no zeros"],
)
def test_natural_zeros_are_no_blocks(values):
    assert not found(values).any()


@pytest.mark.parametrize("offset", [0.0, 280.0])
def test_a_tile_that_was_not_filled_is_one(offset):
    values = smooth() + offset
    values[3, 10:18, 20:28] = 0.0
    values[4, :8, :16] = 0.0
    assert found(values).tolist() == [0, 0, 0, 64, 128, 0]


def test_a_tile_beside_the_sea_is_one():
    values = smooth() + 280.0
    values[:, :, :22] = np.nan
    values[2, 8:16, 16:40] = np.where(np.isnan(values[2, 8:16, 16:40]), np.nan, 0.0)
    assert found(values).tolist() == [0, 0, 144, 0, 0, 0]
