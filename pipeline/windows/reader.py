"""Windows read as tensors [B,T,C,H,W] straight from the Archive's Zarr arrays, with forcings, free of NaN.

What lives here: what belongs to a reader, and which arrays make its channels. What does not: the arrays themselves
(`frames`), where they are kept (`frame_files`), computed forcings (`forcings`).

    reader = FrameReader(path, snapshot_id, ["vorticity"], [], fill=[0.0], cache_bytes=2**30, split=splits.train)
    frames, forcing = reader.read(cases, length=40)
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..archive import open_arrays, open_dataset
from ..cadence import infer
from ..climatology import Climatology
from ..config import Forcing
from ..errors import ArchiveError, ForecastError
from ..forcings import ForcingFields
from ..frame_files import CacheKind, FrameFiles, storage_of
from ..frames import Blocks, Frames, Kept
from ..grid import GridSpec
from ..presence import present
from ..splits import Span, Split
from .cases import Window


@dataclass(frozen=True)
class CachePlan:
    """Where a reader may keep frames, beside the memory it is given.

    Attributes:
        kind: See `frame_files.storage_of`.
        folder: For files mapped into memory; None: there are none.
        window: Where nothing is kept, decode as many frames at a time as suits windows of this length that are visited
            shard by shard (`FrameReader.blocks`); None: just those asked for.
        shape: (h, w) of the tiles that are read; None: the whole grid.
    """

    kind: CacheKind = "auto"
    folder: Path | None = None
    window: int | None = None
    shape: tuple[int, int] | None = None


class FrameReader:
    """Reads windows of one snapshot of an Archive.

    When the frames of `split` take at most `cache_bytes` they are read once, here, and kept in memory as float32;
    otherwise every window is sliced from Zarr when asked for, unless `cache` has a folder for a file of them. Of a
    window on a tile only the tile is read. Every process makes a reader of its own; its threads may share it.

    Args:
        path: The Archive.
        snapshot_id: Its version; None takes the newest.
        variables: Predicted variables, in the order of their channels.
        forcings: Computed forcings, in the order of their channels.
        fill: Per variable, the value put at masked points and where a value is missing (e.g. the mean).
        cache_bytes: Memory that the frames may take.
        split: Frames to hold in memory; None means the whole Archive.
        climatology: Read anomalies, departures from it; `fill` then fills anomalies. None reads the fields themselves.
        static_variables: Fields of the Archive that are constant in time; their channels follow the forcings'.
        forcing_variables: Fields of the Archive that are known ahead, with their fill values; their channels come last.
        cache: Where else frames may be kept.

    Attributes:
        grid: The Archive's `GridSpec`.
        mask: Bool [H, W], True where every variable is valid.
        times: The Archive's time axis: datetime64, or float64 seconds.
        present: Which of its frames are there, bool [T]; the others lie in gaps, and read as `fill`.
        forcing_channels: Names of the forcing channels: forcings, static variables, forcing variables.
        forcing_variables: Names of the last of them.
        cached: Whether the split lies in memory or in a mapped file.
        blocks: How frames that are kept nowhere are decoded, if a block at a time.
        sampled: Whether the Archive holds independent samples rather than one time series.
        samples: How many (1 in a time archive).
        attributes: CF attributes of each variable and axis.

    Raises:
        ArchiveError: The archive cannot be opened or lacks a variable.
        ConfigError: A forcing does not fit the archive.
    """

    def __init__(
        self,
        path: Path,
        snapshot_id: str | None,
        variables: Sequence[str],
        forcings: Sequence[Forcing],
        fill: Sequence[float],
        cache_bytes: int,
        split: Split | None = None,
        climatology: Climatology | None = None,
        *,
        static_variables: Sequence[str] = (),
        forcing_variables: Mapping[str, float] | None = None,
        cache: CachePlan | None = None,
    ) -> None:
        if len(fill) != len(variables):
            raise ValueError(f"fill must have one value per variable ({len(variables)}), got {len(fill)}")
        known_ahead = dict(forcing_variables or {})
        with open_dataset(path, snapshot_id) as dataset:
            _require(path, dataset.data_vars, (*variables, *known_ahead))
            _require(path, dataset.coords, static_variables)
            self.grid = GridSpec.from_dataset(dataset)
            self.times: NDArray[Any] = dataset["time"].values
            self.present = present(dataset)
            self.sampled = "sample" in dataset.dims
            self.samples = int(dataset.sizes.get("sample", 1))
            self.attributes = {str(name): dict(dataset[name].attrs) for name in (*variables, *dataset.dims)}
            self._valid: NDArray[np.bool_] = dataset["mask"].values.astype(bool)
            statics = {name: dataset[name].values for name in static_variables}
        self.mask = torch.from_numpy(self._valid)
        self._climatology = climatology
        self._fields = ForcingFields(forcings, self.grid, self._valid, statics, daily=_steps_of_days(self.times))
        self._fields.at(self.times[:1])  # refuses forcings that do not fit these times now, not at the first batch
        self.forcing_variables = tuple(known_ahead)
        self.forcing_channels = (*self._fields.channels, *self.forcing_variables)
        arrays: Mapping[str, Any] = open_arrays(path, (*variables, *known_ahead), snapshot_id)
        held = split or Split("archive", Span(0, self.samples), Span(0, len(self.times)))

        def normal(span: Span) -> NDArray[np.float32]:
            return self._normal(self.times[span.slice])

        plan = cache or CachePlan()
        points = int(np.prod(plan.shape or self.grid.shape))
        self.blocks = None
        if plan.window is not None:
            self.blocks = _blocks(list(arrays.values()), plan.window, cache_bytes, points)

        def frames(fill: Mapping[str, float], offset: int, climatology: Climatology | None = None) -> Frames:
            share = cache_bytes // max(len(arrays), 1) * len(fill)
            size = 4 * held.samples.size * held.frames.size * len(fill) * self._valid.size
            kept = None
            if plan.folder is not None and snapshot_id is not None:  # the newest is another one tomorrow
                identity = {"snapshot_id": snapshot_id, "fill": dict(fill), "climatology": _digest(climatology)}
                kept = Kept(FrameFiles(plan.folder), f"{held.name}-{'forcings' if offset else 'fields'}", identity)
            return Frames(
                [arrays[name] for name in fill],
                list(fill.values()),
                self._valid,
                self.sampled,
                held,
                storage_of(plan.kind, size, share, plan.folder),
                normal if climatology is not None else None,
                kept=kept,
                blocks=None if self.blocks is None else replace(self.blocks, offset=offset),
            )

        self._predicted = frames(dict(zip(variables, fill, strict=True)), 0, climatology)
        self._known_ahead = frames(known_ahead, 1) if known_ahead else None

    @property
    def cached(self) -> bool:
        """Whether the split lies in memory or in a mapped file."""
        return self._predicted.cached

    def read(self, cases: Sequence[Window], length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames and forcings of some windows.

        Args:
            cases: B windows, all on the whole grid or all on tiles of one shape.
            length: T, frames of each.

        Returns:
            Frames float32 [B, T, C, H, W] in physical units and forcing float32 [B, T, Cf, H, W] (Cf may be 0), both
            free of NaN; see `forcing`. H and W are those of the tiles.

        Raises:
            ValueError: A window reaches beyond the archive.
        """
        frames = np.empty((len(cases), length, len(self._predicted), *self._shape(cases)), dtype=np.float32)
        for row, case in enumerate(cases):
            if not (0 <= case.sample < self.samples and 0 <= case.start <= len(self.times) - length):
                raise ValueError(
                    f"{case} of {length} frames reaches beyond the archive of {self.samples} sample(s) of "
                    f"{len(self.times)} frames"
                )
            frames[row] = self._predicted.at(case.sample, Span(case.start, case.start + length), case.tile)
        return torch.from_numpy(frames), self.forcing(cases, length)

    def forcing(self, cases: Sequence[Window], length: int) -> torch.Tensor:
        """What is known ahead, beside `length` frames from the start of each window: [B, length, Cf, H, W].

        Beside each frame lies what is valid a step later. `length` may reach beyond the archive, where forcing
        variables repeat their last frame: what a prediction needs of them is checked by `require_forcing`.
        """
        out = np.empty((len(cases), length, len(self.forcing_channels), *self._shape(cases)), dtype=np.float32)
        fixed = len(self._fields.channels)
        for row, case in enumerate(cases if fixed else ()):
            out[row, :, :fixed] = self._fields.at(self.times_from(case.start + 1, length), case.tile)
        for row, case in enumerate(cases):
            if self._known_ahead is None:
                break
            first = min(case.start + 1, len(self.times) - 1)
            stop = min(case.start + 1 + length, len(self.times))
            held = self._known_ahead.at(case.sample, Span(first, stop), case.tile)
            out[row, : len(held), fixed:] = held
            out[row, len(held) :, fixed:] = held[-1]
        return torch.from_numpy(out)

    def _shape(self, cases: Sequence[Window]) -> tuple[int, int]:
        """(H, W) of these windows."""
        shapes = {self.grid.shape if case.tile is None else case.tile.shape for case in cases}
        if len(shapes) > 1:
            raise ValueError(f"windows that are read together must have one shape, got {sorted(shapes)}")
        return shapes.pop() if shapes else self.grid.shape

    def require_forcing(self, last: int, steps: int) -> None:
        """Check that forcing variables are known for a forecast of `steps` frames after frame number `last`.

        Raises:
            ForecastError: The archive ends before, or has a gap there.
        """
        if self.forcing_variables and last + steps >= len(self.times):
            raise ForecastError(
                f"a forecast of {steps} steps from frame {last + 1} of {len(self.times)} needs the forcing "
                f"'{self.forcing_variables[0]}' beyond the archive's end; start at least {steps} frames before it"
            )
        if self.forcing_variables and not self.present[last + 1 : last + 1 + steps].all():
            raise ForecastError(
                f"a forecast of {steps} steps from frame {last + 1} of {len(self.times)} needs the forcing "
                f"'{self.forcing_variables[0]}' within a gap of the archive; ingest what is missing, or start elsewhere"
            )

    def times_from(self, first: int, count: int) -> NDArray[Any]:
        """Times of `count` frames from frame number `first` on: the Archive's, then on in its cadence.

        Raises:
            ForecastError: The Archive's one frame has no cadence.
        """
        known = self.times[first : first + count]
        if len(known) == count:
            return known
        cadence = infer(self.times)
        if cadence is None:
            raise ForecastError("an archive of one frame does not say how far its frames are apart; ingest more frames")
        return np.concatenate((known, cadence.after(self.times[-1], first + count - len(self.times))))[-count:]

    def forcing_at(self, times: NDArray[Any]) -> torch.Tensor:
        """Channels of the forcings and static variables at any times: [*times.shape, Cf, H, W]."""
        return torch.from_numpy(self._fields.at(times))

    def physical(self, fields: NDArray[np.float32], times: NDArray[Any]) -> NDArray[np.float32]:
        """Fields as `read` gives them, [*times.shape, C, H, W], in physical units: climatology put back, if any."""
        if self._climatology is None:
            return fields
        return fields + self._normal(times.reshape(-1)).reshape(fields.shape)

    def _normal(self, times: NDArray[Any]) -> NDArray[np.float32]:
        """What anomalies are departures from, [N, C, H, W]; zero where masked."""
        if self._climatology is None:
            raise ValueError("this reader reads the fields themselves")
        return np.where(self._valid, self._climatology.at(times), np.float32(0))


def _blocks(arrays: Sequence[Any], window: int, memory: int, points: int) -> Blocks | None:
    """The longest blocks, up to a shard, of which two or more fit into the memory; None: none does."""
    chunk = arrays[0].chunks[-3]
    shard = (arrays[0].shards or arrays[0].chunks)[-3]
    for frames in range(shard, 0, -chunk):
        count = memory // (4 * len(arrays) * points * (frames + window - 1))
        if count >= 2:
            return Blocks(frames, window - 1, 0, count)
    return None


def _digest(climatology: Climatology | None) -> str | None:
    """What tells one climatology from another."""
    if climatology is None:
        return None
    fields = np.ascontiguousarray(climatology.fields)
    described = f"{climatology.cycle} {climatology.day_parts} {climatology.variables}"
    return hashlib.sha256(described.encode() + fields.tobytes()).hexdigest()


def _steps_of_days(times: NDArray[Any]) -> bool:
    """Whether a step is a day or longer."""
    cadence = infer(times)
    return cadence is not None and (cadence.months > 0 or cadence.seconds >= 86_400)


def _require(path: Path, held: Mapping[Hashable, Any], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in held]:
        there = ", ".join(str(name) for name in held if name != "mask")
        raise ArchiveError(f"archive {path} has no variable '{missing[0]}', only {there}; correct 'variables'")
