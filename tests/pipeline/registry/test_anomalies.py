"""A model of anomalies from training through the registry to its forecast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

import minconv
from pipeline import archive
from pipeline.config import Config
from pipeline.forecast import cases_at, make_forecast, open_reader, valid_times
from pipeline.lineage import version_tags
from pipeline.model_files import write_model_files
from pipeline.registry import Registry
from pipeline.training import LocalWorker, prepare, run_loop
from pipeline.training.job import build_forecaster
from pipeline.training.job import open_reader as open_training_reader


def anomalies(config: Config, **model) -> Config:
    update = {"anomaly": True, "damping": True, **model}
    return config.model_copy(update={"model": config.model.model_copy(update=update)})


def registered(registry: Registry, config: Config, folder: Path, forecaster=None):
    """Trained by a local worker unless given, registered with all its files, and loaded."""
    job = prepare(config, archive.head(config.archive_path))
    if forecaster is None:
        run_loop(job, LocalWorker(folder / "training"))
        *_, best = sorted(folder.glob("training/checkpoint-*/best"))
    else:
        best = folder / "given"
        minconv.save(best, forecaster(job))
    files = write_model_files(folder, best, job, [])
    run = registry.run(f"anomalies of {registry.name}", {})
    registry.register(run, files.checkpoint, version_tags(job), files.sizes, files.extra)
    return job, registry.load()


def test_a_model_of_anomalies_forecasts_in_physical_units(registry, time_config, tmp_path):
    config = anomalies(time_config)
    job, model = registered(registry, config, tmp_path)
    assert model.climatology.cycle == job.climatology.cycle == "hour_of_day"
    np.testing.assert_array_equal(model.climatology.fields, job.climatology.fields)
    assert model.metadata["fill"] == [0.0, 0.0]
    assert model.version.tags["sha256_climatology"]
    reader = open_reader(model, config.archive_path, job.snapshot_id)
    init = np.datetime64("2020-03-09T18")
    fields = make_forecast(model, reader, cases_at(reader, 6, [init]), 3, {})["t2m"].values[0]
    with archive.open_dataset(config.archive_path) as dataset:
        truth = dataset["t2m"].sel(time=init + np.arange(1, 4) * np.timedelta64(1, "h")).values
    assert (np.isnan(fields) == np.isnan(truth)).all()
    assert np.nanmax(np.abs(fields - truth)) < 8  # of 280 K, where an anomaly would be off by as much


def test_full_damping_with_nothing_to_add_forecasts_the_climatology(registry, time_config, tmp_path):
    def returning(job):
        forecaster = build_forecaster(job, open_training_reader(job, job.splits.train))
        torch.nn.init.ones_(forecaster.damping)
        return forecaster

    config = anomalies(time_config)
    job, model = registered(registry, config, tmp_path, returning)
    reader = open_reader(model, config.archive_path, job.snapshot_id)
    cases = cases_at(reader, 6, [np.datetime64("2020-03-09T18"), np.datetime64("2020-03-10T23")])
    forecast = make_forecast(model, reader, cases, 5, {})
    for number, case in enumerate(cases):
        expected = job.climatology.at(valid_times(reader, case.start + 5, 5))
        for channel, name in enumerate(("t2m", "q2m")):
            np.testing.assert_array_equal(forecast[name].values[number], expected[:, channel])
