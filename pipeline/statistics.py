"""Statistics: moments of the training split, of the state and of its tendency, from which the Normalizer is made.

What lives here: `Moments`, and reading an Archive block by block into the sums they are made of. What does not: the
sums (`exact_sums`), bringing those of an earlier version up to date (`kept_statistics`), the transform itself
(`minconv`), where the training split ends (`splits`).

    statistics = compute_statistics(dataset, ["t2m", "wind"], splits.train, snapshot_id=snapshot_id)
    statistics.state.mean, statistics.state.std          # float64 [C]
    statistics.tendency.std                              # of the difference of consecutive frames
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .climatology import Climatology
from .errors import ArchiveError
from .exact_sums import Sums
from .progress import Event, Progress, silent
from .splits import Span, Split

# Values read at once (float32 bytes); in float64, with its differences, a block takes about six times this.
BLOCK_BYTES = 16 * 2**20
# A standard deviation below this share of the mean is the rounding of float32, not variation.
RESOLUTION = float(np.finfo(np.float32).eps)

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations per variable.

    Attributes:
        count: Values seen, float64 [C].
        mean: float64 [C]; 0 where the count is 0.
        m2: Sum of squared deviations from the mean, float64 [C].
    """

    count: Floats
    mean: Floats
    m2: Floats

    @classmethod
    def of(cls, sums: Sequence[Sums]) -> Moments:
        """Of the values that were summed, one variable after the other; rounded here, and only here."""
        counts = [max(one.count, 1) for one in sums]
        return cls(
            np.array([float(one.count) for one in sums]),
            np.array([float(one.total / count) for one, count in zip(sums, counts, strict=True)]),
            np.array([float(one.squares - one.total**2 / count) for one, count in zip(sums, counts, strict=True)]),
        )

    @property
    def std(self) -> Floats:
        """Standard deviation (of the population), [C]; 1 for a variable that does not vary.

        Constant, or varying less than float32 resolves beside its mean, or never seen: dividing by such a spread would
        be a division by zero or blow up rounding, so it counts as 1 and the normalised variable is (nearly) 0.
        """
        std = np.sqrt(self.m2 / np.where(self.count > 0, self.count, 1.0))
        return np.where(std > RESOLUTION * np.abs(self.mean), std, 1.0)

    def to_dict(self) -> dict[str, list[float]]:
        """Plain lists, ready for JSON."""
        return {"count": self.count.tolist(), "mean": self.mean.tolist(), "m2": self.m2.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Sequence[float]]) -> Moments:
        """The moments that `to_dict` described."""
        count, mean, m2 = (np.asarray(values[key], dtype=np.float64) for key in ("count", "mean", "m2"))
        return cls(count, mean, m2)


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


@dataclass(frozen=True, eq=False)
class Statistics:
    """Moments of some variables over the training split of one version of an Archive.

    Attributes:
        variables: Names, in the order of the channels.
        state: Of the values.
        tendency: Of the differences of consecutive frames within a sample.
        snapshot_id: The Archive's version they were computed from.
    """

    variables: tuple[str, ...]
    state: Moments
    tendency: Moments
    snapshot_id: str = ""

    @classmethod
    def of(cls, sums: Mapping[str, VariableSums], snapshot_id: str) -> Statistics:
        """The statistics that sums of the whole training split come to.

        Raises:
            ArchiveError: There is no value of some variable.
        """
        for name, found in sums.items():
            if not found.state.count:
                raise ArchiveError(
                    f"variable '{name}' has no valid value in the training split; check its mask, or remove it from "
                    "'variables'"
                )
        states, tendencies = [one.state for one in sums.values()], [one.tendency for one in sums.values()]
        return cls(tuple(sums), Moments.of(states), Moments.of(tendencies), snapshot_id)

    def change(self, otherwise: float) -> Floats:
        """Standard deviation of the tendency in standard deviations of the values, [C].

        Args:
            otherwise: Of a variable that changes by no more than float32 resolves beside its values, or by the same at
                every point and time: there is no spread to go by.
        """
        count = np.where(self.tendency.count > 0, self.tendency.count, 1.0)
        std, steady = np.sqrt(self.tendency.m2 / count), np.abs(self.tendency.mean)
        resolved = np.maximum(np.maximum(np.abs(self.state.mean), self.state.std), steady)
        return np.where(std > RESOLUTION * resolved, std / self.state.std, otherwise)

    def hash(self) -> str:
        """First 12 hex digits of the sha256 of variables and moments: what a model was normalised with."""
        content = {key: value for key, value in self.to_dict().items() if key != "snapshot_id"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, ready for JSON; `from_dict` reads it back."""
        return {
            "variables": list(self.variables),
            "state": self.state.to_dict(),
            "tendency": self.tendency.to_dict(),
            "snapshot_id": self.snapshot_id,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Statistics:
        """The statistics that `to_dict` described."""
        return cls(
            variables=tuple(values["variables"]),
            state=Moments.from_dict(values["state"]),
            tendency=Moments.from_dict(values["tendency"]),
            snapshot_id=str(values["snapshot_id"]),
        )


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


def compute_statistics(
    dataset: xr.Dataset,
    variables: Sequence[str],
    train: Split,
    progress: Progress = silent,
    *,
    snapshot_id: str = "",
    climatology: Climatology | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Statistics:
    """Moments of every variable over the training split, read block by block; masked and missing values do not count.

    Args:
        dataset: Opened lazily from the Archive; dims (sample,) time and two in space, with ``mask``.
        variables: Names, in the order of the channels.
        train: The training split; nothing outside of it is read.
        progress: Told after every block.
        snapshot_id: Recorded in the result.
        climatology: Take the moments of the departures from it, for the variables it has; None: of the fields.
        block_bytes: Bound on the bytes (as float32) read at once, exceeded only where one chunk in time is larger.

    Raises:
        ArchiveError: A variable is missing, or has no valid value in the training split.
    """
    part = Part.of(train, dataset.sizes["time"])
    counted = count_frames(progress, len(variables) * part.size)
    sums = {
        name: sum_part(dataset, name, part, counted, climatology=climatology, block_bytes=block_bytes)
        for name in variables
    }
    return Statistics.of(sums, snapshot_id)


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
