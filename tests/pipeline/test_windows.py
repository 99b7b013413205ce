import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from pipeline import archive
from pipeline.climatology import fit_climatology
from pipeline.config import ArchiveConfig
from pipeline.errors import ArchiveError, ConfigError
from pipeline.splits import Span, Split
from pipeline.windows import FrameReader, Window, windows

LAYOUT = ArchiveConfig(chunk_time=5, chunk_space=4, shard_time=10, shard_space=8)
FILL = (280.0, -1.0)


def whole(samples, frames):
    return Split("train", Span(0, samples), Span(0, frames))


def weather():
    """Forty hours of two variables, a fifth of the points masked in both."""
    rng = np.random.default_rng(0)
    mask = rng.random((6, 5)) > 0.2
    fields = rng.normal(size=(2, 40, 6, 5)).astype(np.float32)
    fields[:, :, ~mask] = np.nan
    return xr.Dataset(
        {
            "t2m": (("time", "lat", "lon"), fields[0], {"units": "K"}),
            "wind": (("time", "lat", "lon"), fields[1], {"units": "m s-1"}),
        },
        coords={
            "time": np.datetime64("2017-01-01T00", "ns") + np.arange(40) * np.timedelta64(1, "h"),
            "lat": ("lat", np.linspace(50, 55, 6), {"units": "degrees_north", "standard_name": "latitude"}),
            "lon": ("lon", np.linspace(-5, -1, 5), {"units": "degrees_east", "standard_name": "longitude"}),
            "mask": (("lat", "lon"), mask.astype(np.int8)),
        },
        attrs={"boundary": "closed"},
    )


def fluid():
    """Three samples of twelve frames."""
    fields = np.random.default_rng(1).normal(size=(3, 12, 4, 4)).astype(np.float32)
    places = np.arange(4) / 4
    return xr.Dataset(
        {"w": (("sample", "time", "y", "x"), fields, {"units": "s-1"})},
        coords={
            "sample": np.arange(3),
            "time": ("time", np.arange(12.0), {"units": "s"}),
            "y": places,
            "x": places,
            "mask": (("y", "x"), np.ones((4, 4), np.int8)),
        },
        attrs={"boundary": "periodic"},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("archives")
    archive.write(path / "weather", weather(), LAYOUT, message="weather", metadata={})
    archive.write(path / "fluid", fluid(), LAYOUT, message="fluid", metadata={})
    return path


def weather_reader(folder, cache_bytes, split=None, forcings=()):
    return FrameReader(folder / "weather", None, ["wind", "t2m"], forcings, FILL[::-1], cache_bytes, split)


def expected(case, length):
    part = weather().isel(time=slice(case.start, case.start + length))
    return np.stack([part["wind"].fillna(FILL[1]).values, part["t2m"].fillna(FILL[0]).values], axis=1)


@given(st.integers(0, 4), st.integers(0, 40), st.integers(1, 12), st.integers(1, 5), st.integers(0, 9))
def test_windows_lie_inside_the_split_and_none_is_missed(samples, frames, length, stride, begin):
    split = Split("test", Span(2, 2 + samples), Span(begin, begin + frames))
    inside = [s for s in range(begin, begin + frames) if (s - begin) % stride == 0 and s + length <= begin + frames]
    if not inside or not samples:
        with pytest.raises(ConfigError, match=f"of {frames} frames but a window needs {length}"):
            windows(split, length, stride)
        return
    assert windows(split, length, stride) == [Window(k, s) for k in range(2, 2 + samples) for s in inside]


@pytest.mark.parametrize("split", [None, Split("train", Span(0, 1), Span(3, 31))])
@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_reads_variables_in_order_with_masked_points_filled(folder, cache_bytes, split):
    reader = weather_reader(folder, cache_bytes, split)
    assert reader.cached is (cache_bytes > 0)
    cases = [Window(0, 3), Window(0, 17), Window(0, 24)]
    frames, forcing = reader.read(cases, 7)
    assert frames.dtype == torch.float32
    assert forcing.shape == (3, 7, 0, 6, 5)
    assert torch.isfinite(frames).all()
    np.testing.assert_array_equal(frames.numpy(), np.stack([expected(case, 7) for case in cases]))
    np.testing.assert_array_equal(reader.mask.numpy(), weather()["mask"].values.astype(bool))


def test_a_missing_value_outside_the_mask_is_filled_too(tmp_path):
    gappy = weather()
    y, x = np.argwhere(gappy["mask"].values == 1)[0]
    gappy["t2m"][4, y, x] = np.nan
    archive.write(tmp_path / "gappy", gappy, LAYOUT, message="gappy", metadata={})
    frames, _ = FrameReader(tmp_path / "gappy", None, ["t2m"], [], [7.0], 0).read([Window(0, 0)], 40)
    assert frames[0, 4, 0, y, x] == 7.0
    assert torch.isfinite(frames).all()


def test_holds_a_split_only_when_it_fits(folder):
    split = Split("train", Span(0, 1), Span(3, 31))
    needed = 28 * 2 * 6 * 5 * 4
    assert weather_reader(folder, needed, split).cached
    assert not weather_reader(folder, needed - 1, split).cached


def test_a_window_outside_the_held_split_comes_from_the_archive(folder):
    reader = weather_reader(folder, 2**20, Split("train", Span(0, 1), Span(3, 31)))
    frames, _ = reader.read([Window(0, 28), Window(0, 0)], 8)
    np.testing.assert_array_equal(frames.numpy(), np.stack([expected(Window(0, start), 8) for start in (28, 0)]))


@pytest.mark.parametrize("split", [None, Split("test", Span(1, 3), Span(2, 12))])
@pytest.mark.parametrize("cache_bytes", [0, 2**20])
def test_reads_samples(folder, cache_bytes, split):
    reader = FrameReader(folder / "fluid", None, ["w"], ["mask"], [0.0], cache_bytes, split)
    cases = windows(split or whole(3, 12), 4, 3)
    frames, forcing = reader.read(cases, 4)
    wanted = [fluid()["w"].values[case.sample, case.start : case.start + 4] for case in cases]
    np.testing.assert_array_equal(frames[:, :, 0].numpy(), np.stack(wanted))
    np.testing.assert_array_equal(forcing.numpy(), np.ones((len(cases), 4, 1, 4, 4)))
    assert reader.times.tolist() == list(range(12))


def test_forcings_are_those_of_the_frame_that_is_predicted(folder):
    reader = weather_reader(folder, 0, forcings=["time_of_day", "latitude"])
    _, forcing = reader.read([Window(0, 5), Window(0, 29)], 3)
    assert reader.forcing_channels == ("time_of_day_sin", "time_of_day_cos", "latitude_sin")
    assert forcing.shape == (2, 3, 3, 6, 5)
    np.testing.assert_allclose(forcing[0, 0, :2, 0, 0], [1, 0], atol=1e-6)  # six o'clock
    np.testing.assert_allclose(forcing[0], forcing[1], atol=1e-6)  # and a day later
    last = len(reader.times) - 1
    np.testing.assert_allclose(
        reader.forcing([Window(0, last)], 7)[0, -1, 0, 0, 0], np.sin(2 * np.pi * 22 / 24), atol=1e-6
    )
    beyond = reader.times[-1:] + np.timedelta64(7, "h")  # 15:00 + 7 h
    np.testing.assert_allclose(reader.forcing_at(beyond)[0, 0, 0, 0], np.sin(2 * np.pi * 22 / 24), atol=1e-6)


def test_reads_the_version_it_is_told(folder, tmp_path):
    first = archive.write(tmp_path / "grown", fluid(), LAYOUT, message="one", metadata={})
    archive.write(tmp_path / "grown", fluid() + 1, LAYOUT, message="two", metadata={})
    old = FrameReader(tmp_path / "grown", first.snapshot_id, ["w"], [], [0.0], 0)
    new = FrameReader(tmp_path / "grown", None, ["w"], [], [0.0], 0)
    with pytest.raises(ValueError, match="beyond the archive of 3 sample"):
        old.read([Window(4, 0)], 2)
    frames, _ = new.read([Window(4, 0)], 2)
    np.testing.assert_array_equal(frames[0, :, 0].numpy(), fluid()["w"].values[1, :2] + 1)


def test_refuses_what_it_cannot_read(folder):
    with pytest.raises(ArchiveError, match="no variable 'rain', only t2m, wind"):
        FrameReader(folder / "weather", None, ["rain"], [], [0.0], 0)
    with pytest.raises(ConfigError, match="time_of_day"):
        FrameReader(folder / "fluid", None, ["w"], ["time_of_day"], [0.0], 0)
    with pytest.raises(ValueError, match="one value per variable"):
        FrameReader(folder / "fluid", None, ["w"], [], [0.0, 1.0], 0)
    with pytest.raises(ValueError, match="beyond the archive"):
        weather_reader(folder, 0).read([Window(0, 36)], 5)
    with pytest.raises(ValueError, match="at least 1"):
        windows(whole(1, 9), 3, 0)


# Anomalies


def climatology_of(folder, name, variables, train):
    with archive.open_dataset(folder / name) as dataset:
        return fit_climatology(dataset, variables, train)


@pytest.fixture(scope="module")
def daily(folder):
    """The daily cycle of the weather, over its first thirty hours."""
    return climatology_of(folder, "weather", ["wind", "t2m"], whole(1, 30))


def anomaly_reader(folder, daily, cache_bytes=0, split=None):
    return FrameReader(folder / "weather", None, ["wind", "t2m"], [], (0.0, 0.5), cache_bytes, split, daily)


@pytest.mark.parametrize(
    ("cache_bytes", "split"), [(0, None), (2**20, None), (2**20, Split("train", Span(0, 1), Span(3, 31)))]
)
def test_anomalies_are_departures_from_the_climatology_of_their_times(folder, daily, cache_bytes, split):
    assert daily.cycle == "hour_of_day"
    reader = anomaly_reader(folder, daily, cache_bytes, split)
    cases = [Window(0, 3), Window(0, 30)]
    anomalies, _ = reader.read(cases, 7)
    assert torch.isfinite(anomalies).all()
    for row, case in enumerate(cases):
        part = weather()[["wind", "t2m"]].isel(time=slice(case.start, case.start + 7))
        wanted = part.to_array().values.swapaxes(0, 1) - daily.at(part["time"].values)
        wanted = np.where(np.isnan(wanted), np.reshape([0.0, 0.5], (2, 1, 1)), wanted)
        np.testing.assert_allclose(anomalies[row].numpy(), wanted, rtol=0, atol=1e-6)


def test_physical_puts_the_climatology_back(folder, daily):
    reader = anomaly_reader(folder, daily)
    cases = [Window(0, 5), Window(0, 33)]
    anomalies, _ = reader.read(cases, 6)
    times = np.stack([reader.times[case.start : case.start + 6] for case in cases])
    fields = reader.physical(anomalies.numpy(), times)
    assert fields.dtype == np.float32
    mask = reader.mask.numpy()
    wanted = np.stack([expected(case, 6) for case in cases])
    np.testing.assert_allclose(fields[..., mask], wanted[..., mask], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(fields[:, :, 1, ~mask], np.float32(0.5))  # masked points keep what filled them


def test_physical_knows_times_beyond_the_archive(folder, daily):
    reader = anomaly_reader(folder, daily)
    tomorrow = reader.times[-1:] + np.timedelta64(24, "h")
    zero = np.zeros((1, 2, 6, 5), np.float32)
    np.testing.assert_array_equal(reader.physical(zero, tomorrow), np.where(reader.mask, daily.at(tomorrow), 0))
    np.testing.assert_array_equal(reader.physical(zero, tomorrow), reader.physical(zero, reader.times[-1:]))


def test_without_climatology_fields_are_physical_already(folder):
    reader = weather_reader(folder, 0)
    frames = reader.read([Window(0, 0)], 3)[0].numpy()
    assert reader.physical(frames, reader.times[None, :3]) is frames


def test_samples_have_a_mean_field_as_climatology(folder):
    mean = climatology_of(folder, "fluid", ["w"], whole(2, 12))
    reader = FrameReader(folder / "fluid", None, ["w"], [], [0.0], 0, None, mean)
    anomalies, _ = reader.read([Window(2, 4)], 5)
    fields = fluid()["w"].values
    np.testing.assert_allclose(anomalies[0, :, 0], fields[2, 4:9] - fields[:2].mean(axis=(0, 1)), rtol=0, atol=1e-6)
    back = reader.physical(anomalies.numpy(), reader.times[None, 4:9])
    np.testing.assert_allclose(back[0, :, 0], fields[2, 4:9], rtol=0, atol=1e-6)


def test_a_reader_says_what_the_archive_is(folder):
    weathers, fluids = weather_reader(folder, 0), FrameReader(folder / "fluid", None, ["w"], [], [0.0], 0)
    assert (weathers.sampled, weathers.samples, fluids.sampled, fluids.samples) == (False, 1, True, 3)
    assert set(weathers.attributes) == {"wind", "t2m", "time", "lat", "lon"}
    assert weathers.attributes["wind"]["units"] == "m s-1"
    assert weathers.attributes["lat"]["standard_name"] == "latitude"
    assert set(fluids.attributes) == {"w", "sample", "time", "y", "x"}
    assert fluids.attributes["time"]["units"] == "s"
