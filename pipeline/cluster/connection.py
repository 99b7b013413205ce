"""Starting a private Ray on this machine, or joining a running one; whatever ends it, no process is left behind.

with connect() as cluster:
    cluster.cpus
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import ClusterError
from .authentication import environment, existing_token, private_token
from .private_node import lean_node
from .resources import Cluster, describe

OBJECT_STORE_BYTES = 256 * 2**20  # parameters, small reports, and a few slabs of an ingest with Dask on Ray
FOLDER_PREFIX = "minconv-ray-"
YOUNG_SECONDS = 60.0  # its maker may not have locked it yet
KNOCK_SECONDS = 10.0


@contextlib.contextmanager
def connect(address: str | None = None, token: Path | None = None, cpus: int | None = None) -> Iterator[Cluster]:
    """Start a private Ray on this machine, or join the one at `address`; leave no process behind.

    Args:
        address: ``HOST:PORT`` of a running head node; None starts a private one.
        token: The token file of the cluster at `address`; None: Ray's default place. A private cluster makes its own.
        cpus: CPUs of a private one; None counts the machine's.

    Raises:
        ClusterError: The cluster cannot be started or reached, or there is no token for it.
    """
    if address is None:
        with (
            _private_folder() as folder,
            environment(private_token(folder), private=True),
            _session(
                address="local",
                num_cpus=cpus if cpus is not None else len(os.sched_getaffinity(0)),
                _temp_dir=str(folder / "r"),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
            ),
        ):
            yield describe(local=True, scratch=folder)
    else:
        with environment(existing_token(token)):
            _check_form(address)
            knock(
                address,
                f"there is no Ray cluster at {address}",
                "check the address, or leave it out to work on this machine",
            )
            with _session(address=address):
                yield describe(local=False)


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
        for _ in range(50):  # Ray's last processes may still write for a moment
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)


def _remove_if_left(folder: Path) -> None:
    """Remove the folder of a process that was killed."""
    with contextlib.suppress(OSError), (folder / "in_use").open("r+") as mark:
        if time.time() - folder.stat().st_mtime < YOUNG_SECONDS:
            return
        fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)


def knock(place: str, otherwise: str, step: str) -> None:
    """Check that something listens at ``HOST:PORT``: Ray itself waits for minutes for an address where nothing is.

    Raises:
        ClusterError: Nothing does; in the words of `otherwise` and `step`.
    """
    host, _, port = place.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"{otherwise} ({error}); {step}") from error


def _check_form(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ClusterError(f"the address of a Ray cluster has the form HOST:PORT, e.g. 10.0.0.1:6379, got {address!r}")


@contextlib.contextmanager
def _session(**arguments: Any) -> Iterator[None]:
    import ray

    try:
        with _own_termination(), lean_node() if arguments["address"] == "local" else contextlib.nullcontext():
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **arguments)
            except Exception as error:  # of any kind: a node that comes up too late is a bare one
                raise ClusterError(_no_session(arguments["address"], _reason(error))) from error
        yield
    finally:
        ray.shutdown()


def _no_session(address: str, reason: str) -> str:
    if address == "local":
        step = "start again when the machine is less busy, or train without Ray: --set training.workers=0"
        return f"Ray could not be started on this machine ({reason}); {step}"
    return f"Ray at {address} could not be reached ({reason}); check address and token"


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
