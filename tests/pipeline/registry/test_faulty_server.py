"""An MLflow server that fails in the middle of a training: each number of each epoch is there once in the end."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from pipeline.registry import Journal, Registry, Tracking, tracking
from tests.faulty_mlflow import FaultyMlflow, faulty_mlflow

pytestmark = pytest.mark.slow  # the server's own library takes seconds

AT_ONCE = 2.0


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with faulty_mlflow(tmp_path_factory.mktemp("server")) as found:
        Registry(found.uri, None, "warm").run("up", {})  # whose first answers take long
        yield found


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(tracking, "RETRY_SECONDS", 0.2)
    for name, value in (("MAX_RETRIES", "1"), ("BACKOFF_FACTOR", "0"), ("BACKOFF_JITTER", "0"), ("TIMEOUT", "3")):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)


def once(registry: Registry, run_id: str, epochs: int) -> bool:
    """Whether each metric has each step exactly once."""
    metrics = registry._client.get_run(run_id).data.metrics
    found = Counter((key, one.step) for key in metrics for one in registry._client.get_metric_history(run_id, key))
    wanted = {(f"training/{key}", epoch) for key in ("train_loss", "seconds") for epoch in range(1, epochs + 1)}
    return set(found) == wanted and set(found.values()) == {1}


@pytest.mark.parametrize("mode", ["error", "late", "garbage", "hang", "refuse"])
def test_every_epoch_arrives_once(server: FaultyMlflow, tmp_path, mode):
    registry = Registry(server.uri, None, mode)
    records = [{"epoch": epoch, "train_loss": 1 / epoch, "seconds": 2.0 * epoch} for epoch in range(1, 6)]
    with Tracking(lambda: registry, "demo", Journal(tmp_path / "metrics.jsonl")) as tracked:
        tracked.open(lambda registry: registry.run("demo", {"seed": 0}))
        run = tracked.complete(records[:2])
        before = len(server.requests)
        if mode == "refuse":
            server.stop()
        else:
            server.mode = mode
        began = time.monotonic()
        for record in records:
            tracked.add(record)
        assert time.monotonic() - began < AT_ONCE
        if mode != "refuse":
            while len(server.requests) == before:
                time.sleep(0.02)
        time.sleep(0.3)
        server.mode = "well"
        if mode == "refuse":
            server.start()
        tracked.complete(records)
    assert once(registry, run.run_id, 5)
