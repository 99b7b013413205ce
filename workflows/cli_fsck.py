"""The command for the morning after a crash: `minconv fsck`."""

from __future__ import annotations

from typing import Annotated

import typer

from .invocation import ConfigName, Json, Quiet, Settings, invocation, make_context

app = typer.Typer()


@app.command(epilog="Example: minconv fsck -c wfde5_gb --repair")
def fsck(
    config: ConfigName,
    repair: Annotated[
        bool, typer.Option("--repair", help="Sweep up what killed writers left; changes no data.")
    ] = False,
    as_json: Json = False,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """After a crash: is what a pipeline keeps whole? Archive, quarantine, models, nights, files; exit code 1 if not."""
    with invocation(quiet or as_json) as console:
        from .fsck import examine

        if not examine(make_context(console, config, settings), repair, as_json):
            raise typer.Exit(1)
