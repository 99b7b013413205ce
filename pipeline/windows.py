"""Windows: training and test cases in time, read as tensors [B,T,C,H,W] straight from the Archive's Zarr arrays.

What lives here: listing the windows of a split and reading them, with forcings, free of NaN. What does not: the cuts
between splits (`splits`) and the order of visits (`sampler`), both importable from here as well; the arrays (`frames`);
Dask, which is no part of a loader.

The forcing beside a frame is the one valid a step later: at the time of the frame that is predicted from it.

    splits = make_splits(dataset, config.split, config.gap)
    cases = windows(splits.train, length=40, stride=1)
    reader = FrameReader(path, snapshot_id, ["vorticity"], [], fill=[0.0], cache_bytes=2**30, split=splits.train)
    for batch in order(seed=0, epoch=0, count=len(cases), batch_size=4, rank=0, world_size=1):
        frames, forcing = reader.read([cases[number] for number in batch], length=40)
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .archive import open_arrays, open_dataset
from .cadence import infer
from .climatology import Climatology
from .config import Forcing
from .errors import ArchiveError, ConfigError, ForecastError
from .forcings import ForcingFields
from .frames import Frames
from .grid import GridSpec
from .sampler import order
from .splits import Span, Split, Splits, make_splits

__all__ = ["FrameReader", "Span", "Split", "Splits", "Window", "make_splits", "order", "windows"]


@dataclass(frozen=True)
class Window:
    """A case: consecutive frames of one sample.

    Attributes:
        sample: Index along ``sample`` (0 in a time archive).
        start: Index along ``time`` of its first frame.
    """

    sample: int
    start: int


def windows(split: Split, length: int, stride: int = 1) -> list[Window]:
    """Every window of `length` frames that lies wholly inside the split, sample by sample.

    Args:
        split: Where.
        length: Frames of a window.
        stride: Distance in frames between the starts of two windows.

    Raises:
        ConfigError: The split holds no window.
    """
    if length < 1 or stride < 1:
        raise ValueError(f"length and stride must be at least 1, got {length} and {stride}")
    starts = range(split.frames.start, split.frames.stop - length + 1, stride)
    if not starts or not split.samples.size:
        raise ConfigError(
            f"the {split.name} split has {split.samples.size} sample(s) of {split.frames.size} frames but a window "
            f"needs {length}; ingest more data, or make window.history, window.horizon or the gap smaller"
        )
    return [Window(sample, start) for sample in split.samples.range for start in starts]


class FrameReader:
    """Reads windows of one snapshot of an Archive.

    When the frames of `split` take at most `cache_bytes` they are read once, here, and kept in memory as float32;
    otherwise every window is sliced from Zarr when asked for. Every process makes a reader of its own.

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

    Attributes:
        grid: The Archive's `GridSpec`.
        mask: Bool [H, W], True where every variable is valid.
        times: The Archive's time axis: datetime64, or float64 seconds.
        forcing_channels: Names of the forcing channels: forcings, static variables, forcing variables.
        forcing_variables: Names of the last of them.
        cached: Whether the split lies in memory.
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
    ) -> None:
        if len(fill) != len(variables):
            raise ValueError(f"fill must have one value per variable ({len(variables)}), got {len(fill)}")
        known_ahead = dict(forcing_variables or {})
        with open_dataset(path, snapshot_id) as dataset:
            _require(path, dataset.data_vars, (*variables, *known_ahead))
            _require(path, dataset.coords, static_variables)
            self.grid = GridSpec.from_dataset(dataset)
            self.times: NDArray[Any] = dataset["time"].values
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
        normal = None if climatology is None else lambda span: self._normal(self.times[span.slice])
        share = cache_bytes // max(len(arrays), 1)
        self._predicted = Frames(
            [arrays[name] for name in variables],
            fill,
            self._valid,
            self.sampled,
            held,
            share * len(variables),
            normal,
        )
        self._known_ahead = Frames(
            [arrays[name] for name in known_ahead],
            list(known_ahead.values()),
            self._valid,
            self.sampled,
            held,
            share * len(known_ahead),
        )

    @property
    def cached(self) -> bool:
        """Whether the split lies in memory."""
        return self._predicted.cached

    def read(self, cases: Sequence[Window], length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames and forcings of some windows.

        Args:
            cases: B windows.
            length: T, frames of each.

        Returns:
            Frames float32 [B, T, C, H, W] in physical units and forcing float32 [B, T, Cf, H, W] (Cf may be 0), both
            free of NaN; see `forcing`.

        Raises:
            ValueError: A window reaches beyond the archive.
        """
        frames = np.empty((len(cases), length, len(self._predicted), *self.grid.shape), dtype=np.float32)
        for row, case in enumerate(cases):
            if not (0 <= case.sample < self.samples and 0 <= case.start <= len(self.times) - length):
                raise ValueError(
                    f"{case} of {length} frames reaches beyond the archive of {self.samples} sample(s) of "
                    f"{len(self.times)} frames"
                )
            frames[row] = self._predicted.at(case.sample, Span(case.start, case.start + length))
        return torch.from_numpy(frames), self.forcing(cases, length)

    def forcing(self, cases: Sequence[Window], length: int) -> torch.Tensor:
        """What is known ahead, beside `length` frames from the start of each window: [B, length, Cf, H, W].

        Beside each frame lies what is valid a step later. `length` may reach beyond the archive, where forcing
        variables repeat their last frame: what a prediction needs of them is checked by `require_forcing`.
        """
        out = np.empty((len(cases), length, len(self.forcing_channels), *self.grid.shape), dtype=np.float32)
        fixed = len(self._fields.channels)
        if fixed:
            times = np.stack([self.times_from(case.start + 1, length) for case in cases])
            out[:, :, :fixed] = self._fields.at(times)
        for row, case in enumerate(cases if self.forcing_variables else ()):
            first = min(case.start + 1, len(self.times) - 1)
            stop = min(case.start + 1 + length, len(self.times))
            held = self._known_ahead.at(case.sample, Span(first, stop))
            out[row, : len(held), fixed:] = held
            out[row, len(held) :, fixed:] = held[-1]
        return torch.from_numpy(out)

    def require_forcing(self, last: int, steps: int) -> None:
        """Check that forcing variables are known for a forecast of `steps` frames after frame number `last`.

        Raises:
            ForecastError: The archive ends before.
        """
        if self.forcing_variables and last + steps >= len(self.times):
            raise ForecastError(
                f"a forecast of {steps} steps from frame {last + 1} of {len(self.times)} needs the forcing "
                f"'{self.forcing_variables[0]}' beyond the archive's end; start at least {steps} frames before it"
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


def _steps_of_days(times: NDArray[Any]) -> bool:
    """Whether a step is a day or longer."""
    cadence = infer(times)
    return cadence is not None and (cadence.months > 0 or cadence.seconds >= 86_400)


def _require(path: Path, held: Mapping[Hashable, Any], names: Sequence[str]) -> None:
    if missing := [name for name in names if name not in held]:
        there = ", ".join(str(name) for name in held if name != "mask")
        raise ArchiveError(f"archive {path} has no variable '{missing[0]}', only {there}; correct 'variables'")
