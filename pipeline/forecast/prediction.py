"""The rollout of a registered model from frames of the Archive, and the times that it predicts.

What lives here: the reader a model wants, the rollout on the whole grid or tile by tile, in physical units. What does
not: where it starts (`starts`), the dataset (`dataset`), the model itself (`minconv`).

    reader = open_reader(model, archive_path, snapshot_id)
    fields = predict(model, reader, cases, steps=24)         # [B, steps, C, H, W], NaN where masked
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import minconv

from ..errors import ForecastError
from ..grid import GridSpec
from ..registry import RegisteredModel
from ..tiled_rollout import on_tiles, tiled_rollout
from ..tiles import Halo, Tiling
from ..windows import FrameReader, Split, Window


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


def _extent(grid: GridSpec) -> str:
    """A grid in words: ``20 x 28 points (lat 50.25 to 59.75, lon -10.75 to 2.75, closed)``."""
    axes = ((grid.y_name, grid.y), (grid.x_name, grid.x))
    ranges = ", ".join(f"{name} {axis[0]:g} to {axis[-1]:g}" for name, axis in axes)
    return f"{grid.shape[0]} x {grid.shape[1]} points ({ranges}, {grid.boundary})"
