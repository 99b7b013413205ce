"""Statistics of versions of an Archive, kept, so that those of the next version need only what is new in it.

What lives here: which earlier sums a version's can be made of, and what has to be read for that; one small JSON file
per version and training split, in the folder `statistics` of a pipeline, which goes when the version does. What does
not: the reading and summing (`statistics`).

    statistics = training_statistics(config, snapshot_id, dataset, ["t2m"], splits.train)

Frames that came into the training split are added, those that left it or were revised are read from the older version
and taken away, and what a revision brought is added. The sums are exact, so the result is that of
`compute_statistics`, bit for bit. A file is only a saving of time: where there is none, or one that cannot be read, all
is computed anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from . import archive
from .config import Config
from .durable_file import write_text
from .exact_sums import Sums
from .field_sums import Part, VariableSums, count_frames, sum_part
from .progress import Progress, silent
from .revision import revised_since
from .splits import Span, Split
from .statistics import Statistics

_FORM = 1  # of the files, and of what is summed


@dataclass(frozen=True)
class KeptSums:
    """Sums of some variables over a training split of a version."""

    snapshot_id: str
    train: Split
    sums: Mapping[str, VariableSums]


@dataclass(frozen=True)
class Change:
    """What the sums of a variable lack and have too much: `gone` is read from the older version, `come` from the newer.

    Attributes:
        gone: Parts to take away.
        come: Parts to add.
    """

    gone: tuple[Part, ...]
    come: tuple[Part, ...]

    @property
    def size(self) -> int:
        """How many frames have to be read."""
        return sum(part.size for part in (*self.gone, *self.come))


def training_statistics(
    config: Config,
    snapshot_id: str,
    dataset: xr.Dataset,
    variables: Sequence[str],
    train: Split,
    progress: Progress = silent,
) -> Statistics:
    """The statistics of a version's fields over its training split, from kept ones where that reads less.

    Args:
        config: Names the archive and the folder of the kept sums.
        snapshot_id: The version.
        dataset: It, opened lazily.
        variables: Names, in the order of the channels.
        train: The training split.
        progress: Told after every block that is read.

    Raises:
        ArchiveError: A variable is missing, or has no valid value in the training split.
    """
    folder, commits = _folder(config), archive.log(config.archive_path, snapshot_id)
    afresh = KeptSums("", replace(train, frames=Span(train.frames.start, train.frames.start)), {})
    plans = [
        (base, _changes(base, commits, variables, train, int(dataset.sizes["time"])))
        for base in (*_nearest(folder, commits, variables, train), afresh)
    ]
    base, changes = min(plans, key=lambda plan: sum(change.size for change in plan[1].values()))
    counted = count_frames(progress, sum(change.size for change in changes.values()))
    sums = {name: base.sums.get(name, VariableSums()) for name in variables}
    for name, change in changes.items():
        for part in change.come:
            sums[name] += sum_part(dataset, name, part, counted)
    if any(change.gone for change in changes.values()):
        with archive.open_dataset(config.archive_path, base.snapshot_id) as older:
            for name, change in changes.items():
                for part in change.gone:
                    sums[name] -= sum_part(older, name, part, counted)
    if (base.snapshot_id, base.train) != (snapshot_id, train):
        _keep(folder, KeptSums(snapshot_id, train, sums))
    return Statistics.of(sums, snapshot_id)


def prune(config: Config, stay: Collection[str], apply: bool) -> int:
    """Remove the sums of versions that are gone; how many files that is, or, without `apply`, would be.

    Args:
        config: Names the folder of the kept sums.
        stay: The snapshot_ids whose sums stay.
        apply: Do it.
    """
    gone = [path for path in _folder(config).glob("*-*.json") if path.stem.rpartition("-")[0] not in stay]
    for path in gone if apply else ():
        path.unlink(missing_ok=True)
    return len(gone)


def _folder(config: Config) -> Path:
    return config.work_dir / "statistics"


def _changes(
    base: KeptSums, commits: Sequence[archive.Commit], variables: Sequence[str], train: Split, length: int
) -> dict[str, Change]:
    """What of each variable has to be read if one starts from `base`."""
    revised = revised_since(commits, base.snapshot_id) if base.sums else {}
    return {name: change_between(base.train, train, length, revised.get(name, set())) for name in variables}


def change_between(old: Split, new: Split, length: int, revised: set[int]) -> Change:
    """From the sums over a training split of a version to those over another of a later version.

    Args:
        old: Of the older version; of the same kind (in time, or by samples) as `new`.
        new: Of the newer version.
        length: Frames of the newer version.
        revised: Frames that have other values in the newer version; those of samples are never revised.
    """
    if old.frames == new.frames and not revised:
        whole = Part.of(new, length)
        left, entered = (_outside(one.samples, other.samples) for one, other in ((old, new), (new, old)))
        return Change(
            tuple(replace(whole, samples=span) for span in left),
            tuple(replace(whole, samples=span) for span in entered),
        )
    before, after = Part.of(old, length), Part.of(new, length)
    changed = np.isin(np.arange(length), sorted(revised))
    touched = changed.copy()
    touched[1:] |= changed[:-1]

    def less(one: Part, other: Part) -> tuple[Part, ...]:
        """What `one` has and `other` has not, or has with other values."""
        part = replace(
            one,
            states=one.states & (~other.states | changed),
            tendencies=one.tendencies & (~other.tendencies | touched),
        )
        return (part,) if part.states.any() or part.tendencies.any() else ()

    return Change(less(before, after), less(after, before))


def _outside(one: Span, other: Span) -> tuple[Span, ...]:
    """What of `one` is not in `other`."""
    pieces = (Span(one.start, min(one.stop, other.start)), Span(max(one.start, other.stop), one.stop))
    return tuple(piece for piece in pieces if piece.size)


def _nearest(folder: Path, commits: Sequence[archive.Commit], variables: Sequence[str], train: Split) -> list[KeptSums]:
    """The kept sums of the newest version that has some which can be brought up to date."""
    for commit in commits:
        kept = map(_read, sorted(folder.glob(f"{commit.snapshot_id}-*.json")))
        fitting = [
            one
            for one in kept
            if one is not None
            and set(variables) <= set(one.sums)
            and (one.train.samples == train.samples or one.train.frames == train.frames)
        ]
        if fitting:
            return fitting
    return []


def _keep(folder: Path, kept: KeptSums) -> None:
    tree: dict[str, Any] = {
        "form": _FORM,
        "snapshot_id": kept.snapshot_id,
        "samples": list(kept.train.samples),
        "frames": list(kept.train.frames),
        "sums": {
            name: {"state": one.state.to_dict(), "tendency": one.tendency.to_dict()} for name, one in kept.sums.items()
        },
    }
    key = _digest({name: tree[name] for name in ("samples", "frames")} | {"variables": list(kept.sums)})[:8]
    write_text(folder / f"{kept.snapshot_id}-{key}.json", json.dumps({**tree, "sha256": _digest(tree)}, indent=1))


def _read(path: Path) -> KeptSums | None:
    """What was kept; None where the file is damaged or of another form, since all can be computed again."""
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree.pop("sha256") != _digest(tree) or tree["form"] != _FORM:
            return None
        sums = {
            name: VariableSums(Sums.from_dict(one["state"]), Sums.from_dict(one["tendency"]))
            for name, one in tree["sums"].items()
        }
        return KeptSums(tree["snapshot_id"], Split("train", Span(*tree["samples"]), Span(*tree["frames"])), sums)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _digest(tree: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()
