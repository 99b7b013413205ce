"""Commands about registered versions: list them, compare two, change the champion, open MLflow's own pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .invocation import ConfigName, Quiet, Settings, invocation, make_context

app = typer.Typer()

_NAMES = "NAME/VERSION or NAME@ALIAS, or of this configuration's model a version or alias alone."
Version = Annotated[str, typer.Argument(metavar="MODEL", help=_NAMES)]
Why = Annotated[str | None, typer.Option("--why", metavar="TEXT", help="The reason, for the audit trail.")]


@app.command(epilog="Example: minconv models -c demo --log")
def models(
    config: ConfigName,
    log: Annotated[bool, typer.Option("--log", help="Instead: who changed the champion, when and why.")] = False,
    settings: Settings = None,
) -> None:
    """Registered versions: aliases, verdicts, scores, data, age."""
    with invocation(quiet=True) as console:
        from . import models

        context = make_context(console, config, settings)
        (models.audit_log if log else models.listing)(context)


@app.command(epilog="Example: minconv compare champion challenger -c demo --html comparison.html")
def compare(
    model_a: Annotated[str, typer.Argument(metavar="MODEL_A", help=_NAMES)],
    model_b: Annotated[str, typer.Argument(metavar="MODEL_B", help="The same; it is stated against the first.")],
    config: ConfigName,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Also everything as JSON.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Also a page with maps.")] = None,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """Two versions on the same test cases: errors by variable and lead time, intervals, maps, what made them differ."""
    with invocation(quiet) as console:
        from .comparison import compare_models

        compare_models(make_context(console, config, settings), model_a, model_b, json, html)


@app.command(epilog="Example: minconv promote challenger -c demo")
def promote(
    model: Version,
    config: ConfigName,
    why: Why = None,
    force: Annotated[
        bool, typer.Option("--force", help="Promote against the verdict; needs --why. A damaged model never is.")
    ] = False,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """Judge a version against the champion on the same cases; make it champion, or say why not (exit code 1)."""
    with invocation(quiet) as console:
        from .promotion import promote_model

        promote_model(make_context(console, config, settings), model, why, force)


@app.command(epilog="Example: minconv rollback -c demo --why 'too warm over the lakes'")
def rollback(config: ConfigName, why: Why = None, settings: Settings = None) -> None:
    """Make the champion of before champion again."""
    with invocation(quiet=True) as console:
        from .promotion import rollback_model

        rollback_model(make_context(console, config, settings), why)


@app.command(epilog="Example: minconv ui -c demo")
def ui(
    config: ConfigName,
    port: Annotated[int, typer.Option(min=1, max=65535, help="On this machine's loopback address only.")] = 5000,
    settings: Settings = None,
) -> None:
    """MLflow's own pages of runs, charts and versions, until Ctrl-C."""
    with invocation(quiet=True) as console:
        from .ui import serve

        serve(make_context(console, config, settings), port)
