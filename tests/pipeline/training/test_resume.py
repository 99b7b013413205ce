"""A run that is stopped anywhere and started again ends with the bits of one that was not."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import minconv
from pipeline import archive, failpoints
from pipeline.config import Config
from pipeline.errors import TrainingError
from pipeline.training import LocalWorker, TrainingJob, checkpoints, pace, prepare, run_loop
from pipeline.training.checkpoints import Checkpoints, Place
from pipeline.training.loop import Training
from pipeline.training.state import RunState

MEASURED = ("seconds", "frames_per_second", "data_wait", "peak_memory_mb")  # in a record; all else is computed


class Stopped(Exception):
    pass


@pytest.fixture
def job(sample_config: Config) -> Callable[..., TrainingJob]:
    """A job of the blobs that keeps a checkpoint after every step."""

    def make(**options: Any) -> TrainingJob:
        given = {"epochs": 2, "batch_size": 4, "threads": 1, "checkpoint_seconds": 1e-9, **options}
        training = sample_config.training.model_copy(update=given)
        config = sample_config.model_copy(update={"training": training})
        return prepare(config, archive.head(config.archive_path))

    return make


@pytest.fixture(autouse=True)
def _looks_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "LOOK_SECONDS", 0.0)


def end_of(folder: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """All weights and all that was computed of the records of a finished run."""
    kept = Checkpoints(folder)
    newest = kept.newest()
    assert newest is not None
    files = sorted(path for path in kept.path(newest).rglob("weights.safetensors"))
    tensors = {
        f"{path.parent.name}/{name}": value
        for path in files
        for name, value in minconv.load(path.parent)[0].state_dict().items()
    }
    for place, optimizer in enumerate(torch.load(kept.path(newest) / "optimizer.pt", weights_only=True)):
        for number, moments in optimizer["state"].items():
            tensors |= {f"optimizer/{place}/{number}/{name}": torch.as_tensor(one) for name, one in moments.items()}
    history = RunState.from_json((kept.path(newest) / "state.json").read_text()).history
    return tensors, [{key: value for key, value in record.items() if key not in MEASURED} for record in history]


def assert_same_end(folder: Path, other: Path) -> None:
    (mine, history), (expected, expected_history) = end_of(folder), end_of(other)
    assert history == expected_history
    assert mine.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(mine[name], value), name


def run_until_step(job: TrainingJob, folder: Path, stop_at: set[tuple[int, int]]) -> None:
    """Run to the end, stopped at each of these steps once."""

    def listen(message: dict[str, Any]) -> None:
        place = (message["epoch"], message.get("step", -1))
        if message["kind"] == "step" and place in stop_at:
            stop_at.remove(place)
            raise Stopped

    while True:
        try:
            run_loop(job, LocalWorker(folder, listener=listen))
            return
        except Stopped:
            continue


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"average": 0.9, "accumulate": 2, "truncate": 3, "schedule": "linear", "optimizer": "muon"},
        {"closed_loop_steps": 2, "closed_loop_ramp": (0.3, 0.8), "weight_decay": 0.1, "patience": 1},
        {"precision": "bf16", "batch_size": 5, "accumulate": 3},
    ],
    ids=str,
)
def test_stopped_after_every_step_it_ends_with_the_same_bits(
    job: Callable[..., TrainingJob], tmp_path: Path, options: dict[str, Any]
) -> None:
    whole = job(**options)
    run_loop(whole, LocalWorker(tmp_path / "whole"))
    steps = len(Training(whole, LocalWorker(tmp_path / "none")).cases.steps(0, LocalWorker(tmp_path)))
    places = {(epoch, step) for epoch in range(2) for step in range(steps - 1)}
    left = set(places)
    run_until_step(whole, tmp_path / "stopped", left)
    assert left == set()
    assert len(places) > 4
    assert_same_end(tmp_path / "stopped", tmp_path / "whole")


POINTS = re.findall(r'reach\("training\.checkpoint\.(\w+)"\)', Path(checkpoints.__file__).read_text())


@pytest.mark.parametrize("point", POINTS)
def test_stopped_while_a_checkpoint_is_written_at_most_that_one_is_lost(
    job: Callable[..., TrainingJob], tmp_path: Path, point: str
) -> None:
    run_loop(job(), LocalWorker(tmp_path / "whole"))
    assert len(POINTS) == 3
    seen = 0

    def stop_at_the_fourth(name: str) -> None:
        nonlocal seen
        seen += name == f"training.checkpoint.{point}"
        if seen == 4:
            seen += 1
            raise Stopped

    with pytest.raises(Stopped), failpoints.handling(stop_at_the_fourth):
        run_loop(job(), LocalWorker(tmp_path / "stopped"))
    newest = Checkpoints(tmp_path / "stopped").newest()
    assert newest is not None
    assert newest == Place(0, 4 if point == "kept" else 3)
    run_loop(job(), LocalWorker(tmp_path / "stopped"))
    assert_same_end(tmp_path / "stopped", tmp_path / "whole")
    assert not list((tmp_path / "stopped").glob("*.part"))


def test_two_checkpoints_are_kept_and_a_damaged_one_is_passed_over(
    job: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    run_loop(job(), LocalWorker(tmp_path / "whole"))
    shutil.copytree(tmp_path / "whole", tmp_path / "damaged")
    first, newest = sorted((tmp_path / "damaged").glob("checkpoint-*"))
    (newest / "optimizer.pt").write_bytes(b"half")
    assert Checkpoints(tmp_path / "damaged").path(Checkpoints(tmp_path / "damaged").newest() or Place(0, 0)) == first
    run_loop(job(), LocalWorker(tmp_path / "damaged"))
    assert_same_end(tmp_path / "damaged", tmp_path / "whole")


def test_a_checkpoint_of_two_workers_is_gone_on_from_by_one(job: Callable[..., TrainingJob], tmp_path: Path) -> None:
    """Half of an epoch's losses are each worker's: their mean is what one worker would have had."""
    state = RunState(losses=[1.0, 3.0])
    assert [state.loss_of(rank, 2) for rank in range(2)] == [1.0, 3.0]
    assert state.loss_of(0, 1) == 2.0
    assert [state.loss_of(rank, 4) for rank in range(4)] == [2.0] * 4
    assert RunState().loss_of(0, 3) == 0.0


def test_a_disk_that_is_full_ends_it_with_a_sentence_and_the_checkpoint_before_stays(
    job: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    seen = 0

    def full_at_the_third(name: str) -> None:
        nonlocal seen
        seen += name == "training.checkpoint.written"
        if seen == 3:
            raise OSError(28, "No space left on device")

    refused = pytest.raises(TrainingError, match=r"\(No space left on device\); free some space, then start")
    with refused, failpoints.handling(full_at_the_third):
        run_loop(job(), LocalWorker(tmp_path))
    assert Checkpoints(tmp_path).newest() == Place(0, 2)
    assert not list(tmp_path.glob("*.part"))


def test_without_a_time_for_checkpoints_they_are_kept_after_epochs_alone(
    job: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    points: list[str] = []
    with failpoints.handling(points.append):
        run_loop(job(checkpoint_seconds=None), LocalWorker(tmp_path))
    assert points.count("training.checkpoint.kept") == 2


def test_more_windows_of_a_batch_at_once_or_in_parts_make_the_same_weights(
    job: Callable[..., TrainingJob], tmp_path: Path
) -> None:
    run_loop(job(batch_size=6), LocalWorker(tmp_path / "at once"))
    expected, _ = end_of(tmp_path / "at once")
    for parts in (2, 4, 9):
        run_loop(job(batch_size=6, accumulate=parts), LocalWorker(tmp_path / str(parts)))
        for name, value in end_of(tmp_path / str(parts))[0].items():
            torch.testing.assert_close(value, expected[name], rtol=2e-3, atol=2e-5, msg=lambda text, n=name: n + text)


def test_how_a_training_is_carried_out_is_no_part_of_what_it_is(sample_config: Config) -> None:
    def changed(**options: Any) -> str:
        training = sample_config.training.model_copy(update=options)
        return sample_config.model_copy(update={"training": training}).hash()

    assert changed(workers=2, deadline_seconds=1.0, checkpoint_seconds=5.0, threads=3) == sample_config.hash()
    assert changed(epochs=99) != sample_config.hash()


def test_data_that_are_not_finite_are_named(job: Callable[..., TrainingJob], tmp_path: Path) -> None:
    made = job(input_noise=0.0)
    training = Training(made, LocalWorker(tmp_path))
    messages: list[dict[str, Any]] = []
    training.worker = dataclasses.replace(LocalWorker(tmp_path), listener=messages.append)
    read = training.loader._read

    def spoiled(cases: Any) -> Any:
        batch = read(cases)
        for row, case in enumerate(cases):
            if (case.sample, case.start) == (1, 2):
                batch.frames[row, 3] = torch.nan
        return batch

    training.loader._read = spoiled  # type: ignore[method-assign]
    training.run_epoch()
    failure = messages[-1]["failure"]
    assert "the loss is not finite in epoch 1, step " in failure
    assert "the window of sample 1 that begins at" in failure
    assert Checkpoints(tmp_path).newest() is None or "failure" not in end_of(tmp_path)[1]
