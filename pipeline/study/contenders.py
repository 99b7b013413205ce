"""Configurations that differ in the recurrent cell alone and have as many parameters as can be, and trials of them.

for cell, config in contenders(job).items():
    trial = timed(cell, config, 40.0)      # seconds of training
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import minconv

from ..config import Config
from ..training.job import TrainingJob, forecaster_config
from .settings import with_settings
from .trial import Trial

CELLS = ("minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm")
_WIDEST = 1024
_ENDLESS = 10**6  # epochs of a training that its time ends


def parameters_of(job: TrainingJob) -> int:
    """Parameters of the model that a job would train."""
    forecaster = minconv.Forecaster(forecaster_config(job))
    return sum(one.numel() for one in forecaster.parameters())


def alike(job: TrainingJob, cell: str) -> Config:
    """The job's configuration with another cell, as wide as brings its parameters nearest to the job's.

    Args:
        job: Whose configuration and grid.
        cell: Name of the cell; with the job's own the configuration is as it is written.
    """
    if cell == job.config.model.cell:
        return job.config
    target, depth = parameters_of(job), len(job.config.model.hidden)

    def wide(width: int) -> Config:
        return with_settings(job.config, {"model.cell": cell, "model.hidden": [width] * depth})

    def distance(width: int) -> int:
        return parameters_of(replace(job, config=wide(width))) - target

    low, high = 1, _WIDEST
    while low < high:  # the narrowest that has at least as many
        middle = (low + high) // 2
        low, high = (low, middle) if distance(middle) >= 0 else (middle + 1, high)
    return wide(min((max(1, low - 1), low), key=lambda width: abs(distance(width))))


def contenders(job: TrainingJob) -> dict[str, Config]:
    """The job's configuration for each cell, with as many parameters."""
    return {cell: alike(job, cell) for cell in CELLS}


def timed(cell: str, config: Config, seconds: float | None = None) -> Trial:
    """A trial in which the time ends the training, and the learning rate follows it; None: for a `Probe`.

    Torch does not compile its model, which would take most of a short time, and nothing else ends it sooner.
    """
    settings: dict[str, Any] = {"training.compile": False, "training.patience": None, "training.workers": 0}
    if seconds is not None:
        settings |= {
            "training.epochs": _ENDLESS,
            "training.max_steps": None,
            "training.max_seconds": round(seconds, 2),
        }
    return Trial(cell, with_settings(config, settings))
