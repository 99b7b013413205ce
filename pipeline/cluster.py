"""Ray: start or join a cluster, know its resources, hear from its workers. `training` is the other room that knows Ray.

Token authentication is always on: Ray listens beyond loopback whatever it is told, and who may submit to it owns it.

    with connect() as cluster:                       # a private one on this machine
        ...
    with connect(address="10.0.0.1:6379") as cluster:  # an existing one; needs its token file
        ...
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import TrainingError

OBJECT_STORE_BYTES = 256 * 2**20  # parameters and small reports only: data never travels through Ray


@dataclass(frozen=True)
class Cluster:
    """A running Ray cluster.

    Attributes:
        cpus: CPUs in all.
        gpus: GPUs in all.
        local: It is private to this process and ends with it.
    """

    cpus: int
    gpus: int
    local: bool

    def require(self, workers: int, threads: int, gpu: bool) -> None:
        """Check that a worker group fits.

        Raises:
            TrainingError: It does not; says what is missing.
        """
        if gpu and self.gpus < workers:
            raise TrainingError(
                f"training.workers={workers} with training.gpu=true needs {workers} GPUs, the cluster has {self.gpus}; "
                "lower training.workers or set training.gpu=false"
            )
        if self.cpus < workers * threads:
            raise TrainingError(
                f"{workers} training workers of {threads} threads need {workers * threads} CPUs, the cluster has "
                f"{self.cpus}; lower training.workers or training.threads"
            )


@contextlib.contextmanager
def connect(address: str | None = None, token: Path | None = None, cpus: int | None = None) -> Iterator[Cluster]:
    """Start a private Ray on this machine, or join the one at `address`; leave no process behind.

    Args:
        address: ``HOST:PORT`` of a running head node; None starts a private one.
        token: The token file of the cluster at `address`; None: Ray's default place. A private cluster makes its own.
        cpus: CPUs of a private one; None counts the machine's.

    Raises:
        TrainingError: The cluster cannot be started or reached, or there is no token for it.
    """
    if address is None:
        with (
            _private_folder() as folder,
            _environment(_private_token(folder)),
            _session(
                address="local",
                num_cpus=cpus if cpus is not None else len(os.sched_getaffinity(0)),
                _temp_dir=str(folder),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
            ),
        ):
            yield _describe(local=True)
    else:
        with _environment(_existing_token(token)), _session(address=address):
            yield _describe(local=False)


class Mailbox:
    """Small messages from workers to the driver, over one actor; made by the driver, handed to the workers."""

    def __init__(self) -> None:
        import ray

        self._actor = ray.remote(num_cpus=0)(_Messages).remote()

    def put(self, message: dict[str, Any]) -> None:
        """Send and do not wait."""
        self._actor.put.remote(message)

    def take(self) -> list[dict[str, Any]]:
        """All messages since the last call, oldest first."""
        import ray

        messages: list[dict[str, Any]] = ray.get(self._actor.take.remote())
        return messages


class _Messages:
    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []

    def put(self, message: dict[str, Any]) -> None:
        self._messages.append(message)

    def take(self) -> list[dict[str, Any]]:
        taken, self._messages = self._messages, []
        return taken


@contextlib.contextmanager
def _private_folder() -> Iterator[Path]:
    # Ray's default folder holds a "current cluster" file that would attach us to a stranger's cluster. The path is
    # short because Ray puts Unix sockets below it, whose paths may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="minconv-ray-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _private_token(folder: Path) -> Path:
    path = folder / "auth_token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


def _existing_token(token: Path | None) -> Path:
    path = token if token is not None else Path.home() / ".ray" / "auth_token"
    if not path.is_file():
        raise TrainingError(
            f"a Ray cluster is joined with its token only, and {path} is missing; copy the head node's token file "
            "there or name it in RAY_AUTH_TOKEN_PATH"
        )
    return path


@contextlib.contextmanager
def _environment(token: Path) -> Iterator[None]:
    """Ray takes these settings from the environment only; what was there before is put back."""
    wanted = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
        "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "90",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        "RAY_TRAIN_METRICS_ENABLED": "0",
    }
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


@contextlib.contextmanager
def _session(**arguments: Any) -> Iterator[None]:
    import ray

    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, **arguments)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = arguments["address"]
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TrainingError(
            f"Ray at {where} could not be started or reached ({reason}); check address and token"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _describe(local: bool) -> Cluster:
    import ray

    resources = ray.cluster_resources()
    return Cluster(cpus=int(resources.get("CPU", 0)), gpus=int(resources.get("GPU", 0)), local=local)
