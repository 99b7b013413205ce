import numpy as np
import pytest
import xarray as xr

from pipeline.climatology import Climatology
from pipeline.damped_persistence import Damping, fit_damping
from pipeline.splits import Span, Split


def archive(values, **coords):
    dims = ("time", "y", "x") if values.ndim == 3 else ("sample", "time", "y", "x")
    frames = np.arange(values.shape[-3], dtype=float)
    sizes = {"y": np.arange(values.shape[-2], dtype=float), "x": np.arange(values.shape[-1], dtype=float)}
    return xr.Dataset({"v": (dims, values)}, {"time": frames, **sizes})


def normal(level, shape):
    return Climatology("mean", ("v",), np.full((1, 1, *shape), level, "float32"), 1, ("0", "1"))


def whole(dataset, frames=None):
    return Split("train", Span(0, dataset.sizes.get("sample", 1)), Span(*(frames or (0, dataset.sizes["time"]))))


def test_the_anomaly_of_a_geometric_decay_shrinks_by_its_ratio():
    decay = 0.8 ** np.arange(20)
    dataset = archive(5 + decay[:, None, None] * np.ones((1, 3, 4)))
    found = fit_damping(dataset, normal(5, (3, 4)), whole(dataset), 4)
    np.testing.assert_allclose(found.coefficients[:, 0], 0.8 ** np.arange(1, 5), rtol=1e-4)


@pytest.mark.parametrize("block_bytes", [1, 500, 2**26])
@pytest.mark.parametrize("samples", [None, 3])
def test_it_is_the_regression_coefficient_whatever_the_blocks(samples, block_bytes):
    shape = (30, 3, 4) if samples is None else (samples, 30, 3, 4)
    values = np.random.default_rng(0).normal(size=shape).cumsum(axis=-3)
    values[..., 4, 1, 2] = np.nan
    dataset = archive(values)
    found = fit_damping(dataset, normal(0, (3, 4)), whole(dataset, (0, 20)), 5, block_bytes=block_bytes)
    for lead in range(1, 6):
        before, after = values[..., : 20 - lead, :, :], values[..., lead:20, :, :]
        known = np.isfinite(before) & np.isfinite(after)
        expected = (before * after)[known].sum() / (before[known] ** 2).sum()
        assert found.coefficients[lead - 1, 0] == pytest.approx(expected, rel=1e-4)


def test_only_the_training_split_is_read_and_a_longer_lead_is_climatology():
    values = np.ones((10, 3, 4))
    values[4:] = np.inf  # would show
    dataset = archive(values)
    found = fit_damping(dataset, normal(0, (3, 4)), whole(dataset, (0, 4)), 6)
    np.testing.assert_allclose(found.coefficients[:, 0], [1, 1, 1, 0, 0, 0])


def test_the_forecast_lies_between_climatology_and_persistence():
    damping = Damping(np.array([[1.0], [0.5], [0.0]]))
    last, now = np.full((1, 1, 2, 2), 7, "float32"), np.full((1, 1, 2, 2), 5, "float32")
    then = np.full((1, 3, 1, 2, 2), 10, "float32")
    np.testing.assert_array_equal(damping.forecast(last, now, then)[0, :, 0, 0, 0], [12, 11, 10])
