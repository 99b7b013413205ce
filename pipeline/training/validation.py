"""The validation error of a training: forecasts in closed loop over the horizon, on some windows of the split.

validation = Validation(job, objective, worker)
validation.error()               # in standard deviations, over all workers' windows
"""

from __future__ import annotations

import math

import torch

from ..windows import Split, Window, windows
from .job import TrainingJob, open_reader
from .loader import Loader
from .objective import Objective
from .worker import Worker

MAX_VALIDATION_WINDOWS = 64  # spread evenly over the split; more would cost time and change little


class Validation:
    """This worker's part of the validation windows.

    Args:
        job: Whose validation split.
        objective: What is scored.
        worker: This one.
    """

    def __init__(self, job: TrainingJob, objective: Objective, worker: Worker) -> None:
        window = job.config.window
        length = window.history + window.horizon
        self._history, self._worker, self._objective = window.history, worker, objective
        self._windows = _spread(job.splits.validation, length)[worker.rank :: worker.world_size]
        self._size = max(1, min(16, 256 // length)) if objective.tiling is None else 1
        self._loader = Loader(
            open_reader(job, job.splits.validation), length, worker.device, job.config.training.prefetch
        )

    @torch.no_grad()
    def error(self) -> float:
        """Closed-loop error over the horizon, in standard deviations, over all workers' validation windows."""
        self._objective.eval()
        sums = torch.zeros(2, device=self._worker.device)
        firsts = range(0, len(self._windows), self._size)
        for batch in self._loader.batches(self._windows[first : first + self._size] for first in firsts):
            errors = self._objective.closed_loop_error(batch.frames, batch.forcing, self._history)
            sums += torch.stack((errors.mean(dim=1).sum(), torch.tensor(float(len(errors)), device=sums.device)))
        self._objective.train()
        total = self._worker.total(sums)
        return math.sqrt(float(total[0] / total[1]))


def _spread(split: Split, length: int) -> list[Window]:
    """At most `MAX_VALIDATION_WINDOWS` windows, spread evenly over the split."""
    everything = windows(split, length, 1)
    return everything[:: max(1, math.ceil(len(everything) / MAX_VALIDATION_WINDOWS))]
