"""The stages as the commands run them: each finds out whether its work is done already, does it, and says what it did.

What lives here: order of calls, what counts as done, where files go. What does not: the work (`pipeline`), the look
(`console`), the sequence of all stages (`run`).
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipeline import archive, lineage
from pipeline.config import GenerateConfig
from pipeline.difference import flat
from pipeline.errors import RegistryError
from pipeline.evaluation import evaluate
from pipeline.forecast import check_target, forecast, write_forecast
from pipeline.ingest import IngestResult, ingest
from pipeline.model_files import write_model_files
from pipeline.progress import Event, Progress
from pipeline.registry import Journal, ModelVersion, Registry, Run, Tracking
from pipeline.scorecard import Scorecard
from pipeline.synthetic import generate
from pipeline.training import (
    Parent,
    StepProfile,
    TrainingJob,
    TrainingOutcome,
    prepare,
    profile,
    profile_here,
    train,
    train_here,
)

from .console import Console
from .context import Context


@dataclass(frozen=True)
class Outcome:
    """What a stage did.

    Attributes:
        summary: For the table, e.g. ``"96 samples in 2 files"``.
        skipped: Its work was done already.
        place: Where the result lies.
        peak_bytes: Peak memory of processes that are not children of this one, where that is known.
    """

    summary: str
    skipped: bool
    place: str
    peak_bytes: float = 0.0


def generate_files(console: Console, request: GenerateConfig, out: Path) -> Outcome:
    """Simulate the input, unless it is there."""
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.nc")} if out.is_dir() else {}
    with console.stage("generate") as progress:
        written = generate(request, out, progress)
    skipped = all(before.get(path) == path.stat().st_mtime_ns for path in written)
    return Outcome(f"{request.samples} samples in {len(written)} file(s)", skipped, str(out))


def ingest_files(context: Context, only: Collection[Path] | None = None) -> tuple[IngestResult, Outcome]:
    """Check and archive new files; of those in the folder `only` some, where that is given."""
    with context.dask() as scheduler, context.console.stage("ingest") as progress:
        result = ingest(context.config, progress, scheduler, only)
    if result.committed:
        summary = f"{len(result.committed)} file(s), {result.appended} new along {result.dim}"
        summary += f", {result.revised} revised" if result.revised else ""
        summary += f", {result.filled} filled in" if result.filled else ""
    else:
        summary = f"nothing new in {len(result.skipped)} file(s)"
    place = f"{context.config.archive_path} at {result.snapshot_id}"
    return result, Outcome(summary, not result.committed, place)


def train_model(
    context: Context, snapshot_id: str | None = None, parent: Parent | None = None, date: str | None = None
) -> tuple[ModelVersion, Outcome]:
    """Train and register the result, unless exactly that is registered; without MLflow it trains all the same.

    Args:
        context: Configuration, registry, cluster.
        snapshot_id: The version of the Archive; None: the newest.
        parent: The model to start from; None: fresh weights.
        date: Logical date of a nightly run, for its name.
    """
    config = context.config
    snapshot_id = snapshot_id or archive.head(config.archive_path)
    name = lineage.run_name(config, snapshot_id, parent, date)
    journal = Journal(config.work_dir / "training" / name / "metrics.jsonl")
    with Tracking(lambda: context.registry, name, journal) as tracking:
        if journal.registered and (known := tracking.known()):
            return _known(context, known)
        with context.console.stage("statistics") as progress:
            job = prepare(config, snapshot_id, progress, parent=parent)
        with context.workers() as joined:  # they start while MLflow's library loads, which takes as long
            if known := _trained_before(context, tracking):
                return _known(context, known)
            outcome = _train(joined, job, name, tracking)
        version = _keep(context, job, outcome, tracking)
        journal.close(version.uri)
    best = min(record["validation_loss"] for record in outcome.history)
    count = len(outcome.history)
    epochs = f"{count} epoch{'s' if count > 1 else ''}, validation error {best:.3g} standard deviations"
    peak = max(record.get("peak_memory_mb", 0.0) for record in outcome.history) * 1e6
    return version, Outcome(f"{title(version)}: {epochs}", False, version.uri, peak)


def _known(context: Context, version: ModelVersion) -> tuple[ModelVersion, Outcome]:
    known = context.registry.ensure_champion(version)
    return known, Outcome(f"{title(known)} was trained from the same data, configuration and code", True, known.uri)


def _trained_before(context: Context, tracking: Tracking) -> ModelVersion | None:
    """The version that this very run made, as far as MLflow says."""
    try:
        return tracking.known()
    except RegistryError as error:
        context.console.warn(f"{error}; the training goes on, and its metrics are sent when MLflow answers")
        return None


def _train(context: Context, job: TrainingJob, name: str, tracking: Tracking) -> TrainingOutcome:
    config = job.config

    def open_run(registry: Registry) -> Run:
        run = registry.run(name, flat(config.model_dump(mode="json")))
        run.set_tags(lineage.version_tags(job, name))
        source = {"archive": str(config.archive_path), "snapshot_id": job.snapshot_id}
        run.log_input(config.name, job.snapshot_id, source, "training")
        return run

    tracking.open(open_run)
    with context.console.stage("training") as progress:

        def report(event: Event) -> None:
            progress(event)
            if "validation_loss" in event.values:  # a finished epoch
                tracking.add(event.values)

        return run_training(context, job, name, report)


def _keep(context: Context, job: TrainingJob, outcome: TrainingOutcome, tracking: Tracking) -> ModelVersion:
    """Register what was trained.

    Raises:
        RegistryError: MLflow does not take it; it stays where it is, and the same command does this part again.
    """
    try:
        run = tracking.complete(outcome.history)
        version = tracking.known() or register(context, job, outcome, run)
        run.finish()
    except RegistryError as error:
        raise RegistryError(
            f"{error}; the trained model and its metrics are kept in {tracking.folder}: run the same command again "
            "when MLflow answers, and it registers them without training again"
        ) from error
    return version


def run_training(context: Context, job: TrainingJob, name: str, progress: Progress) -> TrainingOutcome:
    """Train in this process, or on Ray where the configuration has workers."""
    if job.config.training.workers == 0:
        return train_here(job, name, progress)
    with context.connected() as ray:
        return train(job, name, ray, progress)


def profile_training(context: Context) -> StepProfile:
    """Measure the parts of a training step on the newest version of the Archive."""
    config = context.config
    with context.console.stage("statistics") as progress:
        job = prepare(config, archive.head(config.archive_path), progress)
    with context.console.stage("profile"):
        if config.training.workers == 0:
            return profile_here(job)
        with context.connected() as ray:
            return profile(job, ray)


def evaluate_model(
    context: Context, version: ModelVersion, snapshot_id: str | None = None
) -> tuple[Scorecard, Outcome]:
    """Score a version on the test split of a version of the Archive (None: the newest), unless that is done."""
    snapshot_id = snapshot_id or archive.head(context.config.archive_path)
    path = _scorecard_path(context, version, snapshot_id)
    if path.is_file():
        scorecard = Scorecard.from_json(path.read_text(encoding="utf-8"))
        return scorecard, Outcome(f"{scorecard.cases} cases, scored before", True, str(path))
    model = context.registry.load(version.uri)
    on_ray = context.address is not None
    with context.executor(on_ray) as executor, context.console.stage("evaluate") as progress:
        scorecard = evaluate(model, context.config, snapshot_id, progress, executor)
    run = context.registry.open_run(version.run_id)
    # A chart of one bar for every lead time is no help in MLflow's pages: the means, and curves over lead time. The
    # curves are those of the first scoring, as further ones would share their steps.
    run.log_metrics({name: value for name, value in scorecard.metrics().items() if name.endswith("/mean")})
    curves = scorecard.by_lead()
    run.log_series({name: values for name, values in curves.items() if name not in version.metrics})
    from pipeline.report import in_words  # brings matplotlib, which the other stages do not need

    described = f"{version.tags.get('cell', 'model')}: {in_words(scorecard)}"
    run.describe(described)
    context.registry.describe(version.version, described)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(scorecard.to_json(), encoding="utf-8")
    run.log_file(temporary, "scorecards")
    temporary.replace(path)  # last, so that a scorecard on disk means that MLflow has its metrics
    return scorecard, Outcome(f"{scorecard.cases} cases", False, str(path))


def forecast_file(
    context: Context,
    version: ModelVersion,
    out: Path,
    init_time: str | None = None,
    sample: int | None = None,
    steps: int | None = None,
    snapshot_id: str | None = None,
) -> Outcome:
    """Forecast from one init_time or sample into a file, replacing what is there."""
    check_target(out)
    model = context.registry.load(version.uri)
    snapshot_id = snapshot_id or archive.head(context.config.archive_path)
    work = functools.partial(forecast, model, context.config, snapshot_id, init_time, sample, steps)
    with context.executor(context.address is not None) as executor, context.console.stage("forecast"):
        dataset = executor.run(work)
        write_forecast(dataset, out)
    leads = dataset.sizes["lead_time"]
    return Outcome(f"{leads} lead times by {title(version)}", False, str(out))


def newest_forecast(context: Context, version: ModelVersion) -> Outcome:
    """The forecast of `run`: from the newest frame, or the first test sample; done before if this version wrote it."""
    snapshot_id = archive.head(context.config.archive_path)
    name = f"{version.name}-{version.version}-{snapshot_id}-{context.config.forecast_steps}.nc"
    out = context.config.work_dir / "forecasts" / name
    if out.is_file():
        return Outcome(f"by {title(version)}, written before", True, str(out))
    return forecast_file(context, version, out)


def register(
    context: Context, job: TrainingJob, outcome: TrainingOutcome, run: Run, *, candidate: bool = False
) -> ModelVersion:
    """Make a version of what was trained: champion where there is none, unless it is a `candidate`, else challenger."""
    with tempfile.TemporaryDirectory(prefix="minconv-register-") as folder:
        files = write_model_files(Path(folder), outcome.checkpoint, job, outcome.history)
        tags = lineage.version_tags(job, outcome.run_name)
        return context.registry.register(run, files.checkpoint, tags, files.sizes, files.extra, candidate=candidate)


def _scorecard_path(context: Context, version: ModelVersion, snapshot_id: str) -> Path:
    cases = context.config.hash(("split", "window", "forecast", "evaluation"))
    folder = context.config.work_dir / "scorecards"
    return folder / f"{version.name}-{version.version}-{snapshot_id}-{cases}.json"


def title(version: ModelVersion) -> str:
    """``demo version 3 (champion)``."""
    aliases = f" ({', '.join(version.aliases)})" if version.aliases else ""
    return f"{version.name} version {version.version}{aliases}"
