"""The bodies of `submit` and `jobs`: ship a configuration to a Ray cluster, show what its jobs do.

submit(console, load_config("demo"), "run", "http://10.0.0.1:8265", wait=True)
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

import typer

from pipeline.cluster import Job, Jobs, open_jobs
from pipeline.config import Config
from pipeline.errors import ClusterError

from .console import Console, seconds_text
from .context import job_variables, ray_token

CONFIG = "MINCONV_CONFIG"  # the variable in which a job finds its configuration


def submit(console: Console, config: Config, command: str, address: str, wait: bool) -> None:
    """Have a cluster run a command with a configuration.

    Raises:
        ClusterError: The cluster takes no jobs from us, or the job failed or was stopped while we waited.
    """
    entrypoint = f'printf %s "${CONFIG}" | minconv {command} -c /dev/stdin --address "$RAY_ADDRESS"'
    with open_jobs(address, ray_token()) as jobs:
        job_id = jobs.submit(entrypoint, {CONFIG: config.to_yaml(), **job_variables()})
        console.line(f"submitted {job_id}")
        if wait:
            _follow(console, jobs, job_id, address, show=not console.quiet)
        else:
            console.line(_next_steps(job_id, address))


def show_list(console: Console, address: str) -> None:
    """All jobs of a cluster."""
    with open_jobs(address, ray_token()) as jobs:
        found = jobs.list()
    if not found:
        console.line(f"no job was submitted to {address}; 'minconv submit run' submits one")
        return
    rows = [(job.job_id, job.status, _moment(job.started), _duration(job), job.entrypoint) for job in found]
    console.table("", ("job", "status", "started (UTC)", "took", "command"), rows, right=(3,))


def show_status(console: Console, job_id: str, address: str) -> None:
    """One job."""
    with open_jobs(address, ray_token()) as jobs:
        job = jobs.get(job_id)
    rows = [
        ("job", job.job_id),
        ("status", job.status),
        ("started", f"{_moment(job.started)} UTC"),
        ("took" if job.ended else "runs since", _duration(job)),
        ("command", job.entrypoint),
        ("message", " ".join(job.message.split())),
    ]
    for name, value in rows:
        console.line(f"{name:<10} {value}")


def show_logs(console: Console, job_id: str, address: str, follow: bool) -> None:
    """What a job has printed, or prints until it ends."""
    with open_jobs(address, ray_token()) as jobs:
        if follow:
            _follow(console, jobs, job_id, address, show=True)
        else:
            console.line(jobs.logs(job_id).rstrip("\n"))


def stop(console: Console, job_id: str, address: str) -> None:
    """End a job."""
    with open_jobs(address, ray_token()) as jobs:
        if jobs.stop(job_id):
            for _ in jobs.follow(job_id):
                pass  # until it has ended
        console.line(f"job {job_id} has ended: {jobs.get(job_id).status}")


def _follow(console: Console, jobs: Jobs, job_id: str, address: str, show: bool) -> None:
    """Wait until a job ends, showing what it prints, and take its end as our own; Ctrl-C ends only the waiting."""
    try:
        for text in jobs.follow(job_id):
            if show:
                console.line(text.rstrip("\n"))
    except KeyboardInterrupt:
        console.warn(f"job {job_id} goes on; {_next_steps(job_id, address)}")
        raise typer.Exit(130) from None
    job = jobs.get(job_id)
    if job.status != "SUCCEEDED":
        reason = _sentence(jobs.logs(job_id)) or " ".join(job.message.split())
        raise ClusterError(
            f"job {job_id} {'was stopped' if job.status == 'STOPPED' else 'failed'} ({reason}); submitted again, it "
            "goes on from what was committed"
        )
    console.line(f"job {job_id} succeeded after {_duration(job)}")


def _sentence(text: str) -> str:
    """The last error in a log, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return next(reversed(errors), next(reversed(lines), ""))


def _next_steps(job_id: str, address: str) -> str:
    return (
        f"'minconv jobs logs {job_id} --follow --address {address}' follows it, 'minconv jobs stop {job_id} "
        f"--address {address}' ends it"
    )


def _moment(seconds: float | None) -> str:
    return "-" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _duration(job: Job) -> str:
    return "-" if job.started is None else seconds_text((job.ended or time.time()) - job.started)
