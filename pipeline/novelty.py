"""What is new: in a version of the Archive since an earlier one, and to a model since its training.

What lives here: new frames and their drift, and what of the configuration changed. What does not: what follows from it
(`retraining`).

    new_since(config.archive_path, snapshot_id, older_id)         # 24
    revised_since(config.archive_path, snapshot_id, older_id)     # 3
    drift_since(config, snapshot_id, champion).size               # 0.4

Drift is measured simply: for each variable, by how many of its standard deviations over the champion's training split
the mean of the new data lies from the mean of that split, and how many times as widely the new data spread. The size of
a drift is the largest of the shifts. A day differs from a year in every season, so a shift of one or two is weather; a
size of three says that the champion's scale does not fit the data any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import archive, revision
from .config import Config
from .errors import ArchiveError, ForecastError
from .presence import present, whole
from .registry import RegisteredModel
from .splits import Span, Split
from .statistics import Statistics, compute_statistics

_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Drift:
    """How new data differ from old.

    Attributes:
        shift: Difference of the means by variable, in standard deviations of the old.
        spread: Standard deviation of the new by that of the old, by variable.
    """

    shift: dict[str, float]
    spread: dict[str, float]

    @property
    def size(self) -> float:
        """The largest shift of a variable, without its sign."""
        return max(abs(value) for value in self.shift.values())


def measure_drift(new: Statistics, old: Statistics) -> Drift:
    """The drift from the moments of old data to those of new data of the same variables."""
    shift = (new.state.mean - old.state.mean) / old.state.std
    spread = new.state.std / old.state.std
    return Drift(
        dict(zip(new.variables, shift.tolist(), strict=True)), dict(zip(new.variables, spread.tolist(), strict=True))
    )


def new_since(path: Path, snapshot_id: str, before: str) -> int:
    """Frames (or samples) that a version of the Archive has beyond those of the version `before`."""
    with archive.open_dataset(path, snapshot_id) as now:
        dim = "sample" if "sample" in now.dims else "time"
        length = _length(path, before, dim)
        return int(now.sizes[dim]) - length if dim == "sample" else int(present(now)[length:].sum())


def revised_since(path: Path, snapshot_id: str, before: str) -> int:
    """Frames that a version of the Archive has with other values than the version `before` of it."""
    return len(set().union(*revision.revised_since(archive.log(path, snapshot_id), before).values()))


def _length(path: Path, snapshot_id: str, dim: str) -> int:
    """Length of a version of the Archive; 0 where it has no such version, as after it was made anew."""
    try:
        with archive.open_dataset(path, snapshot_id) as dataset:
            return int(dataset.sizes[dim])
    except ArchiveError:
        return 0


def drift_since(config: Config, snapshot_id: str, champion: RegisteredModel) -> Drift | None:
    """The drift of what a version of the Archive has beyond the champion's; None: it has nothing more."""
    path = config.archive_path
    with archive.open_dataset(path, snapshot_id) as dataset:
        sampled = "sample" in dataset.dims
        dim = "sample" if sampled else "time"
        new = Span(_length(path, str(champion.metadata["snapshot_id"]), dim), int(dataset.sizes[dim]))
        if not new.size:
            return None
        part = Split("new", new, Span(0, int(dataset.sizes["time"]))) if sampled else Split("new", Span(0, 1), new)
        variables = tuple(champion.metadata["variables"])
        found = compute_statistics(dataset, variables, part, climatology=champion.climatology)
    return measure_drift(found, Statistics.from_dict(champion.metadata["statistics"]))


def changed_sections(config: Config, champion: RegisteredModel) -> tuple[str, ...]:
    """What of the configuration is another than the champion's, so that its weights do not fit."""
    was, now = champion.metadata["config"], config.model_dump(mode="json")
    changed = tuple(name for name in ("model", "forcings", "boundary") if was[name] != now[name])
    return changed if list(was["variables"]) == list(now["variables"]) else ("variables", *changed)


def newest_until(path: Path, snapshot_id: str, date: str, history: int) -> str | None:
    """The newest frame until the end of a date that has a history without a gap; None where time is no date.

    Raises:
        ForecastError: The Archive begins later.
    """
    with archive.open_dataset(path, snapshot_id) as dataset:
        times = dataset["time"].values[whole(present(dataset), history)]
    if not np.issubdtype(times.dtype, np.datetime64):
        return None
    until = times[times < np.datetime64(date) + _DAY]
    if not len(until):
        raise ForecastError(
            f"the archive holds no {history} frames in a row that end until {date}; choose a later date, or ingest "
            "what is missing"
        )
    return str(np.datetime_as_string(until[-1], unit="s"))
