"""Runs in MLflow: what they keep, and what a kill leaves."""

from __future__ import annotations

import json
import math

import pytest


def test_a_run_of_the_same_name_is_gone_on_with(registry):
    first = registry.run("demo-1", {"training.epochs": 2})
    first.log_metrics({"a": 1.0})
    first.finish("KILLED")
    again = registry.run("demo-1", {"training.epochs": 3})
    assert again.run_id == first.run_id
    known = registry._client.get_run(first.run_id)
    assert known.info.status == "RUNNING"
    assert known.data.params == {"training.epochs": "2"}
    assert known.data.metrics == {"a": 1.0}
    assert registry.run("demo-2", {}).run_id != first.run_id
    again.finish()
    assert registry._client.get_run(first.run_id).info.status == "FINISHED"


def test_a_run_is_shown_below_its_parent(registry):
    parent = registry.run("study", {})
    child = registry.run("study-000", {"seed": 0}, parent)
    assert registry.run("study-000", {"seed": 0}, parent).run_id == child.run_id
    assert registry._client.get_run(child.run_id).data.tags["mlflow.parentRunId"] == parent.run_id
    assert "mlflow.parentRunId" not in registry._client.get_run(parent.run_id).data.tags


def test_a_run_killed_before_its_parameters_gets_them_later(registry, monkeypatch):
    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(registry._client, "log_batch", killed)
        with pytest.raises(KeyboardInterrupt):
            registry.run("demo", {"seed": 0})
    run = registry.run("demo", {f"parameter.{number}": number for number in range(250)})
    assert len(registry._client.get_run(run.run_id).data.params) == 250


def test_metrics_that_are_not_finite_are_left_out(registry):
    run = registry.run("demo", {})
    run.log_metrics({"test/rmse/t2m/06h": 0.5, "nan": math.nan, "inf": math.inf, "-inf": -math.inf})
    run.log_metrics({f"many/{number}": number for number in range(2500)}, step=3)
    metrics = registry._client.get_run(run.run_id).data.metrics
    assert metrics.pop("test/rmse/t2m/06h") == 0.5
    assert metrics == {f"many/{number}": number for number in range(2500)}
    assert registry._client.get_metric_history(run.run_id, "many/7")[0].step == 3


def test_a_run_keeps_its_input_files_and_tags(registry, tmp_path):
    run = registry.run("demo", {})
    run.log_input("demo", "SNAPSHOT", {"archive": tmp_path, "snapshot_id": "SNAPSHOT"}, "training")
    (tmp_path / "figure.png").write_bytes(b"png")
    run.log_file(tmp_path / "figure.png", "figures")
    run.set_tags({"snapshot_id": "SNAPSHOT"})
    known = registry._client.get_run(run.run_id)
    (used,) = known.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("demo", "SNAPSHOT")
    assert json.loads(used.dataset.source) == {"archive": str(tmp_path), "snapshot_id": "SNAPSHOT"}
    assert [tag.value for tag in used.tags] == ["training"]
    assert known.data.tags["snapshot_id"] == "SNAPSHOT"
    assert [entry.path for entry in registry._client.list_artifacts(run.run_id, "figures")] == ["figures/figure.png"]
    opened = registry.open_run(run.run_id)
    opened.log_metrics({"a": 1})
    assert registry._client.get_run(run.run_id).data.metrics == {"a": 1.0}


def test_a_series_is_a_curve_over_steps(registry):
    run = registry.run("demo", {})
    run.log_series({"rmse by lead time/t2m": [0.5, math.nan, 1.5]})
    history = registry._client.get_metric_history(run.run_id, "rmse by lead time/t2m")
    assert [(entry.step, entry.value) for entry in history] == [(1, 0.5), (3, 1.5)]
    run.describe("A **small** model.")
    assert registry._client.get_run(run.run_id).data.tags["mlflow.note.content"] == "A **small** model."
