"""Where a model is good and where not: its error at each grid point, over all test cases, beside the baselines.

What lives here: mean squared errors by point. What does not: errors by case (`evaluation`), drawing them (`report`).

    maps = error_maps(model, config, snapshot_id)
    skill_map(maps, "persistence")["t2m"]      # (lead_time, lat, lon)
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .config import Config
from .evaluation import Batch, open_cases
from .fields import long_name
from .lead_time import LeadTimes, milestones
from .progress import Progress, silent
from .registry import RegisteredModel
from .scorecard import SOURCES, Reference


def error_maps(
    model: RegisteredModel, config: Config, snapshot_id: str, progress: Progress = silent, leads: int = 4
) -> xr.Dataset:
    """Mean squared error over the test cases at each point, at a few lead times.

    Args:
        model: The registered version.
        config: Names the archive and the test cases.
        snapshot_id: The version of the Archive.
        progress: Told after each batch of cases.
        leads: Lead times at most, the first and the last among them.

    Returns:
        Each variable (source, lead_time, lat | y, lon | x), in squared units, NaN where no case has a truth.
    """
    tested = open_cases(model, config, snapshot_id)
    chosen = list(milestones(LeadTimes.of(tested.lead_times), leads))
    grid, names = tested.reader.grid, model.metadata["variables"]
    shape = (len(SOURCES), len(chosen), len(names), *grid.shape)
    total, number = np.zeros(shape), np.zeros(shape[1:])
    for batch in tested.batches(model, config.evaluation.batch_size, progress):
        squares, known = _squares(batch, chosen)
        total += squares
        number += known
    with np.errstate(invalid="ignore"):
        mean = total / np.where(number > 0, number, np.nan)
    dims = ("source", "lead_time", grid.y_name, grid.x_name)
    coordinates = {
        "source": list(SOURCES),
        "lead_time": tested.lead_times[chosen],
        grid.y_name: np.asarray(grid.y),
        grid.x_name: np.asarray(grid.x),
    }
    attributes = tested.reader.attributes
    return xr.Dataset(
        {
            name: (dims, mean[:, :, channel].astype(np.float32), {"long_name": long_name(attributes[name], name)})
            for channel, name in enumerate(names)
        },
        coordinates,
    )


def skill_map(maps: xr.Dataset, reference: Reference) -> xr.Dataset:
    """1 - RMSE / RMSE of the baseline at each point, (lead_time, lat | y, lon | x); NaN where that has no error."""
    model, baseline = (maps.sel(source=name, drop=True) for name in ("model", reference))
    skill: xr.Dataset = 1 - (model / baseline.where(baseline > 0)) ** 0.5
    return skill


def _squares(batch: Batch, leads: list[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Squared errors summed over a batch, and of how many cases, scored where `verification` scores."""
    truth = batch.truth[:, leads].astype(np.float64)
    persistence = np.broadcast_to(batch.persistence[:, None], truth.shape)
    sources = (batch.prediction[:, leads], persistence, batch.climatology[:, leads], batch.damped[:, leads])
    usable = np.isfinite(truth) & np.isfinite(persistence) & np.isfinite(sources[2])
    squares = [np.where(usable, field - truth, 0.0) ** 2 for field in sources]
    return np.stack([one.sum(axis=0) for one in squares]), usable.sum(axis=0)
