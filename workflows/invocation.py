"""What all commands of `minconv` share: their common options, and how one invocation starts and ends.

What lives here: the options that several commands take, errors as one sentence and an exit code. What does not: the
commands (`cli` and the files `cli_*` beside it).

    with invocation(quiet) as console:
        commands.train(make_context(console, config, settings))

Exit codes: 0 success, 1 an error that the sentence explains, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import PipelineError

from .console import Console

if TYPE_CHECKING:
    from .context import Context

ConfigName = Annotated[
    str, typer.Option("--config", "-c", metavar="CONFIG", help="YAML file, or the name of a shipped configuration.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. training.epochs=5; repeatable."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Results only: no progress.")]
Json = Annotated[bool, typer.Option("--json", help="All of it as one JSON document, in place of tables and lines.")]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="DIR|URL", help="Folder of the input files, or its URL, in place of source.path."),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="URI", help="models:/NAME@ALIAS or models:/NAME/VERSION; default: the champion."),
]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="A running Ray cluster to work on; default: this machine."),
]

# Errors of the operating system that a user can act on, wherever they come up.
_ABOUT_FILES = {
    errno.ENOSPC: "free some space, then run the command again",
    errno.EDQUOT: "free some space, then run the command again",
    errno.EFBIG: "raise the limit of file sizes, then run the command again",
    errno.EACCES: "check its permissions, then run the command again",
    errno.EROFS: "name a place that can be written, then run the command again",
    errno.EIO: "check the disk, then run the command again",
    errno.ENOTDIR: "a file is where a folder should be: move it, then run the command again",
}


def make_context(
    console: Console, config: str, settings: list[str] | None, data: str | None = None, address: str | None = None
) -> Context:
    """Settle the configuration and the environment for a command."""
    from .context import Context, load_config, quiet_libraries

    quiet_libraries()
    return Context(load_config(config, settings or (), data), console, address)


@contextlib.contextmanager
def invocation(quiet: bool) -> Iterator[Console]:
    """Run the body of a command; whatever ends it leaves with one sentence and the right exit code.

    The body imports what it needs: torch and xarray take seconds, for which --help and a wrong option should not wait,
    and in which Ctrl-C should end as at any other time.
    """
    console = Console(quiet)
    try:
        yield console
    except KeyboardInterrupt:
        console.error("interrupted; nothing half-written was kept, the same command goes on from here")
        raise typer.Exit(130) from None
    except PipelineError as error:
        console.error(str(error))
        raise typer.Exit(1) from None
    except OSError as error:
        if error.errno not in _ABOUT_FILES:
            raise
        place = f" at {error.filename}" if error.filename else ""
        console.error(f"{error.strerror}{place}; what was committed before is kept; {_ABOUT_FILES[error.errno]}")
        raise typer.Exit(1) from None
