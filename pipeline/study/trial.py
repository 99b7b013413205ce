"""One trial: a configuration trained in a process of its own, scored on the test split, and kept.

What lives here: the two halves of a trial, training and scoring, and doing both in a process. What does not: what is
kept of it (`results`), which configurations to try (`contenders`, `sampling`).

    result = run_trial(Trial("minconvgru-0", config), snapshot_id, Path("runs/fluid"))

A trial that was stopped goes on from its newest checkpoint; one that is finished is read, not run.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import minconv

from .. import machine
from ..config import Config
from ..evaluation import evaluate
from ..lineage import OUTCOME_SECTIONS, code_hash, model_metadata
from ..own_process import in_own_process
from ..progress import Progress, silent
from ..registry import ModelVersion, RegisteredModel
from ..training import TrainingJob, TrainingOutcome, prepare
from ..training.local import device_of, threads_of, train_in
from .results import TrialResult


@dataclass(frozen=True)
class Trial:
    """A configuration to train and score.

    Attributes:
        name: Of the trial, fit for a file's name.
        config: With an absolute `root`; its archive is there. Workers and Ray have no part in it.
    """

    name: str
    config: Config

    def key(self, snapshot_id: str) -> str:
        """Of configuration, data and code: an equal one is an equal trial."""
        sections = (*OUTCOME_SECTIONS, "forecast", "evaluation")
        parts = (snapshot_id, self.config.hash(sections), code_hash(), str(self.config.training.threads))
        return hashlib.sha256("-".join(parts).encode()).hexdigest()[:12]

    def folder(self, study: Path, snapshot_id: str) -> Path:
        """Where its checkpoints and its result lie in the folder of a study."""
        return study / f"{self.name}-{self.key(snapshot_id)}"


@dataclass(frozen=True)
class Trained:
    """A trial between its halves.

    Attributes:
        job: What was trained.
        outcome: What the training left.
        cpu_share: See `TrialResult`.
        peak_bytes: See `TrialResult`.
    """

    job: TrainingJob
    outcome: TrainingOutcome
    cpu_share: float
    peak_bytes: int


def run_trial(trial: Trial, snapshot_id: str, study: Path, progress: Progress = silent) -> TrialResult:
    """Train and score in a process of its own, unless that is done.

    Args:
        trial: What to train.
        snapshot_id: The version of the Archive.
        study: Folder of the study, in which the trial has one of its own.
        progress: Told about training steps and scored cases.

    Raises:
        TrainingError: The process was ended, as the system does when memory runs out, or the loss is not finite.
        PipelineError: What training and evaluation raise.
    """
    known = TrialResult.read(trial.folder(study, snapshot_id))
    return known or in_own_process(_carry_out, (trial, snapshot_id, study, time.time()), progress)


def _carry_out(trial: Trial, snapshot_id: str, study: Path, began: float, progress: Progress) -> TrialResult:
    minconv.keep_freed_memory()
    trained = train_trial(trial, snapshot_id, study, progress)
    return score_trial(trial, trained, study, progress, began=began)


def train_trial(
    trial: Trial,
    snapshot_id: str,
    study: Path,
    progress: Progress = silent,
    *,
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None,
) -> Trained:
    """Train in this process, from the newest checkpoint if there is one.

    Args:
        trial: What to train.
        snapshot_id: The version of the Archive.
        study: Folder of the study.
        progress: Told about steps and finished epochs.
        on_epoch: Given the record of each finished epoch; what it raises ends the training.

    Raises:
        TrainingError: The loss is not finite, or there is no GPU where one is asked for.
    """
    job, options = prepare(trial.config, snapshot_id), trial.config.training
    clock, cpu = time.perf_counter(), time.process_time()
    outcome = train_in(trial.folder(study, snapshot_id), job, trial.name, progress, on_epoch)
    clock, cpu = time.perf_counter() - clock, time.process_time() - cpu
    share = cpu / clock / (options.threads or torch.get_num_threads())
    return Trained(job, outcome, share, machine.peak_bytes(device_of(options.gpu)))


def score_trial(
    trial: Trial, trained: Trained, study: Path, progress: Progress = silent, *, began: float | None = None
) -> TrialResult:
    """Score the weights with the lowest validation error on the test split, and keep the result.

    Args:
        trial: What was trained.
        trained: What came of it.
        study: Folder of the study.
        progress: Told about scored cases.
        began: When the trial's process was started, by `time.time`; None: with the scoring.
    """
    started = time.time() if began is None else began
    job, history = trained.job, trained.outcome.history
    forecaster, _ = minconv.load(trained.outcome.checkpoint)
    model = unregistered(trial.name, forecaster, job)
    with threads_of(trial.config.training.threads):
        scorecard = evaluate(model, trial.config, job.snapshot_id, progress)
    frames = round(frames_seen(history))
    length = job.config.window.history + job.config.window.horizon
    result = TrialResult(
        name=trial.name,
        cell=forecaster.config.cell,
        hidden=forecaster.config.hidden,
        seed=trial.config.seed,
        parameters=sum(one.numel() for one in forecaster.parameters()),
        epochs=len(history),
        steps=round(frames / (trial.config.training.batch_size * length)),
        frames=frames,
        seconds=history[-1]["seconds"],
        cpu_share=trained.cpu_share,
        peak_bytes=trained.peak_bytes,
        validation_error=min(record["validation_loss"] for record in history),
        checkpoint=trained.outcome.checkpoint,
        key=trial.key(job.snapshot_id),
        snapshot_id=job.snapshot_id,
        scorecard=scorecard,
        curve=tuple((float(record["seconds"]), float(record["validation_loss"])) for record in history),
        took=time.time() - started,
    )
    result.write(trial.folder(study, job.snapshot_id))
    return result


def unregistered(name: str, forecaster: minconv.Forecaster, job: TrainingJob) -> RegisteredModel:
    """A trained Forecaster as `evaluate` takes it, of no registry."""
    version = ModelVersion(name, 0, "", (), {}, time.time(), {})
    return RegisteredModel(version, forecaster.eval(), model_metadata(job), job.climatology)


def frames_seen(history: Iterable[Mapping[str, Any]]) -> float:
    """Frames of all training windows, each as often as it was seen; the last epoch may not be whole."""
    frames, before = 0.0, 0.0
    for record in history:
        frames += record["frames_per_second"] * (record["seconds"] - before)
        before = record["seconds"]
    return frames
