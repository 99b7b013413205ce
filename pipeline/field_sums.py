"""The sums that statistics are made of: of a part of an Archive, read block by block.

What lives here: which frames and differences count (`Part`), reading them, and the sums of a variable. What does not:
exact addition (`exact_sums`), what sums come to (`statistics`), sums that are kept (`kept_statistics`).

    part = Part.of(splits.train, dataset.sizes["time"])
    sums = sum_part(dataset, "t2m", part, count_frames(progress, part.size))
    sums.state, sums.tendency                            # `exact_sums.Sums`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .climatology import Climatology
from .errors import ArchiveError
from .exact_sums import Sums
from .progress import Event, Progress
from .splits import Span, Split

# Values read at once (float32 bytes); in float64, with its differences, a block takes about six times this.
BLOCK_BYTES = 16 * 2**20

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VariableSums:
    """Of one variable: of its values, and of the differences of consecutive frames within a sample."""

    state: Sums = field(default_factory=Sums)
    tendency: Sums = field(default_factory=Sums)

    def __add__(self, other: VariableSums) -> VariableSums:
        """Of both parts."""
        return VariableSums(self.state + other.state, self.tendency + other.tendency)

    def __sub__(self, other: VariableSums) -> VariableSums:
        """Of what the other part leaves."""
        return VariableSums(self.state - other.state, self.tendency - other.tendency)


@dataclass(frozen=True)
class Part:
    """What of an Archive is summed.

    Attributes:
        samples: Whose; (0, 1) in a time archive.
        states: Which frames, bool [T].
        tendencies: The differences to the frame before of which frames, bool [T].
    """

    samples: Span
    states: NDArray[np.bool_]
    tendencies: NDArray[np.bool_]

    @classmethod
    def of(cls, split: Split, length: int) -> Part:
        """All of a split of an Archive with `length` frames."""
        states = np.zeros(length, dtype=bool)
        states[split.frames.slice] = True
        tendencies = states.copy()
        tendencies[split.frames.start] = False
        return cls(split.samples, states, tendencies)

    @property
    def read(self) -> tuple[Span, ...]:
        """The frames that must be read for it."""
        needed = self.states | self.tendencies
        needed[:-1] |= self.tendencies[1:]
        edges = np.flatnonzero(np.diff(needed, prepend=False, append=False)).tolist()
        return tuple(Span(first, stop) for first, stop in zip(edges[::2], edges[1::2], strict=True))

    @property
    def size(self) -> int:
        """How many frames that are, of all samples."""
        return self.samples.size * sum(span.size for span in self.read)


def count_frames(progress: Progress, total: int) -> Callable[[str, int], None]:
    """What `sum_part` tells about frames of a variable, added up for a `Progress`."""
    done = 0

    def counted(name: str, frames: int) -> None:
        nonlocal done
        done += frames
        progress(Event("statistics", done, total, "frames", message=name))

    return counted


def sum_part(
    dataset: xr.Dataset,
    name: str,
    part: Part,
    counted: Callable[[str, int], None],
    *,
    climatology: Climatology | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> VariableSums:
    """Sums of one variable over a part of an Archive.

    Raises:
        ArchiveError: The variable is missing.
    """
    if name not in dataset.data_vars:
        raise ArchiveError(f"the archive has no variable '{name}'; correct 'variables' or ingest it")
    array, found = dataset[name], VariableSums()
    valid = dataset["mask"].values.astype(bool) if "mask" in dataset else np.ones(array.shape[-2:], dtype=bool)
    for frames, values, differences in _read(array, part, block_bytes, climatology):
        ends = slice(frames.stop - differences.shape[1], frames.stop)
        found += VariableSums(
            Sums.of(values, part.states[frames.slice][:, None, None] & valid),
            Sums.of(differences, part.tendencies[ends][:, None, None] & valid),
        )
        counted(name, values.shape[0] * values.shape[1])
    return found


def _read(
    array: xr.DataArray, part: Part, block_bytes: int, climatology: Climatology | None
) -> Iterator[tuple[Span, NDArray[Any], Floats]]:
    """Blocks of frames: their values [N, t, H, W] and all differences that end in them, [N, t or t - 1, H, W]."""
    sampled = "sample" in array.dims
    normal = climatology.only(str(array.name)) if climatology and array.name in climatology.variables else None
    for run in part.read:
        size, frames_per_block = _block_shape(array, run, block_bytes)
        for first in range(*part.samples, size):
            samples = slice(first, min(first + size, part.samples.stop))
            last: NDArray[Any] | None = None
            for frames in _cut(run, frames_per_block):
                block = array.isel(time=frames.slice)
                block = block.isel(sample=samples) if sampled else block
                values = block.values if sampled else block.values[None]
                if normal is not None:
                    values = values - normal.at(block["time"].values)[:, 0]
                # The last frame of the block before gives the difference across the border.
                joined = values if last is None else np.concatenate([last, values], axis=1)
                yield frames, values, np.diff(joined.astype(np.float64), axis=1)
                last = values[:, -1:].copy()


def _block_shape(array: xr.DataArray, run: Span, block_bytes: int) -> tuple[int, int]:
    """Samples and frames to read at once: whole chunks in time, several samples where whole samples are small."""
    frame_bytes = 4 * int(np.prod(array.shape[-2:]))
    chunks = array.encoding.get("chunks") or (1,) * array.ndim
    chunk = int(chunks[array.get_axis_num("time")])
    fitting = max(block_bytes // frame_bytes, 1)
    frames = max(fitting // chunk, 1) * chunk
    samples = max(fitting // run.size, 1) if frames >= run.size else 1
    return samples, frames


def _cut(frames: Span, size: int) -> Iterator[Span]:
    """Pieces of at most `size` frames, cut where chunks end."""
    for begin in range(frames.start - frames.start % size, frames.stop, size):
        yield Span(max(begin, frames.start), min(begin + size, frames.stop))
