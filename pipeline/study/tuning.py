"""A search on Ray Tune: trials side by side, the worse of them stopped early by asynchronous successive halving (ASHA).

What lives here: Ray Tune, and what a trial does in its process. What does not: what is tried (`space`, `sampling`), the
training (`trial`), MLflow, who looks at the result (`workflows`).

    with cluster.connect() as ray:
        search(plan, ray, watcher)
    Ending.read(plan.folder_of(3))      # of every trial

What is known lies in the trials' folders alone, never in Ray's own state: their checkpoints, and the ending of those
that ended. So a search that was killed goes on by being started again: trials that ended take part as rows of the
halving's table, those that did not report the epochs of their checkpoint once more, and go on from there.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import filelock

import minconv

from ..cluster import Cluster
from ..errors import ClusterError, PipelineError, TrainingError
from ..training.checkpoints import STATE, Checkpoints
from ..training.state import RunState
from .ending import Ending
from .sampling import Sampled
from .trial import train_trial

_AGE, _ERROR = "training_iteration", "validation_loss"
_LEFT_SECONDS = 120.0  # for a process of a driver that was killed to leave a trial's folder
_RAYS_FOLDER = "ray"


@dataclass(frozen=True)
class Plan:
    """What to search.

    Attributes:
        folder: Of the study; on a cluster one that all nodes see.
        snapshot_id: The version of the Archive.
        trials: By number.
        grace: Epochs before a trial may be stopped.
        reduction: At each rung, `grace` times a power of this, about one in so many goes on.
        parallel: Trials at a time, at most; None: as many as there are CPUs or GPUs for.
    """

    folder: Path
    snapshot_id: str
    trials: tuple[Sampled, ...]
    grace: int
    reduction: int
    parallel: int | None = None

    @property
    def epochs(self) -> int:
        """Of a trial that is not stopped."""
        return self.trials[0].trial.config.training.epochs

    def folder_of(self, number: int) -> Path:
        """Where a trial keeps its checkpoints and its ending."""
        return self.trials[number].trial.folder(self.folder, self.snapshot_id)

    def endings(self) -> dict[int, Ending]:
        """Of the trials that ended, by number."""
        found = {number: Ending.read(self.folder_of(number)) for number in range(len(self.trials))}
        return {number: ending for number, ending in found.items() if ending is not None}


class Watcher(Protocol):
    """Told about trials while a search lasts, in its own process; must not take long."""

    def started(self, number: int) -> None:
        """A trial has a process; it may have had one before."""

    def epoch(self, number: int, record: dict[str, Any]) -> None:
        """A trial finished an epoch; after a start it may tell of earlier ones again."""

    def ended(self, number: int, ending: Ending) -> None:
        """A trial ended."""


def search(plan: Plan, cluster: Cluster, watcher: Watcher) -> dict[int, Ending]:
    """Train all trials that did not end, and say how each one ended.

    Args:
        plan: What to search.
        cluster: Where.
        watcher: Told about it.

    Raises:
        ClusterError: There is no room for a trial, or Ray failed.
    """
    known = plan.endings()
    waiting = [number for number in range(len(plan.trials)) if number not in known]
    if waiting:
        options = plan.trials[0].trial.config.training
        cluster.require(1, options.threads or 1, options.gpu)
        rays_folder = plan.folder / _RAYS_FOLDER if cluster.scratch is None else cluster.scratch / "tune"
        try:
            _tuner(plan, waiting, _scheduler(plan, known), watcher, rays_folder, cluster.scratch).fit()
        except _rays_errors() as error:
            reason = (" ".join(str(error).split()) or type(error).__name__)[-300:]
            raise ClusterError(f"Ray Tune failed ({reason}); start the same command again to go on") from error
        finally:
            shutil.rmtree(rays_folder, ignore_errors=True)
    return plan.endings()


def _rays_errors() -> tuple[type[Exception], ...]:
    import ray
    from ray.tune import TuneError

    return (ray.exceptions.RayError, TuneError)


def _scheduler(plan: Plan, known: dict[int, Ending]) -> Any:
    """Successive halving, whose table has the trials that ended before."""
    from ray.tune.schedulers import ASHAScheduler

    scheduler = ASHAScheduler(
        time_attr=_AGE,
        metric=_ERROR,
        mode="min",
        max_t=plan.epochs,
        grace_period=min(plan.grace, plan.epochs),
        reduction_factor=plan.reduction,
    )
    for number, ending in known.items():
        row = types.SimpleNamespace(trial_id=plan.trials[number].trial.name)
        scheduler.on_trial_add(None, row)
        for record in ending.history:
            scheduler.on_trial_result(None, row, {_AGE: record["epoch"], _ERROR: record[_ERROR]})
    return scheduler


def _tuner(
    plan: Plan, waiting: list[int], scheduler: Any, watcher: Watcher, rays_folder: Path, scratch: Path | None
) -> Any:
    from ray import tune

    options = plan.trials[0].trial.config.training
    resources = {"CPU": options.threads or 1, **({"GPU": 1} if options.gpu else {})}
    trainable = tune.with_resources(tune.with_parameters(_train, plan=plan, scratch=scratch), resources)
    return tune.Tuner(
        trainable,
        param_space={"number": tune.grid_search(waiting)},
        tune_config=tune.TuneConfig(
            scheduler=scheduler,
            max_concurrent_trials=plan.parallel,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(rays_folder),
            failure_config=tune.FailureConfig(max_failures=options.max_failures),
            callbacks=[_callback(plan, watcher)],
            verbose=0,
        ),
    )


def _name(trial: Any) -> str:
    return f"{trial.config['number']:03d}"


def _callback(plan: Plan, watcher: Watcher) -> Any:
    """Ray's word of a trial, told on; what ends a trial is written down first."""
    from ray import tune

    class Told(tune.Callback):
        """Of Ray's class, which is late to import."""

        def __reduce__(self) -> tuple[Any, ...]:
            """Ray writes a search down to be restored by it, which nobody does: this stays here."""
            return types.SimpleNamespace, ()

        def on_trial_start(self, *, trial: Any, **_: Any) -> None:
            watcher.started(trial.config["number"])

        def on_trial_result(self, *, trial: Any, result: dict[str, Any], **_: Any) -> None:
            watcher.epoch(trial.config["number"], dict(result["record"]))

        def on_trial_complete(self, *, trial: Any, **_: Any) -> None:
            _ended(plan, trial.config["number"], watcher, None)

        def on_trial_error(self, *, trial: Any, **_: Any) -> None:
            _ended(plan, trial.config["number"], watcher, str(trial.get_error() or "its process was lost"))

    return Told()


def _ended(plan: Plan, number: int, watcher: Watcher, failure: str | None) -> None:
    """What a trial did not write down itself: others stopped it, or its process was lost."""
    folder = plan.folder_of(number)
    ending = Ending.read(folder)
    if ending is None:
        history = history_of(folder)
        age = len(history)
        if failure is not None:
            told = " ".join(failure.split())[-200:]
            ending = Ending("failed", f"its process failed again and again, at last with: {told}", history)
        elif age >= plan.epochs:
            ending = Ending("finished", f"after {age} epochs", history)
        else:
            ending = Ending("stopped", f"after epoch {age}: others of that age were better", history)
        ending.write(folder)
    watcher.ended(number, ending)


def _train(config: dict[str, Any], plan: Plan, scratch: Path | None) -> None:
    """What a trial does in its process: report the epochs that it has, go on, and write down how it ended by itself."""
    from ray import tune

    tempfile.tempdir = None if scratch is None else str(scratch)
    minconv.keep_freed_memory()
    number = config["number"]
    trial, folder = plan.trials[number].trial, plan.folder_of(number)
    folder.mkdir(parents=True, exist_ok=True)

    def report(record: dict[str, Any]) -> None:
        # Ray counts the reports: the first is of epoch 1.
        tune.report({_ERROR: record[_ERROR], "record": {key: record[key] for key in record if key != "kind"}})

    with filelock.FileLock(folder / "in_use.lock", timeout=_LEFT_SECONDS):
        for record in history_of(folder):
            report(record)
        try:
            trained = train_trial(trial, plan.snapshot_id, plan.folder, on_epoch=report)
        except PipelineError as error:
            Ending("failed", str(error), history_of(folder)).write(folder)
            return
        history = trained.outcome.history
        Ending("finished", f"after {len(history)} epochs", tuple(history)).write(folder)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One command at a time in the folder of a study; the lock ends with its process, however that ends.

    Raises:
        TrainingError: Another has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(folder / "search.lock", timeout=0):
            yield
    except filelock.Timeout as error:
        raise TrainingError(f"another command is at this study ({folder}); wait for it, or end it") from error


def history_of(folder: Path) -> tuple[dict[str, Any], ...]:
    """The epochs that a trial's newest checkpoint knows."""
    checkpoints = Checkpoints(folder)
    newest = checkpoints.newest()
    if newest is None:
        return ()
    return tuple(RunState.from_json((checkpoints.path(newest) / STATE).read_text()).history)
