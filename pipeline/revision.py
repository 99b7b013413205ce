"""Revisions: files with other values for times that are archived.

What lives here: finding the frames that differ, with the hashes of what was and what comes, and how that is noted. What
does not: whether they are taken (`assembly`, by `source.revise`) and the writing (`archive`).

    for one in find_revisions(path, digest, fields, archived):
        one.first, one.last, one.replacement.start
    revised_since(commits, snapshot_id)["t2m"]          # {48, 49, 50}, by number of the frame
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .archive import Commit, Replacement
from .errors import SourceError
from .fields import time_text

_COMPARED_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Revision:
    """Consecutive frames of one variable for which a file has other values than the Archive.

    Attributes:
        path: The file; `digest`: its sha256.
        replacement: The frames and their new values.
        first: Time of the first as text; `last` of the last.
        old: The sha256 of the values that they have, float32 in array order, masked points NaN; `new` of those in the
            file.
        fills: Whether they were missing: a gap in time that is filled.
    """

    path: Path
    digest: str
    replacement: Replacement
    first: str
    last: str
    old: str
    new: str
    fills: bool = False

    @property
    def frames(self) -> range:
        """Their numbers in the Archive."""
        return range(self.replacement.start, self.replacement.stop)

    def note(self) -> dict[str, Any]:
        """What the commit keeps of it; JSON-able."""
        return {
            "variable": self.replacement.variable,
            "start": self.replacement.start,
            "stop": self.replacement.stop,
            "first": self.first,
            "last": self.last,
            "file": self.path.name,
            "sha256": self.digest,
            "old": self.old,
            "new": self.new,
            **({"fills": True} if self.fills else {}),
        }


def find_revisions(path: Path, digest: str, fields: xr.Dataset, archived: xr.Dataset) -> list[Revision]:
    """The frames of a file that the Archive has with other values, variable by variable, read block by block.

    Args:
        path: The file.
        digest: Its sha256.
        fields: In the Archive's form, all of its times archived.
        archived: The Archive.
    """
    times, valid = fields["time"].values, archived["mask"] == 1
    places = np.searchsorted(archived["time"].values, times)
    found = []
    for name in map(str, fields.data_vars):
        values = fields[name].where(valid).transpose(*archived[name].dims).astype("float32")
        for rows, old, new in _runs(values, archived[name].where(valid), places):
            replacement = Replacement(name, int(places[rows.start]), values.isel(time=slice(rows.start, rows.stop)))
            first, last = time_text(times[rows.start]), time_text(times[rows.stop - 1])
            found.append(Revision(path, digest, replacement, first, last, old, new))
    return found


def check_unclaimed(found: Sequence[Revision], others: Sequence[Revision]) -> None:
    """No other file of the batch revises the same frames.

    Raises:
        SourceError: ``Q-OVERLAP``.
    """
    for one, other in itertools.product(found, others):
        same = one.replacement.variable == other.replacement.variable
        if same and one.frames.start < other.frames.stop and other.frames.start < one.frames.stop:
            raise SourceError(
                "Q-OVERLAP",
                f"it and {other.path.name} revise the same frames of {one.replacement.variable!r}, one of them in an "
                "ingest; ingest once more",
            )


def _runs(
    values: xr.DataArray, archived: xr.DataArray, places: np.ndarray[Any, np.dtype[np.intp]]
) -> Iterator[tuple[range, str, str]]:
    """Rows of `values` that differ and follow each other in the Archive, with the hashes of old and new values."""
    begun: int | None = None
    old, new = hashlib.sha256(), hashlib.sha256()
    step = max(1, int(_COMPARED_BYTES * len(places) // max(1, values.nbytes)))
    for block in range(0, len(places), step):
        here = slice(block, min(block + step, len(places)))
        ours = values.isel(time=here).compute(scheduler="threads").values
        theirs = archived.isel(time=places[here]).compute(scheduler="threads").values
        same = ((ours == theirs) | (np.isnan(ours) & np.isnan(theirs))).all(axis=(1, 2))
        for row, equal in enumerate(same, start=block):
            if begun is not None and (equal or places[row] != places[row - 1] + 1):
                yield range(begun, row), old.hexdigest(), new.hexdigest()
                begun = None
            if not equal:
                if begun is None:
                    begun, old, new = row, hashlib.sha256(), hashlib.sha256()
                old.update(theirs[row - block].tobytes())
                new.update(ours[row - block].tobytes())
    if begun is not None:
        yield range(begun, len(places)), old.hexdigest(), new.hexdigest()


def other_values_text(found: Sequence[Revision]) -> str:
    """How a file differs from the Archive, and what can be done about it."""
    name = found[0].replacement.variable
    own = [one for one in found if one.replacement.variable == name]
    count = sum(len(one.frames) for one in own)
    return (
        f"variable {name!r} has other values than the archive in {count} frame{'s' if count > 1 else ''} between "
        f"{own[0].first} and {own[-1].last}; remove the revised file, take it with source.revise=accept, or ingest it "
        "under another name"
    )


def revised_text(revisions: Iterable[Revision]) -> list[str]:
    """``revised 3 frames of t2m, 2020-01-01T00:00 to 2020-01-01T02:00``, and the same of what was missing."""
    texts = []
    for verb, fills in (("revised", False), ("filled", True)):
        found = sorted((one for one in revisions if one.fills is fills), key=lambda one: one.frames.start)
        if not found:
            continue
        count = len({frame for one in found for frame in one.frames})
        names = dict.fromkeys(one.replacement.variable for one in found)
        last = max(found, key=lambda one: one.frames.stop).last
        frames = f"{count} frame{'s' if count > 1 else ''}"
        texts.append(f"{verb} {frames} of {', '.join(names)}, {found[0].first} to {last}")
    return texts


def revised_frames(revisions: Iterable[Revision]) -> set[int]:
    """The numbers of the frames of which some variable is revised."""
    return {frame for one in revisions if not one.fills for frame in one.frames}


def filled_frames(revisions: Iterable[Revision]) -> set[int]:
    """The numbers of the frames that were missing and come now."""
    return {frame for one in revisions if one.fills for frame in one.frames}


def revised_since(commits: Sequence[Commit], before: str) -> dict[str, set[int]]:
    """The frames of each variable that were revised or filled after a version, by what the commits noted.

    All that ever were where the version is not among `commits` any more: too many rather than too few.

    Args:
        commits: Newest first, up to the first.
        before: The snapshot_id of that version.
    """
    since = list(itertools.takewhile(lambda commit: commit.snapshot_id != before, commits))
    keys = ("revised",) if len(since) < len(commits) else ("revised", "revised_before")
    found: dict[str, set[int]] = {}
    for note in (note for commit in since for key in keys for note in commit.metadata.get(key, [])):
        found.setdefault(note["variable"], set()).update(range(note["start"], note["stop"]))
    return found
