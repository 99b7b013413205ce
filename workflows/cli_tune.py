"""The command that looks for good settings: `minconv tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .invocation import Address, ConfigName, Quiet, Settings, invocation, make_context

app = typer.Typer()


@app.command(epilog="Example: minconv tune -c demo --trials 20 --search 'training.learning_rate={log: [1e-3, 1e-2]}'")
def tune(
    config: ConfigName,
    space: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML of what is varied; default: rate, size, patch, noise, decay."),
    ] = None,
    search: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUES", help="{choice: [..]}, {uniform: [LOW, HIGH]} or {log: [..]}; repeatable."),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="How many; with more of them the same study goes on.")] = 20,
    max_epochs: Annotated[
        int | None, typer.Option(min=1, help="Of a trial that is not stopped; default: training.epochs.")
    ] = None,
    grace: Annotated[int, typer.Option(min=1, help="Epochs before a trial may be stopped.")] = 1,
    reduction: Annotated[int, typer.Option(min=2, help="About one trial in so many goes on at each rung.")] = 3,
    parallel: Annotated[
        int | None, typer.Option(min=1, help="Trials at a time, at most; default: as many as there are CPUs for.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the settings that are tried.")] = 0,
    settings: Settings = None,
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """Look for good settings on Ray Tune; the best trial by validation error becomes challenger, never champion.

    Interrupted, the same command goes on: trials that ended are not run again, others go on from their checkpoints.
    """
    with invocation(quiet) as console:
        from .tune import Request
        from .tune_result import tune_and_show

        request = Request(space, tuple(search or ()), trials, max_epochs, grace, reduction, parallel, seed)
        tune_and_show(make_context(console, config, settings, None, address), request, config)
