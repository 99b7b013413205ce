"""Commands about the archive: look into it, verify it, copy it, drop what nobody needs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .invocation import ConfigName, Quiet, Settings, invocation, make_context

app = typer.Typer()
group = typer.Typer(help="Look into an archive, verify it, copy it, drop old versions.", no_args_is_help=True)
app.add_typer(group, name="archive")

Snapshot = Annotated[
    str | None, typer.Option("--snapshot", metavar="SNAPSHOT_ID", help="The version; default: the newest.")
]


@group.command(epilog="Example: minconv archive info -c demo")
def info(config: ConfigName, settings: Settings = None) -> None:
    """What the archive holds: dimensions, variables, chunks, times, size."""
    with invocation(quiet=True) as console:
        from . import archive

        archive.info(make_context(console, config, settings))


@group.command(epilog="Example: minconv archive log -c demo")
def log(
    config: ConfigName,
    files: Annotated[
        bool, typer.Option("--files", help="Also the files of each version, and what they revised.")
    ] = False,
    settings: Settings = None,
) -> None:
    """The archive's versions, newest first: what came in, what was revised."""
    with invocation(quiet=True) as console:
        from . import archive

        archive.log(make_context(console, config, settings), files)


@group.command(epilog="Example: minconv archive verify -c demo")
def verify(config: ConfigName, snapshot: Snapshot = None, settings: Settings = None, quiet: Quiet = False) -> None:
    """Read every chunk and compare it with its checksum; each bad or missing one is named, exit code 1."""
    with invocation(quiet) as console:
        from . import archive

        archive.verify(make_context(console, config, settings), snapshot)


@group.command(epilog="Example: minconv archive export -c demo -o january.nc")
def export(
    config: ConfigName,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="NAME.nc or NAME.zarr, not there yet.")],
    snapshot: Snapshot = None,
    settings: Settings = None,
) -> None:
    """Copy a version into NetCDF or plain Zarr, for other tools."""
    with invocation(quiet=True) as console:
        from . import archive

        archive.export(make_context(console, config, settings), out, snapshot)


@group.command(epilog="Example: minconv archive gc -c demo --set archive.keep_days=7 --apply")
def gc(
    config: ConfigName,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without, only say what would be dropped.")] = False,
    settings: Settings = None,
) -> None:
    """Drop versions older than archive.keep_days that no registered model names, and the chunks only they need."""
    with invocation(quiet=True) as console:
        from . import archive

        archive.collect(make_context(console, config, settings), apply)
