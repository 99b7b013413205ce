"""The body of `minconv tune`: search for good settings, and register the best as challenger.

tune(context, Request(trials=20), "demo")

Whatever ends it, the same command goes on: trials that ended stay as they are, others go on from their checkpoints, and
what MLflow has is found there again. The test split is never looked at: trials are ranked by the validation error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline import archive, lineage
from pipeline.config import Config
from pipeline.config_file import read_value, read_yaml
from pipeline.durable_file import write_text
from pipeline.errors import ConfigError, RegistryError, TrainingError
from pipeline.progress import Event, Progress
from pipeline.registry import CHALLENGER, CHAMPION, ModelVersion
from pipeline.study import (
    Ending,
    Importance,
    Plan,
    Space,
    alone,
    default_space,
    importance_of,
    read_space,
    sample_trials,
    search,
    study_name,
    with_settings,
)
from pipeline.training import TrainingJob, prepare
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.outcome import outcome_of

from . import stages
from .context import Context
from .tune_tracking import Live, StudyRuns, kept

RESULT, FIGURE, BEST = "study.json", "importance.png", "best.yaml"


@dataclass(frozen=True)
class Request:
    """What to search, beside the configuration.

    Attributes:
        space: YAML file of the space.
        search: ``KEY=VALUES`` each, on top of it.
        trials: How many.
        max_epochs: Of a trial that is not stopped; None: training.epochs.
        grace: Epochs before a trial may be stopped.
        reduction: About one trial in so many goes on at each rung.
        parallel: Trials at a time, at most.
        seed: Of the settings that are tried.
    """

    space: Path | None = None
    search: tuple[str, ...] = ()
    trials: int = 20
    max_epochs: int | None = None
    grace: int = 1
    reduction: int = 3
    parallel: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Study:
    """A search that was prepared."""

    name: str
    job: TrainingJob
    space: Space
    plan: Plan


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        endings: Of all trials, by number.
        importance: None: too few trials to tell.
        best: Number of the trial with the lowest validation error among those that were trained to the end.
    """

    endings: Mapping[int, Ending]
    importance: Importance | None
    best: int


def tune(context: Context, request: Request) -> tuple[Study, Found, ModelVersion]:
    """Search, register, and leave the figure in the folder of the study.

    Raises:
        ConfigError: The space, or a combination of its settings, is not valid.
        TrainingError: No trial could be trained to the end, or another command is at this study.
        RegistryError: MLflow does not take the result.
    """
    context = replace(context, config=_settled(context.config, request))
    study = prepare_study(context, request)
    runs = StudyRuns(context, study.plan, study.name, _parameters(study, request))
    with alone(study.plan.folder):
        found = conclude(study.plan, _search(context, study.plan, runs))
        try:
            version = _publish(context, study, found, runs)
        except RegistryError as error:
            raise kept(error, study.plan.folder) from error
    return study, found, version


def prepare_study(context: Context, request: Request) -> Study:
    """Read the space and sample its trials, all of which are checked here."""
    config, given = context.config, _given_space(request)
    snapshot_id = archive.head(config.archive_path)
    with context.console.stage("statistics") as progress:
        job = prepare(config, snapshot_id, progress)
    space = given or default_space(config, job.grid.shape)
    trials = sample_trials(job, space, request.seed, request.trials)
    name = study_name(config, snapshot_id, space, request.seed, request.grace, request.reduction)
    folder = config.work_dir / "tune" / name
    plan = Plan(folder, snapshot_id, tuple(trials), request.grace, request.reduction, request.parallel)
    return Study(name, job, space, plan)


def conclude(plan: Plan, endings: Mapping[int, Ending]) -> Found:
    """Rank the trials, and say which settings mattered.

    Raises:
        TrainingError: None was trained to the end.
    """
    finished = [number for number, ending in endings.items() if ending.status == "finished"]
    if not finished:
        reasons = {ending.reason for ending in endings.values()}
        raise TrainingError(
            f"none of the {len(endings)} trials could be trained to the end: {sorted(reasons)[0]}; change the space, "
            f"or remove {plan.folder} to try them again"
        )
    settings = [plan.trials[number].settings for number in endings]
    importance = importance_of(settings, [ending.error for ending in endings.values()])
    return Found(endings, importance, min(finished, key=lambda number: endings[number].error))


def _settled(config: Config, request: Request) -> Config:
    """The configuration that all trials start from: each has one thread unless it is said otherwise."""
    epochs = request.max_epochs or config.training.epochs
    if request.grace > epochs:
        raise ConfigError(f"--grace must not be above the {epochs} epochs of a trial, got {request.grace}")
    return with_settings(config, {"training.epochs": epochs, "training.threads": config.training.threads or 1})


def _given_space(request: Request) -> Space | None:
    """The space of the file and the options; None: there is none."""
    if request.space is None and not request.search:
        return None
    space = {} if request.space is None else read_space(read_yaml(request.space, "space")).to_dict()
    for given in request.search:
        key, equals, values = given.partition("=")
        if not equals:
            raise ConfigError(
                f"--search must have the form KEY=VALUES, e.g. 'model.patch={{choice: [1, 2]}}', got {given!r}"
            )
        space[key.strip()] = read_value(values, f"--search {given!r}")
    return read_space(space)


def _parameters(study: Study, request: Request) -> dict[str, Any]:
    """What MLflow shows of the study."""
    space = {f"space.{key}": json.dumps(values) for key, values in study.space.to_dict().items()}
    options = {"seed": request.seed, "grace": request.grace, "reduction": request.reduction}
    return {**space, **options, "epochs": study.plan.epochs, "snapshot_id": study.plan.snapshot_id}


def _search(context: Context, plan: Plan, runs: StudyRuns) -> dict[int, Ending]:
    """Train what is left; without Ray where nothing is."""
    known = plan.endings()
    if len(known) == len(plan.trials):
        return known
    with context.connected() as ray, runs.live() as live, context.console.stage("search") as progress:
        return search(plan, ray, _Shown(live, plan, known, progress))


class _Shown:
    """Shows what a watcher is told, and tells it on."""

    def __init__(self, live: Live, plan: Plan, known: Mapping[int, Ending], progress: Progress) -> None:
        self._live, self._plan, self._progress = live, plan, progress
        self._ended = set(known)
        errors = [ending.error for ending in known.values()]
        self._best = min(errors, default=float("inf"))

    def started(self, number: int) -> None:
        """A trial has a process."""
        self._live.started(number)

    def epoch(self, number: int, record: dict[str, Any]) -> None:
        """A trial finished an epoch."""
        self._live.epoch(number, record)
        self._best = min(self._best, float(record["validation_loss"]))
        self._show(f"trial {number:03d}, epoch {record['epoch']}: {record['validation_loss']:.3g}")

    def ended(self, number: int, ending: Ending) -> None:
        """A trial ended."""
        self._live.ended(number, ending)
        self._ended.add(number)
        self._show(f"trial {number:03d} {ending.status} {ending.reason}")

    def _show(self, message: str) -> None:
        values = {"validation_loss": self._best}
        self._progress(Event("search", len(self._ended), len(self._plan.trials), "trials", values, message))


def _draw(plan: Plan, found: Found) -> None:
    from pipeline.report import png, search_figure  # brings matplotlib, for which a search need not wait

    settings = [plan.trials[number].settings for number in found.endings]
    errors = [ending.error for ending in found.endings.values()]
    states = [ending.status for ending in found.endings.values()]
    (plan.folder / FIGURE).write_bytes(png(search_figure(settings, errors, states, found.importance)))


def _publish(context: Context, study: Study, found: Found, runs: StudyRuns) -> ModelVersion:
    """MLflow's runs, the version, and, last, the file that says that all of it is there."""
    folder = study.plan.folder
    done = json.loads((folder / RESULT).read_text(encoding="utf-8")) if (folder / RESULT).is_file() else {}
    if done.get("trials") == len(found.endings):
        return context.registry.resolve(done["version"])
    write_text(folder / BEST, study.plan.trials[found.best].trial.config.to_yaml())
    _draw(study.plan, found)
    with context.console.stage("register"):
        runs.send(found.endings)
        version = _register(context, study, found, runs)
        run = runs.study(context.registry)
        run.log_metrics({"tune/validation_error": found.endings[found.best].error, "tune/trials": len(found.endings)})
        if found.importance is not None:
            run.log_metrics({f"importance/{name}": share for name, share in found.importance.shares.items()})
        for name in (FIGURE, BEST):
            run.log_file(folder / name)
        run.set_tags({"best_trial": f"{found.best:03d}", "version": version.uri})
        run.finish()
    write_text(folder / RESULT, json.dumps(_result(study, found, version), indent=1))
    return version


def _register(context: Context, study: Study, found: Found, runs: StudyRuns) -> ModelVersion:
    """The best trial as challenger, unless that very training is registered; a champion stays what it is."""
    config, registry = study.plan.trials[found.best].trial.config, context.registry
    name = lineage.run_name(config, study.plan.snapshot_id)
    known = registry.find(run_name=name)
    if known is not None:
        if CHAMPION not in known.aliases:
            registry.set_alias(CHALLENGER, known.version)
        return registry.resolve(known.uri)
    job = replace(study.job, config=config)
    outcome = outcome_of(name, Checkpoints(study.plan.folder_of(found.best)), 0.0)
    version = stages.register(context, job, outcome, runs.trial(registry, found.best), candidate=True)
    runs.trial(registry, found.best).finish()
    told = (
        f"best of {len(found.endings)} trials of {study.name}, validation error {found.endings[found.best].error:.4g}"
    )
    registry.describe(version.version, told)
    return version


def _result(study: Study, found: Found, version: ModelVersion) -> dict[str, Any]:
    """The search as plain data, for other programs."""
    importance = found.importance
    return {
        "study": study.name,
        "version": version.uri,
        "best": found.best,
        "trials": len(found.endings),
        "snapshot_id": study.plan.snapshot_id,
        "space": study.space.to_dict(),
        "importance": None if importance is None else {"shares": dict(importance.shares), "chance": importance.chance},
        "settings": [dict(study.plan.trials[number].settings) for number in found.endings],
        "errors": [ending.error if ending.status != "failed" else None for ending in found.endings.values()],
        "ended": [ending.status for ending in found.endings.values()],
    }
