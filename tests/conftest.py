"""Fixtures shared by the tests: two small archives, and a model trained on each, made once."""

import contextlib
import math
import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import minconv
from pipeline import archive
from pipeline.climatology import Climatology
from pipeline.config import Config, check_config
from pipeline.ingest import ingest
from pipeline.lineage import version_tags
from pipeline.model_files import write_model_files
from pipeline.registry import CLIMATOLOGY_FILE, ModelVersion, RegisteredModel
from pipeline.scorecard import Scorecard, make_scorecard
from pipeline.synthetic import generate
from pipeline.training import LocalWorker, prepare, run_loop
from pipeline.training.job import build_forecaster, open_reader

torch.set_num_threads(1)


def pytest_configure() -> None:
    """A shell has what it starts in the background ignore Ctrl-C, and nohup a closed terminal.

    So would commands that tests end by these signals.
    """
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start Ray first: they take longest, and what comes after them fills the cores to the end."""
    first = {item.path for item in items if item.get_closest_marker("cluster")}
    items.sort(key=lambda item: item.path not in first)


@pytest.fixture(scope="module", autouse=True)
def _own_mlflow() -> Iterator[None]:
    """A file of tests that leaves MLflow's servers set fails: the next one would speak to them."""
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    before = [os.environ.get(name) for name in names]
    yield
    assert [os.environ.get(name) for name in names] == before


@pytest.fixture
def swallowed_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C arrives while a NetCDF file is written, and is swallowed as netCDF4 does it, which has bare excepts."""
    to_netcdf = xr.Dataset.to_netcdf

    def swallowing(self: xr.Dataset, *arguments: Any, **options: Any) -> Any:
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return to_netcdf(self, *arguments, **options)

    monkeypatch.setattr(xr.Dataset, "to_netcdf", swallowing)


@pytest.fixture(scope="session")
def sample_config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Advected blobs: 10 samples of 14 frames on 8 x 8 points, archived."""
    tree: dict[str, Any] = {
        "name": "blobs",
        "root": str(tmp_path_factory.mktemp("blobs")),
        "generate": {"kind": "advection", "samples": 10, "steps": 14, "size": 8, "coarsen": 1},
        "variables": {"tracer": {"units": "1"}},
        "archive": {"chunk_time": 14, "shard_time": 14},
        "window": {"history": 4, "horizon": 4, "stride": 2},
        "model": {"hidden": [8], "patch": 1},
        "training": {"epochs": 2, "batch_size": 2},
    }
    config = check_config(tree)
    assert config.generate is not None
    generate(config.generate, config.source_path)
    ingest(config)
    return config


@pytest.fixture(scope="session")
def time_config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Ten days of hourly temperature and humidity over 6 x 8 points of land and sea, archived."""
    root = tmp_path_factory.mktemp("weather")
    source = root / "source"
    source.mkdir()
    made_weather().to_netcdf(source / "weather.nc")
    tree: dict[str, Any] = {
        "name": "weather",
        "root": str(root),
        "source": {"path": str(source)},
        "variables": {"t2m": {"units": "K"}, "q2m": {"units": "kg kg-1"}},
        "boundary": "closed",
        "forcings": ["time_of_day", "latitude", "mask"],
        "window": {"history": 6, "horizon": 3, "stride": 4},
        "model": {"hidden": [8], "patch": 2},
        "training": {"epochs": 2, "batch_size": 4, "closed_loop_steps": 2},
        "evaluation": {"stride": 5},
    }
    config = check_config(tree)
    ingest(config)
    return config


def made_weather(hours: int = 240) -> xr.Dataset:
    """A daily cycle that drifts and is noisy, with one corner of sea."""
    random = np.random.default_rng(1)
    time = np.datetime64("2020-03-01T00", "ns") + np.arange(hours) * np.timedelta64(1, "h")
    lat, lon = np.linspace(50, 52.5, 6), np.linspace(-3, 0.5, 8)
    phase = 2 * np.pi * np.arange(hours) / 24
    slow = np.cumsum(random.normal(0, 0.2, hours))
    field = 280 + 5 * np.sin(phase)[:, None, None] + slow[:, None, None] + random.normal(0, 0.3, (hours, 6, 8))
    field[:, 4:, :3] = np.nan
    humid = 5e-3 + 1e-4 * (field - 280)
    coords = {
        "time": time,
        "lat": ("lat", lat, {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": ("lon", lon, {"standard_name": "longitude", "units": "degrees_east"}),
    }
    dims = ("time", "lat", "lon")
    return xr.Dataset(
        {
            "t2m": (dims, field.astype("f4"), {"units": "K", "standard_name": "air_temperature"}),
            "q2m": (dims, humid.astype("f4"), {"units": "kg kg-1", "long_name": "specific humidity"}),
        },
        coords,
    )


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data beside the project; the test is skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data beside the project (../shared/data) are absent")
    return folder


@pytest.fixture(scope="session")
def snapshot_of() -> Any:
    """The newest snapshot_id of a configuration's archive."""
    return lambda config: archive.head(config.archive_path)


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RegisteredModel]:
    """A model of a configuration's archive as the registry would load it, without MLflow; trained, or as it starts."""

    def make(config: Config, trained: bool = True) -> RegisteredModel:
        job, folder = prepare(config, archive.head(config.archive_path)), tmp_path_factory.mktemp("model")
        epochs: list[dict[str, Any]] = []
        if trained:
            run_loop(job, LocalWorker(folder / "training", listener=epochs.append))
            *_, checkpoint = sorted(folder.glob("training/checkpoint-*/best"))
        else:
            checkpoint = folder / "fresh"
            minconv.save(checkpoint, build_forecaster(job, open_reader(job, job.splits.train)))
        files = write_model_files(folder, checkpoint, job, [record for record in epochs if record["kind"] == "epoch"])
        forecaster, metadata = minconv.load(files.checkpoint)
        climatology = Climatology.load(folder / CLIMATOLOGY_FILE) if config.model.anomaly else None
        version = ModelVersion(config.name, 3, "0" * 32, ("champion",), version_tags(job), 0.0, {})
        return RegisteredModel(version, forecaster, metadata, climatology)

    return make


@pytest.fixture(scope="session")
def sample_model(sample_config: Config, model_of: Callable[..., RegisteredModel]) -> RegisteredModel:
    """Trained on the blobs."""
    return model_of(sample_config)


@pytest.fixture(scope="session")
def time_model(time_config: Config, model_of: Callable[..., RegisteredModel]) -> RegisteredModel:
    """Trained on the weather."""
    return model_of(time_config)


class MadeScorecards:
    """Scorecards of made errors: persistence and climatology have twice the RMSE of a model of factor 1."""

    def __call__(
        self,
        factor: float | dict[str, float] | np.ndarray,
        *,
        noise: float = 0.0,
        seed: int = 0,
        correlation: float = 0.0,
        cases: int = 40,
        leads: int = 4,
        names: tuple[str, str] = ("t2m", "q"),
        first_case: int = 0,
        truth: int = 0,
        version: int = 1,
    ) -> Scorecard:
        """Cases six hours apart, two variables, lead times six hours apart.

        Args:
            factor: RMSE of the model relative to 1 + the lead's number, by variable or by (variable, lead_time).
            noise: Standard deviation of the logarithm of a case's MSE.
            seed: Of the noise.
            correlation: Of the noise of neighbouring cases.
            truth: Seed of what all models share: the weather is easier in some cases.
        """
        given = np.array([factor[name] for name in names])[:, None] if isinstance(factor, dict) else factor
        size = np.arange(1, leads + 1) * np.array([1.0, 1e-3])[:, None]
        weather = np.exp(np.random.default_rng(truth).normal(0, 0.2, (cases, 1, 1)))
        random = np.random.default_rng(seed).normal(0, noise, (cases, 2, leads))
        for case in range(1, cases):
            random[case] = correlation * random[case - 1] + math.sqrt(1 - correlation**2) * random[case]
        model = (given * size) ** 2 * weather * np.exp(random)
        baseline = np.broadcast_to((2 * size) ** 2 * weather, model.shape)
        mse = np.stack([model, baseline, baseline], axis=1)
        start = np.datetime64("2020-01-01T00", "h") + 6 * first_case
        return make_scorecard(
            rmse=np.sqrt(mse.mean(axis=0)),
            mae=np.sqrt(mse.mean(axis=0)),
            bias=np.zeros(mse.shape[1:]),
            mse=mse,
            excluded=np.zeros((2, leads), dtype=np.int64),
            variables=list(names),
            units=["K", "kg kg-1"],
            long_names=["2 m temperature", "Specific humidity"],
            lead_times=np.arange(1, leads + 1) * np.timedelta64(6, "h"),
            cases=[str(start + 6 * number) for number in range(cases)],
            attrs={"model_name": "made", "model_version": str(version), "snapshot_id": "SNAPSHOT"},
        )

    def scaled(self, card: Scorecard, scales: dict[str, float]) -> Scorecard:
        """The same errors in other units."""
        factor = xr.DataArray([scales.get(name, 1.0) for name in card.variables], dims="variable")
        scores = card.scores.copy()
        for name, power in (("rmse", 1), ("mae", 1), ("bias", 1), ("mse", 2)):
            scores[name] = (scores[name] * factor**power).transpose(*card.scores[name].dims)
        return Scorecard(scores)


@pytest.fixture(scope="session")
def scored() -> MadeScorecards:
    """Makes scorecards of known truth."""
    return MadeScorecards()
