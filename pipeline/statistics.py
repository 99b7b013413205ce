"""Statistics: moments of the training split, of the state and of its tendency, from which the Normalizer is made.

What lives here: `Moments`, which merge, and reading an Archive block by block into them. What does not: the transform
itself (`minconv`), where the training split ends (`splits`).

    statistics = compute_statistics(dataset, ["t2m", "wind"], splits.train, snapshot_id=snapshot_id)
    statistics.state.mean, statistics.state.std          # float64 [C]
    statistics.tendency.std                              # of the difference of consecutive frames
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .climatology import Climatology
from .errors import ArchiveError
from .progress import Event, Progress, silent
from .splits import Span, Split

# Values read at once (float32 bytes); in float64, with its differences, a block takes about six times this.
BLOCK_BYTES = 16 * 2**20
# A standard deviation below this share of the mean is the rounding of float32, not variation.
RESOLUTION = float(np.finfo(np.float32).eps)

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Moments:
    """Count, mean and sum of squared deviations per variable; two of them merge into those of the union.

    Attributes:
        count: Values seen, float64 [C].
        mean: float64 [C]; 0 where the count is 0.
        m2: Sum of squared deviations from the mean, float64 [C].
    """

    count: Floats
    mean: Floats
    m2: Floats

    @classmethod
    def empty(cls, variables: int) -> Moments:
        """Of nothing: the neutral element of `merge`."""
        return cls(np.zeros(variables), np.zeros(variables), np.zeros(variables))

    @classmethod
    def of(cls, values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> Moments:
        """Of one variable's values (C = 1) that are finite and, where given, `valid` (broadcast to their shape)."""
        use = np.isfinite(values) if valid is None else np.isfinite(values) & valid
        chosen = values[use].astype(np.float64)
        if not chosen.size:
            return cls.empty(1)
        mean = chosen.mean()
        return cls(np.array([float(chosen.size)]), np.array([mean]), np.array([np.square(chosen - mean).sum()]))

    def merge(self, other: Moments) -> Moments:
        """Moments of both sets of values together.

        Chan, Golub and LeVeque (1979), "Updating formulae and a pairwise algorithm for computing sample variances",
        eq. 2.1.
        """
        count = self.count + other.count
        share = other.count / np.where(count > 0, count, 1.0)
        delta = other.mean - self.mean
        return Moments(
            count=count,
            mean=np.where(self.count > 0, self.mean + delta * share, other.mean),
            m2=self.m2 + other.m2 + np.square(delta) * self.count * share,
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

    def merge(self, other: Statistics) -> Statistics:
        """Statistics of both parts together; the snapshot_id is the other's, the newer one's.

        Exact when samples were appended. When frames were, the tendency across the seam belongs to neither part.
        """
        if self.variables != other.variables:
            raise ValueError(f"variables differ: {self.variables} and {other.variables}")
        state, tendency = self.state.merge(other.state), self.tendency.merge(other.tendency)
        return Statistics(self.variables, state, tendency, other.snapshot_id)

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
    missing = [name for name in variables if name not in dataset.data_vars]
    if missing:
        raise ArchiveError(f"the archive has no variable '{missing[0]}'; correct 'variables' or ingest it")
    valid: NDArray[np.bool_] = dataset["mask"].values.astype(bool) if "mask" in dataset else np.ones((), dtype=bool)
    total = len(variables) * train.samples.size * train.frames.size
    states, tendencies, done = [], [], 0
    for name in variables:
        state, tendency = Moments.empty(1), Moments.empty(1)
        for values, differences in _read(dataset[name], train, block_bytes, climatology):
            state = state.merge(Moments.of(values, valid))
            tendency = tendency.merge(Moments.of(differences, valid))
            done += values.shape[0] * values.shape[1]
            progress(Event("statistics", done, total, "frames", message=name))
        if not state.count[0]:
            raise ArchiveError(
                f"variable '{name}' has no valid value in the training split; check its mask, or remove it from "
                "'variables'"
            )
        states.append(state)
        tendencies.append(tendency)
    return Statistics(tuple(variables), _stack(states), _stack(tendencies), snapshot_id)


def _read(
    array: xr.DataArray, train: Split, block_bytes: int, climatology: Climatology | None
) -> Iterator[tuple[NDArray[Any], Floats]]:
    """Blocks of values [N, t, H, W] and of all differences that end in them, [N, t or t - 1, H, W]."""
    sampled = "sample" in array.dims
    normal = climatology.only(str(array.name)) if climatology and array.name in climatology.variables else None
    size, frames_per_block = _block_shape(array, train, block_bytes)
    for first in range(*train.samples, size):
        samples = slice(first, min(first + size, train.samples.stop))
        last: NDArray[Any] | None = None
        for frames in _cut(train.frames, frames_per_block):
            part = array.isel(time=frames.slice)
            part = part.isel(sample=samples) if sampled else part
            values = part.values if sampled else part.values[None]
            if normal is not None:
                values = values - normal.at(part["time"].values)[:, 0]
            # The last frame of the block before gives the difference across the border.
            joined = values if last is None else np.concatenate([last, values], axis=1)
            yield values, np.diff(joined.astype(np.float64), axis=1)
            last = values[:, -1:].copy()


def _block_shape(array: xr.DataArray, train: Split, block_bytes: int) -> tuple[int, int]:
    """Samples and frames to read at once: whole chunks in time, several samples where whole samples are small."""
    frame_bytes = 4 * int(np.prod(array.shape[-2:]))
    chunks = array.encoding.get("chunks") or (1,) * array.ndim
    chunk = int(chunks[array.get_axis_num("time")])
    fitting = max(block_bytes // frame_bytes, 1)
    frames = max(fitting // chunk, 1) * chunk
    samples = max(fitting // train.frames.size, 1) if frames >= train.frames.size else 1
    return samples, frames


def _cut(frames: Span, size: int) -> Iterator[Span]:
    """Pieces of at most `size` frames, cut where chunks end."""
    for begin in range(frames.start - frames.start % size, frames.stop, size):
        yield Span(max(begin, frames.start), min(begin + size, frames.stop))


def _stack(moments: Sequence[Moments]) -> Moments:
    """Moments of single variables as those of all, [C]."""
    count, mean, m2 = (np.concatenate([getattr(each, key) for each in moments]) for key in ("count", "mean", "m2"))
    return Moments(count, mean, m2)
