"""Leaks: ways in which a model could have seen what it is tested on. Each `Leak` has a rule, a sentence and the fix.

What lives here: L-SHARED, L-GAP, L-REPEAT (the splits), L-FORCING (the variables), L-STATISTICS and L-TRAINED (a
registered model). What does not: where the cuts fall (`splits`), the look of a report (`workflows`).

    for leak in split_leaks(splits, length=48):
        leak.rule, leak.found, leak.advice

What cannot leak needs no rule: windows lie within one split by construction, and forcings that are computed from time
and place are known in advance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import xarray as xr

from .splits import Span, Split, Splits
from .statistics import Statistics

REPEATS_LOOKED_AT = 5000  # samples; above that every n-th


@dataclass(frozen=True)
class Leak:
    """A rule that is broken.

    Attributes:
        rule: ``"L-GAP"`` etc.
        found: What is wrong.
        advice: What to change.
    """

    rule: str
    found: str
    advice: str


def split_leaks(splits: Splits, length: int) -> Iterator[Leak]:
    """Frames in two splits, or splits in time so near that windows of both see the same weather.

    Args:
        splits: To be looked at.
        length: history + horizon, in frames.
    """
    for one, other in combinations(splits, 2):
        if not _common(one.samples, other.samples):
            continue
        if frames := _common(one.frames, other.frames):
            yield Leak(
                "L-SHARED",
                f"{frames} frames belong to both the {one.name} and the {other.name} split",
                "cut the archive into splits that share nothing",
            )
    for one, other in ((splits.train, splits.validation), (splits.validation, splits.test)):
        between = other.frames.start - one.frames.stop
        if _common(one.samples, other.samples) and 0 <= between < length:
            yield Leak(
                "L-GAP",
                f"{between} frames lie between the {one.name} and the {other.name} split, but a window has {length}: "
                "what ends one begins the other",
                f"set split.gap to {length} (history + horizon) or leave it empty",
            )


def repeat_leaks(dataset: xr.Dataset, splits: Splits) -> Iterator[Leak]:
    """Samples of different splits that start from the same frame: one simulation, counted twice.

    Args:
        dataset: With `sample`; its first frames are read.
        splits: Of that dataset.
    """
    if "sample" not in dataset.dims:
        return
    name = str(next(iter(dataset.data_vars)))
    step = -(-dataset.sizes["sample"] // REPEATS_LOOKED_AT)
    seen: dict[bytes, tuple[str, int]] = {}
    for split in splits:
        for sample in split.samples.range[::step]:
            frame = dataset[name].isel(sample=sample, time=split.frames.start).values
            key = hashlib.sha256(np.ascontiguousarray(frame).tobytes()).digest()
            known, number = seen.setdefault(key, (split.name, sample))
            if known != split.name:
                yield Leak(
                    "L-REPEAT",
                    f"sample {sample} of the {split.name} split starts as sample {number} of the {known} split does",
                    "simulate with seeds that differ, or remove the copies",
                )
                return


def statistics_leaks(statistics: Statistics, train: Split, points: int) -> Iterator[Leak]:
    """Moments over more values than the training split has.

    Args:
        statistics: Of a model.
        train: The training split of the snapshot and configuration it was trained with.
        points: Valid points of the grid.
    """
    most = train.samples.size * train.frames.size * points
    for name, count in zip(statistics.variables, statistics.state.count, strict=True):
        if count > most:
            yield Leak(
                "L-STATISTICS",
                f"the statistics of {name!r} count {count:.0f} values, the training split has {most}",
                "take them over the training split only, and train again",
            )


def trained_leaks(trained: Splits, splits: Splits) -> Iterator[Leak]:
    """Test frames that a model was trained or selected on, where the splits have moved since.

    Args:
        trained: The splits the model was made with.
        splits: Those it is to be scored on; both count from the start of the same Archive.
    """
    for part in (trained.train, trained.validation):
        if _common(part.samples, splits.test.samples) and (frames := _common(part.frames, splits.test.frames)):
            yield Leak(
                "L-TRAINED",
                f"{frames} frames of the test split were in the model's {part.name} split",
                "score it on later data, or train it again with the splits of today",
            )


def forcing_leaks(roles: Mapping[str, str]) -> Iterator[Leak]:
    """Forcings that are read from the data at the very times that are predicted.

    Args:
        roles: Role of each variable: prognostic, diagnostic, forcing or static.
    """
    for name, role in roles.items():
        if role == "forcing":
            yield Leak(
                "L-FORCING",
                f"{name!r} is read at the predicted times, which is fair only if it is known in advance (prescribed, "
                "or itself a forecast)",
                f"if it is observed, give {name} the role prognostic or diagnostic",
            )


def _common(one: Span, other: Span) -> int:
    return max(min(one.stop, other.stop) - max(one.start, other.start), 0)
