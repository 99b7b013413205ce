"""Commands about rejected files: `minconv quarantine list|retry|accept`."""

from __future__ import annotations

from typing import Annotated

import typer

from .invocation import Address, ConfigName, Data, Json, Quiet, Settings, invocation, make_context

app = typer.Typer()
quarantine_app = typer.Typer(help="Look at rejected files, and decide about them.", no_args_is_help=True)
app.add_typer(quarantine_app, name="quarantine")


@quarantine_app.command("list", epilog="Example: minconv quarantine list -c wfde5_gb")
def list_entries(
    config: ConfigName,
    every: Annotated[bool, typer.Option("--all", help="Also files that were ingested or replaced since.")] = False,
    as_json: Json = False,
    settings: Settings = None,
) -> None:
    """The rejected files: which rule each one breaks, since when, and where it lies."""
    with invocation(quiet=True) as console:
        from . import quarantine

        quarantine.show(make_context(console, config, settings), every, as_json)


@quarantine_app.command(epilog="Example: minconv quarantine retry -c wfde5_gb 3f2a9c10")
def retry(
    config: ConfigName,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[SHA256...]", help="First digits of entries; default: all.")
    ] = None,
    settings: Settings = None,
    data: Data = None,
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """Ingest again what lies where rejected files lay: fetched again, corrected, accepted, or under other settings."""
    with invocation(quiet) as console:
        from . import quarantine

        quarantine.retry(make_context(console, config, settings, data, address), names or [])


@quarantine_app.command(
    epilog="Example: minconv quarantine accept -c wfde5_gb 3f2a9c10 --rule Q-RANGE --why 'a heat wave, checked'"
)
def accept(
    config: ConfigName,
    name: Annotated[str, typer.Argument(metavar="SHA256", help="First digits of the entry.")],
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for the audit trail.")],
    rule: Annotated[
        list[str] | None,
        typer.Option("--rule", metavar="ID", help="A rule that does not apply; repeatable; default: the one broken."),
    ] = None,
    settings: Settings = None,
) -> None:
    """Say that rules do not apply to one file; `retry`, or the next ingest, takes it if it breaks no other."""
    with invocation(quiet=True) as console:
        from . import quarantine

        quarantine.accept(make_context(console, config, settings), name, rule or [], why)
