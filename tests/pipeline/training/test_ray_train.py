"""Training on Ray: the same weights as without it, and an end in order whatever happens to the workers."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import minconv
from pipeline import archive
from pipeline.cluster import Cluster, Node, connect
from pipeline.config import Config, TrainingConfig
from pipeline.errors import ClusterError, ConfigError, TrainingError
from pipeline.progress import Event
from pipeline.training import LocalWorker, TrainingJob, prepare, run_loop, train
from pipeline.training.checkpoints import Checkpoints, Place
from pipeline.training.ray_train import RAYS_OWN_RECORD, _Listener, _ray_worker


def job_of(config: Config, root: Path, **training: Any) -> TrainingJob:
    """A job on the archive of a configuration that writes below `root`."""
    options = config.training.model_copy(update={"threads": 1, **training})
    job = prepare(config.model_copy(update={"training": options}), archive.head(config.archive_path))
    (root / config.name).mkdir(parents=True, exist_ok=True)
    if not (root / config.name / "archive").exists():
        (root / config.name / "archive").symlink_to(config.archive_path)
    return TrainingJob(
        job.config.model_copy(update={"root": root}),
        job.snapshot_id,
        job.grid,
        job.splits,
        job.statistics,
        job.climatology,
    )


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return minconv.load(folder)[0].state_dict()


# What the driver hears


class Box:
    """A mailbox in this process."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def take(self) -> list[dict[str, Any]]:
        taken, self.messages = self.messages, []
        return taken


def test_steps_and_epochs_count_towards_one_total():
    box, events = Box(), list[Event]()
    box.messages = [
        {"kind": "step", "epoch": 1, "step": 4, "steps": 10, "loss": 0.5},
        {"kind": "epoch", "epoch": 2, "steps": 10, "train_loss": 0.4, "validation_loss": 0.3},
    ]
    with _Listener(box, TrainingConfig(epochs=3), events.append, time.time() + 60):
        pass
    assert [(e.done, e.total, e.unit, e.message) for e in events] == [
        (15, 30, "steps", "epoch 2 of 3"),
        (20, 30, "steps", "epoch 2 of 3"),
    ]
    assert events[0].values == {"loss": 0.5}
    assert events[1].values["validation_loss"] == 0.3


def test_a_run_that_does_not_end_by_itself_is_given_up(monkeypatch):
    monkeypatch.setattr("pipeline.training.ray_train.GRACE_SECONDS", 0.0)
    listener = _Listener(Box(), TrainingConfig(epochs=3), lambda event: None, time.time() + 0.2)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), listener:
        time.sleep(100)
    assert time.monotonic() - started < 90
    assert "training ran past training.deadline_seconds" in str(listener.error)


def test_the_first_error_of_a_worker_is_kept():
    box = Box()
    box.messages = [{"kind": "error", "error": ConfigError(text)} for text in ("first", "second")]
    listener = _Listener(box, TrainingConfig(epochs=3), lambda event: None, time.time() + 60)
    with listener:
        pass
    assert str(listener.error) == "first"


def test_what_cannot_succeed_is_told_to_the_driver_and_not_tried_again(monkeypatch):
    told: list[dict[str, Any]] = []
    box = Box()
    box.put = lambda message, wait: told.append({**message, "wait": wait})
    monkeypatch.setattr("pipeline.training.ray_train._RayWorker", lambda *arguments: None)
    arguments = {
        "task": None,
        "job": None,
        "folder": None,
        "scratch": None,
        "mailbox": box,
        "threads": 1,
        "deadline": 0.0,
    }
    error: Exception = TrainingError("the disk is full")

    def fail(job, worker):
        raise error

    arguments["task"] = fail
    _ray_worker(arguments)
    assert told == [{"kind": "error", "error": error, "wait": True}]
    error = OSError(errno.EIO, os.strerror(errno.EIO))  # it may pass: Ray tries again
    with pytest.raises(OSError, match="Input/output error"):
        _ray_worker(arguments)


def test_too_few_resources_are_said_before_anything_starts(sample_config, tmp_path):
    job = job_of(sample_config, tmp_path, workers=2, threads=4)
    small = Cluster((Node("id", "host", cpus=2),), local=True)
    with pytest.raises(ClusterError, match="2 workers of 4 threads need 8 CPUs, the cluster has 2"):
        train(job, "run", small)
    with pytest.raises(ClusterError, match="needs 1 GPUs, the cluster has 0"):
        train(job_of(sample_config, tmp_path, gpu=True), "run", small)
    assert not (tmp_path / "blobs" / "training").exists()


# With Ray: one connection for all


@pytest.fixture(scope="module")
def ray_cluster():
    with connect(cpus=2) as found:
        yield found


@pytest.fixture(scope="module")
def alone(sample_config, tmp_path_factory) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Weights and records of a run without Ray: two windows a step."""
    folder = tmp_path_factory.mktemp("alone")
    run_loop(job_of(sample_config, folder), LocalWorker(folder / "run"))
    *_, newest = sorted((folder / "run").glob("checkpoint-*"))
    return weights(newest / "best"), json.loads((newest / "state.json").read_text())["history"]


def processes(name: bytes) -> list[int]:
    """Process ids of the actors of this name that this process has on Ray."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                title = (entry / "cmdline").read_bytes()
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                grandparent = int((Path("/proc") / str(parent) / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            if name in title and grandparent == os.getpid():
                found.append(int(entry.name))
    return found


@pytest.mark.cluster
def test_one_worker_ends_with_the_weights_of_a_run_without_ray(ray_cluster, alone, sample_config, tmp_path):
    events, torch_in, priorities = list[Event](), dict[bytes, bool](), set[int]()
    before = signal.getsignal(signal.SIGINT)
    job = job_of(sample_config, tmp_path)

    def look(event: Event) -> None:
        events.append(event)
        for name in (b"Controller", b"RayTrainWorker"):
            for pid in processes(name):
                torch_in[name] = b"libtorch" in Path(f"/proc/{pid}/maps").read_bytes()
                priorities.add(os.getpriority(os.PRIO_PROCESS, pid))

    outcome = train(job, "one", ray_cluster, look)
    assert torch_in == {b"Controller": False, b"RayTrainWorker": True}  # its import would be waited for
    assert priorities == {os.getpriority(os.PRIO_PROCESS, 0)}
    for name, value in weights(outcome.checkpoint).items():
        assert torch.equal(value, alone[0][name]), name
    assert [r["validation_loss"] for r in outcome.history] == [r["validation_loss"] for r in alone[1]]
    assert all(100 < record["peak_memory_mb"] < 10_000 for record in outcome.history)
    assert signal.getsignal(signal.SIGINT) == before

    epochs = [event for event in events if "validation_loss" in event.values]
    assert [event.values["epoch"] for event in epochs] == [1, 2]
    steps = outcome.history[0]["steps"]
    assert [(event.done, event.total, event.unit) for event in epochs] == [
        (s * steps, 2 * steps, "steps") for s in (1, 2)
    ]
    assert [event.done for event in events] == sorted(event.done for event in events)

    # The record of Ray itself is torn, and so is the newest checkpoint: the last epoch is done again, to the same end.
    kept = Checkpoints(tmp_path / "blobs" / "training" / "one")
    (kept.path(Place(2, 0)) / "latest" / "weights.safetensors").write_bytes(b"half")
    (kept.folder / RAYS_OWN_RECORD).write_text('{"ray_version": "2.')
    again = train(job, "one", ray_cluster, events.append)
    assert [event.values["epoch"] for event in events if "validation_loss" in event.values] == [1, 2, 2]
    for name, value in weights(again.checkpoint).items():
        assert torch.equal(value, alone[0][name]), name


@pytest.mark.cluster
def test_two_workers_end_with_the_weights_of_one_on_the_same_batches(ray_cluster, alone, sample_config, tmp_path):
    kept, heard = Checkpoints(tmp_path / "blobs" / "training" / "two"), list[Event]()

    def hang(event: Event) -> None:
        """A driver that hangs in the first epoch, as a server may let it: no worker waits for it."""
        end = time.monotonic() + 120
        while "validation_loss" in event.values and kept.newest() != Place(2, 0):
            assert time.monotonic() < end, "the workers wait for the driver"
            time.sleep(0.1)
        heard.append(event)

    outcome = train(job_of(sample_config, tmp_path, workers=2), "two", ray_cluster, hang)
    assert [event.values["epoch"] for event in heard if "validation_loss" in event.values] == [1, 2]
    for name, value in weights(outcome.checkpoint).items():
        torch.testing.assert_close(value, alone[0][name], rtol=1e-3, atol=1e-5, msg=lambda text, name=name: name + text)
    for record, expected in zip(outcome.history, alone[1], strict=True):
        for key in ("train_loss", "validation_loss"):
            assert record[key] == pytest.approx(expected[key], rel=1e-4), key
    changed = minconv.load(outcome.checkpoint)[0].state_dict()
    fresh = minconv.Forecaster(minconv.load(outcome.checkpoint)[0].config).state_dict()
    assert any(not torch.equal(value, fresh[name]) for name, value in changed.items())


@pytest.mark.cluster
def test_a_diverging_run_says_so_once_and_leaves_no_outcome(ray_cluster, sample_config, tmp_path):
    job = job_of(sample_config, tmp_path, learning_rate=1e30, clip_norm=1e30, warmup=0.0, epochs=5)
    events: list[Event] = []
    with pytest.raises(TrainingError) as error:
        train(job, "diverging", ray_cluster, events.append)
    assert "the loss is not finite in epoch " in str(error.value)
    assert "nothing was registered; lower training.learning_rate or check the data" in str(error.value)
    finished = [event.values["epoch"] for event in events if "validation_loss" in event.values]
    assert finished == sorted(set(finished))  # no epoch was tried again


@pytest.mark.cluster
def test_what_the_configuration_cannot_mean_is_not_tried_again(ray_cluster, time_config, tmp_path):
    config = time_config.model_copy(update={"model": time_config.model.model_copy(update={"patch": 4})})
    with pytest.raises(ConfigError, match=r"^model\.patch must divide the grid of 6 x 8 points, got 4"):
        train(job_of(config, tmp_path), "patch", ray_cluster)


@pytest.mark.cluster
def test_a_killed_worker_is_replaced_and_the_run_goes_on(ray_cluster, alone, sample_config, tmp_path):
    killed: list[int] = []
    epochs: list[int] = []

    def kill_after_the_first_epoch(event: Event) -> None:
        if "validation_loss" in event.values:
            epochs.append(int(event.values["epoch"]))
        if not killed and epochs:
            killed.extend(processes(b"RayTrainWorker"))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    # more epochs than are done before the signal arrives
    job = job_of(sample_config, tmp_path, epochs=60)
    outcome = train(job, "killed", ray_cluster, kill_after_the_first_epoch)
    assert len(killed) == 1
    assert [record["epoch"] for record in outcome.history] == list(range(1, 61))
    # It went on from a checkpoint of its own: only the epoch at the kill may have come twice, or, where the worker was
    # killed after its checkpoint was kept and before it told the driver, not at all. The history above has it anyway.
    assert len(set(range(1, 61)) - set(epochs)) <= 1
    assert len(epochs) <= 61
