"""The commands about a Ray cluster that works by itself: `submit` a command to it, look after its `jobs`."""

from __future__ import annotations

from typing import Annotated

import typer

from .invocation import ConfigName, Data, Quiet, Settings, invocation

app = typer.Typer()
submit_app = typer.Typer(help="Have a Ray cluster run a command by itself.", no_args_is_help=True)
jobs_app = typer.Typer(help="Look after what was submitted to a Ray cluster.", no_args_is_help=True)
app.add_typer(submit_app, name="submit")
app.add_typer(jobs_app, name="jobs")

JobsAddress = Annotated[
    str, typer.Option("--address", metavar="http://HOST:8265", help="Dashboard of the cluster's head node.")
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="As 'submit' and 'jobs list' show it.")]


@submit_app.command("run", epilog="Example: minconv submit run -c wfde5_gb --address http://10.0.0.1:8265")
def submit_run(
    config: ConfigName,
    address: JobsAddress,
    settings: Settings = None,
    data: Data = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Show the job's output until it ends.")] = True,
    quiet: Quiet = False,
) -> None:
    """All stages of a configuration as a job of the cluster; Ctrl-C leaves it running.

    Paths are those of this machine and must be the same on every node. What can only be found out where the data is,
    such as a missing file, the job itself says.
    """
    with invocation(quiet) as console:
        from . import jobs
        from .context import load_config

        jobs.submit(console, load_config(config, settings or (), data), "run", address, wait)


@jobs_app.command("list", epilog="Example: minconv jobs list --address http://10.0.0.1:8265")
def jobs_list(address: JobsAddress) -> None:
    """All jobs, newest first."""
    with invocation(quiet=True) as console:
        from . import jobs

        jobs.show_list(console, address)


@jobs_app.command("status", epilog="Example: minconv jobs status ID --address http://10.0.0.1:8265")
def jobs_status(job_id: JobId, address: JobsAddress) -> None:
    """What one job does, and how long it has."""
    with invocation(quiet=True) as console:
        from . import jobs

        jobs.show_status(console, job_id, address)


@jobs_app.command("logs", epilog="Example: minconv jobs logs ID --follow --address http://10.0.0.1:8265")
def jobs_logs(
    job_id: JobId,
    address: JobsAddress,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
) -> None:
    """What a job has printed."""
    with invocation(quiet=True) as console:
        from . import jobs

        jobs.show_logs(console, job_id, address, follow)


@jobs_app.command("stop", epilog="Example: minconv jobs stop ID --address http://10.0.0.1:8265")
def jobs_stop(job_id: JobId, address: JobsAddress) -> None:
    """End a job as Ctrl-C would; submitted again, it goes on from its last checkpoint."""
    with invocation(quiet=True) as console:
        from . import jobs

        jobs.stop(console, job_id, address)
