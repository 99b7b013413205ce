"""The bodies of the commands: call a stage, print what came of it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal, cast

from pipeline import archive
from pipeline.config import GenerateConfig
from pipeline.errors import ConfigError
from pipeline.scorecard import Scorecard, Skill
from pipeline.skill import CONFIDENCE

from . import stages
from .console import Console, bytes_text
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


def ingest(context: Context) -> None:
    """Archive new files."""
    result, outcome = stages.ingest_files(context)
    console = context.console
    console.line(f"snapshot_id {result.snapshot_id}: {outcome.summary}")
    console.line(f"coverage    {result.coverage}")
    for label, paths in (("committed", result.committed), ("skipped", result.skipped), ("ignored", result.ignored)):
        for path in paths:
            console.line(f"{label:<11} {path}")
    for label, held in (("waiting", result.waiting), ("rejected", result.rejected)):
        for one in held:
            console.line(f"{label:<11} {one.path}: {one.message}")


def archive_info(context: Context) -> None:
    """What an archive holds."""
    info = archive.info(context.config.archive_path)
    dims = ", ".join(f"{name} {size}" for name, size in info.dims.items())
    rows = [
        ("archive", str(info.path)),
        ("snapshot_id", f"{info.snapshot_id} (of {info.commits} commits)"),
        ("dimensions", dims),
        ("variables", ", ".join(f"{name} [{units}]" for name, units in info.variables.items())),
        ("times", f"{info.first_time} to {info.last_time}"),
        ("chunks", " x ".join(map(str, info.chunks)) + ", in shards of " + " x ".join(map(str, info.shards))),
        ("on disk", bytes_text(info.size_bytes)),
    ]
    for name, value in rows:
        context.console.line(f"{name:<12} {value}")


def archive_log(context: Context) -> None:
    """The versions of an archive."""
    rows = [
        (commit.snapshot_id, f"{commit.written_at:%Y-%m-%d %H:%M:%S}", commit.message)
        for commit in archive.log(context.config.archive_path)
    ]
    context.console.table("", ("snapshot_id", "written (UTC)", "message"), rows)


def train(context: Context) -> None:
    """Train and register."""
    _, outcome = stages.train_model(context)
    context.console.line(f"{outcome.place}: {outcome.summary}")


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
    """RMSE of the model and both baselines, and its skill with 95 % intervals, at a few lead times."""
    header = ("variable", "lead", "model", "persistence", "climatology", "skill vs pers.", "skill vs clim.", "ACC")
    rows = [
        (
            f"{row.variable} [{row.units}]",
            row.lead_time,
            f"{row.rmse:.4g}",
            f"{row.persistence:.4g}",
            f"{row.climatology:.4g}",
            _skill_text(row.skill_persistence),
            _skill_text(row.skill_climatology),
            f"{row.acc:.2f}",
        )
        for row in scorecard.table()
    ]
    title = f"RMSE on {scorecard.cases} test cases; skill with its {100 * CONFIDENCE:g} % interval"
    console.table(title, header, rows, right=(2, 3, 4, 5, 6, 7))


def _skill_text(skill: Skill) -> str:
    """``+0.25 (+0.18 to +0.31)``; without the interval where there are too few cases."""
    ends = f" ({skill.lower:+.2f} to {skill.upper:+.2f})" if math.isfinite(skill.lower) else ""
    return f"{skill.value:+.2f}{ends}"
