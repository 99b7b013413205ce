"""The bodies of the commands: call a stage, print what came of it."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Literal, cast

from pipeline.config import GenerateConfig
from pipeline.errors import ConfigError
from pipeline.ingest import IngestResult, rehearse, report_of
from pipeline.scorecard import Scorecard, Skill
from pipeline.skill import CONFIDENCE

from . import stages
from .console import Console
from .context import Context
from .models import resolve


def generate(
    console: Console, kind: str, out: Path, samples: int, steps: int, size: int, coarsen: int, seed: int
) -> None:
    """Simulate into a folder."""
    name = kind.replace("-", "_")
    if name not in ("navier_stokes", "advection"):
        raise ConfigError(f"there is no simulation {kind!r}; choose navier-stokes or advection")
    for option, value in (("samples", samples), ("steps", steps), ("size", size), ("coarsen", coarsen)):
        if value < 1:
            raise ConfigError(f"--{option} must be at least 1, got {value}")
    if seed < 0:
        raise ConfigError(f"--seed must be at least 0, got {seed}")
    chosen = cast(Literal["navier_stokes", "advection"], name)
    request = GenerateConfig(kind=chosen, samples=samples, steps=steps, size=size, coarsen=coarsen, seed=seed)
    outcome = stages.generate_files(console, request, out)
    console.line(f"{outcome.summary}{', made before' if outcome.skipped else ''}: {outcome.place}")


def ingest(context: Context, as_json: bool) -> bool:
    """Archive new files; what cannot be done at all is an error."""
    began = time.perf_counter()
    result, outcome = stages.ingest_files(context)
    if as_json:
        context.console.line(report_of(result, time.perf_counter() - began).to_json())
        return True
    show_ingest(context.console, result, outcome)
    if result.rejected:
        context.console.line("what to do about rejected files: minconv quarantine list")
    return True


def rehearse_ingest(context: Context, as_json: bool) -> bool:
    """Say what an ingest would do, and write nothing; whether it would commit, or have nothing to do."""
    began = time.perf_counter()
    with context.console.stage("ingest") as progress, rehearse(context.config, progress) as found:
        report = report_of(found, time.perf_counter() - began, found.refused)
    context.console.line(report.to_json() if as_json else report.to_text().rstrip())
    return not found.refused


def show_ingest(console: Console, result: IngestResult, outcome: stages.Outcome) -> None:
    """What an ingest did, file by file."""
    console.line(f"snapshot_id {result.snapshot_id}: {outcome.summary}")
    console.line(f"coverage    {result.coverage}")
    for label, paths in (("committed", result.committed), ("skipped", result.skipped), ("ignored", result.ignored)):
        for path in paths:
            console.line(f"{label:<11} {path}")
    told = {"fixed": result.fixed, "warning": result.warned, "waiting": result.waiting, "rejected": result.rejected}
    for label, held in told.items():
        for one in held:
            console.line(f"{label:<11} {one.path}: {one.message}")


def train(context: Context) -> None:
    """Train and register."""
    _, outcome = stages.train_model(context)
    context.console.line(f"{outcome.place}: {outcome.summary}")


def profile(context: Context) -> None:
    """Show where the time of a training step goes."""
    found = stages.profile_training(context)
    rows = [(name, f"{1e3 * spent:.3g}", f"{spent / found.seconds:.1%}") for name, spent in found.parts.items()]
    rows.append(("step", f"{1e3 * found.seconds:.3g}", "100.0%"))
    context.console.table("A training step", ("part", "ms", "share"), rows, right=(1, 2))
    batch = f"{found.windows} window(s) a step over {found.workers} worker(s)"
    context.console.line(f"{batch}, {found.frames_per_second:.3g} frames/s, mean of {found.steps} steps")
    if found.workers > 1:
        sent, took = f"{found.sent_bytes / 1e6:.3g} MB of gradients", f"{1e3 * found.exchange_seconds:.3g} ms"
        context.console.line(f"each worker sends {sent} a step, in {took} that begin during the backward pass")


def evaluate(context: Context, model: str | None) -> None:
    """Score and show."""
    version = resolve(context, model)
    scorecard, outcome = stages.evaluate_model(context, version)
    show_scores(context.console, scorecard)
    context.console.line(f"{outcome.summary}; all lead times: {outcome.place}")


def forecast(
    context: Context, out: Path, model: str | None, init_time: str | None, sample: int | None, steps: int | None
) -> None:
    """Forecast into a file."""
    if steps is not None and steps < 1:
        raise ConfigError(f"--steps must be at least 1, got {steps}")
    outcome = stages.forecast_file(context, resolve(context, model), out, init_time, sample, steps)
    context.console.line(f"{outcome.place}: {outcome.summary}")


def show_scores(console: Console, scorecard: Scorecard) -> None:
    """RMSE of the model and the baselines, and its skill against the best of them, at a few lead times."""
    short = {"persistence": "persist.", "climatology": "climat.", "damped_persistence": "damped"}
    baselines = [short[name] for name in scorecard.references]
    header = ("variable", "lead", "model", *baselines, "skill", "interval", "against", "ACC")
    rows = [
        (
            f"{row.variable} [{row.units}]",
            row.lead_time,
            f"{row.rmse:.4g}",
            *(f"{error:.4g}" for error in row.baselines.values()),
            f"{row.skills[row.best].value:+.2f}",
            _ends_text(row.skills[row.best]),
            short[row.best],
            f"{row.acc:.2f}",
        )
        for row in scorecard.table()
    ]
    title = f"RMSE on {scorecard.cases} test cases; skill against the best baseline, {100 * CONFIDENCE:g} % interval"
    console.table(title, header, rows, right=tuple(range(2, 4 + len(baselines))))


def _ends_text(skill: Skill) -> str:
    """``+0.18 to +0.31``; empty where there are too few cases."""
    return f"{skill.lower:+.2f} to {skill.upper:+.2f}" if math.isfinite(skill.lower) else ""
