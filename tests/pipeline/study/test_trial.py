"""A trial that its time ends: progress in seconds, the curve of its errors, and what is kept of it."""

from __future__ import annotations

import pytest

from pipeline import archive
from pipeline.progress import Event
from pipeline.study import Trial, TrialResult, score_trial, train_trial
from pipeline.study.contenders import changed
from pipeline.training.outcome import event_of


def test_progress_counts_what_ends_the_run_first():
    message = {"kind": "step", "epoch": 1, "step": 4, "steps": 10, "loss": 0.5, "seconds": 6.2}
    assert event_of(message, 3) == Event("training", 15, 30, "steps", {"loss": 0.5}, "epoch 2 of 3")
    assert event_of(message, 3, 100.0) == Event("training", 15, 30, "steps", {"loss": 0.5}, "epoch 2 of 3")
    assert event_of(message, 10**6, 8.0) == Event("training", 6, 8, "s", {"loss": 0.5}, "epoch 2")
    late = event_of({**message, "seconds": 9.0}, 10**6, 8.0)
    assert (late.done, late.total) == (8, 8)


def test_a_timed_trial_is_kept_with_its_curve(sample_config, tmp_path):
    limit = {"epochs": 10**6, "max_seconds": 0.4, "workers": 0, "threads": 1}
    trial, events = Trial("minconvgru", changed(sample_config, training=limit)), list[Event]()
    snapshot_id = archive.head(sample_config.archive_path)
    result = score_trial(trial, train_trial(trial, snapshot_id, tmp_path, events.append), tmp_path)
    training = [event for event in events if event.stage == "training"]
    assert {(event.unit, event.total) for event in training} == {("s", 1)}
    assert len(result.curve) == result.epochs
    assert result.curve[-1][0] == result.seconds >= 0.4
    assert min(error for _, error in result.curve) == result.validation_error
    assert result.took > 0
    kept = TrialResult.read(trial.folder(tmp_path, snapshot_id))
    assert kept is not None
    assert kept.to_dict() == result.to_dict()
    assert kept.step_seconds == pytest.approx(result.seconds / result.steps)
