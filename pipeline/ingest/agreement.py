"""The files of a batch against each other and against the Archive; those that do not fit move to the rejected.

assembly, reference = assemble(config, batch, held)
enforce(config, batch, held, assembly, 0.5)      # SourceError where too much is rejected
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import xarray as xr

from ..assembly import Assembly, Candidate, assemble_samples, assemble_times
from ..completeness import check_levels
from ..config import Config
from ..contents import finished
from ..errors import SourceError
from ..gaps import GapPolicy
from ..holdings import Holdings
from ..meaning import check_meanings, meanings
from ..quality import check_cadence, check_grid, check_mask
from ..reference import Reference, grid_of, reference_of
from ..static_fields import place_statics
from ..suspicion import check_copies
from .batch import Batch
from .rests import gaps_left, left_out, with_rests


def assemble(config: Config, batch: Batch, state: Holdings) -> tuple[Assembly, Reference | None]:
    """The files against each other and against the Archive; those that do not fit move to the rejected."""
    assembly, reference = _assembled(config, batch, state)
    batch.fixed += left_out(assembly, state.archived is None, batch.good)
    return with_rests(assembly, batch.withheld), reference


def _assembled(config: Config, batch: Batch, state: Holdings) -> tuple[Assembly, Reference | None]:
    names = list(config.varying)
    if batch.good:
        grid = grid_of(batch.good, state.archived)
        batch.good = [
            _on_grid(one, grid) for one in batch.passing(batch.good, lambda one: _check_shape(one, grid, names))
        ]
    if not batch.good:
        return Assembly(None), None
    reference = reference_of(batch.good, state.archived, state.nan_points)
    known = meanings([one.fields for one in batch.good], state.archived)
    together = [set(map(str, one.fields.data_vars)) for one in batch.good] + [set(one) for one in state.together]

    gaps = GapPolicy.of(config.quality)

    def check(one: Candidate) -> None:
        batch.warned += batch.leniences[one.path].judged(one.path, partial(check_meanings, one.fields, known))
        check_levels(set(map(str, one.fields.data_vars)), together, config.variables)
        if "sample" not in one.fields.dims:
            check_cadence(one.times, reference.cadence, gaps)
        check_mask(one.surveys, reference.masked, reference.nan_points)

    batch.good = batch.passing(batch.good, check)
    batch.good = batch.passing(batch.good, partial(_check_copies, batch, {}))
    if reference.masked.all():
        raise SourceError("Q-MASK", "no point has values in every variable; check that the files belong together")
    if "sample" in reference.grid.dims:
        return assemble_samples(batch.good, state.archived, state.samples), reference
    revise = config.source.revise == "accept"
    assembly = assemble_times(batch.good, names, state.archived, revise, state.taken, gaps)
    batch.warned += gaps_left(assembly)
    return assembly, reference


def _check_shape(candidate: Candidate, grid: xr.Dataset, names: Iterable[str]) -> None:
    check_grid(candidate.fields, grid)
    missing = [name for name in names if name not in candidate.fields]
    if "sample" in grid.dims and missing:
        raise SourceError(
            "Q-MISSING-VARIABLE",
            f"expected all variables in each file of samples, {missing[0]!r} is missing; it has "
            f"{', '.join(map(str, candidate.fields.data_vars))}",
        )


def _check_copies(batch: Batch, seen: dict[Hashable, tuple[str, Any]], candidate: Candidate) -> None:
    """No frame is one of another file at another time."""
    if "sample" in candidate.fields.dims:
        return

    def check() -> None:
        for name, survey in candidate.surveys.items():
            check_copies(name, survey, candidate.times, candidate.path.name, seen)

    batch.warned += batch.leniences[candidate.path].judged(candidate.path, check)


def _on_grid(candidate: Candidate, grid: xr.Dataset) -> Candidate:
    """With the very coordinates of the reference, which differ at most by rounding."""
    fixed = [dim for dim in grid.dims if dim != "sample" and (dim != "time" or "sample" in grid.dims)]
    wanted = {dim: grid.variables[dim] for dim in fixed}
    pairs = [(axis, candidate.fields.variables[dim]) for dim, axis in wanted.items()]
    if all(axis.identical(own) for axis, own in pairs):  # type: ignore[no-untyped-call]
        return candidate
    return replace(candidate, fields=candidate.fields.assign_coords(wanted))


def enforce(config: Config, batch: Batch, state: Holdings, assembly: Assembly, limit: float) -> None:
    """Stop where more than the share `limit` is rejected, or where a first commit would hold nothing."""
    rejected = [*batch.rejected, *assembly.rejected]
    files = len(batch.rejected) + len(batch.good) + len(batch.skipped) + len(batch.withheld)
    nothing = state.archived is None and assembly.fields is None
    if not nothing and len(rejected) <= limit * files:
        return
    if not rejected:
        rejected = [*batch.waiting, *assembly.waiting]
    if not rejected:
        raise SourceError(
            "Q-NO-FILES", f"no file in {config.source_path} holds a configured variable; correct source.files"
        )
    first = rejected[0]
    others = f", and {len(rejected) - 1} more file(s) were rejected" if len(rejected) > 1 else ""
    reason = (
        "nothing is left to commit"
        if nothing
        else f"{len(rejected)} of {files} files is above source.max_rejected_share"
    )
    raise SourceError(first.rule, f"{first.path.name}: {first.message}{others}; {reason}, the archive is unchanged")


def completed(
    config: Config, batch: Batch, state: Holdings, fields: xr.Dataset | None, reference: Reference
) -> xr.Dataset | None:
    """The fields as they are committed, if any; static fields that do not fit move to the rejected."""
    missing = [name for name in config.of_role("static") if all(name not in one.fields for one in batch.static)]
    if state.archived is None and missing:
        raise SourceError(
            "Q-MISSING-VARIABLE",
            f"static field {missing[0]!r} is in no good file ({batch.rejected[0]}); the archive is unchanged",
        )
    statics, unfit = place_statics(config, batch.static, reference, state.archived)
    batch.static = [one for one in batch.static if all(one.path != rejection.path for rejection in unfit)]
    batch.rejected += unfit
    return None if fields is None else finished(config, fields, reference, state.archived is None, statics)
