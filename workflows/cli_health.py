"""Commands that look and change nothing: `minconv doctor` at the machine, `minconv check` at a configuration."""

from __future__ import annotations

from typing import Annotated

import typer

from .invocation import invocation

app = typer.Typer()

Json = Annotated[bool, typer.Option("--json", help="One JSON document in place of tables.")]


@app.command(epilog="Example: minconv doctor --json")
def doctor(as_json: Json = False) -> None:
    """Whether this machine can run the pipeline: what works, what does not, what to do; exit code 1 if it cannot."""
    with invocation(quiet=True) as console:
        from .context import quiet_libraries
        from .doctor import diagnose

        quiet_libraries()
        if not diagnose(console, as_json):
            raise typer.Exit(1)
