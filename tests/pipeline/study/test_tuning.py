"""What a search keeps of its trials, and how halving goes on with those that ended; without a cluster."""

from __future__ import annotations

import math
import subprocess
import sys
import types

import pytest

from pipeline.errors import TrainingError
from pipeline.study import Ending, Plan, alone, read_space, sample_trials, train_trial
from pipeline.study.tuning import _ended, _scheduler, history_of
from pipeline.training import prepare


@pytest.fixture(scope="module")
def trials(sample_config, snapshot_of):
    job = prepare(sample_config, snapshot_of(sample_config))
    return tuple(sample_trials(job, read_space({"seed": {"choice": list(range(6))}}), 0, 6))


@pytest.fixture
def plan(trials, tmp_path, sample_config, snapshot_of):
    return Plan(tmp_path, snapshot_of(sample_config), trials, grace=1, reduction=2)


def ending(status="finished", errors=(0.5, 0.4)):
    return Ending(status, "", tuple({"epoch": at, "validation_loss": one} for at, one in enumerate(errors, start=1)))


class Heard:
    def __init__(self):
        self.endings = {}

    def started(self, number):
        raise AssertionError

    def epoch(self, number, record):
        raise AssertionError

    def ended(self, number, ending):
        self.endings[number] = ending


def test_an_ending_is_read_as_it_was_written(tmp_path):
    assert Ending.read(tmp_path) is None
    ending().write(tmp_path)
    assert Ending.read(tmp_path) == ending()
    assert ending().error == 0.4
    assert ending("failed").error == math.inf
    assert Ending("stopped", "", ()).error == math.inf


def test_a_plan_knows_which_trials_ended(plan):
    assert plan.endings() == {}
    ending().write(plan.folder_of(2))
    assert plan.endings() == {2: ending()}
    assert plan.epochs == 2


def test_halving_goes_on_with_the_trials_that_ended(plan):
    """Four ended trials had small errors: a new one with a large error is stopped, one with a small error goes on."""
    known = {number: ending(errors=(0.1 + number / 100, 0.1)) for number in range(4)}
    for rows, decision in (({}, "CONTINUE"), (known, "STOP")):
        scheduler = _scheduler(plan, rows)
        new = types.SimpleNamespace(trial_id="new")
        scheduler.on_trial_add(None, new)
        assert scheduler.on_trial_result(None, new, {"training_iteration": 1, "validation_loss": 0.9}) == decision
    better = types.SimpleNamespace(trial_id="better")
    scheduler.on_trial_add(None, better)
    assert scheduler.on_trial_result(None, better, {"training_iteration": 1, "validation_loss": 0.05}) == "CONTINUE"


def test_what_ended_a_trial_is_written_down_once(plan):
    heard, number = Heard(), 0
    one = plan.trials[number].trial

    class Stop(Exception):
        pass

    def stop(record):
        raise Stop

    with pytest.raises(Stop):
        train_trial(one, plan.snapshot_id, plan.folder, on_epoch=stop)
    assert [record["epoch"] for record in history_of(plan.folder_of(number))] == [1]
    _ended(plan, number, heard, None)
    assert heard.endings[number].status == "stopped"
    assert heard.endings[number].reason == "after epoch 1: others of that age were better"
    assert [record["epoch"] for record in heard.endings[number].history] == [1]
    assert list(plan.folder_of(number).glob("checkpoint-*")) == []
    _ended(plan, number, heard, "its process died")
    assert heard.endings[number].status == "stopped"


def test_a_trial_that_was_stopped_in_its_last_epoch_is_finished_and_keeps_its_weights(plan):
    heard = Heard()
    train_trial(plan.trials[1].trial, plan.snapshot_id, plan.folder)
    _ended(plan, 1, heard, None)
    assert heard.endings[1].status == "finished"
    assert len(list(plan.folder_of(1).glob("checkpoint-*"))) == 2


def test_a_lost_process_is_a_failure_with_its_reason(plan):
    heard = Heard()
    _ended(plan, 2, heard, "The actor\n died")
    assert heard.endings[2].status == "failed"
    assert "The actor died" in heard.endings[2].reason
    assert heard.endings[2].history == ()


def test_one_command_at_a_time_is_at_a_study(tmp_path):
    other = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", other, str(tmp_path / "search.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(TrainingError, match="another command is at this study"), alone(tmp_path):
            pass
        process.communicate("")
    with alone(tmp_path):
        pass
