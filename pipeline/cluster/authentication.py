"""The token that opens a cluster, and the settings that Ray takes from the environment only.

with environment(existing_token(None)):
    ray.init(address="10.0.0.1:6379")
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..errors import ClusterError

_ITSELF = "RAY_AUTH_TOKEN"
_TIMEOUT = "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S"
# Of a private Ray: nobody drains its only node; what Ray Train sets for its processes, which inherit it from us;
# workers have the priority of this process, not the lowest but four: beside other work they would come to nothing; and
# they import what all processes of a training but its mailbox need, while this one is still about other things.
_PRIVATE = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_WARN_BLOCKING_GET_INSIDE_ASYNC": "0",
    "RAY_worker_niceness": "0",
    "RAY_preload_python_modules": "ray.train",
}


def private_token(folder: Path) -> Path:
    """A new token in a file that only its maker can read."""
    path = folder / "auth_token"
    path.touch(mode=0o600)
    path.write_text(secrets.token_hex(32))
    return path


def existing_token(token: Path | None) -> Path | None:
    """The token file of a running cluster, by default in Ray's own place; None: the environment holds the token itself.

    Raises:
        ClusterError: It is not there.
    """
    if token is None and os.environ.get(_ITSELF):  # as a Kubernetes secret sets it
        return None
    path = token if token is not None else Path.home() / ".ray" / "auth_token"
    if not path.is_file():
        raise ClusterError(
            f"a Ray cluster is joined with its token only, and {path} is missing; copy the head node's token file "
            "there or name it in RAY_AUTH_TOKEN_PATH"
        )
    return path


@contextlib.contextmanager
def environment(token: Path | None, private: bool = False) -> Iterator[None]:
    """Set what Ray takes from the environment only; what was there before is put back.

    Args:
        token: The token file; None: the environment holds the token itself.
        private: For a Ray of this process alone.
    """
    wanted = {
        "RAY_AUTH_MODE": "token",
        **({} if token is None else {"RAY_AUTH_TOKEN_PATH": str(token)}),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "120",
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        "RAY_TRAIN_METRICS_ENABLED": "0",
        "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # we handle the first of several
        "RAY_ENABLE_AUTO_CONNECT": "0",  # a late call of a thread must not start another Ray
        # Of Ray Tune: Ctrl-C would end it with success; no files of loggers; no other working directory; no tracebacks.
        "TUNE_DISABLE_SIGINT_HANDLER": "1",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "RAY_CHDIR_TO_TRIAL_DIR": "0",
        "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
        "RAY_AIR_NEW_OUTPUT": "0",  # the newer output speaks where it should be silent
        **(_PRIVATE if private else {}),
    }
    # These would be obeyed in place of the address and the token that we were given.
    unwanted = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", *(() if token is None else (_ITSELF,)))
    left_by_ray = ("PYTHONBREAKPOINT", "RAY_CLIENT_MODE")
    with _restored(*wanted, *unwanted, *left_by_ray):
        os.environ.update(wanted)
        for key in unwanted:
            os.environ.pop(key, None)
        _forget_token()
        try:
            yield
        finally:
            _forget_token()


@contextlib.contextmanager
def worker_timeout(seconds: float) -> Iterator[None]:
    """A training worker that does not answer for so long counts as lost, in trainings that start in the body."""
    with _restored(_TIMEOUT):
        os.environ[_TIMEOUT] = str(seconds)
        yield


@contextlib.contextmanager
def _restored(*keys: str) -> Iterator[None]:
    """After the body these variables are what they were before."""
    before = {key: os.environ.get(key) for key in keys}
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _forget_token() -> None:
    """Ray reads a token once per process; the next cluster has another."""
    import ray

    ray._raylet.AuthenticationTokenLoader.instance().reset_cache()
