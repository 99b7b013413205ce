"""The frames of one variable that a file adds, and putting such pieces in a row.

What lives here: pieces and how they become fields. What does not: which times are committed (`times`).

    rows = new_rows(candidate, "t2m", new, before=pieces["t2m"])
    joined(pieces, run)                          # one lazy dataset
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ..cadence import Times
from ..errors import SourceError
from ..fields import time_text
from .candidate import Candidate
from .overlap import same_values


@dataclass(frozen=True)
class Piece:
    """The frames of one variable, by number, that a candidate adds."""

    candidate: Candidate
    rows: np.ndarray[Any, np.dtype[np.intp]]

    @property
    def times(self) -> Times:
        """Of these frames."""
        times: Times = self.candidate.times[self.rows]
        return times

    def fields(self, name: str, times: Times) -> xr.Dataset:
        """Those of its frames that are at these times."""
        chosen: xr.Dataset = rows_of(self.candidate.fields[[name]], self.rows_at(times))
        return chosen

    def rows_at(self, times: Times) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Their numbers in the candidate."""
        return self.rows[np.isin(self.times, times)]


def new_rows(
    candidate: Candidate, name: str, new: np.ndarray[Any, np.dtype[np.intp]], before: Sequence[Piece]
) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Of the frames that the Archive lacks those that no other file of the batch has either.

    Raises:
        SourceError: ``Q-OVERLAP``.
    """
    rows = new
    for piece in before:
        if not len(new) or piece.candidate.times[piece.rows[-1]] < candidate.times[new[0]]:
            continue
        _compare(rows_of(candidate.fields[name], new), piece)
        rows = rows[~np.isin(candidate.times[rows], piece.times)]
    return rows


def _compare(field: xr.DataArray, piece: Piece) -> None:
    other = rows_of(piece.candidate.fields[field.name], piece.rows)
    common, mine, theirs = np.intersect1d(field["time"].values, other["time"].values, return_indices=True)
    if len(common) and not same_values(rows_of(field, mine), rows_of(other, theirs), "time"):
        raise SourceError(
            "Q-OVERLAP",
            f"variable {field.name!r} has other values than {piece.candidate.path.name} between "
            f"{time_text(common[0])} and {time_text(common[-1])}, expected the same; remove one of them, or, with "
            "source.revise=accept, ingest once more for it to revise the other",
        )


def joined(pieces: Mapping[str, Sequence[Piece]], run: Times) -> xr.Dataset:
    """The fields at the times of `run`, each of which some piece has of every variable.

    A dataset is made once, at the end: one for each piece takes as long as reading a small file.
    """
    first = next(iter(pieces.values()))[0].candidate.fields
    fields: dict[str, xr.Variable] = {}
    for name, row in pieces.items():
        parts = [(piece, rows) for piece in row if len(rows := piece.rows_at(run))]
        frames = [rows_of(piece.candidate.fields.variables[name], rows) for piece, rows in parts]
        whole = xr.Variable.concat(frames, "time")  # type: ignore[no-untyped-call]
        # a file may have filled a gap within another one
        times = np.concatenate([piece.candidate.times[rows] for piece, rows in parts])
        fields[name] = whole if np.array_equal(times, run) else whole.isel(time=np.argsort(times))
    still = {name: data for name, data in first.coords.variables.items() if "time" not in data.dims}
    return xr.Dataset(fields, {"time": ("time", run, first.variables["time"].attrs), **still}, first.attrs)


def rows_of(fields: Any, rows: np.ndarray[Any, np.dtype[np.intp]]) -> Any:
    """Frames by number; as a slice where they follow each other, which copies nothing."""
    whole = len(rows) > 0 and rows[-1] - rows[0] == len(rows) - 1
    return fields.isel(time=slice(int(rows[0]), int(rows[-1]) + 1) if whole else rows)
