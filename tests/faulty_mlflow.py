"""MLflow's own REST server over a SQLite file, in a thread of this process, which fails as it is told to."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

HANG_SECONDS = 60.0


class FaultyMlflow:
    """A server on loopback.

    Attributes:
        mode: What requests meet: ``"well"``; ``"error"``, status 500 and nothing done; ``"late"``, done and then 500;
            ``"garbage"``, a page of something else; ``"hang"``, no answer.
        requests: Paths of the requests that came.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.mode, self.requests = "well", list[str]()
        self._app, self._released = app, threading.Event()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = int(probe.getsockname()[1])
        self._server: Any = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen."""
        self._released.clear()
        self._server = make_server("127.0.0.1", self._port, self, threaded=True, request_handler=_Quiet)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        """Refuse connections."""
        self._released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.requests.append(environ["PATH_INFO"])
        if self.mode == "hang":
            self._released.wait(HANG_SECONDS)
        if self.mode == "late":
            b"".join(self._app(environ, lambda *_: None))
        if self.mode == "garbage":
            start_response("200 OK", [("Content-Type", "text/html")])
            return [b"<html>Please log in</html>"]
        if self.mode != "well":
            start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
            return [b"out of order"]
        return self._app(environ, start_response)


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def faulty_mlflow(folder: Path) -> Iterator[FaultyMlflow]:
    """One that is well, with its database ``mlflow.db`` and its files in a folder; one in a process at a time."""
    import mlflow
    from mlflow.server import handlers
    from mlflow.server.constants import (
        ARTIFACT_ROOT_ENV_VAR,
        ARTIFACTS_DESTINATION_ENV_VAR,
        BACKEND_STORE_URI_ENV_VAR,
        SERVE_ARTIFACTS_ENV_VAR,
    )

    settings = {
        BACKEND_STORE_URI_ENV_VAR: f"sqlite:///{folder / 'mlflow.db'}",
        ARTIFACT_ROOT_ENV_VAR: "mlflow-artifacts:/",
        ARTIFACTS_DESTINATION_ENV_VAR: str(folder / "artifacts"),
        SERVE_ARTIFACTS_ENV_VAR: "true",
    }
    # the last two are what MLflow's server sets for its process
    before = {key: os.environ.get(key) for key in (*settings, "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    os.environ.update(settings)
    for store in ("_tracking_store", "_model_registry_store", "_artifact_repo"):
        setattr(handlers, store, None)
    from mlflow.server import app

    handlers._get_tracking_store().search_experiments(max_results=1)  # makes the database, which takes seconds
    server = FaultyMlflow(app)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        mlflow.set_tracking_uri(None)  # the server had set its database, for everybody in its process
        for key, value in before.items():
            os.environ.pop(key, None) if value is None else os.environ.__setitem__(key, value)
