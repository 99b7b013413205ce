"""Windows: training and test cases in time, listed.

What lives here: which windows a split holds. What does not: reading them (`reader`) and the cuts between splits
(`splits`).

    cases = windows(splits.train, length=40, stride=1)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError
from ..splits import Split
from ..tiles import Tile


@dataclass(frozen=True)
class Window:
    """A case: consecutive frames of one sample, on the whole grid or on a tile.

    Attributes:
        sample: Index along ``sample`` (0 in a time archive).
        start: Index along ``time`` of its first frame.
        tile: The part of the grid; None: all of it.
    """

    sample: int
    start: int
    tile: Tile | None = None


def windows(split: Split, length: int, stride: int = 1) -> list[Window]:
    """Every window of `length` frames that lies wholly inside the split and touches no gap, sample by sample.

    Args:
        split: Where.
        length: Frames of a window.
        stride: Distance in frames between the starts of two windows.

    Raises:
        ConfigError: The split holds no window.
    """
    starts, lost = _starts(split, length, stride)
    if not starts or not split.samples.size:
        gaps = f"; its gaps in time leave none of {lost}" if lost else ""
        raise ConfigError(
            f"the {split.name} split has {split.samples.size} sample(s) of {split.frames.size} frames but a window "
            f"needs {length}{gaps}; ingest more data, or make window.history, window.horizon or the gap smaller"
        )
    return [Window(sample, start) for sample in split.samples.range for start in starts]


def windows_lost(split: Split, length: int, stride: int = 1) -> int:
    """How many windows are left out because they touch a gap."""
    return _starts(split, length, stride)[1] * split.samples.size


def _starts(split: Split, length: int, stride: int) -> tuple[list[int], int]:
    """First frames of the windows of a sample, and how many more there were without gaps."""
    if length < 1 or stride < 1:
        raise ValueError(f"length and stride must be at least 1, got {length} and {stride}")
    starts = np.arange(split.frames.start, split.frames.stop - length + 1, stride)
    whole = np.ones(len(starts), dtype=bool)
    for gap in split.gaps:
        whole &= (starts + length <= gap.start) | (starts >= gap.stop)
    return starts[whole].tolist(), int((~whole).sum())
