"""Statistics: moments of the training split, of the state and of its tendency, from which the Normalizer is made.

What lives here: `Moments` and `Statistics`, and what sums come to. What does not: reading an Archive into these sums
(`field_sums`), bringing those of an earlier version up to date (`kept_statistics`), the transform itself (`minconv`),
where the training split ends (`splits`).

    statistics = compute_statistics(dataset, ["t2m", "wind"], splits.train, snapshot_id=snapshot_id)
    statistics.state.mean, statistics.state.std          # float64 [C]
    statistics.tendency.std                              # of the difference of consecutive frames
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from .climatology import Climatology
from .errors import ArchiveError
from .exact_sums import Sums
from .field_sums import BLOCK_BYTES, Floats, Part, VariableSums, count_frames, sum_part
from .progress import Progress, silent
from .splits import Split

# A standard deviation below this share of the mean is the rounding of float32, not variation.
RESOLUTION = float(np.finfo(np.float32).eps)


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
