"""A registry in which models have a champion and challengers, and a process that dies where it is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import minconv
from pipeline.promotion import Verdict
from pipeline.registry import Registry

ROOT = Path(__file__).resolve().parents[3]

# Imports once, then forks a child for each task before anything is opened: each child is a process of its own.
# Children of `together` open the registry and wait for each other.
RUNNER = """
import json, os, signal, sys
from pathlib import Path
import mlflow, torch
from pipeline.errors import PipelineError
from pipeline.failpoints import handling
from pipeline.promotion import Verdict, promote, rollback
from pipeline.registry import Registry

def work(task, wait):
    registry = Registry(task["uri"], Path(task["artifacts"]), task["name"])
    def reached(step):
        if step == task["die_at"]:
            os.kill(os.getpid(), signal.SIGKILL)
    options = {"lock": Path(task["lock"]), "by": "the test"}
    version, champion = (registry.resolve(f"models:/{registry.name}/{task[key]}") for key in ("version", "champion"))
    wait()
    with handling(reached):
        if task["do"] == "rollback":
            rollback(registry, why="too warm", **options)
        else:
            promote(registry, version, Verdict(True, ("Better.",)), champion, **options)

asked = json.load(sys.stdin)
gate, opener = os.pipe()
for task in asked["tasks"]:
    child = os.fork()
    if child == 0:
        os.close(opener)
        try:
            work(task, (lambda: os.read(gate, 1)) if asked["together"] else (lambda: None))
            Path(task["said"]).write_text("done")
        except PipelineError as error:
            Path(task["said"]).write_text(str(error))
        finally:
            os._exit(0)
    if not asked["together"]:
        os.waitpid(child, 0)
os.close(opener)
while asked["together"]:
    try:
        os.wait()
    except ChildProcessError:
        break
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("promotion")


@pytest.fixture(scope="session")
def model(place) -> Callable[..., Registry]:
    """Makes a registry whose model has a champion, version 1, and `challengers` later versions."""
    sizes = minconv.ForecasterConfig(in_channels=1, out_channels=1, hidden=(2,))
    minconv.save(place / "checkpoint", minconv.Forecaster(sizes), {})

    def make(name: str, challengers: int = 1) -> Registry:
        registry = Registry(f"sqlite:///{place / 'mlflow.db'}", place / "mlartifacts", name)
        for number in range(1 + challengers):
            run = registry.run(f"{name} {number + 1}", {})
            registry.register(run, place / "checkpoint", {"number": str(number + 1)}, (1, 1, 4, 4))
        return registry

    return make


@pytest.fixture(scope="session")
def processes(place) -> Callable[[list[dict]], list[str]]:
    """Runs promotions and rollbacks in processes of their own; what each said, empty where it was killed."""

    def run(tasks: list[dict], together: bool = False) -> list[str]:
        common = {
            "uri": f"sqlite:///{place / 'mlflow.db'}",
            "artifacts": str(place / "mlartifacts"),
            "die_at": "",
            "champion": 1,
            "version": 2,
        }
        said = [place / f"said-{number}" for number in range(len(tasks))]
        for path in said:
            path.unlink(missing_ok=True)
        full = [
            common | {"lock": str(place / f"{task['name']}.lock"), "said": str(path)} | task
            for task, path in zip(tasks, said, strict=True)
        ]
        asked = json.dumps({"tasks": full, "together": together})
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-c", RUNNER], input=asked, env=environment, cwd=ROOT, text=True, timeout=300
        )
        assert done.returncode == 0
        return [path.read_text() if path.exists() else "" for path in said]

    return run


@pytest.fixture
def in_favour() -> Verdict:
    return Verdict(True, ("It is better.", "It beats persistence."), {"against_champion": -4.25, "cases": 40.0})
