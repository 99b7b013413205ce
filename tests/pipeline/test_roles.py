"""Prognostic, diagnostic, forcing and static variables from the archive to the scorecard."""

import numpy as np
import pytest
import torch
import xarray as xr

from pipeline import archive
from pipeline.config import ArchiveConfig, check_config
from pipeline.errors import ArchiveError, ConfigError, ForecastError
from pipeline.evaluation import evaluate
from pipeline.forecast import forecast
from pipeline.lineage import model_metadata
from pipeline.training import prepare
from pipeline.training.job import build_forecaster, open_reader
from pipeline.windows import FrameReader, Window

HOURS = 120
ROLES = {"sun": "forcing", "rain": "diagnostic", "height": "static", "t2m": "prognostic"}


def made():
    """Temperature driven by a known sun an hour later, rain made of both, over a hilly 4 x 6 grid; a corner of sea."""
    rng = np.random.default_rng(0)
    sun = rng.normal(5, 2, (HOURS, 4, 6))
    height = np.linspace(0, 900, 24).reshape(4, 6)
    t2m = 280 + np.cumsum(rng.normal(0, 0.1, (HOURS, 1, 1)), axis=0) + 0.5 * sun - 0.006 * height
    rain = 1e-4 * (sun + 0.1 * (t2m - 280))
    sea = np.zeros((4, 6), bool)
    sea[0, :2] = True
    fields = {name: np.where(sea, np.nan, values) for name, values in (("sun", sun), ("t2m", t2m), ("rain", rain))}
    dims = ("time", "lat", "lon")
    coords = {
        "time": np.datetime64("2020-03-01", "ns") + np.arange(HOURS) * np.timedelta64(1, "h"),
        "lat": np.linspace(50, 53, 4),
        "lon": np.linspace(-3, 2, 6),
        "mask": (("lat", "lon"), (~sea).astype("i1")),
        "height": (("lat", "lon"), np.where(sea, np.nan, height).astype("f4"), {"units": "m"}),
    }
    units = {"sun": "W m-2", "t2m": "K", "rain": "kg m-2 s-1"}
    return xr.Dataset(
        {name: (dims, values.astype("f4"), {"units": units[name]}) for name, values in fields.items()},
        coords,
        {"boundary": "closed"},
    )


def config_of(root, **changes):
    units = {"sun": "W m-2", "t2m": "K", "rain": "kg m-2 s-1", "height": "m"}
    tree = {
        "name": "roles",
        "root": str(root),
        "source": {"path": str(root)},
        "variables": {name: {"units": units[name], "role": role} for name, role in ROLES.items()},
        "boundary": "closed",
        "forcings": ["time_of_day"],
        "window": {"history": 4, "horizon": 3},
        "model": {"hidden": [16], "patch": 1},
        "training": {"epochs": 12, "batch_size": 4, "closed_loop_steps": 2, "learning_rate": 0.01},
    }
    return check_config(tree | changes)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = config_of(tmp_path_factory.mktemp("roles"))
    archive.write(config.archive_path, made(), ArchiveConfig(), message="made", metadata={})
    return config


@pytest.fixture(scope="module")
def model(config, model_of):
    return model_of(config)


def test_the_archive_holds_static_fields_once(config):
    with archive.open_dataset(config.archive_path) as dataset:
        assert set(dataset.data_vars) == {"sun", "t2m", "rain"}
        assert dataset["height"].dims == ("lat", "lon")
        np.testing.assert_array_equal(dataset["height"], made()["height"])
        assert dataset["height"].attrs["units"] == "m"


@pytest.mark.parametrize("cache_bytes", [0, 2**30])
def test_a_reader_gives_each_role_its_channels(config, cache_bytes):
    reader = FrameReader(
        config.archive_path,
        None,
        config.predicted,
        config.forcings,
        [280.0, 0.0],
        cache_bytes,
        static_variables=["height"],
        forcing_variables={"sun": 5.0},
    )
    truth = made()
    assert config.predicted == ("t2m", "rain")
    assert reader.forcing_channels == ("time_of_day_sin", "time_of_day_cos", "height", "sun")
    frames, forcing = reader.read([Window(0, 10), Window(0, HOURS - 5)], 5)
    np.testing.assert_allclose(frames[0, :, 1, 1:], truth["rain"][10:15, 1:])
    np.testing.assert_allclose(forcing[0, :, 3, 1:], truth["sun"][11:16, 1:])  # an hour later than the frames
    assert (forcing[0, :, 3, 0, :2] == 5.0).all()
    np.testing.assert_allclose(forcing[0, 0, 2, 1:], truth["height"][1:])
    assert float(forcing[0, 0, 2, 0, 0]) == pytest.approx(float(truth["height"].mean()))
    np.testing.assert_allclose(forcing[1, :4, 3, 1:], truth["sun"][-4:, 1:])
    np.testing.assert_array_equal(forcing[1, 4, 3], forcing[1, 3, 3])  # nothing is known beyond the end


def test_the_model_sees_and_predicts_what_the_roles_say(config, snapshot_of):
    job = prepare(config, snapshot_of(config))
    assert job.statistics.variables == ("t2m", "rain", "sun")
    forecaster = build_forecaster(job, open_reader(job, job.splits.train))
    known = forecaster.config
    assert (known.in_channels, known.out_channels, known.diagnostic_channels) == (1 + 4, 2, 1)
    with archive.open_dataset(config.archive_path) as dataset:
        train = job.splits.train.select(dataset)
        for channel, name in ((0, "t2m"), (1, "rain"), (5, "sun")):
            assert float(forecaster.normalizer.mean[channel]) == pytest.approx(float(train[name].mean()), rel=1e-5)
            assert float(forecaster.normalizer.std[channel]) == pytest.approx(float(train[name].std()), rel=1e-4)
    metadata = model_metadata(job)
    assert metadata["variables"] == ["t2m", "rain"]
    assert metadata["static_variables"] == ["height"]
    assert list(metadata["forcing_variables"]) == ["sun"]


def test_a_known_forcing_is_used_and_a_diagnostic_is_learned(model, config, snapshot_of):
    card = evaluate(model, config, snapshot_of(config)).scores
    assert card["variable"].values.tolist() == ["t2m", "rain"]
    assert np.isfinite(card["rmse"]).all()
    first = card["rmse"].isel(lead_time=0)
    # the sun jumps from hour to hour, so that only a model that is told the next one can follow it
    assert (first.sel(source="model") < 0.7 * first.sel(source="persistence")).all()


def test_a_forecast_starts_where_the_forcing_is_known_to_its_end(model, config, snapshot_of):
    made_forecast = forecast(model, config, snapshot_of(config))
    assert list(made_forecast.data_vars) == ["t2m", "rain"]
    assert made_forecast["valid_time"].values[0, -1] == made()["time"].values[-1]
    with pytest.raises(ForecastError, match=r"needs the forcing 'sun' beyond the archive's end; start at least 3"):
        forecast(model, config, snapshot_of(config), init_time="2020-03-05T22")


def test_a_diagnostic_is_not_fed_back(model, config, snapshot_of):
    reader = FrameReader(
        config.archive_path,
        snapshot_of(config),
        config.predicted,
        config.forcings,
        model.metadata["fill"],
        0,
        static_variables=["height"],
        forcing_variables=model.metadata["forcing_variables"],
    )
    frames, forcing = reader.read([Window(0, 20)], 4)
    assert frames.shape[2] == 2
    y, _ = model.forecaster(torch.cat((frames[:, :, :1], forcing), dim=2))
    assert y.shape[2] == 2


def test_an_archive_without_the_static_field_is_refused(tmp_path):
    config = config_of(tmp_path)
    archive.write(config.archive_path, made().drop_vars("height"), ArchiveConfig(), message="made", metadata={})
    job = prepare(config, archive.head(config.archive_path))
    with pytest.raises(ArchiveError, match="has no variable 'height'"):
        open_reader(job, job.splits.train)


def test_something_must_be_fed_back(tmp_path):
    with pytest.raises(ConfigError, match="at least one must have the role prognostic"):
        config_of(tmp_path, variables={"rain": {"units": "1", "role": "diagnostic"}})
