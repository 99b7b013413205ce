"""Ray: start or join a cluster, know its resources, hear from its workers. `training` is the other room that knows Ray.

Token authentication is always on: Ray listens beyond loopback whatever it is told, and who may submit to it owns it.
When this process is killed (SIGKILL), the processes of a private Ray end by themselves within about a minute, and its
temporary folder is removed by the next connection.

    with connect() as cluster:                       # a private one on this machine
        ...
    with connect(address="10.0.0.1:6379") as cluster:  # an existing one; needs its token file
        ...
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import TrainingError

OBJECT_STORE_BYTES = 256 * 2**20  # parameters and small reports only: data never travels through Ray
FOLDER_PREFIX = "minconv-ray-"
YOUNG_SECONDS = 60.0  # its maker may not have locked it yet
KNOCK_SECONDS = 10.0
MAILBOX_SECONDS = 30.0  # a mailbox that does not answer for so long is given up


@dataclass(frozen=True)
class Cluster:
    """A running Ray cluster.

    Attributes:
        cpus: CPUs in all.
        gpus: GPUs in all.
        local: It is private to this process and ends with it.
        scratch: Folder for temporary files of workers that may be killed; it ends with the cluster. None: the default.
    """

    cpus: int
    gpus: int
    local: bool
    scratch: Path | None = None

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
                _temp_dir=str(folder / "r"),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
            ),
        ):
            yield _describe(local=True, scratch=folder)
    else:
        with _environment(_existing_token(token)):
            _knock(address)
            with _session(address=address):
                yield _describe(local=False)


class Mailbox:
    """Small messages from workers to the driver, over one actor; made by the driver, handed to the workers.

    Messages of one sender arrive in order. A mailbox whose node is lost takes and gives nothing; it never raises.
    """

    def __init__(self) -> None:
        import ray

        self._actor = ray.remote(num_cpus=0)(_Messages).remote()

    def put(self, message: dict[str, Any], wait: bool = False) -> None:
        """Send; `wait` until it has arrived, which a process that is about to end must."""
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            sent = self._actor.put.remote(message)
            if wait:
                ray.get(sent, timeout=MAILBOX_SECONDS)

    def take(self) -> list[dict[str, Any]]:
        """All messages since the last call, oldest first."""
        import ray

        try:
            messages: list[dict[str, Any]] = ray.get(self._actor.take.remote(), timeout=MAILBOX_SECONDS)
        except ray.exceptions.RayError:
            return []
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
    # Ray's default folder holds a "current cluster" file that would attach us to a stranger's cluster. Any folder that
    # Ray is given becomes one that everyone may write to, so it lies within one that is ours alone, beside the token.
    # The path is short because Ray puts Unix sockets below it, whose paths may have 107 characters.
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"{FOLDER_PREFIX}*"):
        _remove_if_left(left)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=parent))
    try:
        with (folder / "in_use").open("w") as mark:  # the lock ends with this process, however it ends
            fcntl.flock(mark, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    """Remove the folder of a process that was killed."""
    with contextlib.suppress(OSError), (folder / "in_use").open("r+") as mark:
        if time.time() - folder.stat().st_mtime < YOUNG_SECONDS:
            return
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
        "RAY_ENABLE_AUTO_CONNECT": "0",  # a late call of a thread must not start another Ray
    }
    left_by_ray = ("PYTHONBREAKPOINT", "RAY_CLIENT_MODE")
    before = {key: os.environ.get(key) for key in (*wanted, *left_by_ray)}
    os.environ.update(wanted)
    _forget_token()
    try:
        yield
    finally:
        _forget_token()
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _forget_token() -> None:
    """Ray reads a token once per process; the next cluster has another."""
    import ray

    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()


def _knock(address: str) -> None:
    """Ray itself waits for minutes for an address where nothing is."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise TrainingError(f"the address of a Ray cluster has the form HOST:PORT, e.g. 10.0.0.1:6379, got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise TrainingError(
            f"there is no Ray cluster at {address} ({error}); check the address, or leave it out to train here"
        ) from error


@contextlib.contextmanager
def _session(**arguments: Any) -> Iterator[None]:
    import ray

    try:
        with _own_termination():
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **arguments)
            except (ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError, OSError) as error:
                raise TrainingError(
                    f"Ray at {arguments['address']} could not be started or reached ({_reason(error)}); "
                    "check address and token"
                ) from error
        yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _own_termination() -> Iterator[None]:
    """`ray.init` makes SIGTERM end the process with 15 for good; what SIGTERM did before is put back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, terminated = signal.getsignal(signal.SIGTERM), False
    try:
        yield
    except SystemExit:  # Ray's handler was called
        terminated = True
    finally:
        signal.signal(signal.SIGTERM, before)
    if terminated:
        signal.raise_signal(signal.SIGTERM)


def _reason(error: BaseException) -> str:
    """The last words of an error, without the traceback that Ray puts into its text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def _describe(local: bool, scratch: Path | None = None) -> Cluster:
    import ray

    resources = ray.cluster_resources()
    return Cluster(cpus=int(resources.get("CPU", 0)), gpus=int(resources.get("GPU", 0)), local=local, scratch=scratch)
