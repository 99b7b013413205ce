"""The climatology that forecasts are scored against: the training period's mean cycle at every grid point.

What lives here: the fit over the training split, the lookup by valid time, the file format. What does not: the choice
of the cycle (`cycle`), the split (`splits`) and scores (`verification`).

    climatology = fit_climatology(open_dataset(path), ["t2m"], splits.train)
    climatology.at(valid_times)          # [N, C, H, W]

Of the cycle over the time of day those harmonics are kept that the days tell from chance (`day_cycle`). The cycle over
day of year and time of day is smoothed along the year with triangular weights that reach zero 30 days away (the window
of WeatherBench 2, Rasp et al. 2024, doi 10.1029/2023MS004019), and interpolated linearly between its bins. Where a grid
point has no data in some slot of the cycle it gets its mean over the whole training period, and where it has none at
all (masked points) it is NaN.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .cycle import YEAR_BINS, YEAR_DAYS, Cycle, cycle_of, day_part, day_parts_of, slot_count, slots_of, year_share
from .day_cycle import DaySpread
from .errors import ArchiveError
from .progress import Event, Progress, silent
from .splits import Split

_REACH_DAYS = 30.0
_WORDS: dict[Cycle, str] = {
    "hour_of_day": "mean of each time of day, without harmonics that may be chance",
    "month": "mean of each calendar month",
    "dayofyear_hour": "mean of each day of year and time of day, smoothed over 30 days to either side",
    "mean": "mean field",
}


@dataclass(frozen=True)
class Climatology:
    """A mean cycle.

    Attributes:
        cycle: Name of the cycle.
        variables: Names along C.
        fields: Means, float32 [K, C, H, W], NaN where masked; K runs over the slots of the cycle.
        day_parts: Times of day that are told apart (1: none).
        period: First and last valid time (UTC) of the training data, as text; for samples, their numbers.
    """

    cycle: Cycle
    variables: tuple[str, ...]
    fields: NDArray[np.float32]
    day_parts: int
    period: tuple[str, str]

    @property
    def description(self) -> str:
        """The cycle and its period in words, for attributes and reports."""
        return f"{_WORDS[self.cycle]}, {self.period[0]} to {self.period[1]}"

    def at(self, times: NDArray[Any]) -> NDArray[np.float32]:
        """The climatology at valid times.

        Args:
            times: datetime64 [N]; anything of length N for the cycle ``mean``.

        Returns:
            [N, C, H, W] in physical units.
        """
        values = np.asarray(times)
        if self.cycle == "mean":
            return np.broadcast_to(self.fields[0], (len(values), *self.fields.shape[1:]))
        if self.cycle != "dayofyear_hour":
            return self.fields[slots_of(values, self.cycle, self.day_parts)]
        parts = day_part(values, self.day_parts)
        position = year_share(values) * YEAR_BINS - 0.5
        lower = np.floor(position).astype(int)
        weight = (position - lower).astype(np.float32)[:, None, None, None]
        left = self.fields[lower % YEAR_BINS * self.day_parts + parts]
        right = self.fields[(lower + 1) % YEAR_BINS * self.day_parts + parts]
        return np.asarray(left + weight * (right - left), dtype=np.float32)

    def only(self, variable: str) -> Climatology:
        """That of one of its variables."""
        channel = self.variables.index(variable)
        return replace(self, variables=(variable,), fields=self.fields[:, channel : channel + 1])

    def save(self, path: Path) -> None:
        """Write one compressed ``.npz`` file, all or nothing."""
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                np.savez_compressed(
                    file,
                    cycle=np.array(self.cycle),
                    variables=np.array(self.variables),
                    fields=self.fields,
                    day_parts=np.array(self.day_parts),
                    period=np.array(self.period),
                )
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Climatology:
        """Read what `save` wrote.

        Raises:
            ArchiveError: The file is missing, damaged, or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                cycle = str(data["cycle"])
                if cycle not in get_args(Cycle):
                    raise KeyError(cycle)
                return cls(
                    cycle,  # type: ignore[arg-type]
                    tuple(str(name) for name in data["variables"]),
                    data["fields"],
                    int(data["day_parts"]),
                    (str(data["period"][0]), str(data["period"][1])),
                )
        except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged bytes
            problem = "damaged" if path.is_file() else "missing"
            raise ArchiveError(f"the climatology file {path} is {problem}; evaluate the model again") from error


def fit_climatology(
    dataset: xr.Dataset,
    variables: Sequence[str],
    train: Split,
    *,
    block_bytes: int = 2**26,
    progress: Progress = silent,
) -> Climatology:
    """Average the training split over the finest cycle it covers.

    Args:
        dataset: The Archive, opened lazily: dims (time, y, x) or (sample, time, y, x), optionally with `mask`.
        variables: Names, in the order of C.
        train: The training split; nothing else is read.
        block_bytes: Bytes of float32 input read at once.
        progress: Told after each block.
    """
    chosen = train.select(dataset)
    times = chosen["time"].values
    sampled = "sample" in dataset.dims
    cycle: Cycle = "mean" if sampled else cycle_of(times)
    parts = day_parts_of(times) if cycle in ("hour_of_day", "dayofyear_hour") else 1
    slots = slots_of(times, cycle, parts)
    valid = dataset["mask"].values != 0 if "mask" in dataset else np.asarray(True)
    blocks = list(_blocks(chosen, variables, block_bytes))
    fields = []
    for number, name in enumerate(variables):
        done, every = number * len(blocks), len(variables) * len(blocks)
        days = DaySpread(parts, chosen[name].shape[-2:]) if cycle == "hour_of_day" else None
        total, weight = _sums(chosen[name], slots, slot_count(cycle, parts), blocks, done, every, progress, days)
        if cycle == "dayofyear_hour":
            total, weight = _smooth_year(total, parts), _smooth_year(weight, parts)
        means = _means(total, weight)
        fields.append(np.where(valid, means if days is None else days.smoothed(means), np.nan))
    first, last = (
        (f"sample {train.samples.start}", f"sample {train.samples.stop - 1}")
        if sampled
        else (_text(times[0]), _text(times[-1]))
    )
    return Climatology(cycle, tuple(variables), np.stack(fields, axis=1).astype(np.float32), parts, (first, last))


def _sums(
    array: xr.DataArray,
    slots: NDArray[np.int64],
    count: int,
    blocks: Sequence[tuple[slice, slice]],
    done: int,
    every: int,
    progress: Progress,
    days: DaySpread | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum and number of finite values per slot and point, [K, H, W] each, reading one block after the other.

    `days` is shown the frames, too.
    """
    shape = (count, *array.shape[-2:])
    total, weight = np.zeros(shape), np.zeros(shape)
    for number, (samples, frames) in enumerate(blocks, start=1):
        part = array.isel(time=frames) if "sample" not in array.dims else array.isel(sample=samples, time=frames)
        values = part.values.reshape(-1, *shape[1:]).astype(np.float64)
        repeats = len(values) // (frames.stop - frames.start)
        block_slots = np.tile(slots[frames], repeats)
        finite = np.isfinite(values)
        values[~finite] = 0.0
        if days is not None:
            days.add(values, finite, block_slots)
        for slot in np.unique(block_slots):
            chosen = block_slots == slot
            total[slot] += values[chosen].sum(axis=0)
            weight[slot] += finite[chosen].sum(axis=0)
        progress(Event("climatology", done + number, every, "blocks", message=str(array.name)))

    return total, weight


def _means(total: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean per slot; a slot without data gets the point's overall mean, a point without data NaN."""
    with np.errstate(invalid="ignore"):
        overall = total.sum(axis=0) / np.where(weight.sum(axis=0) > 0, weight.sum(axis=0), np.nan)
        means = total / np.where(weight > 0, weight, np.nan)
    return np.where(weight > 0, means, overall)


def _smooth_year(sums: NDArray[np.float64], parts: int) -> NDArray[np.float64]:
    """Weighted sums over neighbouring year bins, circular; of sums and of counts, their ratio is the smooth mean."""
    bins = sums.reshape(YEAR_BINS, parts, *sums.shape[1:])
    width = YEAR_DAYS / YEAR_BINS
    reach = int(_REACH_DAYS // width)
    smooth = np.zeros_like(bins)
    for shift in range(-reach, reach + 1):
        smooth += (1.0 - abs(shift) * width / _REACH_DAYS) * np.roll(bins, shift, axis=0)
    return smooth.reshape(sums.shape)


def _blocks(dataset: xr.Dataset, variables: Sequence[str], block_bytes: int) -> Iterator[tuple[slice, slice]]:
    """Pairs of (samples, frames) ranges of at most `block_bytes` (at least one frame) that cover the dataset once."""
    frame_bytes = 4 * int(np.prod(dataset[variables[0]].shape[-2:]))
    wanted = max(1, block_bytes // frame_bytes)
    frames, samples = dataset.sizes["time"], dataset.sizes.get("sample", 1)
    frame_step = min(wanted, frames)
    sample_step = max(1, wanted // frames)
    for first in range(0, samples, sample_step):
        for start in range(0, frames, frame_step):
            yield (
                slice(first, min(first + sample_step, samples)),
                slice(start, min(start + frame_step, frames)),
            )


def _text(time: Any) -> str:
    moment = np.asarray(time)
    return str(np.datetime_as_string(moment, unit="m")).replace("T", " ") if moment.dtype.kind == "M" else f"{time:g} s"
