"""Training in this process, without Ray: for notebooks, for small models, and where Ray is too much.

What lives here: the only worker of such a run. What does not: the loop (`loop`).

    outcome = train_here(job, run_name(config, snapshot_id))     # training.workers: 0
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import TrainingError
from ..progress import Progress, silent
from .checkpoints import Checkpoints
from .job import TrainingJob
from .loop import run_loop
from .outcome import TrainingOutcome, diverged, event_of, outcome_of, too_late
from .profile import StepProfile, profile_steps


@dataclass
class LocalWorker:
    """The only worker of a run in this process; its checkpoints are in `folder`."""

    folder: Path
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    listener: Callable[[dict[str, Any]], None] = lambda message: None
    rank: int = 0
    world_size: int = 1

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module itself."""
        return module

    def total(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values

    @property
    def checkpoints(self) -> Checkpoints:
        """Those of `folder`."""
        return Checkpoints(self.folder)

    def report(self, record: dict[str, Any]) -> None:
        """Pass it on."""
        self.listener({"kind": "epoch", **record})

    def say(self, message: dict[str, Any]) -> None:
        """Pass it on."""
        self.listener({"kind": "step", **message})


def train_here(job: TrainingJob, name: str, progress: Progress = silent) -> TrainingOutcome:
    """Train in this process; an interrupted run of the same name goes on from its newest valid checkpoint.

    Args:
        job: What to train.
        name: Of the run (`lineage.run_name`).
        progress: Told about steps (message "epoch 3 of 8") and finished epochs (values train_loss, validation_loss, …).

    Raises:
        TrainingError: There is no GPU where one is asked for, time is out, or a loss is not finite.
    """
    started, most = time.monotonic(), job.config.training.deadline_seconds

    def in_time(record: dict[str, Any]) -> None:
        if time.monotonic() - started > most:
            raise too_late()

    return train_in(job.config.work_dir / "training" / name, job, name, progress, in_time)


def train_in(
    folder: Path, job: TrainingJob, name: str, progress: Progress, on_epoch: Callable[[dict[str, Any]], None]
) -> TrainingOutcome:
    """Train in this process with the checkpoints in a folder, from the newest valid one.

    Args:
        folder: Of the run.
        job: What to train.
        name: Of the run.
        progress: As of `train_here`.
        on_epoch: Given the record of each finished epoch; what it raises ends the training.

    Raises:
        TrainingError: There is no GPU where one is asked for, or a loss is not finite.
    """
    options, started = job.config.training, time.monotonic()

    def listen(message: dict[str, Any]) -> None:
        if "failure" in message:
            raise diverged(message["failure"])
        progress(event_of(message, options))
        if message["kind"] == "epoch":
            on_epoch(message)

    worker = LocalWorker(folder, device_of(options.gpu), listen)
    with threads_of(options.threads):
        run_loop(job, worker)
    return outcome_of(name, worker.checkpoints, time.monotonic() - started)


def profile_here(job: TrainingJob) -> StepProfile:
    """Measure some steps in this process; nothing is kept.

    Args:
        job: What to train.
    """
    options = job.config.training
    with threads_of(options.threads):
        return profile_steps(job, LocalWorker(Path(os.devnull) / "none", device_of(options.gpu)))


def device_of(gpu: bool) -> torch.device:
    """What a training in this process computes on.

    Raises:
        TrainingError: There is no GPU where one is asked for.
    """
    if gpu and not torch.cuda.is_available():
        raise TrainingError("training.gpu=true needs a GPU and this machine has none; set training.gpu=false")
    return torch.device("cuda" if gpu else "cpu")


@contextlib.contextmanager
def threads_of(count: int | None) -> Iterator[None]:
    """So many threads for the body; whoever called, a notebook perhaps, has as many as before after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
