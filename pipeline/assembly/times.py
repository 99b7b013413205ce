"""Joining files along time: which of their times are committed, which replace or fill others, and what waits.

What lives here: the order of times and gaps. What does not: the values (`pieces`), samples (`samples`).

    assembly = assemble_times(candidates, ["t2m", "tp"], archived=None)
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..cadence import Times, infer
from ..errors import SourceError
from ..fields import time_text
from ..gaps import NO_GAPS, GapPolicy
from ..presence import present, with_missing
from ..rejection import Rejection
from ..revision import Revision, check_unclaimed, find_revisions, other_values_text
from .candidate import Assembly, Candidate
from .pieces import Piece, joined, new_rows, rows_of


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
    pieces: dict[str, list[Piece]] = {name: [] for name in names}
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
                both = rows_of(candidate.fields[own], old[old >= (taken or {}).get(candidate.digest, 0)])
                changed = find_revisions(candidate.path, candidate.digest, both, archived)
            if changed and not revise:
                raise SourceError("Q-OVERLAP", other_values_text(changed))
            rows = {name: new_rows(candidate, name, new, pieces[name]) for name in own}
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
            pieces[name].append(Piece(candidate, found))
    filled, run, missing = _run(pieces, archived, gaps)
    revising = [candidate for candidate in ordered if candidate.path in revisions]
    used, unfinished, waiting = _shares(pieces, np.concatenate([filled, run]), archived, revising)
    filling = _fills(pieces, filled, archived) if archived is not None and len(filled) else []
    return Assembly(
        with_missing(joined(pieces, run), missing) if len(run) else None,
        used,
        unfinished,
        tuple(skipped),
        tuple(rejected),
        (*contradicting, *waiting),
        (*(one for found in revisions.values() for one in found), *filling),
    )


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


def _run(
    pieces: Mapping[str, Sequence[Piece]], archived: xr.Dataset | None, gaps: GapPolicy
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


def _fills(pieces: Mapping[str, Sequence[Piece]], filled: Times, archived: xr.Dataset) -> list[Revision]:
    """What comes for frames that the Archive lacks."""
    return [
        replace(one, fills=True)
        for name, row in pieces.items()
        for piece in row
        if (fields := piece.fields(name, filled)).sizes["time"]
        for one in find_revisions(piece.candidate.path, piece.candidate.digest, fields, archived)
    ]


def _shares(
    pieces: Mapping[str, Sequence[Piece]], run: Times, archived: xr.Dataset | None, revising: Iterable[Candidate]
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


def _why(time: Any, pieces: Mapping[str, Sequence[Piece]], end: Any) -> str:
    lacking = [name for name, row in pieces.items() if not any((piece.times == time).any() for piece in row)]
    start = f"its frames from {time_text(time)} on wait for"
    if lacking:
        return f"{start} {', '.join(lacking)} at these times, expected all variables; fetch those files"
    return (
        f"{start} those between {time_text(end)} and then, expected no gap; fetch those, or allow such a gap by "
        "quality.longest_gap or quality.allowed_gaps"
    )
