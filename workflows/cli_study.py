"""Commands that train many models to find something out, and register none: `minconv poc`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .invocation import ConfigName, Data, Json, Quiet, Settings, invocation, make_context

app = typer.Typer()


@app.command(epilog="Example: minconv poc -c demo --budget 10m --price-per-hour 0.40")
def poc(
    config: ConfigName,
    budget: Annotated[
        str, typer.Option(metavar="TIME", help="For training, validation and scoring of all cells: 90s, 10m, 1h30m.")
    ] = "10m",
    every: Annotated[
        str, typer.Option(metavar="TIME", help="How often a model is to be retrained, into which that has to fit.")
    ] = "1d",
    price_per_hour: Annotated[
        float | None, typer.Option(metavar="P", help="Of this machine, in any money; without it costs are left out.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For all that is written; default: poc in the pipeline's folder.")
    ] = None,
    as_json: Json = False,
    settings: Settings = None,
    data: Data = None,
    quiet: Quiet = False,
) -> None:
    """Go or no-go on your data and machine: five cells trained alike within a budget; skill, cost, limits, report."""
    with invocation(quiet or as_json) as console:
        from .context import quiet_libraries
        from .poc import Request, prove

        quiet_libraries()
        request = Request.of(budget, every, price_per_hour, out)
        prove(make_context(console, config, settings, data), request, as_json)
