"""Windows: training and test cases in time, read as tensors [B,T,C,H,W] straight from the Archive's Zarr arrays.

What lives here: listing the windows of a split and reading them, with forcings, free of NaN. What does not: the cuts
between splits (`splits`) and the order of visits (`sampler`), both importable from here as well; Dask, which is no part
of a loader.

    splits = make_splits(dataset, config.split, config.gap)
    cases = windows(splits.train, length=40, stride=1)
    reader = FrameReader(path, snapshot_id, ["vorticity"], [], fill=[0.0], cache_bytes=2**30, split=splits.train)
    for batch in order(seed=0, epoch=0, count=len(cases), batch_size=4, rank=0, world_size=1):
        frames, forcing = reader.read([cases[number] for number in batch], length=40)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .archive import open_arrays, open_dataset
from .climatology import Climatology
from .config import Forcing
from .errors import ArchiveError, ConfigError
from .forcings import ForcingFields
from .grid import GridSpec
from .sampler import order
from .splits import Span, Split, Splits, make_splits

__all__ = ["FrameReader", "Span", "Split", "Splits", "Window", "make_splits", "order", "windows"]

# Frames read at once while a split is taken into memory: bounds the copy that lies beside it.
FRAMES_PER_READ = 256


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
        variables: Prognostic variables, in the order of their channels.
        forcings: Forcings, in the order of their channels.
        fill: Per variable, the value put at masked points and where a value is missing (e.g. the mean).
        cache_bytes: Memory that the frames may take.
        split: Frames to hold in memory; None means the whole Archive.
        climatology: Read anomalies, departures from it; `fill` then fills anomalies. None reads the fields themselves.

    Attributes:
        grid: The Archive's `GridSpec`.
        mask: Bool [H, W], True where every variable is valid.
        times: The Archive's time axis: datetime64, or float64 seconds.
        forcing_channels: Names of the forcing channels.
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
    ) -> None:
        if len(fill) != len(variables):
            raise ValueError(f"fill must have one value per variable ({len(variables)}), got {len(fill)}")
        with open_dataset(path, snapshot_id) as dataset:
            missing = [name for name in variables if name not in dataset.data_vars]
            if missing:
                held = ", ".join(str(name) for name in dataset.data_vars if name != "mask")
                raise ArchiveError(f"archive {path} has no variable '{missing[0]}', only {held}; correct 'variables'")
            self.grid = GridSpec.from_dataset(dataset)
            self.times: NDArray[Any] = dataset["time"].values
            self.sampled = "sample" in dataset.dims
            self.samples = int(dataset.sizes.get("sample", 1))
            self.attributes = {str(name): dict(dataset[name].attrs) for name in (*variables, *dataset.dims)}
            self._valid: NDArray[np.bool_] = dataset["mask"].values.astype(bool)
        self.mask = torch.from_numpy(self._valid)
        self._extent = Split("archive", Span(0, self.samples), Span(0, len(self.times)))
        self._fill = np.asarray(fill, dtype=np.float32)
        self._fields = ForcingFields(forcings, self.grid, self._valid)
        self.forcing_channels = self._fields.channels
        self._fields.at(self.times[:1])  # refuses forcings that do not fit these times now, not at the first batch
        held_open: Mapping[str, Any] = open_arrays(path, variables, snapshot_id)
        self._arrays = [held_open[name] for name in variables]
        self._climatology = climatology
        self._held = split if split is not None else self._extent
        self._frames = self._load(self._held) if self._bytes(self._held) <= cache_bytes else None

    @property
    def cached(self) -> bool:
        """Whether the split lies in memory."""
        return self._frames is not None

    def read(self, cases: Sequence[Window], length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Frames and forcings of some windows.

        Args:
            cases: B windows.
            length: T, frames of each.

        Returns:
            Frames float32 [B, T, C, H, W] in physical units and forcing float32 [B, T, Cf, H, W] (Cf may be 0), both
            free of NaN.

        Raises:
            ValueError: A window reaches beyond the archive.
        """
        frames = np.empty((len(cases), length, len(self._arrays), *self.grid.shape), dtype=np.float32)
        for row, case in enumerate(cases):
            frames[row] = self._window(case, length)
        starts = np.array([case.start for case in cases], dtype=np.int64)
        times = self.times[starts[:, None] + np.arange(length)]
        return torch.from_numpy(frames), self.forcing_at(times)

    def forcing_at(self, times: NDArray[Any]) -> torch.Tensor:
        """Forcing channels at any times, in or beyond the archive: [*times.shape, Cf, H, W]."""
        return torch.from_numpy(self._fields.at(times))

    def physical(self, fields: NDArray[np.float32], times: NDArray[Any]) -> NDArray[np.float32]:
        """Fields as `read` gives them, [*times.shape, C, H, W], in physical units: climatology put back, if any."""
        normal = self._normal(times.reshape(-1))
        return fields if self._climatology is None else fields + normal.reshape(fields.shape)

    def _normal(self, times: NDArray[Any]) -> NDArray[np.float32]:
        """What anomalies are departures from, [N, C, H, W]; zero where fields are read themselves or masked."""
        if self._climatology is None:
            return np.zeros((len(times), len(self._arrays), 1, 1), dtype=np.float32)
        return np.where(self._valid, self._climatology.at(times), np.float32(0))

    def _window(self, case: Window, length: int) -> NDArray[np.float32]:
        """One window, [T, C, H, W], from memory where it lies there."""
        wanted = Split("window", Span(case.sample, case.sample + 1), Span(case.start, case.start + length))
        if not _inside(wanted, self._extent):
            raise ValueError(
                f"{case} of {length} frames reaches beyond the archive of {self._extent.samples.size} sample(s) "
                f"of {self._extent.frames.size} frames"
            )
        if self._frames is not None and _inside(wanted, self._held):
            first = case.start - self._held.frames.start
            wanted_frames: NDArray[np.float32] = self._frames[
                case.sample - self._held.samples.start, first : first + length
            ]
            return wanted_frames
        window: NDArray[np.float32] = self._load(wanted)[0]
        return window

    def _load(self, part: Split) -> NDArray[np.float32]:
        """Read samples and frames, [N, T, C, H, W], with `fill` at masked and missing points."""
        shape = (part.samples.size, part.frames.size, len(self._arrays), *self.grid.shape)
        out = np.empty(shape, dtype=np.float32)
        for row, sample in enumerate(part.samples.range):
            for begin in range(*part.frames, FRAMES_PER_READ):
                end = min(begin + FRAMES_PER_READ, part.frames.stop)
                target = out[row, begin - part.frames.start : end - part.frames.start]
                normal = self._normal(self.times[begin:end])
                for channel, array in enumerate(self._arrays):
                    block = array[sample, begin:end] if self.sampled else array[begin:end]
                    block = block - normal[:, channel]
                    gone = np.isnan(block) | ~self._valid
                    target[:, channel] = np.where(gone, self._fill[channel], block)
        return out

    def _bytes(self, part: Split) -> int:
        height, width = self.grid.shape
        return 4 * part.samples.size * part.frames.size * len(self._arrays) * height * width


def _inside(inner: Split, outer: Split) -> bool:
    return all(
        whole.start <= piece.start and piece.stop <= whole.stop
        for piece, whole in ((inner.samples, outer.samples), (inner.frames, outer.frames))
    )
