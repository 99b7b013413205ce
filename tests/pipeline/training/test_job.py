"""What is trained: the job, and the Forecaster that its configuration asks for."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline import archive
from pipeline.climatology import fit_climatology
from pipeline.errors import ArchiveError, ConfigError
from pipeline.training import LocalWorker, prepare
from pipeline.training.job import build_forecaster, open_reader
from pipeline.training.loop import Training
from pipeline.windows import Window


def changed(config, **values):
    return config.model_copy(update={"model": config.model.model_copy(update=values)})


def test_a_boundary_that_the_archive_does_not_have_is_refused_before_training(time_config, snapshot_of):
    other = time_config.model_copy(update={"boundary": "periodic"})
    with pytest.raises(ConfigError, match=r"boundary is periodic, but archive .* was ingested as closed; set"):
        prepare(other, snapshot_of(time_config))


def test_a_variable_that_the_archive_does_not_have_is_refused_before_training(time_config, snapshot_of):
    variables = {**time_config.variables, "rain": time_config.variables["t2m"]}
    with pytest.raises(ArchiveError, match="rain"):
        prepare(time_config.model_copy(update={"variables": variables}), snapshot_of(time_config))


def dataset_anomalies(config, job):
    """Of the training split at valid points, [T, C, P]."""
    with archive.open_dataset(config.archive_path) as dataset:
        train = job.splits.train.select(dataset)
        fields = np.stack([train[name].values for name in config.variables], axis=1).astype(np.float64)
        anomalies = fields - job.climatology.at(train["time"].values)
        return anomalies[..., dataset["mask"].values != 0]


def test_the_climatology_of_anomalies_is_that_of_the_training_split(time_config, snapshot_of):
    assert prepare(time_config, snapshot_of(time_config)).climatology is None
    job = prepare(changed(time_config, anomaly=True), snapshot_of(time_config))
    with archive.open_dataset(time_config.archive_path) as dataset:
        expected = fit_climatology(dataset, ("t2m", "q2m"), job.splits.train)
    np.testing.assert_array_equal(job.climatology.fields, expected.fields)
    anomalies = dataset_anomalies(time_config, job)
    assert job.mean == pytest.approx([0.0, 0.0], abs=1e-6)
    np.testing.assert_allclose(job.statistics.state.std, anomalies.std(axis=(0, 2)), rtol=1e-4)


def test_a_reader_of_anomalies_reads_and_fills_with_zero_mean(time_config, snapshot_of):
    job = prepare(changed(time_config, anomaly=True), snapshot_of(time_config))
    reader = open_reader(job, job.splits.train)
    split = job.splits.train.frames
    frames = reader.read([Window(0, split.start)], split.size)[0][0]
    np.testing.assert_allclose(frames[:, :, ~reader.mask], 0.0, atol=1e-6)
    expected = dataset_anomalies(time_config, job)
    np.testing.assert_allclose(frames[:, :, reader.mask], expected, atol=1e-4)
    assert abs(expected.mean(axis=(0, 2))).max() < 0.05 * expected[:, 0].std()
    assert frames[:, 0].std() > 0.1


def test_the_forecaster_is_the_one_configured(time_config, snapshot_of):
    config = changed(time_config, anomaly=True, damping=True, closed_padding="reflect", cell="convlstm")
    job = prepare(config, snapshot_of(config))
    forecaster = build_forecaster(job, open_reader(job, job.splits.train))
    assert forecaster.config.damping
    assert forecaster.config.boundary == "reflect"
    assert forecaster.config.cell == "convlstm"
    assert (forecaster.config.in_channels, forecaster.config.out_channels) == (6, 2)
    assert forecaster.normalizer.mean[:2].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert forecaster.normalizer.std[:2].tolist() == pytest.approx(job.statistics.state.std.tolist())


def test_the_memory_is_the_one_configured(time_config, snapshot_of):
    config = changed(time_config, memory=500)
    job = prepare(config, snapshot_of(config))
    forecaster = build_forecaster(job, open_reader(job, job.splits.train))
    for layer in forecaster.layers:
        keep = (-layer.cell.bias[: layer.cell.hidden]).sigmoid()
        assert 0.5 < keep.min() < keep.max() < 1 - 1 / 501
        assert keep.max() > 1 - 1 / 499


@pytest.mark.parametrize("anomaly", [False, True])
def test_the_scale_of_the_tendency_may_be_that_of_the_data(time_config, snapshot_of, anomaly):
    config = changed(time_config, tendency_scale="statistics", anomaly=anomaly)
    job = prepare(config, snapshot_of(config))
    forecaster = build_forecaster(job, open_reader(job, job.splits.train))
    expected = job.statistics.tendency.std / job.statistics.state.std
    assert forecaster.config.tendency_scale == pytest.approx(tuple(expected))
    assert all(0.01 < scale < 2.0 for scale in expected)
    assert forecaster.scale.flatten().tolist() == pytest.approx(expected.tolist())


def test_of_diagnostic_variables_there_is_no_scale_of_the_tendency(time_config, snapshot_of):
    diagnostic = time_config.variables["t2m"].model_copy(update={"role": "diagnostic"})
    config = time_config.model_copy(update={"variables": {**time_config.variables, "t2m": diagnostic}})
    job = prepare(changed(config, tendency_scale="statistics"), snapshot_of(config))
    assert job.statistics.variables == ("q2m", "t2m")
    assert job.tendency_scale == pytest.approx((job.statistics.tendency.std[0] / job.statistics.state.std[0],))


def test_the_weights_of_variables_in_the_loss_have_a_mean_of_one(time_config, snapshot_of, tmp_path):
    def weighed(**weights):
        training = time_config.training.model_copy(update={"loss_weights": weights})
        return prepare(time_config.model_copy(update={"training": training}), snapshot_of(time_config))

    assert weighed().loss_weights == (1.0, 1.0)
    assert weighed(q2m=3.0).loss_weights == (0.5, 1.5)
    assert weighed(t2m=0.2, q2m=0.2).loss_weights == pytest.approx((1.0, 1.0))
    roots = Training(weighed(q2m=3.0), LocalWorker(tmp_path)).objective.roots
    assert roots.square().flatten().tolist() == pytest.approx([0.5, 1.5])


def test_the_seed_decides_the_weights(time_config, snapshot_of):
    def weights(seed):
        job = prepare(time_config.model_copy(update={"seed": seed}), snapshot_of(time_config))
        return build_forecaster(job, open_reader(job, job.splits.train)).encoder.weight

    assert weights(1).equal(weights(1))
    assert not weights(1).equal(weights(2))
