"""Commands that look and change nothing: `minconv doctor` at the machine, `minconv check` at a configuration."""

from __future__ import annotations

from typing import Annotated

import typer

from .invocation import ConfigName, Data, Json, Quiet, Settings, invocation, make_context

app = typer.Typer()


@app.command(epilog="Example: minconv doctor --json")
def doctor(as_json: Json = False) -> None:
    """Whether this machine can run the pipeline: what works, what does not, what to do; exit code 1 if it cannot."""
    with invocation(quiet=True) as console:
        from .context import quiet_libraries
        from .doctor import diagnose

        quiet_libraries()
        if not diagnose(console, as_json):
            raise typer.Exit(1)


@app.command(epilog="Example: minconv check -c wfde5_gb --data data/wfde5_gb_2017-01")
def check(
    config: ConfigName,
    model: Annotated[
        str | None, typer.Option(metavar="URI", help="Also: has this registered model seen what it would be scored on?")
    ] = None,
    settings: Settings = None,
    data: Data = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """What a run would meet: files, variables, times, splits, leaks, cost of a step; exit code 1 if it would fail."""
    with invocation(quiet or as_json) as console:
        from .doctor import check_configuration

        if not check_configuration(make_context(console, config, settings, data), model, as_json):
            raise typer.Exit(1)
