"""Commands about where a registered version comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from .invocation import Address, ConfigName, Quiet, Settings, invocation, make_context

app = typer.Typer()


@app.command(epilog="Example: minconv reproduce models:/demo@champion -c demo")
def reproduce(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="models:/NAME@ALIAS or models:/NAME/VERSION.")],
    config: ConfigName,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also where the code is not that of then.")] = False,
    settings: Settings = None,
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """Train a version again from its data, configuration, code and parent; exit code 1 if the weights differ."""
    with invocation(quiet) as console:
        from .reproduce import reproduce as train_again

        if not train_again(make_context(console, config, settings, None, address), model, anyway):
            raise typer.Exit(1)
