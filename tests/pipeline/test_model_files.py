"""The files of a model version."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import yaml

import minconv
from pipeline.climatology import Climatology
from pipeline.config import check_config
from pipeline.grid import GridSpec
from pipeline.lineage import model_metadata
from pipeline.model_files import write_model_files
from pipeline.training import prepare
from pipeline.training.job import build_forecaster, open_reader

EPOCHS = [{"epoch": 1, "train_loss": 0.5, "validation_loss": 0.25}]


@pytest.fixture(params=[False, True], ids=["fields", "anomalies"])
def written(request, time_config, snapshot_of, tmp_path):
    model = time_config.model.model_copy(update={"anomaly": request.param})
    job = prepare(time_config.model_copy(update={"model": model}), snapshot_of(time_config))
    forecaster = build_forecaster(job, open_reader(job, job.splits.train))
    minconv.save(tmp_path / "trained", forecaster)
    (tmp_path / "files").mkdir()
    return job, forecaster, write_model_files(tmp_path / "files", tmp_path / "trained", job, EPOCHS)


def test_the_checkpoint_is_the_trained_one_with_all_metadata(written):
    job, forecaster, files = written
    found, metadata = minconv.load(files.checkpoint)
    for name, value in forecaster.state_dict().items():
        assert torch.equal(found.state_dict()[name], value)
    assert metadata == {**model_metadata(job), "epochs": EPOCHS}
    assert files.sizes == (2 + 4, 2, 6, 8, 0)


def test_configuration_and_grid_are_there_in_plain_text(written):
    job, _, files = written
    config, grid = files.extra[:2]
    assert check_config(yaml.safe_load(config.read_text())) == job.config
    assert GridSpec.from_dict(json.loads(grid.read_text())) == job.grid


def test_a_model_of_anomalies_has_its_climatology_beside_it(written):
    job, _, files = written
    names = [path.name for path in files.extra]
    if job.climatology is None:
        assert names == ["config.yaml", "grid.json"]
        return
    assert names == ["config.yaml", "grid.json", "climatology.npz"]
    np.testing.assert_array_equal(Climatology.load(files.extra[-1]).fields, job.climatology.fields)
