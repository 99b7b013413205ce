import json
from pathlib import Path

import numpy as np
import pytest

import minconv
from pipeline import archive
from pipeline.config import Config, TrainingConfig
from pipeline.errors import TrainingError
from pipeline.progress import Event
from pipeline.study import Trial, TrialResult, run_trial, score_trial, train_trial, with_settings
from pipeline.study.trial import frames_seen
from pipeline.training.outcome import event_of


@pytest.fixture
def trial(sample_config: Config) -> Trial:
    return Trial("one", with_settings(sample_config, {"training.threads": 1}))


@pytest.fixture
def snapshot(sample_config: Config) -> str:
    return archive.head(sample_config.archive_path)


def test_a_trial_is_trained_scored_and_kept(trial: Trial, snapshot: str, tmp_path: Path) -> None:
    records: list[dict[str, float]] = []
    trained = train_trial(trial, snapshot, tmp_path, on_epoch=records.append)
    result = score_trial(trial, trained, tmp_path)
    assert (result.name, result.cell, result.hidden, result.epochs) == ("one", "minconvgru", (8,), 2)
    windows = trained.job.splits.train.samples.size * 4  # 14 frames, windows of 8, stride 2
    assert (result.steps, result.frames) == (2 * windows // 2, 2 * windows * 8)
    assert result.validation_error == min(record["validation_loss"] for record in records)
    assert result.seconds == records[-1]["seconds"]
    assert np.all(result.rmse("tracer") > 0)
    assert result.peak_bytes > 10e6
    assert result.parameters == sum(one.numel() for one in minconv.load(result.checkpoint)[0].parameters())
    kept = TrialResult.read(trial.folder(tmp_path, snapshot))
    assert kept is not None
    assert kept.to_dict() == result.to_dict()
    np.testing.assert_array_equal(kept.rmse("tracer"), result.rmse("tracer"))


def test_one_that_is_stopped_goes_on_and_ends_the_same(trial: Trial, snapshot: str, tmp_path: Path) -> None:
    whole = score_trial(trial, train_trial(trial, snapshot, tmp_path / "whole"), tmp_path / "whole")

    def stop(record: dict[str, float]) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train_trial(trial, snapshot, tmp_path / "parts", on_epoch=stop)
    assert TrialResult.read(trial.folder(tmp_path / "parts", snapshot)) is None
    records: list[dict[str, float]] = []
    trained = train_trial(trial, snapshot, tmp_path / "parts", on_epoch=records.append)
    assert [record["epoch"] for record in records] == [2]
    result = score_trial(trial, trained, tmp_path / "parts")
    np.testing.assert_array_equal(result.rmse("tracer"), whole.rmse("tracer"))


def test_other_data_settings_and_threads_are_another_trial(trial: Trial, snapshot: str) -> None:
    keys = {
        trial.key(snapshot),
        trial.key("OTHER"),
        Trial("one", with_settings(trial.config, {"seed": 1})).key(snapshot),
        Trial("one", with_settings(trial.config, {"training.threads": 2})).key(snapshot),
        Trial("one", with_settings(trial.config, {"forecast.steps": 5})).key(snapshot),
    }
    assert len(keys) == 5
    assert Trial("two", with_settings(trial.config, {"training.workers": 2})).key(snapshot) == trial.key(snapshot)


def test_a_loss_that_is_not_finite_is_one_sentence(trial: Trial, snapshot: str, tmp_path: Path) -> None:
    settings = {"training.learning_rate": 1e30, "training.clip_norm": 1e30, "training.warmup": 0.0}
    wild = Trial("wild", with_settings(trial.config, settings))
    with pytest.raises(TrainingError, match="not finite"):
        train_trial(wild, snapshot, tmp_path)
    assert TrialResult.read(wild.folder(tmp_path, snapshot)) is None


def test_a_cut_epoch_counts_what_was_seen() -> None:
    history = [{"frames_per_second": 100.0, "seconds": 2.0}, {"frames_per_second": 50.0, "seconds": 3.0}]
    assert frames_seen(history) == 250.0


def test_progress_counts_what_ends_the_run_first() -> None:
    message = {"kind": "step", "epoch": 1, "step": 4, "steps": 10, "loss": 0.5, "seconds": 6.2}
    assert event_of(message, TrainingConfig(epochs=3)) == Event(
        "training", 15, 30, "steps", {"loss": 0.5}, "epoch 2 of 3"
    )
    assert event_of(message, TrainingConfig(epochs=3, max_seconds=100.0)) == Event(
        "training", 15, 30, "steps", {"loss": 0.5}, "epoch 2 of 3"
    )
    timed = TrainingConfig(epochs=10**6, max_seconds=8.0)
    assert event_of(message, timed) == Event("training", 6, 8, "s", {"loss": 0.5}, "epoch 2")
    late = event_of({**message, "seconds": 9.0}, timed)
    assert (late.done, late.total) == (8, 8)
    counted = TrainingConfig(epochs=10**6, max_steps=18)
    assert event_of(message, counted) == Event("training", 15, 18, "steps", {"loss": 0.5}, "epoch 2")
    assert event_of({**message, "kind": "epoch", "epoch": 2}, counted).done == 18


def test_a_timed_trial_is_kept_with_its_curve(trial: Trial, snapshot: str, tmp_path: Path) -> None:
    timed = Trial("timed", with_settings(trial.config, {"training.epochs": 10**6, "training.max_seconds": 0.4}))
    events = list[Event]()
    result = score_trial(timed, train_trial(timed, snapshot, tmp_path, events.append), tmp_path)
    training = [event for event in events if event.stage == "training"]
    assert {(event.unit, event.total) for event in training} == {("s", 1)}
    assert len(result.curve) == result.epochs
    assert result.curve[-1][0] == result.seconds >= 0.4
    assert min(error for _, error in result.curve) == result.validation_error
    assert result.took > 0
    kept = TrialResult.read(timed.folder(tmp_path, snapshot))
    assert kept is not None
    assert kept.to_dict() == result.to_dict()
    assert kept.step_seconds == pytest.approx(result.seconds / result.steps)


@pytest.mark.slow
def test_in_a_process_of_its_own_once(trial: Trial, snapshot: str, tmp_path: Path) -> None:
    events: list[Event] = []
    result = run_trial(trial, snapshot, tmp_path, events.append)
    assert {event.stage for event in events} == {"training", "evaluation"}
    file = trial.folder(tmp_path, snapshot) / "result.json"
    tree = json.loads(file.read_text())
    file.write_text(json.dumps({**tree, "seconds": 12.5}))
    again = run_trial(trial, snapshot, tmp_path, events.append)
    assert again.seconds == 12.5
    assert again.validation_error == result.validation_error
