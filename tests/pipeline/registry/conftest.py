"""A registry of a test's own, in one database for all of them, and something small to register."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import pytest
import torch

import minconv
from pipeline.registry import CLIMATOLOGY_FILE, ModelVersion, Registry


class Register(Protocol):
    def __call__(
        self,
        registry: Registry,
        checkpoint: Path,
        tags: dict[str, str] | None = None,
        extra: tuple[Path, ...] = (),
        candidate: bool = False,
    ) -> ModelVersion: ...


@pytest.fixture(scope="session")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture
def registry(root, request) -> Registry:
    """A registry whose model has a name made from the test's."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]
    return Registry(f"sqlite:///{root / 'mlflow.db'}", root / "mlartifacts", name)


@pytest.fixture(scope="session")
def made():
    """A function that makes a small Forecaster, the same one each time."""

    def make(forcings: int = 1) -> minconv.Forecaster:
        torch.manual_seed(0)
        return minconv.Forecaster(minconv.ForecasterConfig(in_channels=1 + forcings, out_channels=1, hidden=(3,)))

    return make


@pytest.fixture(scope="session")
def checkpoint(root, made) -> Path:
    minconv.save(root / "checkpoint", made(), {"variables": ["t2m"], "history": 4})
    return root / "checkpoint"


@pytest.fixture(scope="session")
def climatology_file(root) -> Path:
    """Whatever has the right name is sealed; it is only read after its sha256 is checked."""
    (root / CLIMATOLOGY_FILE).write_bytes(b"climatology")
    return root / CLIMATOLOGY_FILE


@pytest.fixture(scope="session")
def register() -> Register:
    """A function that registers a checkpoint."""

    def registering(registry, checkpoint, tags=None, extra=(), candidate=False):
        run = registry.run(f"run of {registry.name}", {})
        return registry.register(run, checkpoint, tags or {}, (2, 1, 4, 6), extra, candidate=candidate)

    return registering


@pytest.fixture(scope="session")
def stored(root):
    """A function that finds a file of a version where MLflow keeps it."""

    def find(registry: Registry, version: int, name: str) -> Path:
        source = registry._client.get_model_version(registry.name, str(version)).source.removeprefix("models:/")
        (found,) = (root / "mlartifacts").rglob(f"{source}/**/{name}")
        return found

    return find
