"""Forecasts: a registered model rolled out from frames of the Archive, as a CF dataset in physical units.

What lives here: choosing where a forecast starts, the rollout, the dataset and its file. What does not: scores
(`evaluation`), the model itself (`minconv`).

    reader = open_reader(model, archive_path, snapshot_id)
    cases = cases_at(reader, history=24, init_times=[np.datetime64("2017-01-30T00")])
    dataset = make_forecast(model, reader, cases, steps=24, attributes={"title": "…"})
    write_forecast(dataset, Path("forecast.nc"))
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

import minconv

from . import archive
from .config import Config
from .errors import ForecastError
from .fields import time_text
from .grid import GridSpec
from .lineage import code_version
from .presence import whole
from .registry import RegisteredModel
from .tiled_rollout import on_tiles, tiled_rollout
from .tiles import Halo, Tiling
from .windows import FrameReader, Split, Window, make_splits

FILE_SUFFIXES = (".nc", ".zarr")
_LEAD_ATTRIBUTES = {"standard_name": "forecast_period", "long_name": "time since the last frame seen"}


def open_reader(
    model: RegisteredModel,
    archive_path: Path,
    snapshot_id: str | None,
    cache_bytes: int = 0,
    split: Split | None = None,
) -> FrameReader:
    """Frames of an Archive as this model wants them.

    Args:
        model: The registered version.
        archive_path: The Archive.
        snapshot_id: Its version; None takes the newest.
        cache_bytes: Memory for holding frames.
        split: The part to hold in memory.

    Raises:
        ForecastError: The Archive's grid is not the one the model was trained on.
    """
    known = model.metadata
    reader = FrameReader(
        archive_path,
        snapshot_id,
        known["variables"],
        known["forcings"],
        known["fill"],
        cache_bytes,
        split,
        model.climatology,
        static_variables=known.get("static_variables", ()),
        forcing_variables=known.get("forcing_variables"),
    )
    trained_on = GridSpec.from_dict(known["grid"])
    if reader.grid != trained_on:
        raise ForecastError(
            f"{model.version.uri} was trained on a grid of {_extent(trained_on)}, archive {archive_path} has "
            f"{_extent(reader.grid)}; use the archive it was trained on, or train again"
        )
    return reader


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
        init_times=_newest_start(reader, history, wanted_steps) if init_time is None else (_parse_time(init_time),),
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


def _newest_start(reader: FrameReader, history: int, steps: int) -> tuple[Any, ...]:
    """The newest time whose history has no gap and for which the forcing variables are known for all steps; empty
    where there is none.
    """
    if reader.sampled:
        return ()
    return tuple(reader.times[whole(reader.present, history, steps if reader.forcing_variables else 0)[-1:]])


def _parse_time(text: str) -> np.datetime64:
    try:
        return np.datetime64(text.removesuffix("Z"))  # all times are UTC, numpy knows no zones
    except ValueError as error:
        raise ForecastError(f"init_time {text!r} is no ISO 8601 time; write it like 2017-01-30T00") from error


def cases_at(
    reader: FrameReader,
    history: int,
    init_times: Sequence[Any] = (),
    samples: Sequence[int] = (),
) -> list[Window]:
    """The windows whose last frame is at the given init_times (time archive) or of the given samples.

    Args:
        reader: Frames of the Archive.
        history: Frames a forecast is started from.
        init_times: Valid times of last frames; empty in a time archive: the newest frame.
        samples: Sample numbers; a forecast starts after the first `history` frames.

    Raises:
        ForecastError: A time or sample is not in the Archive, or has too few frames or a gap before it.
    """
    if reader.sampled:
        if init_times:
            raise ForecastError("this archive holds independent samples; give --sample instead of --init-time")
        return [_case_of_sample(reader, history, sample) for sample in (samples or (0,))]
    if samples:
        raise ForecastError("this archive is one time series without samples; give --init-time instead of --sample")
    return [_case_at_time(reader, history, time) for time in (init_times or (reader.times[-1],))]


def predict(model: RegisteredModel, reader: FrameReader, cases: Sequence[Window], steps: int) -> NDArray[np.float32]:
    """Roll the model out from each case's `history` frames: physical units, [B, steps, C, H, W], NaN where masked."""
    history, prognostic = int(model.metadata["history"]), model.forecaster.config.prognostic_channels
    reader.require_forcing(max(case.start for case in cases) + history - 1, steps)
    frames, _ = reader.read(cases, history)
    forcing = reader.forcing(cases, history + steps)
    valid = np.stack([valid_times(reader, case.start + history - 1, steps) for case in cases])
    tiling = _tiling(model, reader)
    with torch.no_grad():
        seen, ahead = torch.cat((frames[:, :, :prognostic], forcing[:, :history]), dim=2), forcing[:, history:]
        if tiling is None:
            predicted = list(minconv.rollout(model.forecaster, seen, steps, ahead, mask=reader.mask))
        else:
            twin = on_tiles(model.forecaster)
            predicted = list(tiled_rollout(twin, seen, steps, ahead, reader.mask, tiling))
    fields = reader.physical(torch.stack(predicted, dim=1).numpy(), valid)
    return np.where(reader.mask.numpy(), fields, np.float32(np.nan))


def _tiling(model: RegisteredModel, reader: FrameReader) -> Tiling | None:
    """The tiles that the model was trained on; None: the whole grid."""
    tiles = model.metadata.get("tiles")
    if tiles is None:
        return None
    return Tiling.of(reader.grid, tuple(tiles["size"]), Halo(*tiles["halo"]), reader.mask.numpy())


def valid_times(reader: FrameReader, init: int, steps: int) -> NDArray[Any]:
    """Times of the `steps` frames after frame number `init`; see `FrameReader.times_from`."""
    return reader.times_from(init + 1, steps)


def lead_times(reader: FrameReader, init: int, steps: int) -> NDArray[np.timedelta64]:
    """Offsets from frame number `init`; the unitless time of a simulation counts as seconds."""
    offsets = valid_times(reader, init, steps) - reader.times[init]
    if np.issubdtype(offsets.dtype, np.timedelta64):
        return np.asarray(offsets, dtype="timedelta64[ns]")
    return np.asarray(np.rint(offsets * 1e9), dtype="timedelta64[ns]")


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


def check_target(path: Path) -> None:
    """Refuse a file name that `write_forecast` could not serve, before any work is done.

    Raises:
        ForecastError: Neither ``.nc`` nor ``.zarr``.
    """
    if path.suffix not in FILE_SUFFIXES:
        raise ForecastError(
            f"output {path} must end in .nc (NetCDF) or .zarr, got {path.suffix or 'no suffix'!r}; rename it"
        )


def write_forecast(dataset: xr.Dataset, path: Path) -> None:
    """Write NetCDF or Zarr, by the name's suffix; the file appears whole or not at all.

    Raises:
        ForecastError: The name has another suffix, or the file cannot be written.
    """
    check_target(path)
    temporary = path.with_name(f".{path.name}.part")
    encoding: dict[str, dict[str, Any]] = {str(name): {"zlib": True, "complevel": 4} for name in dataset.data_vars}
    since = {"units": "seconds since 1970-01-01", "dtype": "int64"}
    times = {str(name): since for name, value in dataset.coords.items() if np.issubdtype(value.dtype, np.datetime64)}
    whole_hours = not (dataset["lead_time"].values % np.timedelta64(1, "h")).astype(np.int64).any()
    # tenths of an hour would not come back as they were
    lead = {"lead_time": {"units": "hours" if whole_hours else "seconds", "dtype": "float64"}}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        if path.suffix == ".nc":
            dataset.to_netcdf(temporary, engine="netcdf4", encoding={**encoding, **times, **lead})
        else:
            dataset.to_zarr(temporary, zarr_format=3, consolidated=False, encoding={**times, **lead})
            _remove(path)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: what netCDF4 makes of a full disk
        reason = getattr(error, "strerror", None) or error
        raise ForecastError(
            f"forecast {path} cannot be written ({reason}); free some space or choose another place"
        ) from error
    finally:
        with contextlib.suppress(OSError):  # its folder may not be there
            _remove(temporary)


def _case_of_sample(reader: FrameReader, history: int, sample: int) -> Window:
    if not 0 <= sample < reader.samples:
        raise ForecastError(
            f"sample {sample} is not in the archive, which has samples 0 to {reader.samples - 1}; choose one of these"
        )
    if len(reader.times) < history:
        raise ForecastError(
            f"a forecast needs {history} frames, the archive's samples have {len(reader.times)}; train with less"
        )
    return Window(sample, 0)


def _case_at_time(reader: FrameReader, history: int, time: Any) -> Window:
    times = reader.times
    found = np.flatnonzero(times == np.asarray(time).astype(times.dtype))
    first = times[min(history, len(times)) - 1]
    if not found.size or found[0] < history - 1:
        raise ForecastError(
            f"init_time {time_text(time)} cannot be started from: the archive and a history of {history} frames allow "
            f"{time_text(first)} to {time_text(times[-1])} at the archive's own times; choose one of these"
        )
    there = reader.present[found[0] - history + 1 : found[0] + 1]
    if not there.all():
        raise ForecastError(
            f"init_time {time_text(time)} cannot be started from: {int((~there).sum())} of its history of {history} "
            "frames are missing from the archive; ingest them, or choose a time without a gap before it"
        )
    return Window(0, int(found[0]) - history + 1)


def _extent(grid: GridSpec) -> str:
    """A grid in words: ``20 x 28 points (lat 50.25 to 59.75, lon -10.75 to 2.75, closed)``."""
    axes = ((grid.y_name, grid.y), (grid.x_name, grid.x))
    ranges = ", ".join(f"{name} {axis[0]:g} to {axis[-1]:g}" for name, axis in axes)
    return f"{grid.shape[0]} x {grid.shape[1]} points ({ranges}, {grid.boundary})"


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


def _remove(path: Path) -> None:
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for _ in range(20):  # after a failed write, Zarr's threads may still add files for a moment
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return
        time.sleep(0.05)
