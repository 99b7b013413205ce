"""MLflow beside a training: whatever it does, the training is not held up, and every epoch arrives once."""

from __future__ import annotations

import sqlite3
import threading
import time

import pytest

from pipeline.errors import RegistryError
from pipeline.registry import Journal, Registry, Tracking, tracking
from pipeline.registry.connection import make_database

AT_ONCE = 2.0  # seconds; a training that waited for MLflow would wait longer


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.05)


def records(count):
    return [{"epoch": epoch, "train_loss": 1 / epoch, "learning_rate": 0.1} for epoch in range(1, count + 1)]


def steps(registry, run_id, key="training/train_loss"):
    return sorted((one.step, one.value) for one in registry._client.get_metric_history(run_id, key))


def losses(count):
    return [(record["epoch"], record["train_loss"]) for record in records(count)]


def opening(name="demo"):
    return lambda registry: registry.run(name, {"seed": 0})


def test_epochs_arrive_while_it_trains_and_once(registry, tmp_path):
    with Tracking(lambda: registry, "demo", Journal(tmp_path / "metrics.jsonl")) as tracked:
        assert tracked.known() is None
        tracked.open(opening())
        for record in records(3):
            tracked.add(record)
        run = tracked.complete(records(4))
        assert tracked.complete(records(4)).run_id == run.run_id
    assert steps(registry, run.run_id) == losses(4)
    assert steps(registry, run.run_id, "training/learning_rate") == [(epoch, 0.1) for epoch in (1, 2, 3, 4)]
    assert "training/epoch" not in registry._client.get_run(run.run_id).data.metrics


def test_a_journal_sent_before_a_kill_is_sent_again_and_counts_once(registry, tmp_path):
    """MLflow has the epochs, or some, and whoever sent them was killed before it could note that."""
    for count in (2, 3):
        with Tracking(lambda: registry, "demo", Journal(tmp_path / "metrics.jsonl")) as tracked:
            tracked.open(opening())
            run = tracked.complete(records(count))
        time.sleep(0.01)  # another millisecond: what counts is when an epoch was written down
    assert steps(registry, run.run_id) == losses(3)


def test_the_training_does_not_wait_for_one_that_is_down_at_first(registry, tmp_path):
    failures = iter((RegistryError("refused"), OSError(28, "No space left on device"), KeyError("run")))

    def connect():
        for failure in failures:
            raise failure
        return registry

    with Tracking(connect, "demo", Journal(tmp_path / "metrics.jsonl")) as tracked:
        tracked.open(opening())
        for record in records(3):
            tracked.add(record)
            time.sleep(0.1)
        run = tracked.complete(records(3))
    assert steps(registry, run.run_id) == losses(3)


def test_one_that_stays_down_is_an_error_at_the_end_and_the_journal_is_kept(registry, tmp_path):
    def connect():
        raise RegistryError("MLflow at http://127.0.0.1:1 failed")

    path = tmp_path / "metrics.jsonl"
    with Tracking(connect, "demo", Journal(path)) as tracked:
        with pytest.raises(RegistryError, match=r"127\.0\.0\.1:1 failed"):
            tracked.known()
        tracked.open(opening())
        tracked.add(records(1)[0])
        with pytest.raises(RegistryError, match=r"127\.0\.0\.1:1 failed"):
            tracked.complete(records(3))
    with Tracking(lambda: registry, "demo", Journal(path)) as tracked:
        tracked.open(opening())
        run = tracked.complete([])
    assert steps(registry, run.run_id) == losses(3)


def test_one_that_hangs_holds_nothing_up(registry, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(tracking, "COMPLETE_SECONDS", 0.2)
    monkeypatch.setattr(tracking, "LEAVE_SECONDS", 0.1)
    released = threading.Event()

    def connect():
        released.wait()
        return registry

    began = time.monotonic()
    with Tracking(connect, "demo", Journal(tmp_path / "metrics.jsonl")) as tracked:
        with pytest.raises(RegistryError, match="did not answer within"):
            tracked.known()
        tracked.open(opening())
        for record in records(3):
            tracked.add(record)
        with pytest.raises(RegistryError, match="nobody holds its database"):
            tracked.complete(records(3))
    assert time.monotonic() - began < AT_ONCE
    released.set()


def test_a_locked_database_holds_up_what_is_sent_and_not_the_training(tmp_path):
    path = tmp_path / "mlflow.db"
    registry = Registry(f"sqlite:///{path}", tmp_path / "artifacts", "locked")
    with Tracking(lambda: registry, "demo", Journal(tmp_path / "metrics.jsonl")) as tracked:
        tracked.open(opening())
        run = tracked.complete(records(1))
        other = sqlite3.connect(path, isolation_level=None, timeout=20)
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        for record in records(4):
            tracked.add(record)
        assert time.monotonic() - began < AT_ONCE
        time.sleep(0.3)
        other.execute("ROLLBACK")
        assert steps(registry, run.run_id)[0] == (1, 1.0)
        tracked.complete(records(4))
    other.close()
    assert steps(registry, run.run_id) == losses(4)


@pytest.mark.parametrize(("kind", "status"), [(KeyboardInterrupt, "KILLED"), (ValueError, "FAILED")])
def test_a_training_that_ends_by_an_error_is_marked(registry, tmp_path, kind, status):
    runs = []

    def train():
        with Tracking(lambda: registry, "demo", Journal(tmp_path / "metrics.jsonl")) as tracked:
            tracked.open(opening())
            runs.append(tracked.complete(records(1)))
            raise kind

    with pytest.raises(kind):
        train()
    assert registry._client.get_run(runs[0].run_id).info.status == status


def test_a_database_is_made_whole_or_not_at_all(tmp_path, monkeypatch):
    from mlflow.store.db import utils

    def killed(engine):
        raise KeyboardInterrupt

    path = tmp_path / "runs" / "mlflow.db"
    with monkeypatch.context() as patched:
        patched.setattr(utils, "_upgrade_db", killed)  # the first tables are there, the others are not
        with pytest.raises(KeyboardInterrupt):
            make_database(path)
    assert list(path.parent.iterdir()) == []
    make_database(path)
    assert [file.name for file in path.parent.iterdir()] == ["mlflow.db"]
    assert Registry(f"sqlite:///{path}", None, "demo").versions() == []
