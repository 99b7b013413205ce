"""Commands that run by the calendar: `minconv nightly`, `minconv status` and `minconv schedule`."""

from __future__ import annotations

from typing import Annotated

import typer

from .invocation import Address, ConfigName, Data, Quiet, Settings, invocation, make_context

app = typer.Typer()


@app.command(epilog="Example: minconv nightly -c my.yaml --date 2020-03-11")
def nightly(
    config: ConfigName,
    date: Annotated[
        str | None, typer.Option(metavar="DATE", help="Logical date, e.g. 2020-03-11; default: today (UTC).")
    ] = None,
    backfill: Annotated[
        bool, typer.Option("--backfill", help="Do a night that was missed; it changes no champion.")
    ] = False,
    settings: Settings = None,
    data: Data = None,
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """One night: ingest, train from the champion, score both, promote the better, forecast, report; each date once."""
    with invocation(quiet) as console:
        from .nightly import show_night, today

        show_night(make_context(console, config, settings, data, address), date or today(), backfill)


@app.command(epilog="Example: minconv status -c my.yaml")
def status(
    config: ConfigName,
    nights: Annotated[int, typer.Option(help="How many of the last nights to show.")] = 7,
    settings: Settings = None,
) -> None:
    """The champion with its age and scores, the last nights with their verdicts, who is at work, what comes next."""
    with invocation(quiet=True) as console:
        from .status import show_status

        show_status(make_context(console, config, settings), nights)


@app.command(epilog='Example: minconv schedule -c my.yaml --cron "0 2 * * *" --timezone UTC')
def schedule(
    config: ConfigName,
    cron: Annotated[str, typer.Option(metavar="CRON", help="Minute, hour, day, month, day of the week.")] = "0 2 * * *",
    timezone: Annotated[str, typer.Option(metavar="ZONE", help="E.g. UTC or Europe/Berlin.")] = "UTC",
    now: Annotated[bool, typer.Option("--now", help="Run one night at once.")] = False,
    settings: Settings = None,
    address: Address = None,
) -> None:
    """Run nights by the clock, in the foreground, until Ctrl-C; each is a process of its own, one at a time."""
    with invocation(quiet=True) as console:
        from .context import load_config
        from .schedule import Schedule, cron_trigger, night_command

        load_config(config, settings or ())  # a mistake in it is said now, not at night
        command = night_command(config, settings or (), address)
        Schedule(cron_trigger(cron, timezone), command, console.line).run(now)
