"""The `minconv` command: parses what was typed, runs one workflow, turns errors into one sentence and an exit code.

Exit codes: 0 success, 1 an error that the sentence explains, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from pipeline.errors import PipelineError

from .console import Console

if TYPE_CHECKING:
    from .context import Context

app = typer.Typer(
    name="minconv",
    help="Forecast fluid and weather grids: files in, models trained on Ray, scored and registered forecasts out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
archive_app = typer.Typer(help="Look into an archive.", no_args_is_help=True)
app.add_typer(archive_app, name="archive")

ConfigName = Annotated[
    str, typer.Option("--config", "-c", metavar="CONFIG", help="YAML file, or the name of a shipped configuration.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. training.epochs=5; repeatable."),
]
# Errors of the operating system that a user can act on, wherever they come up.
_ABOUT_FILES = {
    errno.ENOSPC: "free some space, then run the command again",
    errno.EDQUOT: "free some space, then run the command again",
    errno.EFBIG: "raise the limit of file sizes, then run the command again",
    errno.EACCES: "check its permissions, then run the command again",
    errno.EROFS: "name a place that can be written, then run the command again",
    errno.ENOTDIR: "a file is where a folder should be: move it, then run the command again",
}
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Results only: no progress.")]
Data = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="Folder of the input files, in place of source.path.")
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="URI", help="models:/NAME@ALIAS or models:/NAME/VERSION; default: the champion."),
]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="A running Ray cluster to train on; default: a private one."),
]


@app.command(epilog="Example: minconv run -c demo")
def run(
    config: ConfigName, settings: Settings = None, data: Data = None, address: Address = None, quiet: Quiet = False
) -> None:
    """All stages in order, skipping what is done: generate, ingest, train, evaluate, forecast, report."""
    with _command(quiet) as console:
        from .run import run_all

        run_all(_context(console, config, settings, data, address))


@app.command(epilog="Example: minconv generate navier-stokes -o data/fluid --samples 96 --size 32")
def generate(
    kind: Annotated[str, typer.Argument(metavar="navier-stokes|advection", help="What to simulate.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the NetCDF files.")],
    samples: Annotated[int, typer.Option(help="Independent simulations.")] = 96,
    steps: Annotated[int, typer.Option(help="Frames of each, one unit of time apart.")] = 50,
    size: Annotated[int, typer.Option(help="Grid points along each side.")] = 32,
    coarsen: Annotated[int, typer.Option(help="Mean-pool this many points along each side before writing.")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same files.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Simulate a fluid or moving blobs into CF NetCDF files."""
    with _command(quiet) as console:
        from . import commands

        commands.generate(console, kind, out, samples, steps, size, coarsen, seed)


@app.command(epilog="Example: minconv ingest -c wfde5_gb --data data/wfde5_gb_2017-01")
def ingest(config: ConfigName, settings: Settings = None, data: Data = None, quiet: Quiet = False) -> None:
    """Check the input files, commit what is new to the archive; say what was committed, what was rejected, and why."""
    with _command(quiet) as console:
        from . import commands

        commands.ingest(_context(console, config, settings, data))


@archive_app.command("info", epilog="Example: minconv archive info -c demo")
def archive_info(config: ConfigName, settings: Settings = None) -> None:
    """What the archive holds: dimensions, variables, chunks, times, size."""
    with _command(quiet=True) as console:
        from . import commands

        commands.archive_info(_context(console, config, settings))


@archive_app.command("log", epilog="Example: minconv archive log -c demo")
def archive_log(config: ConfigName, settings: Settings = None) -> None:
    """The archive's versions, newest first."""
    with _command(quiet=True) as console:
        from . import commands

        commands.archive_log(_context(console, config, settings))


@app.command(epilog="Example: minconv train -c demo --set training.epochs=5")
def train(config: ConfigName, settings: Settings = None, address: Address = None, quiet: Quiet = False) -> None:
    """Train on Ray and register the result; interrupted, the same command goes on from the last epoch."""
    with _command(quiet) as console:
        from . import commands

        commands.train(_context(console, config, settings, None, address))


@app.command(epilog="Example: minconv evaluate -c demo --model models:/demo@champion")
def evaluate(config: ConfigName, model: Model = None, settings: Settings = None, quiet: Quiet = False) -> None:
    """Score a model on the test split beside persistence and climatology; scores go to MLflow."""
    with _command(quiet) as console:
        from . import commands

        commands.evaluate(_context(console, config, settings), model)


@app.command(epilog="Example: minconv forecast -c wfde5_gb --init-time 2017-01-30T00 -o forecast.nc")
def forecast(
    config: ConfigName,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="forecast.nc or forecast.zarr.")],
    model: Model = None,
    init_time: Annotated[
        str | None, typer.Option(metavar="TIME", help="Valid time of the last frame seen; default: the newest.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(help="Sample of a simulation archive; default: the first test sample.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Lead times; default: forecast.steps.")] = None,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """Forecast from any time or sample of the archive into a CF file."""
    with _command(quiet) as console:
        from . import commands

        commands.forecast(_context(console, config, settings), out, model, init_time, sample, steps)


@app.command(epilog="Example: minconv models -c demo")
def models(config: ConfigName, settings: Settings = None) -> None:
    """Registered versions: aliases, scores, data, age."""
    with _command(quiet=True) as console:
        from . import commands

        commands.models(_context(console, config, settings))


def main() -> NoReturn:
    """Entry point of the console script."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _terminated)
    app()
    sys.exit(0)


def _context(
    console: Console, config: str, settings: list[str] | None, data: Path | None = None, address: str | None = None
) -> Context:
    from .context import Context, load_config, quiet_libraries

    quiet_libraries()
    return Context(load_config(config, settings or (), data), console, address)


@contextlib.contextmanager
def _command(quiet: bool) -> Iterator[Console]:
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


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM and a closed terminal end a command as Ctrl-C does: clean-up runs, no process stays."""
    raise KeyboardInterrupt
