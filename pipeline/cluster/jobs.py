"""Jobs: commands that a cluster runs by itself, through Ray's Jobs API.

    with open_jobs("http://10.0.0.1:8265") as jobs:
        job_id = jobs.submit('minconv run -c demo --address "$RAY_ADDRESS"', {})
        for text in jobs.follow(job_id):
            ...
        jobs.get(job_id).status      # SUCCEEDED

Leaving the context leaves the jobs running.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..errors import ClusterError
from .authentication import environment, existing_token
from .connection import knock

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
LOG_BYTES_PER_SECOND = 100_000  # the API gives a log as a whole: the longer it is, the more seldom it is asked for
STOP_SECONDS = 60  # a stopped job may clean up for so long


@dataclass(frozen=True)
class Job:
    """A job of a cluster.

    Attributes:
        job_id: What it is called in commands.
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        entrypoint: The command.
        message: What Ray says about the status.
        started: Unix time, None where it did not start; `ended` likewise.
    """

    job_id: str
    status: str
    entrypoint: str
    message: str
    started: float | None
    ended: float | None


@contextlib.contextmanager
def open_jobs(address: str, token: Path | None = None) -> Iterator[Jobs]:
    """Reach the Jobs API.

    Args:
        address: ``http://HOST:PORT`` of the head node's dashboard.
        token: The cluster's token file; None: Ray's default place.

    Raises:
        ClusterError: There is none at this address, or it refuses the token.
    """
    with environment(existing_token(token)):
        place = _place(address)
        knock(place, f"there is no Ray Jobs API at {address}", "check the address of the head node's dashboard")
        from ray.job_submission import JobSubmissionClient

        with _translated(address):
            client = JobSubmissionClient(address)
        yield Jobs(client, address)


class Jobs:
    """The jobs of one cluster; made by `open_jobs`."""

    def __init__(self, client: Any, address: str) -> None:
        self._client, self._address = client, address

    def submit(self, entrypoint: str, variables: Mapping[str, str]) -> str:
        """Have the cluster run a shell command, which finds `RAY_ADDRESS` in its environment.

        Args:
            entrypoint: The command.
            variables: Of its environment and its workers'; the cluster keeps them, so no secrets.

        Returns:
            The job's id.
        """
        # No working directory is shipped: one that a node unpacks anew takes it from under the running command.
        settings = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS), **variables}
        with _translated(self._address):
            return str(self._client.submit_job(entrypoint=entrypoint, runtime_env={"env_vars": settings}))

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            ClusterError: There is no such job.
        """
        with _translated(self._address, job_id):
            return _job(self._client.get_job_info(job_id))

    def list(self) -> list[Job]:
        """All jobs that were submitted, newest first."""
        with _translated(self._address):
            found = [_job(one) for one in self._client.list_jobs() if one.submission_id]
        return sorted(found, key=lambda job: job.started or float("inf"), reverse=True)

    def logs(self, job_id: str) -> str:
        """What a job has printed so far.

        Raises:
            ClusterError: There is no such job.
        """
        with _translated(self._address, job_id):
            return str(self._client.get_job_logs(job_id))

    def follow(self, job_id: str) -> Iterator[str]:
        """What a job prints, in pieces of whole lines, until it ends.

        Raises:
            ClusterError: There is no such job.
        """
        given = 0
        while True:
            ended = self.get(job_id).status in ENDED  # asked first, so that the last log is a whole one
            text = self.logs(job_id)
            whole = len(text) if ended else text.rfind("\n") + 1
            if whole > given:
                yield text[given:whole]
                given = whole
            if ended:
                return
            time.sleep(max(1.0, given / LOG_BYTES_PER_SECOND))

    def stop(self, job_id: str) -> bool:
        """Have a job end as by Ctrl-C; whether it was still running.

        Raises:
            ClusterError: There is no such job.
        """
        with _translated(self._address, job_id):
            return bool(self._client.stop_job(job_id))


def _place(address: str) -> str:
    """``HOST:PORT`` of an address."""
    try:
        parts = urlsplit(address)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port
    except ValueError:  # a port that is none
        named = None
    if not named:
        raise ClusterError(
            f"the address of a Ray Jobs API has the form http://HOST:PORT, e.g. http://10.0.0.1:8265, got {address!r}"
        )
    return parts.netloc.rpartition("@")[2]


def _job(details: Any) -> Job:
    return Job(
        job_id=str(details.submission_id or details.job_id),
        status=str(details.status.value),
        entrypoint=str(details.entrypoint),
        message=str(details.message or ""),
        started=None if details.start_time is None else details.start_time / 1000,
        ended=None if not details.end_time else details.end_time / 1000,
    )


@contextlib.contextmanager
def _translated(address: str, job_id: str | None = None) -> Iterator[None]:
    """Turn what Ray's client raises into one sentence."""
    from ray.exceptions import AuthenticationError

    try:
        yield
    except AuthenticationError as error:
        raise ClusterError(
            f"the Ray cluster at {address} refuses our token; copy the head node's token file to ~/.ray/auth_token or "
            "name it in RAY_AUTH_TOKEN_PATH"
        ) from error
    except (RuntimeError, OSError, ValueError) as error:  # what requests raises is an OSError
        text = " ".join(str(error).split())
        if job_id is not None and "status code 404" in text:
            raise ClusterError(
                f"there is no job {job_id} on the cluster at {address}; 'minconv jobs list' shows those it has"
            ) from error
        raise ClusterError(
            f"the Jobs API at {address} failed ({text[:300]}); check that it is Ray's and that its head node is well"
        ) from error
