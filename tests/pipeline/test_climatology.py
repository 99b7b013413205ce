import numpy as np
import pytest
import xarray as xr

from pipeline.climatology import Climatology, fit_climatology
from pipeline.errors import ArchiveError
from pipeline.splits import Span, Split


def archive(values, times, mask=None, name="t2m"):
    dims = ("time", "lat", "lon") if values.ndim == 3 else ("sample", "time", "y", "x")
    shape = values.shape[-2:]
    valid = np.ones(shape, dtype=bool) if mask is None else mask
    fields = np.where(valid, values, np.nan).astype(np.float32)
    return xr.Dataset({name: (dims, fields), "mask": (dims[-2:], valid.astype(np.int8))}, {"time": times})


def whole(dataset, frames=None):
    return Split("train", Span(0, dataset.sizes.get("sample", 1)), Span(*(frames or (0, dataset.sizes["time"]))))


def hourly(days, start="2017-01-01"):
    return (np.datetime64(start, "h") + np.arange(24 * days)).astype("datetime64[ns]")


def test_hour_of_day_is_the_mean_over_days_at_that_hour():
    rng = np.random.default_rng(0)
    times = hourly(6)
    values = rng.normal(280, 3, (24, 3, 4))[np.arange(len(times)) % 24]
    values += rng.normal(0, 0.01, values.shape)
    fitted = fit_climatology(archive(values, times), ["t2m"], whole(archive(values, times)))
    assert fitted.cycle == "hour_of_day"
    assert fitted.fields.shape == (24, 1, 3, 4)
    oracle = archive(values, times)["t2m"].groupby("time.hour").mean()
    np.testing.assert_allclose(fitted.fields[:, 0], oracle, rtol=1e-6)
    later = np.array(["2017-02-03T05", "2031-07-01T23"], dtype="datetime64[ns]")
    np.testing.assert_array_equal(fitted.at(later), fitted.fields[[5, 23]])


def test_only_the_training_split_is_read():
    times = hourly(4)
    values = np.ones((len(times), 2, 2))
    values[48:] = 1e6
    dataset = archive(values, times)
    fitted = fit_climatology(dataset, ["t2m"], whole(dataset, (0, 48)))
    assert np.all(fitted.fields == 1)
    assert fitted.period == ("2017-01-01 00:00", "2017-01-02 23:00")


def test_masked_points_are_nan_and_gaps_fall_back():
    times = hourly(5)
    mask = np.array([[True, True], [True, False]])
    values = np.broadcast_to((times.astype("datetime64[h]").astype(int) % 24)[:, None, None], (len(times), 2, 2)).copy()
    values = values.astype(float)
    values[7::24, 0, 0] = np.nan  # never any 07 UTC at one point
    values[30, 0, 1] = np.nan  # one gap elsewhere
    fitted = fit_climatology(archive(values, times, mask), ["t2m"], whole(archive(values, times)))
    assert np.isnan(fitted.fields[:, 0, 1, 1]).all()
    assert np.isfinite(fitted.fields[:, 0][:, mask]).all()
    assert fitted.fields[7, 0, 0, 0] == pytest.approx(np.nanmean(values[:, 0, 0]))
    np.testing.assert_allclose(fitted.fields[:, 0, 0, 1], np.arange(24))


@pytest.mark.parametrize("block_bytes", [1, 500, 2**26])
def test_blocks_of_any_size_give_one_result(block_bytes):
    rng = np.random.default_rng(1)
    values = rng.normal(size=(5, 7, 3, 4))
    dataset = archive(values, np.arange(7.0), name="vorticity")
    split = Split("train", Span(1, 4), Span(0, 7))
    events = []
    fitted = fit_climatology(dataset, ["vorticity"], split, block_bytes=block_bytes, progress=events.append)
    assert fitted.cycle == "mean"
    np.testing.assert_allclose(fitted.fields[0, 0], values[1:4].mean(axis=(0, 1)), rtol=1e-5, atol=1e-7)
    assert events[-1].done == events[-1].total == len(events)
    assert fitted.at(np.array([20.0, 21.0])).shape == (2, 1, 3, 4)
    assert fitted.description == "mean field, sample 1 to sample 3"


def test_calendar_months():
    times = np.arange("2010-01", "2013-01", dtype="datetime64[M]").astype("datetime64[ns]")
    values = (np.arange(36) % 12 + 100 * (np.arange(36) // 12))[:, None, None] * np.ones((36, 2, 2))
    fitted = fit_climatology(archive(values, times), ["t2m"], whole(archive(values, times)))
    assert fitted.cycle == "month"
    np.testing.assert_allclose(fitted.at(np.array(["2020-04-01"], dtype="datetime64[ns]"))[0, 0], 103.0)


def test_years_follow_the_season_and_the_hour_and_smooth_the_weather():
    times = np.arange(np.datetime64("2015-01-01T00"), np.datetime64("2018-01-01T00"), np.timedelta64(6, "h")).astype(
        "datetime64[ns]"
    )
    start = times.astype("datetime64[Y]")
    days = (times - start.astype("datetime64[ns]")) / np.timedelta64(1, "D")
    hour = (days % 1) * 24
    signal = 280 + 10 * np.cos(2 * np.pi * days / 365.25) + 3 * np.cos(2 * np.pi * hour / 24)
    weather = np.random.default_rng(2).normal(0, 4, (len(times), 2, 2))
    dataset = archive(signal[:, None, None] + weather, times)
    fitted = fit_climatology(dataset, ["t2m"], whole(dataset))
    assert fitted.cycle == "dayofyear_hour"
    assert fitted.fields.shape == (73 * 4, 1, 2, 2)
    error = fitted.at(times)[:, 0] - signal[:, None, None]
    assert np.sqrt((error**2).mean()) < 0.6  # single days would give 4 / sqrt(3) = 2.3
    midnight = fitted.at(np.array(["2020-01-01T00", "2020-12-31T00"], dtype="datetime64[ns]"))[:, 0]
    assert np.abs(midnight[0] - midnight[1]).max() < 0.2  # no step at the turn of the year


def test_variables_keep_their_order():
    times = hourly(2)
    dataset = archive(np.full((48, 1, 2), 1.0), times).assign(q=(("time", "lat", "lon"), np.full((48, 1, 2), 2.0)))
    fitted = fit_climatology(dataset, ["q", "t2m"], whole(dataset))
    assert fitted.variables == ("q", "t2m")
    assert fitted.fields[0, :, 0, 0].tolist() == [2.0, 1.0]


def test_saved_and_read_back(tmp_path):
    fitted = Climatology(
        "hour_of_day", ("a", "b"), np.random.default_rng(3).random((24, 2, 3, 4), np.float32), 24, ("x", "y")
    )
    fitted.save(tmp_path / "climatology.npz")
    found = Climatology.load(tmp_path / "climatology.npz")
    np.testing.assert_array_equal(found.fields, fitted.fields)
    assert (found.cycle, found.variables, found.day_parts, found.period) == ("hour_of_day", ("a", "b"), 24, ("x", "y"))
    assert [path.name for path in tmp_path.iterdir()] == ["climatology.npz"]


@pytest.mark.parametrize("damage", [lambda data: data[:200], lambda data: b"<html>", lambda data: b"", None])
def test_damaged_file_is_refused(tmp_path, damage):
    path = tmp_path / "climatology.npz"
    Climatology("mean", ("a",), np.ones((1, 1, 2, 2), np.float32), 1, ("x", "y")).save(path)
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArchiveError, match=r"climatology\.npz is (damaged|missing); evaluate the model again"):
        Climatology.load(path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "climatology.npz"
    Climatology("mean", ("a",), np.ones((1, 1, 2, 2), np.float32), 1, ("x", "y")).save(path)
    before = path.read_bytes()

    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        Climatology("mean", ("a",), np.zeros((1, 1, 2, 2), np.float32), 1, ("x", "y")).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["climatology.npz"]


def test_weeks_over_years_follow_the_day_of_the_year():
    times = np.arange(np.datetime64("2010-01-01"), np.datetime64("2016-01-01"), 7).astype("datetime64[ns]")
    cycle = 10 * np.cos(2 * np.pi * (times - times.astype("datetime64[Y]")) / np.timedelta64(365, "D"))
    dataset = archive(cycle[:, None, None] * np.ones((len(times), 2, 2)), times)
    fitted = fit_climatology(dataset, ["t2m"], whole(dataset))
    assert (fitted.cycle, fitted.day_parts) == ("dayofyear_hour", 1)
    # smoothing over a month to either side takes a few hundredths off a wave of a year
    np.testing.assert_allclose(fitted.at(times)[:, 0, 0, 0], cycle, atol=0.7)
    assert np.abs(fitted.at(times)[:, 0, 0, 0]).max() > 9.5
