"""Forecasts: where they start, what they are called, what is in them, and their file."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import minconv
from pipeline import archive
from pipeline.config import TilesConfig
from pipeline.errors import ForecastError
from pipeline.forecast import (
    cases_at,
    check_target,
    forecast,
    lead_times,
    make_forecast,
    open_reader,
    predict,
    valid_times,
    write_forecast,
)
from pipeline.windows import FrameReader, Window, make_splits

HOUR = np.timedelta64(1, "h")


@pytest.fixture(scope="module")
def time_reader(time_model, time_config):
    return open_reader(time_model, time_config.archive_path, None)


@pytest.fixture(scope="module")
def sample_reader(sample_model, sample_config):
    return open_reader(sample_model, sample_config.archive_path, None)


@pytest.fixture(scope="module")
def weather_forecast(time_model, time_config, snapshot_of):
    return forecast(time_model, time_config, snapshot_of(time_config), init_time="2020-03-08T06")


@pytest.fixture(scope="module")
def blob_forecast(sample_model, sample_config, snapshot_of):
    return forecast(sample_model, sample_config, snapshot_of(sample_config), sample=3, steps=5)


# Where a forecast starts


def test_a_case_ends_at_its_init_time(time_reader):
    (case,) = cases_at(time_reader, 6, init_times=[np.datetime64("2020-03-01T05")])
    assert case == Window(0, 0)
    early, late = cases_at(time_reader, 6, init_times=[np.datetime64("2020-03-02"), np.datetime64("2020-03-10T23")])
    assert (early, late) == (Window(0, 19), Window(0, 234))
    assert cases_at(time_reader, 6) == [late]


def test_a_case_of_a_sample_starts_with_it(sample_reader):
    assert cases_at(sample_reader, 4, samples=[7, 0]) == [Window(7, 0), Window(0, 0)]
    assert cases_at(sample_reader, 4) == [Window(0, 0)]


@pytest.mark.parametrize("time", ["2020-03-11T00", "2020-03-01T04", "2020-03-05T00:30", "1999-01-01", "NaT"])
def test_a_time_that_cannot_be_started_from_names_those_that_can(time_reader, time):
    with pytest.raises(ForecastError, match="history of 6 frames allow 2020-03-01T05:00 to 2020-03-10T23:00 at"):
        cases_at(time_reader, 6, init_times=[np.datetime64(time)])


@pytest.mark.parametrize("sample", [-1, 10])
def test_an_unknown_sample_names_those_there_are(sample_reader, sample):
    with pytest.raises(ForecastError, match=rf"sample {sample} is not in the archive, which has samples 0 to 9"):
        cases_at(sample_reader, 4, samples=[sample])


def test_too_short_samples_are_refused(sample_reader):
    with pytest.raises(ForecastError, match="needs 15 frames, the archive's samples have 14"):
        cases_at(sample_reader, 15, samples=[0])


def test_times_are_for_time_archives_and_samples_for_sample_archives(time_reader, sample_reader):
    with pytest.raises(ForecastError, match="one time series without samples; give --init-time"):
        cases_at(time_reader, 6, samples=[0])
    with pytest.raises(ForecastError, match="independent samples; give --sample"):
        cases_at(sample_reader, 4, init_times=[np.datetime64("2020-03-08")])


def test_an_init_time_is_iso_8601_in_utc(time_model, time_config, snapshot_of, weather_forecast):
    snapshot_id = snapshot_of(time_config)
    with pytest.raises(ForecastError, match="init_time 'yesterday' is no ISO 8601 time; write it like"):
        forecast(time_model, time_config, snapshot_id, init_time="yesterday")
    with_zone = forecast(time_model, time_config, snapshot_id, init_time="2020-03-08T06:00Z")
    xr.testing.assert_identical(with_zone, weather_forecast)


def test_the_default_start_is_the_newest_frame_or_the_first_test_sample(
    time_model, time_config, sample_model, sample_config, snapshot_of
):
    newest = forecast(time_model, time_config, snapshot_of(time_config))
    assert newest["init_time"].values[0] == np.datetime64("2020-03-10T23")
    first = forecast(sample_model, sample_config, snapshot_of(sample_config))
    with archive.open_dataset(sample_config.archive_path) as dataset:
        expected = make_splits(dataset, sample_config.split, sample_config.gap).test.samples.start
    assert expected > 0
    assert first["sample"].values.tolist() == [expected]


def test_another_grid_is_a_sentence(time_model, sample_config):
    metadata = {**time_model.metadata, "variables": ["tracer"], "forcings": [], "fill": [0.0]}
    with pytest.raises(
        ForecastError,
        match=r"models:/weather/3 was trained on a grid of 6 x 8 points \(lat 50 to 52.5, lon -3 to 0.5, closed\), "
        r"archive .* has 8 x 8 points \(y .*periodic\); use the archive it was trained on",
    ):
        open_reader(dataclasses.replace(time_model, metadata=metadata), sample_config.archive_path, None)


# Times beyond the archive


def reader_of(folder: Path, times: np.ndarray) -> FrameReader:
    """A reader of an archive with these times."""
    fields = xr.Dataset(
        {"t": (("time", "y", "x"), np.ones((len(times), 2, 2), "f4"), {"units": "K"})},
        {"time": times, "y": [0.0, 1.0], "x": [0.0, 1.0], "mask": (("y", "x"), np.ones((2, 2), "i1"))},
        {"boundary": "closed"},
    )
    from pipeline.config import ArchiveConfig

    archive.write(folder, fields, ArchiveConfig(), message="made", metadata={})
    return FrameReader(folder, None, ["t"], [], [0.0], 0)


def test_hours_go_on_after_the_archive_ends(time_reader):
    inside = valid_times(time_reader, 100, 3)
    assert inside.tolist() == time_reader.times[101:104].tolist()
    across = valid_times(time_reader, 237, 4)
    assert across.tolist() == (time_reader.times[237] + np.arange(1, 5) * HOUR).tolist()
    assert across.dtype == time_reader.times.dtype


@pytest.mark.parametrize(
    ("day", "expected"),
    [("01", ["2021-12-01", "2022-01-01", "2022-02-01"]), ("15", ["2021-12-15", "2022-01-15", "2022-02-15"])],
)
def test_months_go_on_as_calendar_months(tmp_path, day, expected):
    months = np.arange("2020-01", "2021-12", dtype="datetime64[M]").astype("datetime64[D]") + int(day) - 1
    reader = reader_of(tmp_path / "months", months.astype("datetime64[ns]"))
    assert valid_times(reader, len(months) - 1, 3).astype("datetime64[D]").astype(str).tolist() == expected
    assert lead_times(reader, len(months) - 1, 2).tolist() == [value * 86_400 * 10**9 for value in (30, 61)]


def test_one_frame_has_no_cadence(tmp_path):
    reader = reader_of(tmp_path / "one", np.array(["2020-01-01"], "datetime64[ns]"))
    with pytest.raises(ForecastError, match="one frame does not say how far"):
        valid_times(reader, 0, 1)


def test_the_time_of_a_simulation_counts_as_seconds(sample_reader):
    leads = lead_times(sample_reader, 12, 3)
    step = sample_reader.times[1] - sample_reader.times[0]
    assert leads.dtype == np.dtype("timedelta64[ns]")
    assert leads.astype(np.int64).tolist() == [round(n * step * 1e9) for n in (1, 2, 3)]


def test_beyond_the_archive_the_model_sees_the_forcings_of_future_times(time_model, time_reader):
    cases = cases_at(time_reader, 6)
    fields = predict(time_model, time_reader, cases, 5)
    after = time_reader.times[-1] + np.arange(2, 7) * HOUR  # beside each predicted frame, those of the next
    seen = torch.cat(time_reader.read(cases, 6), dim=2)
    forcing = time_reader.forcing_at(after[None])
    frames = minconv.rollout(time_model.forecaster, seen, 5, forcing, mask=time_reader.mask)
    with torch.no_grad():
        by_hand = torch.stack(list(frames), dim=1).numpy()
    valid = time_reader.mask.numpy()
    np.testing.assert_array_equal(fields[..., valid], by_hand[..., valid])


# What a forecast is


def test_a_weather_forecast_is_a_cf_dataset(weather_forecast, time_config, time_model, snapshot_of):
    assert dict(weather_forecast.sizes) == {"init_time": 1, "lead_time": 3, "lat": 6, "lon": 8}
    assert weather_forecast["t2m"].dims == ("init_time", "lead_time", "lat", "lon")
    init = np.datetime64("2020-03-08T06")
    assert weather_forecast["init_time"].values.tolist() == [init.astype("datetime64[ns]").astype(int)]
    assert weather_forecast["lead_time"].values.tolist() == [n * 3600 * 10**9 for n in (1, 2, 3)]
    valid = weather_forecast["init_time"] + weather_forecast["lead_time"]
    np.testing.assert_array_equal(weather_forecast["valid_time"].values, valid.values)
    names = {name: weather_forecast[name].attrs.get("standard_name") for name in weather_forecast.coords}
    assert names == {
        "init_time": "forecast_reference_time",
        "lead_time": "forecast_period",
        "valid_time": "time",
        "lat": "latitude",
        "lon": "longitude",
    }
    assert weather_forecast["t2m"].attrs["units"] == "K"
    assert weather_forecast["t2m"].attrs["standard_name"] == "air_temperature"
    assert weather_forecast["q2m"].attrs["long_name"] == "specific humidity"
    attributes = weather_forecast.attrs
    assert attributes["model_name"] == "weather"
    assert attributes["model_version"] == "3"
    assert attributes["model_run_id"] == time_model.version.run_id
    assert attributes["snapshot_id"] == attributes["trained_on_snapshot_id"] == snapshot_of(time_config)
    assert attributes["config_hash"] == time_config.hash()
    assert attributes["Conventions"].startswith("CF-")
    assert attributes["title"] == "Forecast of t2m, q2m by weather version 3"


def test_a_forecast_is_nan_exactly_at_masked_points_and_plausible_elsewhere(weather_forecast, time_reader):
    masked = ~time_reader.mask.numpy()
    assert masked.sum() == 6
    for name, low, high in (("t2m", 260, 300), ("q2m", 0, 0.02)):
        values = weather_forecast[name].values
        assert (np.isnan(values) == masked).all()
        assert np.nanmin(values) > low
        assert np.nanmax(values) < high


def test_a_simulation_is_forecast_by_sample(blob_forecast, sample_reader):
    assert blob_forecast["tracer"].dims == ("sample", "lead_time", "y", "x")
    assert blob_forecast["sample"].values.tolist() == [3]
    assert blob_forecast["valid_time"].values.tolist() == [sample_reader.times[4:9].tolist()]
    assert blob_forecast["valid_time"].attrs["units"] == "s"
    assert np.isfinite(blob_forecast["tracer"].values).all()


def test_an_untrained_tendency_model_forecasts_persistence(time_config, model_of):
    model = model_of(time_config, trained=False)
    reader = open_reader(model, time_config.archive_path, None)
    cases = cases_at(reader, 6, init_times=[np.datetime64("2020-03-04T12"), np.datetime64("2020-03-10T23")])
    fields = predict(model, reader, cases, 4)
    with archive.open_dataset(time_config.archive_path) as dataset:
        last = dataset[["t2m", "q2m"]].sel(time=["2020-03-04T12", "2020-03-10T23"]).to_array().values
    np.testing.assert_array_equal(fields, np.repeat(last.swapaxes(0, 1)[:, None], 4, axis=1))


def test_cases_are_forecast_independently(time_model, time_reader):
    cases = [Window(0, 3), Window(0, 100), Window(0, 231)]
    together = make_forecast(time_model, time_reader, cases, 2, {})
    for number, case in enumerate(cases):
        alone = make_forecast(time_model, time_reader, [case], 2, {})
        xr.testing.assert_allclose(together.isel(init_time=[number]), alone, rtol=1e-6)


# The file


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_written_forecast_reads_back_equal(weather_forecast, blob_forecast, tmp_path, suffix):
    for name, dataset in (("weather", weather_forecast), ("blobs", blob_forecast)):
        path = tmp_path / "new" / (name + suffix)
        write_forecast(dataset, path)
        write_forecast(dataset, path)  # over the first
        with open_forecast(path) as found:
            xr.testing.assert_equal(found.load(), dataset)
            assert found.attrs == dataset.attrs
            assert found["lead_time"].attrs["standard_name"] == "forecast_period"
            for variable in dataset.data_vars:
                assert found[variable].attrs["units"] == dataset[variable].attrs["units"]
    assert sorted(entry.name for entry in (tmp_path / "new").iterdir()) == ["blobs" + suffix, "weather" + suffix]


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_minutes_come_back_exactly(tmp_path, suffix):
    leads = (np.arange(1, 145) * np.timedelta64(10, "m")).astype("timedelta64[ns]")
    init = np.array(["2049-12-31T23:50"], "datetime64[ns]")
    dataset = xr.Dataset(
        {"t": (("init_time", "lead_time"), np.ones((1, 144), "f4"))},
        {"init_time": init, "lead_time": leads, "valid_time": (("init_time", "lead_time"), init[:, None] + leads)},
    )
    write_forecast(dataset, tmp_path / f"f{suffix}")
    with open_forecast(tmp_path / f"f{suffix}") as found:
        for name in ("init_time", "lead_time", "valid_time"):
            np.testing.assert_array_equal(found[name].values, dataset[name].values)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("NetCDF: HDF error")])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(weather_forecast, tmp_path, monkeypatch, suffix, error):
    path = tmp_path / f"forecast{suffix}"
    write_forecast(weather_forecast, path)
    before = contents(path)

    def fail_halfway(self, target, **options):
        if suffix == ".zarr":
            target.mkdir()
            target = target / "zarr.json"
        target.write_bytes(b"half")
        raise error

    monkeypatch.setattr(xr.Dataset, "to_netcdf" if suffix == ".nc" else "to_zarr", fail_halfway)
    with pytest.raises(ForecastError, match=r"cannot be written \((No space left on device|NetCDF: HDF error)\); free"):
        write_forecast(weather_forecast + 1, path)
    assert contents(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_interrupted_write_leaves_nothing(weather_forecast, tmp_path, monkeypatch):
    def interrupted(self, target, **options):
        target.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(xr.Dataset, "to_netcdf", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_forecast(weather_forecast, tmp_path / "forecast.nc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("swallowed_interruption")
def test_an_interruption_that_netcdf4_swallows_is_not_lost(weather_forecast, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_forecast(weather_forecast, tmp_path / "forecast.nc")
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_write_left_does_not_stop_the_next(weather_forecast, tmp_path):
    (tmp_path / ".forecast.nc.part").write_bytes(b"half")
    (tmp_path / ".forecast.zarr.part").mkdir()
    (tmp_path / ".forecast.zarr.part" / "zarr.json").write_bytes(b"half")
    for name in ("forecast.nc", "forecast.zarr"):
        write_forecast(weather_forecast, tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["forecast.nc", "forecast.zarr"]


def test_a_folder_that_cannot_be_made_is_a_sentence(weather_forecast, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ForecastError, match=r"forecast .*forecast.nc cannot be written \(.*\); free some space or"):
        write_forecast(weather_forecast, tmp_path / "file" / "forecast.nc")


@pytest.mark.parametrize(("name", "found"), [("forecast.grib", "'.grib'"), ("forecast", "'no suffix'")])
def test_another_suffix_is_refused_before_any_work(weather_forecast, tmp_path, name, found):
    message = rf"must end in .nc \(NetCDF\) or .zarr, got {found}; rename it"
    with pytest.raises(ForecastError, match=message):
        check_target(tmp_path / name)
    with pytest.raises(ForecastError, match=message):
        write_forecast(weather_forecast, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_take_its_place_leaves_the_old_one(weather_forecast, tmp_path, monkeypatch):
    path = tmp_path / "forecast.nc"
    write_forecast(weather_forecast, path)
    before = contents(path)

    def refused(self, target):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(ForecastError, match=r"cannot be written \(Permission denied\)"):
        write_forecast(weather_forecast + 1, path)
    assert contents(path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def open_forecast(path: Path) -> xr.Dataset:
    return xr.open_dataset(path, **({} if path.suffix == ".nc" else {"engine": "zarr", "consolidated": False}))


def contents(path: Path) -> dict[str, bytes]:
    """Every file under a path, or the file itself."""
    files = [path] if path.is_file() else sorted(entry for entry in path.rglob("*") if entry.is_file())
    return {str(file.relative_to(path.parent)): file.read_bytes() for file in files}


def test_a_model_of_tiles_forecasts_tile_by_tile_what_it_would_on_the_grid(time_config, model_of, time_reader):
    config = time_config.model_copy(update={"tiles": TilesConfig(size=(4, 4))})
    model = model_of(config)
    assert model.metadata["tiles"] == {"size": [4, 4], "halo": [2, 2]}
    assert model.forecaster.config.boundary == "zeros"
    cases = [Window(0, 100), Window(0, 150)]
    on_tiles = predict(model, time_reader, cases, 5)
    whole = dataclasses.replace(model, metadata={**model.metadata, "tiles": None})
    on_grid = predict(whole, time_reader, cases, 5)
    np.testing.assert_array_equal(np.isnan(on_tiles), np.isnan(on_grid))
    np.testing.assert_allclose(on_tiles, on_grid, rtol=1e-5)
    assert np.nanstd(on_tiles[:, -1, 0] - on_tiles[:, 0, 0]) > 0.01
    narrow = dataclasses.replace(model, metadata={**model.metadata, "tiles": {"size": [2, 2], "halo": [0, 0]}})
    assert np.nanmax(np.abs(predict(narrow, time_reader, cases, 5) - on_grid)) > 1e-3
