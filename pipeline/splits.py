"""Train, validation and test: which samples and frames of an Archive belong to each `Split`.

What lives here: cutting the archive by shares. What does not: windows inside a split (`windows`) and their order
(`sampler`).

    splits = make_splits(dataset, config.split, config.gap)
    splits.train.samples, splits.train.frames    # Span(start=0, stop=58), Span(start=0, stop=50)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import xarray as xr

from .config import SplitConfig
from .errors import ConfigError
from .presence import gaps_of, present


class Span(NamedTuple):
    """Consecutive indices, `start` included, `stop` not; unpacks as (start, stop)."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many indices there are."""
        return max(self.stop - self.start, 0)

    @property
    def range(self) -> range:
        """The indices themselves."""
        return range(self.start, self.stop)

    @property
    def slice(self) -> slice:
        """For indexing an array or `Dataset.isel`."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Split:
    """A part of an Archive.

    Attributes:
        name: ``"train"``, ``"validation"`` or ``"test"``.
        samples: Indices along ``sample``; (0, 1) in a time archive, which is one long sample.
        frames: Indices along ``time``.
        gaps: Those of all frames that are missing; no window touches one.
    """

    name: str
    samples: Span
    frames: Span
    gaps: tuple[Span, ...] = field(default=(), compare=False)

    def select(self, dataset: xr.Dataset) -> xr.Dataset:
        """The split's part of the dataset, lazily."""
        part = dataset.isel(time=self.frames.slice)
        return part.isel(sample=self.samples.slice) if "sample" in dataset.dims else part


@dataclass(frozen=True)
class Splits:
    """The three parts of an Archive."""

    train: Split
    validation: Split
    test: Split

    def __iter__(self) -> Iterator[Split]:
        return iter((self.train, self.validation, self.test))


def make_splits(dataset: xr.Dataset, config: SplitConfig, gap: int, length: int = 1) -> Splits:
    """Cut an Archive by the configured shares, in order: along sample where there is one, else along time.

    In time the cuts fall at the shares of the whole axis, and the gap is taken from the end of the earlier split, so
    that a test share of 0.2 is exactly the last fifth. Frames of a gap belong to no split. Samples need no gap. With
    `config.newest` the axis is its newest part. As the axis grows every cut moves later: what a model was tested on may
    come to train its successors, and what it was trained on never comes to test them.

    Args:
        dataset: Opened from the Archive; only its dimensions are used, and which frames are missing.
        config: The shares.
        gap: Frames left out between two splits in time (at least history + horizon keeps them independent).
        length: Frames of a window; every split must hold at least one.

    Raises:
        ConfigError: A split would hold no sample, or fewer frames than `length`.
    """
    frames = int(dataset.sizes["time"])
    if "sample" in dataset.sizes:
        spans = _cut(int(dataset.sizes["sample"]), config, 0, 1, "samples")
        if frames < length:
            raise ConfigError(
                f"a sample has {frames} frames but a window needs {length} (history + horizon); "
                "make window.history or window.horizon smaller, or the samples longer"
            )
        return Splits(*(Split(name, span, Span(0, frames)) for name, span in spans.items()))
    spans = _cut(frames, config, gap, length, "frames")
    gaps = tuple(Span(*one) for one in gaps_of(present(dataset)))
    return Splits(*(Split(name, Span(0, 1), span, gaps) for name, span in spans.items()))


def _cut(count: int, config: SplitConfig, gap: int, least: int, unit: str) -> dict[str, Span]:
    """Cut the newest of `count` indices into three spans of at least `least`, `gap` apart."""
    size = min(count, config.newest or count)
    begin = count - size
    first = begin + round(size * config.train)
    second = begin + round(size * (config.train + config.validation))
    spans = {
        "train": Span(begin, first - gap),
        "validation": Span(first, second - gap),
        "test": Span(second, count),
    }
    for name, span in spans.items():
        if span.size < least:
            newest = f", the newest {size} of them" if size < count else ""
            between = f" with gaps of {gap}" if gap else ""
            raise ConfigError(
                f"the {name} split would hold {span.size} {unit} but needs at least {least}: the archive has {count} "
                f"{unit}{newest}, cut {config.train:g}/{config.validation:g}/{config.test:g}{between}; ingest more "
                "data, change the shares, or choose a shorter window or gap"
            )
    return spans
