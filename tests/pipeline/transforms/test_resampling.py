"""Longer steps in time: which frames make an interval, what is made of them, what it is called."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config_transforms import ResampleConfig
from pipeline.transforms.resampling import intervals, resampled

HOUR = 3600 * 10**6


def hourly(count, first=0, step=1, seed=0):
    times = np.datetime64("2020-01-01T00", "ns") + (first + step * np.arange(count)) * np.timedelta64(1, "h")
    values = np.random.default_rng(seed).normal(280, 10, (count, 3, 4)).astype("f4")
    coords = {"time": times, "lat": np.arange(3.0), "lon": np.arange(4.0)}
    return xr.Dataset({"t": (("time", "lat", "lon"), values, {"units": "K"})}, coords)


def micros(fields):
    return fields["time"].values.astype("datetime64[us]").astype("int64")


def at(hour):
    return np.datetime64("2020-01-01T00", "ns") + np.timedelta64(hour, "h")


@given(
    st.integers(0, 60), st.integers(0, 30), st.sampled_from([1, 2, 3, 6]), st.sampled_from(["6h", "12h", "1d"]),
    st.sampled_from(["left", "right"]),
)  # fmt: skip
def test_an_interval_holds_exactly_the_frames_between_its_borders(count, first, step, length, label):
    fields, resample = hourly(count + 1, first, step), ResampleConfig(step=length, label=label)
    whole, hours = intervals(micros(fields), step * HOUR, resample), resample.seconds // 3600
    got = (whole.labels - at(0).astype("datetime64[us]").astype("int64")) // HOUR
    inside = first + step * np.arange(count + 1)
    expected, frames = [], []
    for end in range(-48, 400):
        low, high = (end - hours, end) if label == "right" else (end - 1, end + hours - 1)
        held = inside[(inside > low) & (inside <= high)]
        if end % hours == 0 and len(held) == hours // step:
            expected.append(end)
            frames.append(held)
    assert got.tolist() == expected
    taken = inside[whole.start : whole.stop].reshape(-1, whole.frames)
    assert taken.tolist() == [held.tolist() for held in frames]


@pytest.mark.parametrize("how", ["mean", "sum", "min", "max", "first", "last"])
@pytest.mark.parametrize("chunks", [None, 1, 4, 5, 100])
def test_each_way_is_what_numpy_makes_of_it(how, chunks):
    fields = hourly(29, first=1)
    fields["t"].values[:, 1, 1] = np.nan
    fields["t"].values[9, 0, 0] = np.nan
    resample = ResampleConfig(step="6h", how=how)
    whole = intervals(micros(fields), HOUR, resample)
    made = resampled(fields if chunks is None else fields.chunk(time=chunks), whole, resample, {})
    assert (made["t"].chunks is None) == (chunks is None)
    rows = fields["t"].values[:24].astype("f8").reshape(4, 6, 3, 4)
    expected = rows[:, 0] if how == "first" else rows[:, -1] if how == "last" else getattr(rows, how)(axis=1)
    np.testing.assert_allclose(made["t"].values, expected, rtol=1e-7)
    assert made["t"].dtype == np.float32
    assert np.isnan(made["t"].values[1, 0, 0]) == (how not in ("first", "last"))
    np.testing.assert_array_equal(made["time"].values, [at(6), at(12), at(18), at(24)])


def test_variables_may_differ_and_attributes_say_how():
    fields = hourly(24)
    fields["pr"] = fields["t"].assign_attrs(units="kg m-2", cell_methods="area: mean")
    resample = ResampleConfig(step="1d", label="left")
    made = resampled(fields, intervals(micros(fields), HOUR, resample), resample, {"pr": "sum"})
    assert made["t"].attrs["cell_methods"] == "time: mean (interval: 3600 s comment: mean over the 1d from the time)"
    assert made["pr"].attrs["cell_methods"].startswith("area: mean time: sum (interval: 3600 s")
    np.testing.assert_allclose(made["pr"].values[0], 24 * made["t"].values[0], rtol=1e-6)
    assert made["t"].attrs["units"] == "K"


def test_relative_times_of_samples():
    values = np.arange(2 * 8 * 4, dtype="f4").reshape(2, 8, 2, 2)
    fields = xr.Dataset({"w": (("sample", "time", "y", "x"), values)}, {"time": np.arange(8) * 0.5})
    resample = ResampleConfig(step="2s", label="left")
    whole = intervals(np.round(fields["time"].values * 1e6).astype("int64"), 500_000, resample)
    made = resampled(fields, whole, resample, {})
    assert made["w"].dims == ("sample", "time", "y", "x")
    assert made["time"].values.tolist() == [0.0, 2.0]
    np.testing.assert_allclose(made["w"].values, values.reshape(2, 2, 4, 2, 2).mean(axis=2))
