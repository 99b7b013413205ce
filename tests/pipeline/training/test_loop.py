import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import minconv
from pipeline.config import Config, TilesConfig
from pipeline.errors import ConfigError
from pipeline.sampler import Balanced, ByShards
from pipeline.training import LocalWorker, TrainingJob, prepare, run_loop
from pipeline.training.job import build_forecaster, open_reader
from pipeline.training.loop import Training

Snapshot = Callable[[Config], str]


def changed(config: Config, section: str, **values: Any) -> Config:
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


def job_of(config: Config, snapshot_of: Snapshot) -> TrainingJob:
    return prepare(config, snapshot_of(config))


def result(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    *_, newest = sorted(folder.glob("checkpoint-*"))
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


def test_a_number_of_steps_is_kept_to_in_the_middle_of_an_epoch(
    sample_config: Config, snapshot_of: Snapshot, tmp_path: Path
) -> None:
    config = changed(sample_config, "training", epochs=1)
    run_loop(job_of(config, snapshot_of), LocalWorker(tmp_path / "epoch"))
    steps = result(tmp_path / "epoch")[1][0]["steps"]
    # as many steps, cut by the epoch's end or not, are the same training
    counted = changed(sample_config, "training", epochs=1000, max_steps=steps)
    run_loop(job_of(counted, snapshot_of), LocalWorker(tmp_path / "counted"))
    assert [one["train_loss"] for one in result(tmp_path / "counted")[1]] == [
        one["train_loss"] for one in result(tmp_path / "epoch")[1]
    ]
    messages: list[dict[str, Any]] = []
    more = changed(sample_config, "training", epochs=1000, max_steps=steps + 1, average=0.5)
    run_loop(job_of(more, snapshot_of), LocalWorker(tmp_path / "more", listener=messages.append))
    history = result(tmp_path / "more")[1]
    assert len(history) == 2
    assert history[-1]["learning_rate"] == pytest.approx(0.0, abs=1e-4)
    run_loop(job_of(more, snapshot_of), LocalWorker(tmp_path / "more"))
    assert len(result(tmp_path / "more")[1]) == 2  # it was finished


def test_patience_and_time_stop_early(sample_config: Config, snapshot_of: Snapshot, tmp_path: Path) -> None:
    slow = changed(sample_config, "training", epochs=50, learning_rate=1e-12, patience=2)
    run_loop(job_of(slow, snapshot_of), LocalWorker(tmp_path / "patience"))
    assert len(result(tmp_path / "patience")[1]) < 50
    short = changed(sample_config, "training", epochs=1000, max_seconds=0.3)
    run_loop(job_of(short, snapshot_of), LocalWorker(tmp_path / "time"))
    assert len(result(tmp_path / "time")[1]) < 1000


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


def outcome_of(config: Config, snapshot_of: Snapshot, folder: Path) -> tuple[dict[str, torch.Tensor], list[Any]]:
    run_loop(job_of(config, snapshot_of), LocalWorker(folder))
    return result(folder)


def test_weights_do_not_depend_on_reading_ahead_or_on_where_frames_are_kept(
    time_config: Config, snapshot_of: Snapshot, tmp_path: Path
) -> None:
    config = time_config.model_copy(update={"root": tmp_path / "runs"})
    config.work_dir.mkdir(parents=True)
    config.archive_path.symlink_to(time_config.archive_path)
    first, history = outcome_of(config, snapshot_of, tmp_path / "first")
    assert all(0.0 <= record["data_wait"] <= 1.0 for record in history)
    assert not config.cache_path.exists()
    ways: list[dict[str, Any]] = [
        {"prefetch": 0},
        {"prefetch": 5},
        {"cache": "disk"},
        {"cache": "none", "shuffle": "windows"},
        {"cache_bytes": 0},  # auto: on disk
    ]
    for number, way in enumerate(ways):
        weights, _ = outcome_of(changed(config, "training", **way), snapshot_of, tmp_path / str(number))
        assert all(torch.equal(weights[name], value) for name, value in first.items()), way
    assert len(list(config.cache_path.glob("*.npy"))) == 2  # train and validation, made once


def test_what_is_kept_nowhere_is_visited_shard_by_shard(
    time_config: Config, snapshot_of: Snapshot, tmp_path: Path
) -> None:
    config = changed(time_config, "training", cache="none", cache_bytes=400_000)
    training = Training(job_of(config, snapshot_of), LocalWorker(tmp_path))
    shuffle = training.cases.shuffle
    assert isinstance(shuffle, ByShards)
    assert training.reader.blocks is not None
    starts = [training.cases[number].start for number in range(len(training.cases))]
    assert shuffle.shard_of.tolist() == [training.reader.blocks.number(start) for start in starts]
    weights, _ = outcome_of(config, snapshot_of, tmp_path / "none")
    kept = changed(config, "training", cache="memory", shuffle="shards")
    same, _ = outcome_of(kept, snapshot_of, tmp_path / "memory")
    assert all(torch.equal(same[name], value) for name, value in weights.items())


@pytest.fixture
def tiled_config(time_config: Config) -> Config:
    return time_config.model_copy(update={"tiles": TilesConfig(size=4)})


def test_training_on_tiles_lowers_the_error_of_the_whole_grid(
    tiled_config: Config, snapshot_of: Snapshot, tmp_path: Path
) -> None:
    config = changed(tiled_config, "training", epochs=4, learning_rate=0.02)
    training = Training(job_of(config, snapshot_of), LocalWorker(tmp_path / "look"))
    assert training.tiling is not None
    assert training.cases.tile_count == 4
    assert training.tiling.shape == (6, 8)
    assert isinstance(training.cases.shuffle, Balanced)
    assert {training.cases[number].tile for number in range(4)} == set(training.tiling.tiles)
    _, history = outcome_of(config, snapshot_of, tmp_path / "run")
    assert history[-1]["train_loss"] < 0.95 * history[0]["train_loss"]
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]
    assert history[0]["steps"] == len(training.cases) // config.training.batch_size


def test_the_validation_error_of_a_model_is_the_same_on_tiles(
    time_config: Config, tiled_config: Config, snapshot_of: Snapshot, tmp_path: Path
) -> None:
    of_tiles, of_grid = (
        Training(job_of(config, snapshot_of), LocalWorker(tmp_path / "none")) for config in (tiled_config, time_config)
    )
    torch.nn.init.normal_(of_grid.objective.forecaster.decoder.weight, std=0.3)
    of_tiles.objective.forecaster.load_state_dict(of_grid.objective.forecaster.state_dict())
    assert of_tiles.validation.error() == pytest.approx(of_grid.validation.error(), rel=1e-5)


def test_an_interrupted_run_on_tiles_goes_on(tiled_config: Config, snapshot_of: Snapshot, tmp_path: Path) -> None:
    outcome_of(changed(tiled_config, "training", epochs=1, patience=None), snapshot_of, tmp_path / "run")
    _, history = outcome_of(changed(tiled_config, "training", epochs=2), snapshot_of, tmp_path / "run")
    assert [record["epoch"] for record in history] == [1, 2]
