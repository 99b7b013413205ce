"""Dask on processes: of this machine, started for one command, or of a Dask cluster that runs already.

What lives here: starting or joining, the checks that it can do our work, and its failures as one sentence. What does
not: Dask on Ray (`executor`), and what is computed (`survey`, `archive`).

    with dask_processes(2) as scheduler:                                  # closed at the end, whatever happens
        ingest(config, scheduler=scheduler)
    with dask_cluster("tcp://10.0.0.1:8786", [config.source_path]) as scheduler:
        ...

Only blocks of fields travel: the processes read the input, this one writes the archive. So those of a cluster need to
see the input at the same path, but not the archive, and one that is killed leaves nothing half done.
"""

from __future__ import annotations

import logging
import os
import socket
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import ClusterError
from ..executor import DaskScheduler
from .connection import knock

if TYPE_CHECKING:
    from distributed import Client

JOIN_SECONDS = 10.0
WORKERS_SECONDS = 30.0  # for the first worker to be there
# What travels is pickled by these, or is theirs; python itself is compared without its patch release.
_ALIKE = ("dask", "distributed", "cloudpickle", "numpy", "xarray", "minconv-pipeline")


@contextmanager
def dask_processes(count: int | None = None) -> Iterator[DaskScheduler]:
    """Start processes of one thread on this machine, and end them with the body.

    They are spawned, not forked; they listen on loopback only, and encrypted, with a certificate made for them alone,
    so that no other user of the machine can give them work.

    Args:
        count: Of processes; None: one per CPU.

    Raises:
        ClusterError: They do not start; in the body, they are lost again and again.
    """
    import dask
    from distributed import Client, LocalCluster, Security

    security = Security.temporary()
    with (
        tempfile.TemporaryDirectory(prefix="minconv-dask-", ignore_cleanup_errors=True) as folder,
        # a scheduler has an HTTP server whatever it is told: one that has no pages then, at no well-known port
        dask.config.set(
            {
                "distributed.scheduler.http.routes": [],
                "distributed.worker.http.routes": [],
                "temporary-directory": folder,
            }
        ),
    ):
        try:
            cluster = LocalCluster(
                n_workers=count or len(os.sched_getaffinity(0)),
                threads_per_worker=1,  # the library of NetCDF files reads with one thread at a time
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
                security=security,
                silence_logs=logging.CRITICAL,
            )
        except (OSError, RuntimeError) as error:
            raise ClusterError(
                f"Dask could not start its processes ({_reason(error)}); lower compute.processes, or set compute.dask "
                "to threads"
            ) from error
        with cluster, Client(cluster, security=security, set_as_default=False) as client:
            yield _scheduler(client)


@contextmanager
def dask_cluster(address: str, inputs: Sequence[Path] = ()) -> Iterator[DaskScheduler]:
    """Join the Dask cluster of a scheduler.

    Args:
        address: ``tcp://HOST:PORT``, or ``tls://HOST:PORT`` with the certificates of Dask's own configuration.
        inputs: Folders that every worker has to read.

    Raises:
        ClusterError: It cannot be reached, has no workers, runs other versions, or does not see the inputs; in the
            body, its workers or the scheduler are lost.
    """
    from distributed import Client

    knock(
        urlsplit(address).netloc,
        f"there is no Dask scheduler at {address}",
        "start one with 'dask scheduler', or correct compute.dask",
    )
    if not address.startswith("tls"):
        _listen(address)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other versions, which are an error below
        try:
            client = Client(address, timeout=JOIN_SECONDS, set_as_default=False)
        except (OSError, RuntimeError, ValueError) as error:
            raise _no_scheduler(address, error) from error
        with client:
            _require_workers(client, address)
            _require_versions(client.get_versions(packages=_ALIKE), address)
            _require_inputs(client, inputs)
            yield _scheduler(client)


def _listen(address: str) -> None:
    """A Dask scheduler speaks first; for one that does not, a client waits for ever."""
    place = urlsplit(address)
    try:
        with socket.create_connection((str(place.hostname), place.port or 0), JOIN_SECONDS) as line:
            if not line.recv(1):
                raise ConnectionError("it hung up")
    except OSError as error:
        raise _no_scheduler(address, error) from error


def _no_scheduler(address: str, error: BaseException) -> ClusterError:
    return ClusterError(
        f"what listens at {address} is no Dask scheduler that answers ({_reason(error)}); correct compute.dask"
    )


def _scheduler(client: Client) -> DaskScheduler:
    """What Dask computes with: every task of a graph is one of the workers'."""
    from distributed import CancelledError, KilledWorker
    from distributed.comm import CommClosedError

    def get(graph: Any, keys: Any, **options: Any) -> Any:
        try:
            return client.get(graph, keys, **options)
        except KilledWorker as error:
            raise ClusterError(
                "a process of Dask was lost again and again, most often for want of memory; nothing was committed: run "
                "it with fewer processes (compute.processes), or with compute.dask: threads"
            ) from error
        except (CancelledError, CommClosedError) as error:
            raise ClusterError(
                f"the Dask scheduler was lost ({_reason(error)}); nothing was committed: run it again when it is back"
            ) from error

    return get


def _require_workers(client: Client, address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKERS_SECONDS)
    except TimeoutError as error:
        raise ClusterError(
            f"the Dask scheduler at {address} has no workers after {WORKERS_SECONDS:.0f} s; start some with "
            f"'dask worker {address}'"
        ) from error


def _require_versions(found: dict[str, Any], address: str) -> None:
    """The scheduler and each worker run what runs here."""
    ours = _versions(found["client"])
    there = {f"the scheduler at {address}": found["scheduler"]}
    there |= {f"the worker at {name}": one for name, one in found["workers"].items()}
    for place, one in there.items():
        for name, version in _versions(one).items():
            if version != ours[name]:
                raise ClusterError(
                    f"{place} runs {name} {version or 'not at all'}, expected {ours[name]} as here; install the same "
                    "versions there"
                )


def _versions(found: dict[str, Any]) -> dict[str, str | None]:
    packages = found["packages"]
    python = ".".join(str(packages["python"]).split(".")[:2])
    return {"python": python, **{name: packages.get(name) for name in _ALIKE}}


def _require_inputs(client: Client, inputs: Sequence[Path]) -> None:
    for worker, missing in client.run(unreadable, [str(path) for path in inputs]).items():
        if missing:
            raise ClusterError(
                f"the Dask worker at {worker} cannot read {missing[0]}; every worker needs the same files at the same "
                "path, so name shared storage in source.path"
            )


def unreadable(paths: Sequence[str]) -> list[str]:
    """Those that this machine cannot read."""
    return [path for path in paths if not os.access(path, os.R_OK)]


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
