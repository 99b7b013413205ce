"""What goes into an assembly, and what comes of it: a file that passed its own checks, and what a batch comes to.

candidate = Candidate(path, digest, fields, surveys)
candidate.times
assembly.commits, assembly.complete
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from ..cadence import Times
from ..rejection import Rejection
from ..revision import Revision
from ..survey import VariableSurvey


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
