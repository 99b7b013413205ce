"""Every shipped configuration, from files of its own layout to scored forecasts; only Ray and MLflow are left out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

import minconv
from pipeline import archive
from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.evaluation import evaluate
from pipeline.forecast import forecast
from pipeline.ingest import IngestResult, ingest
from pipeline.lineage import model_metadata
from pipeline.registry import ModelVersion, RegisteredModel
from pipeline.scorecard import Scorecard
from pipeline.synthetic import generate
from pipeline.training import LocalWorker, TrainingJob, prepare, run_loop
from workflows.context import load_config, shipped_configs

HOUR = np.timedelta64(1, "h")

# name in the files, standard_name, units, lowest, highest
WFDE5 = {
    "air_temperature": ("Tair", "K", 268.0, 288.0),
    "specific_humidity": ("Qair", "kg kg-1", 0.002, 0.009),
    "precipitation_flux": ("pr", "kg m-2 s-1", 0.0, 0.002),
    "surface_downwelling_longwave_flux_in_air": ("LWdown", "W m-2", 200.0, 380.0),
    "surface_downwelling_shortwave_flux_in_air": ("SWdown", "W m-2", 0.0, 300.0),
    "wind_speed": ("Wind", "m s-1", 0.5, 18.0),
}


# Input of each configuration's layout


def waves(shape: tuple[int, int, int], low: float, high: float, seed: int) -> NDArray[np.float32]:
    """A daily cycle and a wave that travels eastward, with noise, between low and high: [T, H, W]."""
    hours, height, width = shape
    t, y, x = np.ogrid[:hours, :height, :width]
    phase = 2 * np.pi * (t / 24 + seed / 7)
    wave = np.sin(2 * np.pi * (2 * x / width - t / 50)) * np.sin(np.pi * (y + 1) / (height + 1))
    noise = np.random.default_rng(seed).uniform(-1, 1, shape)
    share = 0.5 + 0.2 * np.sin(phase) + 0.2 * wave + 0.1 * noise
    return (low + (high - low) * share).astype("f4")


def write_wfde5(folder: Path, hours: int = 480) -> None:
    """Six files with the names, variables, attributes and encodings of WFDE5, 8 x 10 points, and the mask of the globe.

    480 hours are the fewest that hold a window in each split of the shipped shares, beside the gaps.
    """
    folder.mkdir()
    lat, lon = np.arange(50.25, 54.0, 0.5), np.arange(-4.75, 0.0, 0.5)
    sea = np.add.outer(np.arange(8), np.arange(10)) < 6
    coords = {
        "time": np.datetime64("2017-01-01", "ns") + HOUR * np.arange(hours),
        "lat": ("lat", lat, {"standard_name": "latitude", "units": "degrees_north", "axis": "Y"}),
        "lon": ("lon", lon, {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}),
    }
    for number, (name, (source, units, low, high)) in enumerate(WFDE5.items()):
        values = np.where(sea, np.nan, waves((hours, 8, 10), low, high, number))
        field = (("time", "lat", "lon"), values.astype("f4"), {"units": units, "standard_name": name})
        shortwave = name.startswith("surface_downwelling_shortwave")  # the one file with another epoch
        epoch = "seconds since 1970-01-01" if shortwave else "hours since 1900-01-01"
        encoding: dict[str, Any] = {source: {"_FillValue": np.float32(1e20)}, "time": {"units": epoch, "dtype": "f8"}}
        dataset = xr.Dataset({source: field}, coords, {"Conventions": "CF-1.8"})
        dataset.to_netcdf(folder / f"{name}.nc", encoding=encoding)
    globe = {
        "latitude": ("latitude", np.arange(-89.75, 90, 0.5), {"standard_name": "latitude", "units": "degrees_north"}),
        "longitude": ("longitude", np.arange(-179.75, 180, 0.5), {"standard_name": "longitude"}),
    }
    land = np.ones((360, 720))
    xr.Dataset({"lsm": (("latitude", "longitude"), land, {"units": "1"})}, globe).to_netcdf(folder / "land_sea_mask.nc")


def write_weatherbench(folder: Path, level: str, hours_per_year: int = 240, years: int = 4) -> None:
    """Geopotential as WeatherBench has it, with days for years: one NetCDF file each, 5.625 degrees, lon from 0 to 360.

    Args:
        folder: Where to.
        level: The level 500 as a "scalar" coordinate, or as a "dimension" of size one.
        hours_per_year: Frames of a file; 960 in all are the fewest that hold a window in 5 % of them, beside a gap.
        years: Files.
    """
    folder.mkdir()
    lat, lon = np.arange(-90 + 5.625 / 2, 90, 5.625), np.arange(0.0, 360.0, 5.625)
    values = waves((hours_per_year * years, 32, 64), 47_000.0, 58_500.0, 1)
    for year in range(years):
        part = slice(year * hours_per_year, (year + 1) * hours_per_year)
        coords: dict[str, Any] = {
            "lon": ("lon", lon, {"standard_name": "longitude", "units": "degrees_east"}),
            "lat": ("lat", lat, {"standard_name": "latitude", "units": "degrees_north"}),
            "time": np.datetime64("1979-01-01", "ns") + HOUR * np.arange(part.start, part.stop),
            "level": ((), np.int32(500), {"units": "millibars", "long_name": "pressure_level"}),
        }
        attributes = {"units": "m**2 s**-2", "long_name": "Geopotential", "standard_name": "geopotential"}
        dataset = xr.Dataset({"z": (("time", "lat", "lon"), values[part], attributes)}, coords)
        if level == "dimension":
            dataset = dataset.expand_dims("level", axis=1)
        time = {"units": "hours since 1900-01-01", "dtype": "i4"}
        dataset.to_netcdf(folder / f"geopotential_500hPa_{1979 + year}_5.625deg.nc", encoding={"time": time})


def write_ersst(folder: Path, months: int = 128) -> None:
    """Sea surface temperature as NOAA has it: months, northern latitudes first, longitudes from 0, the land missing."""
    folder.mkdir()
    lat, lon = np.arange(80.0, -90, -16), np.arange(0.0, 360, 20)
    values = waves((months, len(lat), len(lon)), -1.8, 30.0, 2)
    values[:, 2:5, 3:6] = np.nan
    coords = {
        "time": (np.datetime64("2010-01", "M") + np.arange(months)).astype("datetime64[ns]"),
        "lat": ("lat", lat, {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": ("lon", lon, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    attributes = {"units": "degC", "long_name": "Monthly Means of Sea Surface Temperature"}
    time = {"units": "days since 1800-01-01", "dtype": "f8"}
    dataset = xr.Dataset({"sst": (("time", "lat", "lon"), values, attributes)}, coords)
    dataset.to_netcdf(folder / "sst.mnmean.nc", encoding={"time": time, "sst": {"_FillValue": np.float32(-9.96921e36)}})


# From files to scores


@dataclass(frozen=True)
class Journey:
    """What came out at each stage."""

    config: Config
    ingested: IngestResult
    job: TrainingJob
    epochs: list[dict[str, Any]]
    model: RegisteredModel
    scorecard: Scorecard


def travel(config: Config, folder: Path) -> Journey:
    """Ingest, prepare, train in this process, load the checkpoint, score."""
    ingested = ingest(config)
    job = prepare(config, ingested.snapshot_id)
    run_loop(job, LocalWorker(folder / "checkpoints"))
    *_, newest = sorted((folder / "checkpoints").glob("checkpoint-*"))
    epochs = json.loads((newest / "state.json").read_text())["history"]
    forecaster, _ = minconv.load(newest / "best")
    version = ModelVersion(config.name, 1, "run", ("champion",), {}, 0.0, {})
    model = RegisteredModel(version, forecaster.eval(), model_metadata(job), job.climatology)
    return Journey(config, ingested, job, epochs, model, evaluate(model, config, ingested.snapshot_id))


def check(journey: Journey, cases: int) -> None:
    """What holds of any configuration: finite losses, finite scores of the right size, forecasts of the right shape."""
    config, scorecard = journey.config, journey.scorecard
    assert [record["epoch"] for record in journey.epochs] == [1]
    assert all(np.isfinite(record[name]) for record in journey.epochs for name in ("train_loss", "validation_loss"))
    assert scorecard.cases == cases
    metrics = scorecard.metrics()
    for variable in config.predicted:
        scores = [value for name, value in metrics.items() if name.startswith(f"test/rmse/{variable}/")]
        assert len(scores) == config.forecast_steps + 1  # and their mean; those that are not finite are left out
        assert min(scores) > 0
    dataset = forecast(journey.model, config, journey.ingested.snapshot_id)
    assert list(dataset.data_vars) == list(config.predicted)
    assert dataset.sizes["lead_time"] == config.forecast_steps
    for name in config.predicted:
        assert dataset[name].attrs["units"] == config.variables[name].units
        assert dataset[name].shape == (1, config.forecast_steps, *journey.job.grid.shape)


def test_every_shipped_configuration_is_tried_here() -> None:
    assert shipped_configs() == ["demo", "ersst", "navier_stokes_paper", "weatherbench_z500", "wfde5_gb"]


def test_demo(tmp_path: Path) -> None:
    few = ["generate.samples=8", "window.stride=11", "training.epochs=1", f"root={tmp_path}"]
    config = load_config("demo", few)
    assert config.generate is not None
    generate(config.generate, config.source_path)
    journey = travel(config, tmp_path)
    check(journey, cases=1)
    assert journey.ingested.appended == 8
    assert journey.job.grid.shape == (16, 16)
    assert not journey.job.grid.geographic


@pytest.mark.slow
def test_navier_stokes_paper(tmp_path: Path) -> None:
    config = load_config("navier_stokes_paper", ["generate.samples=25", "training.epochs=1", f"root={tmp_path}"])
    assert config.generate is not None
    generate(config.generate, config.source_path)
    journey = travel(config, tmp_path)
    check(journey, cases=4)
    assert [split.samples.size for split in journey.job.splits] == [20, 1, 4]
    assert journey.job.grid.shape == (16, 16)


def test_wfde5_gb(tmp_path: Path) -> None:
    write_wfde5(tmp_path / "files")
    few = ["training.epochs=1", "window.stride=48", "evaluation.stride=12", f"root={tmp_path}"]
    journey = travel(load_config("wfde5_gb", few, data=tmp_path / "files"), tmp_path)
    check(journey, cases=5)
    assert {path.stem for path in journey.ingested.committed} == {*WFDE5, "land_sea_mask"}
    assert journey.ingested.coverage == "2017-01-01T00:00 to 2017-01-20T23:00, 480 frames"
    with archive.open_dataset(journey.config.archive_path) as dataset:
        assert dataset.sizes == {"time": 480, "lat": 8, "lon": 10}
        assert int((dataset["mask"] == 0).sum()) == 21
        assert dataset["t2m"].attrs["standard_name"] == "air_temperature"
        assert (dataset["land"] == 1).all()


@pytest.mark.slow
@pytest.mark.parametrize("level", ["scalar", "dimension"])
def test_weatherbench_z500(level: str, tmp_path: Path) -> None:
    write_weatherbench(tmp_path / "files", level)
    (tmp_path / "files" / "constants_5.625deg.nc").write_bytes(b"not to be opened")
    # 48 test hours stand for two years, so the forecast is shorter than the shipped 148 hours
    few = ["training.epochs=1", "window.stride=100", "forecast.steps=4", f"root={tmp_path}"]
    journey = travel(load_config("weatherbench_z500", few, data=tmp_path / "files"), tmp_path)
    check(journey, cases=2)
    assert len(journey.ingested.committed) == 4
    grid = journey.job.grid
    assert (grid.shape, grid.geographic, grid.boundary) == ((32, 64), True, "cylinder")
    assert (grid.x[0], grid.x[-1]) == (-180.0, 174.375)
    with archive.open_dataset(journey.config.archive_path) as dataset:
        first = xr.open_dataset(tmp_path / "files" / "geopotential_500hPa_1979_5.625deg.nc")["z"].squeeze()
        archived = dataset["z"].sel(time=first["time"])
        assert dataset["z"].attrs["units"] == "m2 s-2"
        np.testing.assert_array_equal(archived.sel(lon=-90.0), first.sel(lon=270.0))
        np.testing.assert_array_equal(archived.sel(lon=90.0), first.sel(lon=90.0))


def test_ersst(tmp_path: Path) -> None:
    write_ersst(tmp_path / "files")
    few = ["training.epochs=1", "training.batch_size=16", f"root={tmp_path}"]
    journey = travel(load_config("ersst", few, data=tmp_path / "files"), tmp_path)
    check(journey, cases=20)
    assert journey.ingested.coverage == "2010-01-01T00:00 to 2020-08-01T00:00, 128 frames"
    grid = journey.job.grid
    assert (grid.shape, grid.geographic, grid.boundary) == ((11, 18), True, "cylinder")
    assert journey.scorecard.leads.labels[:2] == ("+1 month", "+2 months")
    assert journey.scorecard.attrs["climatology"].startswith("mean of each calendar month, 2010-01-01")
    forecasts = forecast(journey.model, journey.config, journey.ingested.snapshot_id)
    valid = np.arange("2020-09", "2021-03", dtype="datetime64[M]").astype("datetime64[ns]")
    np.testing.assert_array_equal(forecasts["valid_time"].values, valid[None])
    np.testing.assert_array_equal(forecasts["lead_time"].values, valid - np.datetime64("2020-08-01", "ns"))
    assert int(forecasts["sst"].isel(init_time=0, lead_time=0).isnull().sum()) == 9


@pytest.mark.slow
def test_ersst_on_the_real_files(data_folder: Path, tmp_path: Path) -> None:
    few = ["training.epochs=1", f"root={tmp_path}"]
    journey = travel(load_config("ersst", few, data=data_folder / "ersst_v5"), tmp_path)
    check(journey, cases=20)
    assert journey.job.grid.shape == (89, 180)
    assert (journey.job.grid.y[0], journey.job.grid.x[0]) == (-88.0, -180.0)
    scores = journey.scorecard.metrics()
    assert scores["test/rmse_climatology/sst/01mo"] == pytest.approx(0.60, abs=0.02)
    assert scores["test/rmse_persistence/sst/01mo"] == pytest.approx(1.06, abs=0.02)
    assert scores["test/rmse/sst/01mo"] < 0.45
    assert scores["test/acc/sst/01mo"] > 0.7


@pytest.mark.slow
def test_wfde5_gb_on_the_real_files(data_folder: Path, tmp_path: Path) -> None:
    few = ["training.epochs=1", "window.stride=80", f"root={tmp_path}"]
    journey = travel(load_config("wfde5_gb", few, data=data_folder / "wfde5_gb_2017-01"), tmp_path)
    check(journey, cases=102)
    assert journey.ingested.ignored == ()
    assert journey.job.grid.shape == (20, 28)
    with archive.open_dataset(journey.config.archive_path) as dataset:
        land = dataset["land"].values > 0.5
        assert (land.sum(), (land & (dataset["mask"].values == 0)).sum()) == (267, 17)
    leads = journey.scorecard.metrics()
    persistence = [leads[f"test/rmse_persistence/t2m/{hour:02d}h"] for hour in (1, 6, 12, 24)]
    assert persistence == pytest.approx([0.5, 2.1, 2.9, 3.3], abs=0.2)


def test_files_without_a_configured_variable_are_passed_by(data_folder: Path, tmp_path: Path) -> None:
    one = 'variables={"t2m": {"source_name": "Tair", "units": "K"}}'
    settings = ['source.files=["air*.nc", "land*.nc"]', one, f"root={tmp_path}"]
    result = ingest(load_config("wfde5_gb", settings, data=data_folder / "wfde5_gb_2017-01"))
    assert [path.name for path in result.ignored] == ["land_sea_mask.nc"]
    assert [path.name for path in result.committed] == ["air_temperature.nc"]
    assert result.rejected == ()


# --data


def test_data_takes_the_place_of_a_simulation(tmp_path: Path) -> None:
    config = load_config("demo", ["generate.samples=3"], data=tmp_path)
    assert config.generate is None
    assert config.source_path == tmp_path
    assert load_config("demo").generate is not None


@pytest.mark.parametrize("name", ["it's", 'say "so"', "back\\slash", "Größe", "a: b", "#", "\U0001f300"])
def test_any_folder_can_be_named(name: str, tmp_path: Path) -> None:
    assert load_config("wfde5_gb", data=tmp_path / name).source_path == tmp_path / name


def test_a_folder_set_without_data_needs_the_simulation_gone(tmp_path: Path) -> None:
    folder = f"source.path={tmp_path}"
    with pytest.raises(ConfigError, match="either generated or read"):
        load_config("demo", [folder])
    assert load_config("demo", [folder, "generate=null"]).source_path == tmp_path
