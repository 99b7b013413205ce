"""What an ingest did (`IngestResult`), or would do (`Rehearsal`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from ..rejection import Rejection


@dataclass(frozen=True)
class IngestResult:
    """What an ingest did.

    Attributes:
        snapshot_id: The newest version of the Archive, made by this ingest or not.
        committed: Files whose values went in, wholly or in part.
        skipped: Files that are in the Archive already.
        rejected: Files that broke a rule; those with bytes to know them by are in quarantine.
        warned: Rules broken by files that were taken all the same.
        fixed: What was put right in files that were taken.
        waiting: Files that are good but cannot go in, wholly or in part, before others arrive.
        ignored: Files that hold none of the configured variables.
        appended: Frames (or samples) added along `dim`; `revised`: frames that got other values; `filled`: frames that
            came for gaps in the Archive.
        coverage: What the Archive holds now, in words.
    """

    snapshot_id: str
    committed: tuple[Path, ...]
    skipped: tuple[Path, ...]
    rejected: tuple[Rejection, ...]
    waiting: tuple[Rejection, ...]
    ignored: tuple[Path, ...]
    appended: int
    dim: str
    coverage: str
    warned: tuple[Rejection, ...] = ()
    fixed: tuple[Rejection, ...] = ()
    revised: int = 0
    filled: int = 0


@dataclass(frozen=True)
class Rehearsal:
    """What an ingest would do.

    Attributes:
        archived: What the Archive holds already, None where there is none.
        fields: What would be appended, lazily; None where there is nothing.
        revised: Frames that would get other values.
        filled: The numbers of frames in gaps that would come.
        good: Files that passed every check of their own.
        skipped: Files that are in the Archive already.
        rejected: Files that break a rule.
        waiting: Files that are good but cannot go in, wholly or in part, before others arrive.
        ignored: Files that hold none of the configured variables.
        warned: Rules broken by good files; `fixed`: what was put right in them.
        refused: Why `ingest` would commit nothing at all, if that is so.
        ranges: Smallest and largest value of each variable in the good files, in the units of the configuration.
    """

    archived: xr.Dataset | None
    fields: xr.Dataset | None
    good: tuple[Path, ...]
    skipped: tuple[Path, ...]
    rejected: tuple[Rejection, ...]
    waiting: tuple[Rejection, ...]
    ignored: tuple[Path, ...]
    ranges: dict[str, tuple[float, float]]
    warned: tuple[Rejection, ...] = ()
    fixed: tuple[Rejection, ...] = ()
    refused: str = ""
    revised: int = 0
    filled: frozenset[int] = frozenset()
