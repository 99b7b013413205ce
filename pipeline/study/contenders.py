"""Configurations that differ in the recurrent cell alone and have as many parameters as can be.

for cell in CELLS:
trial = Trial(cell, alike(job, cell))
"""

from __future__ import annotations

from dataclasses import replace

import minconv

from ..config import Config
from ..training.job import TrainingJob, forecaster_config
from .settings import with_settings

CELLS = ("minconvgru", "minconvlstm", "minconvexplstm", "convgru", "convlstm")
_WIDEST = 1024


def parameters_of(job: TrainingJob) -> int:
    """Parameters of the model that a job would train."""
    forecaster = minconv.Forecaster(forecaster_config(job))
    return sum(one.numel() for one in forecaster.parameters())


def alike(job: TrainingJob, cell: str) -> Config:
    """The job's configuration with another cell, as wide as brings its parameters nearest to the job's.

    Args:
        job: Whose configuration and grid.
        cell: Name of the cell.
    """
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
