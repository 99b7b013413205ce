"""The proof of concept: the archive, five cells measured and trained within a time budget, a decision, a page.

prove(context, Request(budget=600.0, every=86_400.0), as_json=False)
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from pipeline import archive
from pipeline.config import Config
from pipeline.cost import time_text
from pipeline.durable_file import write_text
from pipeline.errors import ConfigError, ForecastError, TrainingError
from pipeline.lineage import code_version
from pipeline.progress import Progress
from pipeline.study import CELLS, TrialResult, run_trial
from pipeline.study.budget import Shares, divide, duration, duration_text
from pipeline.study.contenders import contenders, timed
from pipeline.study.limits import Hardware
from pipeline.study.poc import CellFound, ProofOfConcept, Terms, conclude, skill_of
from pipeline.study.probe import Probe, run_probe
from pipeline.training import prepare
from pipeline.training.local import device_of

from . import stages
from .console import Console, bytes_text, seconds_text
from .context import Context

T = TypeVar("T")
_PROBE_SHARE = 0.02  # of the budget, for measured steps of each cell


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        budget: Seconds of measuring, training, validation and scoring.
        terms: Of retraining.
        out: Folder of all that is written; None: ``poc`` in the pipeline's folder.
    """

    budget: float
    terms: Terms
    out: Path | None = None

    @classmethod
    def of(cls, budget: str, every: str, price: float | None, out: Path | None) -> Request:
        """From what was typed.

        Raises:
            ConfigError: One of it is not valid.
        """
        if price is not None and not 0 <= price < float("inf"):
            raise ConfigError(f"--price-per-hour must be a number of at least 0, got {price:g}")
        return cls(duration(budget, "--budget"), Terms(duration(every, "--every"), price), out)


def prove(context: Context, request: Request, as_json: bool) -> None:
    """Do what is not done yet of it, then write and show what was found.

    Args:
        context: Configuration and console.
        request: What was asked for.
        as_json: One JSON document in place of table and lines.
    """
    config, console = context.config, context.console
    device_of(config.training.gpu)  # a GPU that is not there is said before anything else
    snapshot_id = _archived(context)
    out = (request.out or config.work_dir / "poc").absolute()
    hardware = Hardware.here(config.training.gpu)
    folder = out / "trials" / hardware.key
    configs = _contenders(context, snapshot_id)
    probes, unmeasured = _each(configs, console, "measuring", _prober(snapshot_id, folder, request.budget))
    if not probes:
        raise TrainingError(next(iter(unmeasured.values())))
    shares = divide(request.budget, list(probes.values()), config.training)
    if not as_json:
        _show_shares(console, shares, len(probes))

    def train(cell: str, written: Config, progress: Progress) -> TrialResult:
        return run_trial(timed(cell, written, shares.each), snapshot_id, folder, progress)

    measured = {cell: configs[cell] for cell in probes}
    results, failed = _each(measured, console, "training", train)
    found = conclude(
        config,
        snapshot_id,
        hardware,
        shares,
        list(probes.values()),
        list(results.values()),
        {**unmeasured, **failed},
        request.terms,
    )
    _write(context, found, out)
    if as_json:
        console.line(json.dumps(found.to_dict(), indent=1))
    else:
        _show(console, found, out)


def _archived(context: Context) -> str:
    """The newest version of the archive, with what is new in the input; made where there is none."""
    config, console = context.config, context.console
    if config.generate is not None and config.source.path is None:
        stages.generate_files(console, config.generate, config.source_path)
    ingested, _ = stages.ingest_files(context)
    for label, held in (("rejected", ingested.rejected), ("waiting", ingested.waiting)):
        for one in held:
            console.warn(f"{label}: {one}")
    return archive.head(config.archive_path)


def _contenders(context: Context, snapshot_id: str) -> dict[str, Config]:
    with context.console.stage("statistics") as progress:
        job = prepare(context.config, snapshot_id, progress)
    return contenders(job)


def _prober(snapshot_id: str, folder: Path, budget: float) -> Callable[[str, Config, Progress], Probe]:
    def probe(cell: str, written: Config, progress: Progress) -> Probe:
        return run_probe(timed(cell, written), snapshot_id, folder, _PROBE_SHARE * budget, progress)

    return probe


def _each(
    configs: Mapping[str, Config], console: Console, what: str, work: Callable[[str, Config, Progress], T]
) -> tuple[dict[str, T], dict[str, str]]:
    """Do it for every cell, one after the other; what could not be done is a sentence and does not end the others."""
    done, failures = dict[str, T](), dict[str, str]()
    for number, (cell, config) in enumerate(configs.items(), start=1):
        with console.stage(f"{what} {cell} ({number} of {len(configs)})") as progress:
            try:
                done[cell] = work(cell, config, progress)
            except (TrainingError, ForecastError) as error:
                failures[cell] = str(error)
                console.warn(f"{cell}: {error}")
    return done, failures


def _write(context: Context, found: ProofOfConcept, out: Path) -> None:
    """The page, and all numbers as JSON."""
    from pipeline.report import PocContent, write_poc  # brings matplotlib, for which the trainings need not wait

    config_yaml = yaml.safe_dump(context.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    created = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
    with context.console.stage("report"):
        write_poc(out / "report.html", PocContent(found, config_yaml, code_version(), created))
    write_text(out / "poc.json", json.dumps(found.to_dict(), indent=1))


def _show_shares(console: Console, shares: Shares, count: int) -> None:
    parts = ", ".join(f"{name} {seconds_text(seconds)}" for name, seconds in shares.parts().items() if seconds >= 0.05)
    each = f"each of {count} cells trains for {seconds_text(shares.each)}"
    console.line(f"budget {duration_text(shares.budget)}: {each} ({parts})")


def _show(console: Console, found: ProofOfConcept, out: Path) -> None:
    """Table, sentence and places."""
    references = found.cells[0].against if found.cells else {}
    header = ("cell", "parameters", "step", "memory", "validation", *(name.replace("_", " ") for name in references))
    header += ("retraining", "a day", *(("cost",) if found.terms.price_per_hour is not None else ()))
    title = f"Five cells, {seconds_text(found.shares.each)} of training each; skill against each baseline with interval"
    console.table(title, header, [_row(found, one) for one in found.cells], right=tuple(range(1, len(header))))
    for cell in CELLS:
        if cell in found.failures:
            console.line(f"{cell} did not come to an end: {found.failures[cell]}")
    console.line(f"\n{found.decision.sentence}")
    for text in (*found.decision.changes, *found.evidence, *found.limits):
        console.line(f"  {text}")
    console.line(
        f"\nused {seconds_text(found.used)} of {seconds_text(found.shares.budget)}; nothing is registered in MLflow"
    )
    console.line(f"report  {out / 'report.html'}\nnumbers {out / 'poc.json'}\ntrials  {out / 'trials'}")


def _row(found: ProofOfConcept, one: CellFound) -> tuple[str, ...]:
    result, price = one.result, found.terms.price_per_hour
    skills = []
    for change in one.against.values():
        middle, low, high = (100 * value for value in skill_of(change))
        skills.append(f"{middle:+.1f} % ({low:+.0f}…{high:+.0f})")
    return (
        one.cell + " *" * (one.cell == found.chosen),
        f"{result.parameters:,}",
        f"{1000 * result.step_seconds:.3g} ms",
        bytes_text(result.peak_bytes),
        f"{result.validation_error:.3g}",
        *skills,
        time_text(one.retraining.total),
        one.retraining.per_day_text,
        *(() if price is None else (f"{one.retraining.cost(price):.3g}",)),
    )
