"""What a cell costs on this machine, measured before it is trained: a step and its parts, a validation, the scoring.

What lives here: measuring, in a process of its own, and keeping what was found. What does not: what a budget is divided
into with it (`budget`), how long a retraining would take (`projection`).

    probe = run_probe(Trial("minconvgru", config), snapshot_id, folder, seconds=5.0)
    probe.step_seconds, probe.parts["forward"]
"""

from __future__ import annotations

import copy
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import minconv

from ..durable_file import write_text
from ..evaluation import open_cases
from ..own_process import in_own_process
from ..progress import Event, Progress, silent
from ..training import LocalWorker, TrainingJob, prepare
from ..training.local import device_of, threads_of
from ..training.loop import Training
from ..training.profile import profile_training
from ..training.stopwatch import Stopwatch
from .trial import Trial, unregistered

MOST_STEPS = 8


@dataclass(frozen=True)
class Probe:
    """Seconds of what a training of one cell consists of.

    Attributes:
        cell: Its recurrent cell.
        step_seconds: Of a training step, in the mean over a few.
        parts: Seconds of each part of a step; "other" is the rest.
        steps: Of an epoch.
        validation_seconds: Of the validation at the end of an epoch.
        scoring_seconds: Of the test cases, from the time of some of them.
        start_seconds: From the start of the process to the first step: libraries, statistics, frames.
        seconds: That the measuring took.
    """

    cell: str
    step_seconds: float
    parts: Mapping[str, float]
    steps: int
    validation_seconds: float
    scoring_seconds: float
    start_seconds: float
    seconds: float

    @property
    def epoch_seconds(self) -> float:
        """Of the training steps of an epoch, without validation."""
        return self.steps * self.step_seconds


def run_probe(
    trial: Trial, snapshot_id: str, study: Path, seconds: float = math.inf, progress: Progress = silent
) -> Probe:
    """Measure in a process of its own, unless that is done; the weights are thrown away.

    Args:
        trial: Whose steps, validation and scoring.
        snapshot_id: The version of the Archive.
        study: Folder of the study.
        seconds: After which no further training step is measured.
        progress: Told after each part.

    Raises:
        PipelineError: What training and evaluation raise.
    """
    file = trial.folder(study, snapshot_id).with_suffix(".probe.json")
    if file.is_file():
        return Probe(**json.loads(file.read_text(encoding="utf-8")))
    started = time.monotonic()
    found, busy = in_own_process(_measured, (trial, snapshot_id, seconds), progress)
    whole = time.monotonic() - started
    probe = replace(found, start_seconds=max(0.0, whole - busy), seconds=whole)
    write_text(file, json.dumps(asdict(probe), indent=1))
    return probe


def _measured(trial: Trial, snapshot_id: str, limit: float, progress: Progress) -> tuple[Probe, float]:
    """In the process: the costs, and the seconds that were spent on them and not on the start."""
    minconv.keep_freed_memory()
    config = trial.config
    job = prepare(config, snapshot_id)
    device = device_of(config.training.gpu)
    stopwatch, worker = Stopwatch(device), LocalWorker(Path(os.devnull) / "none", device)
    with threads_of(config.training.threads):
        training = Training(job, worker, stopwatch)
        steps = len(training.cases.steps(0, worker))
        began = time.perf_counter()
        profile = profile_training(training, stopwatch, MOST_STEPS, limit)
        progress(Event("measuring", 1, 3, "parts"))
        before = time.perf_counter()
        training.validation.error()
        validation = time.perf_counter() - before
        progress(Event("measuring", 2, 3, "parts"))
        scoring = _scoring_seconds(copy.deepcopy(training.objective.forecaster).cpu(), job)
    probe = Probe(
        cell=config.model.cell,
        step_seconds=profile.seconds,
        parts=dict(profile.parts),
        steps=steps,
        validation_seconds=validation,
        scoring_seconds=scoring,
        start_seconds=0.0,
        seconds=0.0,
    )
    return probe, time.perf_counter() - began


def _scoring_seconds(forecaster: minconv.Forecaster, job: TrainingJob) -> float:
    """Of all test cases: what two batches of them take, the first with everything that comes before it."""
    started = time.perf_counter()
    model, size = unregistered("probe", forecaster, job), job.config.evaluation.batch_size
    tested = open_cases(model, job.config, job.snapshot_id)
    batches = math.ceil(len(tested.cases) / size)
    tested.batch(model, tested.cases[:size])
    first, started = time.perf_counter() - started, time.perf_counter()
    if batches > 1:
        tested.batch(model, tested.cases[size : 2 * size])
    each = time.perf_counter() - started
    return first + (batches - 1) * each * size / max(1, len(tested.cases[size : 2 * size]))
