"""Warm start: the new model begins as its parent, whatever the newer data look like."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from pipeline import lineage
from pipeline.errors import ConfigError
from pipeline.training import Parent, prepare
from pipeline.training.job import build_forecaster, open_reader
from pipeline.windows import Window


def changed(config, **values):
    return config.model_copy(update={"model": config.model.model_copy(update=values)})


def sealed(model):
    version = dataclasses.replace(model.version, tags={**model.version.tags, "sha256": "5" * 64})
    return Parent.of(dataclasses.replace(model, version=version))


@pytest.fixture(scope="module")
def parent(time_model):
    return sealed(time_model)


def test_the_first_forecast_is_bit_for_bit_the_parents(time_config, time_model, parent, snapshot_of):
    other = time_config.model_copy(
        update={"seed": 5, "split": time_config.split.model_copy(update={"train": 0.5, "test": 0.3})}
    )
    job = prepare(other, snapshot_of(time_config), parent=parent)
    reader = open_reader(job, job.splits.train)
    started = build_forecaster(job, reader)
    frames, forcing = reader.read([Window(0, 3)], 8)
    x = torch.cat((frames, forcing), dim=2)
    with torch.no_grad():
        assert torch.equal(started(x)[0], time_model.forecaster(x)[0])
    afresh = build_forecaster(prepare(other, snapshot_of(time_config)), reader)
    assert not torch.equal(afresh.encoder.weight, started.encoder.weight)
    assert not torch.equal(afresh.normalizer.mean, started.normalizer.mean)


def test_its_statistics_are_those_that_the_job_reports(time_config, time_model, parent, snapshot_of):
    job = prepare(time_config, snapshot_of(time_config), parent=parent)
    assert job.statistics.hash() == time_model.version.tags["statistics_hash"]
    assert lineage.version_tags(job)["parent"] == time_model.version.uri
    assert "parent" not in lineage.version_tags(prepare(time_config, snapshot_of(time_config)))


def test_the_scale_of_the_tendency_stays_that_of_the_parents_data(time_config, model_of, snapshot_of):
    config = changed(time_config, tendency_scale="statistics")
    model = model_of(config, trained=False)
    newer = config.model_copy(update={"split": config.split.model_copy(update={"train": 0.5, "test": 0.3})})
    job = prepare(newer, snapshot_of(config), parent=sealed(model))
    started = build_forecaster(job, open_reader(job, job.splits.train))
    assert started.config.tendency_scale == model.forecaster.config.tendency_scale
    assert started.config.tendency_scale != prepare(newer, snapshot_of(config)).tendency_scale


def test_a_parent_that_is_built_otherwise_is_refused(time_config, parent, snapshot_of):
    job = prepare(changed(time_config, cell="convgru"), snapshot_of(time_config), parent=parent)
    with pytest.raises(
        ConfigError, match=r"models:/weather/3: its cell is minconvgru, the configuration asks for conv"
    ):
        build_forecaster(job, open_reader(job, job.splits.train))


def test_the_parent_and_the_date_are_in_the_name(time_config, parent):
    afresh = lineage.run_name(time_config, "A")
    warm = lineage.run_name(time_config, "A", parent)
    assert warm != afresh
    assert lineage.run_name(time_config, "A", parent, "2020-03-11") == warm.replace("weather-", "weather-2020-03-11-")
