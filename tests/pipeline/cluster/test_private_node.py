"""A private Ray has the processes that a training uses, and no others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.cluster import connect, lean_trainer
from pipeline.cluster.private_node import lean_node

pytestmark = pytest.mark.cluster


def family() -> list[str]:
    """Commands of all processes below this one, by what they call themselves."""
    parents, names = dict[int, int](), dict[int, str]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                names[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ").strip()
            except OSError:
                continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return [names[pid] for pid in found - {os.getpid()}]


def look(into: dict[str, str]) -> None:
    """What a worker of a training sees of Ray's processes."""
    titles = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                environment = (entry / "environ").read_text()
                title = (entry / "cmdline").read_text().replace("\0", " ").strip()
            except (OSError, UnicodeDecodeError):
                continue
            if into["mark"] in environment and title.startswith("ray::"):
                titles.append(title)
    Path(into["file"]).write_text("\n".join(titles))


def test_there_is_no_process_that_nobody_uses(tmp_path, monkeypatch):
    monkeypatch.setenv("MINCONV_TEST_MARK", str(tmp_path))
    with connect(cpus=2):
        import ray._private.node  # not before: Ray takes from the environment of its import that it needs a token

        assert ray._private.node.Node.__name__ == "Node"
        commands = " ".join(family())
        assert "gcs_server" in commands
        assert "raylet" in commands
        dashboard = ("dashboard/dashboard.py", "DashboardAgent")
        for needless in ("autoscaler/_private/monitor.py", "log_monitor.py", *dashboard):
            assert needless not in commands

        from ray.train import RunConfig, ScalingConfig
        from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

        trainer = DataParallelTrainer(
            look,
            train_loop_config={"file": str(tmp_path / "seen"), "mark": f"MINCONV_TEST_MARK={tmp_path}"},
            scaling_config=ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
            run_config=RunConfig(name="run", storage_path=str(tmp_path / "runs")),
        )
        lean_trainer(trainer).fit()
    seen = (tmp_path / "seen").read_text()
    assert "RayTrainWorker" in seen
    for needless in ("PlacementGroupCleaner", "DatasetManager", "PreemptionWatcher", "AutoscalingCoordinator"):
        assert needless not in seen
    assert len(seen.splitlines()) <= 4  # controller, barrier, worker, and one that was started ahead


def another_signature(custom_runtime_env: object, workers: int) -> dict[str, object]:
    """As a later Ray might have it."""
    return {}


@pytest.mark.parametrize("changed", ["nothing", "gone", "takes more"])
def test_a_ray_with_other_functions_is_left_as_it_is(monkeypatch, changed):
    from ray.train.v2._internal.execution.worker_group import WorkerGroup
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    if changed == "gone":
        monkeypatch.delattr(WorkerGroup, "_get_worker_runtime_env")
    elif changed == "takes more":
        monkeypatch.setattr(WorkerGroup, "_get_worker_runtime_env", staticmethod(another_signature))
    trainer = DataParallelTrainer(look)
    assert lean_trainer(trainer) is trainer
    assert ("_initialize_and_run_controller" in vars(trainer)) == (changed == "nothing")


@pytest.mark.parametrize("changed", ["nothing", "parameters", "ports"])
def test_a_ray_that_starts_its_processes_otherwise_is_left_as_it_is(monkeypatch, changed):
    from ray import _raylet
    from ray._private import services

    if changed == "parameters":
        monkeypatch.setattr(services, "start_ray_process", another_signature)
    elif changed == "ports":
        monkeypatch.setattr(_raylet, "METRICS_AGENT_PORT_NAME", "another_port")
    before = services.start_ray_process
    with lean_node():
        assert (services.start_ray_process is not before) == (changed == "nothing")
    assert services.start_ray_process is before
