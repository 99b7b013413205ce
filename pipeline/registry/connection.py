"""Speaking to MLflow: its errors as one sentence, and which server its module-level functions speak to.

What lives here: context managers around every call, and making a database. What does not: the calls (`registry`,
`runs`).

    with reachable("sqlite:///mlflow.db"):
        client.search_experiments()
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import RegistryError

_ABANDONED_SECONDS = 3600.0  # no database takes so long to make


@contextlib.contextmanager
def reachable(tracking_uri: str) -> Iterator[None]:
    """Turn MLflow's, SQLAlchemy's and the network's errors into one sentence."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:300]
        raise RegistryError(
            f"MLflow at {tracking_uri} failed ({reason}); check MLFLOW_TRACKING_URI and disk space"
        ) from error


@contextlib.contextmanager
def current(tracking_uri: str) -> Iterator[None]:
    """Make this server the one that MLflow's module-level functions speak to, for the body only.

    MLflow keeps that setting in the environment too, where the next configuration of this process would find it. It has
    another one for models, which somebody else may have set.
    """
    import mlflow
    from mlflow.environment_variables import MLFLOW_REGISTRY_URI

    before = mlflow.get_tracking_uri() if mlflow.tracking.is_tracking_uri_set() else None
    of_models = MLFLOW_REGISTRY_URI.get_raw()
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
        mlflow.set_registry_uri(of_models or "")
        if of_models is None:
            MLFLOW_REGISTRY_URI.unset()


def make_database(path: Path) -> None:
    """Make the SQLite file of MLflow, if there is none; a kill leaves none, and of two who make it one does.

    MLflow makes it step by step, and refuses one of which steps are missing.
    """
    import mlflow

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return
    for left in path.parent.glob(f".{path.name}.*.partial"):  # by one that was killed
        with contextlib.suppress(OSError):
            if left.stat().st_mtime < time.time() - _ABANDONED_SECONDS:
                left.unlink()
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        mlflow.MlflowClient(f"sqlite:///{partial}").search_experiments(max_results=1)
        with contextlib.suppress(OSError):  # it is there by now, or links cannot be: then MLflow makes it in place
            os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
