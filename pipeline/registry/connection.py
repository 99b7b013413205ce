"""Speaking to MLflow: its errors as one sentence, and which server its module-level functions speak to.

What lives here: context managers around every call. What does not: the calls (`registry`, `runs`).

    with reachable("sqlite:///mlflow.db"):
        client.search_experiments()
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..errors import RegistryError


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

    MLflow keeps that setting in the environment too, where the next configuration of this process would find it.
    """
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.tracking.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(tracking_uri)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before)
