"""Joining good files into the fields of one commit that continues the Archive.

What lives here: variables spread over files, pieces of time put in a row, overlaps compared value by value, and what
has to wait for a missing piece. What does not: the checks of a single file (`quality`) and the commit (`ingest`).

    assembly = assemble_times(candidates, ["t2m", "tp"], archived=None)
    assembly.fields            # one lazy dataset, or None where nothing can be committed

Rules: Q-OVERLAP (other values for what is there already), Q-EARLY (begins before the Archive does), Q-GAP (a piece
before it is missing).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .cadence import Times, infer
from .errors import SourceError
from .fields import time_text
from .gaps import NO_GAPS, GapPolicy
from .presence import present, with_missing
from .quality import Rejection, VariableSurvey
from .revision import Revision, check_unclaimed, find_revisions, other_values_text

_COMPARED_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Candidate:
    """A file that passed every check of its own.

    Attributes:
        path: Where it lies.
        digest: Its sha256.
        fields: As the Archive keeps them.
        surveys: Of these fields.
        partners: Earlier files whose last frames are a part of its own first (`transforms.stretches`).
        companions: Other files that have other variables of its frames, which it has as well (`transforms.pairing`).
        lacks: What it waits for another file to have, to make a variable of; empty: nothing.
        needed: Whether its last frames are needed by those that come after it.
        rest: Time of the first of its frames that wait for others to make a frame of the Archive with; None: none do.
        lead: How many frames come before the first that the Archive can keep.
    """

    path: Path
    digest: str
    fields: xr.Dataset
    surveys: Mapping[str, VariableSurvey]
    partners: tuple[Candidate, ...] = ()
    companions: tuple[Candidate, ...] = ()
    lacks: str = ""
    needed: bool = False
    rest: Any = None
    lead: int = 0

    @functools.cached_property
    def times(self) -> Times:
        """Values of its time axis."""
        times: Times = self.fields.variables["time"].values
        return times


@dataclass(frozen=True)
class Assembly:
    """What a batch comes to.

    Attributes:
        fields: What is to be appended, None where there is nothing.
        used: Candidates that contribute to `fields`.
        unfinished: Those of them that hold more than could be used yet; they are looked at again next time.
        skipped: Candidates all of whose values are in the Archive (or the batch) already.
        waiting: Candidates, good as they are, that cannot be committed before others arrive; with the reason.
        revisions: Frames of the Archive that used candidates replace.
    """

    fields: xr.Dataset | None
    used: tuple[Candidate, ...] = ()
    unfinished: tuple[Candidate, ...] = ()
    skipped: tuple[Path, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    waiting: tuple[Rejection, ...] = ()
    revisions: tuple[Revision, ...] = ()

    @property
    def commits(self) -> bool:
        """Whether there is anything to commit."""
        return self.fields is not None or bool(self.revisions)

    @property
    def complete(self) -> dict[Path, Candidate]:
        """Files that need not be looked at again: all of their frames are used, and nothing waits for them."""
        whole = [one for one in self.used if all(one is not other for other in self.unfinished)]
        partners = [partner for one in self.used for partner in one.partners]
        ended = [*partners, *(one for one in whole if not one.needed)]
        return {one.path: one for each in ended for one in (each, *each.companions)}


@dataclass(frozen=True)
class _Piece:
    """The frames of one variable, by number, that a candidate adds."""

    candidate: Candidate
    rows: np.ndarray[Any, np.dtype[np.intp]]

    @property
    def times(self) -> Times:
        times: Times = self.candidate.times[self.rows]
        return times

    def fields(self, name: str, times: Times) -> xr.Dataset:
        """Those of its frames that are at these times."""
        chosen: xr.Dataset = _rows(self.candidate.fields[[name]], self.rows_at(times))
        return chosen

    def rows_at(self, times: Times) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Their numbers in the candidate."""
        return self.rows[np.isin(self.times, times)]


def assemble_times(
    candidates: Iterable[Candidate],
    names: Sequence[str],
    archived: xr.Dataset | None,
    revise: bool = False,
    taken: Mapping[str, int] | None = None,
    gaps: GapPolicy = NO_GAPS,
) -> Assembly:
    """Join files along time.

    Committed are the times for which every variable is there, from the end of the Archive (or the first such time) on
    up to the first gap that is not allowed, and those that fill a gap in the Archive.

    Args:
        candidates: In any order.
        names: All variables of the Archive.
        archived: What is there already, masked points NaN.
        revise: Take other values for times that are archived. Of files that contradict each other the first goes in and
            the next revises it in the next batch, as if it had come later.
        taken: How many frames were taken before, of files (by sha256) of which more is to come; they may have been
            revised since and are not looked at.
        gaps: Which gaps are allowed.
    """
    pieces: dict[str, list[_Piece]] = {name: [] for name in names}
    revisions: dict[Path, list[Revision]] = {}
    skipped: list[Path] = []
    rejected: list[Rejection] = []
    contradicting: list[Rejection] = []
    ordered = sorted(candidates, key=lambda one: (one.times[0], one.path.name))
    there = None if archived is None else archived["time"].values[present(archived)]
    for candidate in ordered:
        own = [name for name in names if name in candidate.fields]
        try:
            new, changed = np.arange(len(candidate.times)), []
            if archived is not None and there is not None:
                _check_archived(candidate.times, archived["time"].values)
                known = np.isin(candidate.times, there)
                new, old = np.flatnonzero(~known), np.flatnonzero(known)
                both = _rows(candidate.fields[own], old[old >= (taken or {}).get(candidate.digest, 0)])
                changed = find_revisions(candidate.path, candidate.digest, both, archived)
            if changed and not revise:
                raise SourceError("Q-OVERLAP", other_values_text(changed))
            rows = {name: _new_rows(candidate, name, new, pieces[name]) for name in own}
            check_unclaimed(changed, [one for found in revisions.values() for one in found])
        except SourceError as error:
            later = revise and error.rule == "Q-OVERLAP"
            (contradicting if later else rejected).append(Rejection(error.rule, candidate.path, error.message))
            continue
        fresh = {name: found for name, found in rows.items() if len(found)}
        if changed:
            revisions[candidate.path] = changed
        elif not fresh:
            skipped += [one.path for one in (candidate, *candidate.companions)]
        for name, found in fresh.items():
            pieces[name].append(_Piece(candidate, found))
    filled, run, missing = _run(pieces, archived, gaps)
    revising = [candidate for candidate in ordered if candidate.path in revisions]
    used, unfinished, waiting = _shares(pieces, np.concatenate([filled, run]), archived, revising)
    filling = _fills(pieces, filled, archived) if archived is not None and len(filled) else []
    return Assembly(
        with_missing(_joined(pieces, run), missing) if len(run) else None,
        used,
        unfinished,
        tuple(skipped),
        tuple(rejected),
        (*contradicting, *waiting),
        (*(one for found in revisions.values() for one in found), *filling),
    )


def assemble_samples(
    candidates: Iterable[Candidate], archived: xr.Dataset | None, places: Mapping[tuple[int, int], int]
) -> Assembly:
    """Join files along `sample`, in the order of the numbers their samples carry, then of names.

    Args:
        candidates: Each with all variables.
        archived: What is there already.
        places: First and last number of the samples of each archived file, and where in the Archive they start.
    """
    used: list[Candidate] = []
    skipped, rejected = [], []
    for candidate in sorted(candidates, key=lambda one: (sample_numbers(one.fields) or (math.inf, 0), one.path.name)):
        numbers = sample_numbers(candidate.fields)
        try:
            known = False if numbers is None else _sample_is_known(candidate.fields, numbers, archived, places, used)
        except SourceError as error:
            rejected.append(Rejection(error.rule, candidate.path, error.message))
            continue
        if known:
            skipped.append(candidate.path)
        else:
            used.append(candidate)
    joined = _concat([one.fields for one in used], "sample") if used else None
    return Assembly(joined, tuple(used), (), tuple(skipped), tuple(rejected))


def sample_numbers(fields: xr.Dataset) -> tuple[int, int] | None:
    """First and last number of the samples, None where they carry none."""
    if "sample" not in fields.coords:
        return None
    values = fields["sample"].values
    return int(values.min()), int(values.max())


def _sample_is_known(
    fields: xr.Dataset,
    numbers: tuple[int, int],
    archived: xr.Dataset | None,
    places: Mapping[tuple[int, int], int],
    used: Sequence[Candidate],
) -> bool:
    """Whether these very samples are there already.

    Raises:
        SourceError: ``Q-OVERLAP``: samples of these numbers are there with other values.
    """
    others: list[tuple[tuple[int, int], xr.Dataset]] = []
    if archived is not None:
        for there, start in places.items():
            others.append((there, archived.isel(sample=slice(start, start + there[1] - there[0] + 1))))
    others += [(own, one.fields) for one in used if (own := sample_numbers(one.fields)) is not None]
    for there, other in others:
        if numbers[0] > there[1] or there[0] > numbers[1]:
            continue
        if numbers == there and all(_equal(fields[name], other[name], "sample") for name in fields.data_vars):
            return True
        raise SourceError(
            "Q-OVERLAP",
            f"samples {numbers[0]} to {numbers[1]} are there already with other values; give them other "
            "numbers, or ingest them under another name",
        )
    return False


def _check_archived(times: Times, archived: Times) -> None:
    """Those of a file's times that lie before the Archive's end are the Archive's own.

    Raises:
        SourceError: ``Q-EARLY`` or ``Q-TIME``.
    """
    strange = np.setdiff1d(times[times <= archived[-1]], archived)
    if len(strange) and strange[0] < archived[0]:
        raise SourceError(
            "Q-EARLY",
            f"{int((strange < archived[0]).sum())} of its times, from {time_text(strange[0])} on, lie before the start "
            f"of the archive ({time_text(archived[0])}), which grows at its end only; to have them, ingest all files "
            "under another name",
        )
    if len(strange):
        raise SourceError(
            "Q-TIME",
            f"{len(strange)} of its times, from {time_text(strange[0])} on, lie before the end of the archive "
            f"({time_text(archived[-1])}) but are not in it; only later times can be appended",
        )


def _new_rows(
    candidate: Candidate, name: str, new: np.ndarray[Any, np.dtype[np.intp]], before: Sequence[_Piece]
) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Of the frames that the Archive lacks those that no other file of the batch has either.

    Raises:
        SourceError: ``Q-OVERLAP``.
    """
    rows = new
    for piece in before:
        if not len(new) or piece.candidate.times[piece.rows[-1]] < candidate.times[new[0]]:
            continue
        _compare(_rows(candidate.fields[name], new), piece)
        rows = rows[~np.isin(candidate.times[rows], piece.times)]
    return rows


def _compare(field: xr.DataArray, piece: _Piece) -> None:
    other = _rows(piece.candidate.fields[field.name], piece.rows)
    common, mine, theirs = np.intersect1d(field["time"].values, other["time"].values, return_indices=True)
    if len(common) and not _equal(_rows(field, mine), _rows(other, theirs), "time"):
        raise SourceError(
            "Q-OVERLAP",
            f"variable {field.name!r} has other values than {piece.candidate.path.name} between "
            f"{time_text(common[0])} and {time_text(common[-1])}, expected the same; remove one of them, or, with "
            "source.revise=accept, ingest once more for it to revise the other",
        )


def _equal(first: xr.DataArray, second: xr.DataArray, axis: str) -> bool:
    """Whether all values agree, NaN with NaN; read block by block."""
    if first.shape != second.shape:
        return False
    rows = max(1, int(_COMPARED_BYTES * first.sizes[axis] // first.nbytes))
    for start in range(0, first.sizes[axis], rows):
        part = {axis: slice(start, start + rows)}
        ours, theirs = (one.isel(part).compute(scheduler="threads").values for one in (first, second))
        if not np.array_equal(ours, theirs, equal_nan=True):
            return False
    return True


def _run(
    pieces: Mapping[str, Sequence[_Piece]], archived: xr.Dataset | None, gaps: GapPolicy
) -> tuple[Times, Times, Times]:
    """The times to commit, present for every variable, and the times that are missing among them.

    Returns:
        Times that fill gaps in the Archive, times that follow it up to the first gap that is not allowed, and the times
        in gaps that are.
    """
    each = [np.concatenate([piece.times for piece in row]) if row else np.array([]) for row in pieces.values()]
    if not all(len(times) for times in each):
        return (np.array([]),) * 3
    common: Times = functools.reduce(np.intersect1d, each)
    if archived is None:
        row = gaps.row(common, infer(common))
        return common[:0], common[: row.count], row.missing
    old = archived["time"].values
    later = common > old[-1]
    chain = np.concatenate([old[-1:], common[later]])
    row = gaps.row(chain, infer(old) or infer(chain))
    return common[~later], chain[1 : row.count], row.missing


def _fills(pieces: Mapping[str, Sequence[_Piece]], filled: Times, archived: xr.Dataset) -> list[Revision]:
    """What comes for frames that the Archive lacks."""
    return [
        replace(one, fills=True)
        for name, row in pieces.items()
        for piece in row
        if (fields := piece.fields(name, filled)).sizes["time"]
        for one in find_revisions(piece.candidate.path, piece.candidate.digest, fields, archived)
    ]


def _shares(
    pieces: Mapping[str, Sequence[_Piece]], run: Times, archived: xr.Dataset | None, revising: Iterable[Candidate]
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...], tuple[Rejection, ...]]:
    """Which candidates are used (those `revising` are), which of them only in part, and why the rest waits."""
    used: dict[Path, Candidate] = {one.path: one for one in revising}
    unused: dict[Path, tuple[Candidate, Any]] = {}
    for row in pieces.values():
        for piece in row:
            taken = np.isin(piece.times, run)
            if taken.any():
                used[piece.candidate.path] = piece.candidate
            if not taken.all():
                unused.setdefault(piece.candidate.path, (piece.candidate, piece.times[~taken][0]))
    end = run[-1] if len(run) else None if archived is None else archived["time"].values[-1]
    waiting = tuple(Rejection("Q-GAP", path, _why(time, pieces, end)) for path, (_, time) in sorted(unused.items()))
    unfinished = tuple(candidate for path, (candidate, _) in unused.items() if path in used)
    return tuple(used.values()), unfinished, waiting


def _why(time: Any, pieces: Mapping[str, Sequence[_Piece]], end: Any) -> str:
    lacking = [name for name, row in pieces.items() if not any((piece.times == time).any() for piece in row)]
    start = f"its frames from {time_text(time)} on wait for"
    if lacking:
        return f"{start} {', '.join(lacking)} at these times, expected all variables; fetch those files"
    return (
        f"{start} those between {time_text(end)} and then, expected no gap; fetch those, or allow such a gap by "
        "quality.longest_gap or quality.allowed_gaps"
    )


def _joined(pieces: Mapping[str, Sequence[_Piece]], run: Times) -> xr.Dataset:
    """The fields at the times of `run`, each of which some piece has of every variable.

    A dataset is made once, at the end: one for each piece takes as long as reading a small file.
    """
    first = next(iter(pieces.values()))[0].candidate.fields
    fields: dict[str, xr.Variable] = {}
    for name, row in pieces.items():
        parts = [(piece, rows) for piece in row if len(rows := piece.rows_at(run))]
        joined = xr.Variable.concat(
            [_rows(piece.candidate.fields.variables[name], rows) for piece, rows in parts], "time"
        )
        # a file may have filled a gap within another one
        times = np.concatenate([piece.candidate.times[rows] for piece, rows in parts])
        fields[name] = joined if np.array_equal(times, run) else joined.isel(time=np.argsort(times))
    still = {name: data for name, data in first.coords.variables.items() if "time" not in data.dims}
    return xr.Dataset(fields, {"time": ("time", run, first.variables["time"].attrs), **still}, first.attrs)


def _rows(fields: Any, rows: np.ndarray[Any, np.dtype[np.intp]]) -> Any:
    """Frames by number; as a slice where they follow each other, which copies nothing."""
    whole = len(rows) > 0 and rows[-1] - rows[0] == len(rows) - 1
    return fields.isel(time=slice(int(rows[0]), int(rows[-1]) + 1) if whole else rows)


def _concat(parts: Sequence[xr.Dataset], axis: str) -> xr.Dataset:
    if len(parts) == 1:
        return parts[0]
    return xr.concat(
        parts, dim=axis, data_vars="all", coords="minimal", compat="override", join="override", combine_attrs="override"
    )
