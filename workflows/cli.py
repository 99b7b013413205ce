"""The `minconv` command: parses what was typed and runs one workflow. Exit codes: see `invocation`."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from . import (
    cli_archive,
    cli_cluster,
    cli_fsck,
    cli_health,
    cli_lineage,
    cli_models,
    cli_nightly,
    cli_quarantine,
    cli_study,
    cli_tune,
)
from .invocation import Address, ConfigName, Data, Json, Model, Quiet, Settings, invocation, make_context

app = typer.Typer(
    name="minconv",
    help="Forecast fluid and weather grids: files in, models trained on Ray, scored and registered forecasts out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(cli_archive.app)
app.add_typer(cli_models.app)
app.add_typer(cli_health.app)
app.add_typer(cli_fsck.app)
app.add_typer(cli_lineage.app)
app.add_typer(cli_cluster.app)
app.add_typer(cli_nightly.app)
app.add_typer(cli_quarantine.app)
app.add_typer(cli_study.app)
app.add_typer(cli_tune.app)


@app.command(epilog="Example: minconv run -c demo")
def run(
    config: ConfigName, settings: Settings = None, data: Data = None, address: Address = None, quiet: Quiet = False
) -> None:
    """All stages in order, skipping what is done: generate, ingest, train, evaluate, forecast, report."""
    with invocation(quiet) as console:
        from .run import run_all

        run_all(make_context(console, config, settings, data, address))


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
    with invocation(quiet) as console:
        from . import commands

        commands.generate(console, kind, out, samples, steps, size, coarsen, seed)


@app.command(epilog="Example: minconv ingest -c wfde5_gb --data data/wfde5_gb_2017-01")
def ingest(
    config: ConfigName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    as_json: Json = False,
    settings: Settings = None,
    data: Data = None,
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """Check the input files, commit what is new to the archive; say what was committed, what was rejected, and why."""
    with invocation(quiet or as_json) as console:
        from . import commands

        context = make_context(console, config, settings, data, address)
        if not (commands.rehearse_ingest(context, as_json) if dry_run else commands.ingest(context, as_json)):
            raise typer.Exit(1)


@app.command(epilog="Example: minconv train -c demo --set training.epochs=5")
def train(
    config: ConfigName,
    settings: Settings = None,
    address: Address = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Measure where the time of some steps goes, and train nothing.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Train on Ray and register the result; interrupted, the same command goes on where it was stopped."""
    with invocation(quiet) as console:
        from . import commands

        context = make_context(console, config, settings, None, address)
        commands.profile(context) if profile else commands.train(context)


@app.command(epilog="Example: minconv evaluate -c demo --model models:/demo@champion")
def evaluate(
    config: ConfigName, model: Model = None, settings: Settings = None, address: Address = None, quiet: Quiet = False
) -> None:
    """Score a model on the test split beside persistence and climatology; scores go to MLflow."""
    with invocation(quiet) as console:
        from . import commands

        commands.evaluate(make_context(console, config, settings, None, address), model)


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
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """Forecast from any time or sample of the archive into a CF file."""
    with invocation(quiet) as console:
        from . import commands

        commands.forecast(make_context(console, config, settings, None, address), out, model, init_time, sample, steps)


def main() -> NoReturn:
    """Entry point of the console script."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _terminated)
    sys.unraisablehook = _unraisable
    app()
    sys.exit(0)


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM and a closed terminal end a command as Ctrl-C does: clean-up runs, no process stays."""
    raise KeyboardInterrupt


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    """An interruption that fell into a finalizer, where Python drops it, comes again a moment later."""
    if issubclass(found.exc_type, KeyboardInterrupt):
        threading.Timer(0.05, _thread.interrupt_main).start()
    else:
        sys.__unraisablehook__(found)
