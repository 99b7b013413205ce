"""MLflow's own pages, on this machine's loopback address only, for as long as the command runs.

serve(context, port=5000)     # until Ctrl-C
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import quote

from pipeline.errors import RegistryError

from .context import Context

HOST = "127.0.0.1"
START_SECONDS = 120.0
STOP_SECONDS = 10.0


def serve(context: Context, port: int) -> None:
    """Start MLflow's server on the configured store, say where it is, and end it with this command.

    Raises:
        RegistryError: There is no store yet, the port is taken, or the server does not start.
    """
    store = context.tracking_uri
    if store.startswith(("http://", "https://")):
        context.console.line(f"MLFLOW_TRACKING_URI names a server, which has its own pages: {store}")
        return
    if not context.has_registry:
        raise RegistryError(f"nothing was trained yet: there is no {store}; 'minconv train' makes it")
    _check_free(port)
    process = _start(store, str(context.config.root / "mlartifacts"), port)
    try:
        _wait_until_up(process, port)
        context.console.line(f"MLflow shows {store} at http://{HOST}:{port}; Ctrl-C ends it")
        _show_pages(context, f"http://{HOST}:{port}")
        status = process.wait()
        raise RegistryError(f"MLflow's server ended by itself with status {status}; start it again")
    except KeyboardInterrupt:
        context.console.line("ended")
    finally:
        _end(process)


def _show_pages(context: Context, server: str) -> None:
    """Where the runs are drawn together and the versions listed: MLflow's start page is that of language models."""
    kind, registry = "workflowType=machine_learning", context.registry
    console = context.console
    console.line(f"charts    {server}/#/experiments/{registry.experiment_id()}/runs?compareRunsMode=CHART&{kind}")
    console.line(f"versions  {server}/#/models/{quote(registry.name)}?{kind}")


def _start(store: str, artifacts: str, port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", store]
    command += ["--default-artifact-root", artifacts, "--host", HOST, "--port", str(port), "--workers", "1"]
    # Without jobs: they would be further processes, for features of language models.
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # A group of its own: the server starts processes, and all of them are to end together.
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise RegistryError(
                f"port {port} of {HOST} cannot be used ({error.strerror}); choose another with --port"
            ) from error


def _wait_until_up(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    ended = "ended" if process.poll() is not None else f"did not answer within {START_SECONDS:g} s"
    raise RegistryError(f"MLflow's server {ended}; try 'mlflow server' by hand to see why")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the server with all it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
