"""Forecasts as a CF dataset in physical units: one of a configuration, or of any starts.

What lives here: the stage, and the labels of what was predicted. What does not: the rollout (`prediction`), files
(`files`), scores (`evaluation`).

    dataset = make_forecast(model, reader, cases, steps=24, attributes={"title": "…"})
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from .. import archive
from ..config import Config
from ..lineage import code_version
from ..registry import RegisteredModel
from ..windows import FrameReader, Window, make_splits
from .prediction import lead_times, open_reader, predict, valid_times
from .starts import cases_at, newest_start, parse_time

_LEAD_ATTRIBUTES = {"standard_name": "forecast_period", "long_name": "time since the last frame seen"}


def forecast(
    model: RegisteredModel,
    config: Config,
    snapshot_id: str,
    init_time: str | None = None,
    sample: int | None = None,
    steps: int | None = None,
) -> xr.Dataset:
    """One forecast from the Archive of a configuration.

    Args:
        model: The registered version.
        config: Names the archive and the default of `steps`.
        snapshot_id: The version of the Archive to start from.
        init_time: Valid time of the last frame seen (ISO 8601); None: the newest frame with a whole history.
        sample: In an Archive of samples, which one; None: the first of the test split.
        steps: Lead times; None: the configured ones.

    Raises:
        ForecastError: The Archive has no such time or sample, or another grid.
    """
    reader = open_reader(model, config.archive_path, snapshot_id)
    if reader.sampled and sample is None and init_time is None:
        with archive.open_dataset(config.archive_path, snapshot_id) as dataset:
            sample = make_splits(dataset, config.split, config.gap).test.samples.start
    wanted_steps, history = steps or config.forecast_steps, int(model.metadata["history"])
    cases = cases_at(
        reader,
        history,
        init_times=newest_start(reader, history, wanted_steps) if init_time is None else (parse_time(init_time),),
        samples=() if sample is None else (sample,),
    )
    title = (
        f"Forecast of {', '.join(model.metadata['variables'])} by {model.version.name} version {model.version.version}"
    )
    attributes = {
        "title": title,
        "source": "minconv-pipeline",
        "snapshot_id": snapshot_id,
        "config_hash": config.hash(),
        "code_version": code_version(),
    }
    return make_forecast(model, reader, cases, wanted_steps, attributes)


def make_forecast(
    model: RegisteredModel, reader: FrameReader, cases: Sequence[Window], steps: int, attributes: Mapping[str, str]
) -> xr.Dataset:
    """Forecast and label: dims (init_time | sample, lead_time, lat, lon | y, x), coordinate valid_time.

    Args:
        model: The registered version.
        reader: Frames of the Archive.
        cases: Where to start, from `cases_at`.
        steps: Lead times.
        attributes: Global attributes to add: snapshot_id, config_hash, ….
    """
    fields = predict(model, reader, cases, steps)
    init = [case.start + int(model.metadata["history"]) - 1 for case in cases]
    first = "sample" if reader.sampled else "init_time"
    leading = [case.sample for case in cases] if reader.sampled else reader.times[init]
    grid = reader.grid
    valid = np.stack([valid_times(reader, frame, steps) for frame in init])
    coordinates: dict[str, Any] = {
        first: (first, leading, {} if reader.sampled else {"standard_name": "forecast_reference_time"}),
        "lead_time": ("lead_time", lead_times(reader, init[0], steps), _LEAD_ATTRIBUTES),
        "valid_time": ((first, "lead_time"), valid, _valid_time_attributes(reader)),
        grid.y_name: (grid.y_name, np.asarray(grid.y), _axis_attributes(reader, grid.y_name)),
        grid.x_name: (grid.x_name, np.asarray(grid.x), _axis_attributes(reader, grid.x_name)),
    }
    dims = (first, "lead_time", grid.y_name, grid.x_name)
    variables = {
        name: (dims, fields[:, :, channel], dict(reader.attributes[name]))
        for channel, name in enumerate(model.metadata["variables"])
    }
    version = model.version
    known = {
        "Conventions": "CF-1.11",
        "model_name": version.name,
        "model_version": str(version.version),
        "model_run_id": version.run_id,
        "trained_on_snapshot_id": version.tags.get("snapshot_id", ""),
    }
    return xr.Dataset(variables, coordinates, {**known, **attributes})


def _valid_time_attributes(reader: FrameReader) -> dict[str, str]:
    return {"standard_name": "time", "long_name": "valid time"} | ({} if _dated(reader) else {"units": "s"})


def _axis_attributes(reader: FrameReader, name: str) -> dict[str, str]:
    known = {
        "lat": {"standard_name": "latitude", "units": "degrees_north"},
        "lon": {"standard_name": "longitude", "units": "degrees_east"},
    }
    return dict(reader.attributes.get(name) or known.get(name, {}))


def _dated(reader: FrameReader) -> bool:
    return np.issubdtype(reader.times.dtype, np.datetime64)
