import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import minconv
from pipeline.config import Config
from pipeline.errors import ConfigError, TrainingError
from pipeline.training import LocalWorker, TrainingJob, prepare, run_loop
from pipeline.training.job import build_forecaster, open_reader

Snapshot = Callable[[Config], str]


def changed(config: Config, section: str, **values: Any) -> Config:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def job_of(config: Config, snapshot_of: Snapshot) -> TrainingJob:
    return prepare(config, snapshot_of(config))


def result(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    (newest,) = folder.glob("epoch-*")
    forecaster, _ = minconv.load(newest / "latest")
    return forecaster.state_dict(), json.loads((newest / "state.json").read_text())["history"]


def test_training_lowers_the_error_and_keeps_the_best_weights(
    sample_config: Config, snapshot_of: Snapshot, tmp_path: Path
) -> None:
    config = changed(sample_config, "training", epochs=6, learning_rate=0.02, batch_size=1)
    run_loop(job_of(config, snapshot_of), LocalWorker(tmp_path))
    _, history = result(tmp_path)
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1]["train_loss"] < 0.95 * history[0]["train_loss"]
    assert min(record["validation_loss"] for record in history) < history[0]["validation_loss"]


def test_an_interrupted_run_ends_with_the_weights_of_an_uninterrupted_one(
    time_config: Config, snapshot_of: Snapshot, tmp_path: Path
) -> None:
    job = job_of(changed(time_config, "training", epochs=3), snapshot_of)
    run_loop(job, LocalWorker(tmp_path / "whole"))

    class Killed(Exception):
        pass

    def kill_in_second_epoch(message: dict[str, Any]) -> None:
        if message["kind"] == "step" and message["epoch"] == 1:
            raise Killed

    with pytest.raises(Killed):
        run_loop(job, LocalWorker(tmp_path / "killed", listener=kill_in_second_epoch))
    run_loop(job, LocalWorker(tmp_path / "killed"))
    whole, resumed = result(tmp_path / "whole"), result(tmp_path / "killed")
    for name, value in whole[0].items():
        assert torch.equal(value, resumed[0][name]), name
    assert [r["validation_loss"] for r in whole[1]] == [r["validation_loss"] for r in resumed[1]]


def test_a_finished_run_does_nothing_again(sample_config: Config, snapshot_of: Snapshot, tmp_path: Path) -> None:
    job = job_of(sample_config, snapshot_of)
    run_loop(job, LocalWorker(tmp_path))
    messages: list[dict[str, Any]] = []
    run_loop(job, LocalWorker(tmp_path, listener=messages.append))
    assert messages == []


def test_a_loss_that_is_not_finite_ends_the_run_with_its_reason(
    sample_config: Config, snapshot_of: Snapshot, tmp_path: Path
) -> None:
    config = changed(sample_config, "training", learning_rate=1e30, clip_norm=1e30, warmup=0.0, epochs=5)
    messages: list[dict[str, Any]] = []
    run_loop(job_of(config, snapshot_of), LocalWorker(tmp_path, listener=messages.append))
    last = [message for message in messages if message["kind"] == "epoch"][-1]
    assert "not finite" in last["failure"]
    assert last["epoch"] < 5


def test_patience_and_time_stop_early(sample_config: Config, snapshot_of: Snapshot, tmp_path: Path) -> None:
    slow = changed(sample_config, "training", epochs=50, learning_rate=1e-12, patience=2)
    run_loop(job_of(slow, snapshot_of), LocalWorker(tmp_path / "patience"))
    assert len(result(tmp_path / "patience")[1]) < 50
    short = changed(sample_config, "training", epochs=1000, max_seconds=0.3)
    run_loop(job_of(short, snapshot_of), LocalWorker(tmp_path / "time"))
    assert len(result(tmp_path / "time")[1]) < 1000


def test_a_torn_checkpoint_is_refused(sample_config: Config, snapshot_of: Snapshot, tmp_path: Path) -> None:
    job = job_of(sample_config, snapshot_of)
    run_loop(job, LocalWorker(tmp_path))
    (newest,) = tmp_path.glob("epoch-*")
    (newest / "optimizer.pt").write_bytes(b"half")

    class Trusting(LocalWorker):
        def latest(self) -> Path | None:
            return newest

    with pytest.raises(TrainingError, match=r"optimizer\.pt is missing or altered"):
        run_loop(job, Trusting(tmp_path))


def test_the_normalizer_holds_the_statistics_and_leaves_uniform_forcings_alone(
    time_config: Config, snapshot_of: Snapshot
) -> None:
    job = job_of(time_config, snapshot_of)
    reader = open_reader(job, job.splits.train)
    normalizer = build_forecaster(job, reader).normalizer
    assert normalizer.mean[:2].tolist() == pytest.approx(job.statistics.state.mean.tolist())
    assert normalizer.std[:2].tolist() == pytest.approx(job.statistics.state.std.tolist())
    assert reader.forcing_channels == ("time_of_day_sin", "time_of_day_cos", "latitude_sin", "mask")
    assert normalizer.std[2:4].tolist() == [1.0, 1.0]
    assert 0 < normalizer.std[4] < 0.1


def test_a_patch_that_does_not_divide_the_grid_is_a_sentence(time_config: Config, snapshot_of: Snapshot) -> None:
    job = job_of(changed(time_config, "model", patch=4), snapshot_of)
    with pytest.raises(ConfigError, match=r"model\.patch must divide the grid of 6 x 8 points, got 4"):
        build_forecaster(job, open_reader(job, job.splits.train))


def test_statistics_come_from_the_training_split_alone(time_config: Config, snapshot_of: Snapshot) -> None:
    job = job_of(time_config, snapshot_of)
    assert job.splits.train.frames.stop + time_config.gap == job.splits.validation.frames.start
    assert job.statistics.state.count[0] == 42 * job.splits.train.frames.size
