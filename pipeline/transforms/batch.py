"""The files of a batch through all transforms, in order.

Frames at the end of a file of which nothing is made yet wait: such a file stays open, that is, it is looked at again
with the next ones.

What lives here: the order of the transforms. What does not: the transforms, and what a file needs of those before it
(`stretches`).

    changed = transformed(config, plan, checked, archived)
    changed.made, changed.withheld, changed.failed
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import xarray as xr

from ..assembly import Candidate
from ..config import Config
from ..config_transforms import How
from ..errors import SourceError
from ..executor import DaskScheduler
from ..survey import Points, take_survey
from .coarsening import coarsened
from .deriving import amounts, derived
from .pairing import paired
from .plan import Plan
from .regridding import regridded
from .resampling import Intervals, intervals, resampled
from .stretches import Stretch, Stretches, microseconds


@dataclass
class Changed:
    """What the transforms made of a batch.

    Attributes:
        made: Files with the fields as the archive keeps them.
        withheld: Files none of whose frames are part of a whole interval yet.
        failed: Files that cannot be transformed, and why.
    """

    made: list[Candidate] = field(default_factory=list)
    withheld: list[Candidate] = field(default_factory=list)
    failed: list[tuple[Candidate, SourceError]] = field(default_factory=list)


def transformed(
    config: Config,
    plan: Plan,
    candidates: Sequence[Candidate],
    archived: xr.Dataset | None,
    scheduler: DaskScheduler = "threads",
) -> Changed:
    """All transforms but those of `harmonise`, for the files of a batch.

    Args:
        config: Read is the section source.
        plan: What is made of what.
        candidates: Checked files, with what the plan reads.
        archived: What is there already; its step is that of a file of one frame where nothing is resampled.
        scheduler: What Dask reads with.
    """
    result = Changed()
    whole, waiting = paired(plan, candidates)
    result.withheld += [_waiting(one) for one in waiting]
    ordered = sorted(whole, key=lambda one: (one.times[0], one.path.name))
    stretches = Stretches(config, plan, ordered, archived)
    for one in ordered:
        try:
            made = _made(config, plan, stretches.of(one), scheduler)
        except SourceError as error:
            result.failed.append((one, error))
        else:
            (result.made if made.fields.sizes["time"] else result.withheld).append(made)
    return result


def is_identity(config: Config, plan: Plan) -> bool:
    """Whether nothing is transformed."""
    source = config.source
    return source.coarsen == 1 and source.regrid is None and source.resample is None and not plan.makings


def _made(config: Config, plan: Plan, stretch: Stretch, scheduler: DaskScheduler) -> Candidate:
    """A file as the archive keeps it: with no frame where none can be made yet."""
    one, given = stretch.own, plan.given(stretch.own.surveys)
    if config.source.resample is not None:
        _check_gaps(one)
    last = [making for making in plan.last if making.name in given]
    if stretch.step is None and (config.source.resample is not None or plan.timed(given)):
        return _waiting(one)
    falls = config.quality.actions["Q-ACCUMULATION"] == "off"
    start, fields, absent = _first(plan, stretch, given, falls)
    made_last = {making.name for making in last}
    wanted = [name for name in fields.data_vars if name in given - made_last or any(name in m.inputs for m in last)]
    fields = _in_space(config, fields[wanted].isel(time=slice(start, None)), absent)
    fields, whole = _in_time(config, fields, stretch.step or 0)
    for making in last:
        fields = derived(fields, making)
    times = microseconds(stretch.fields["time"].values)[start:]
    ends = times[whole.start : whole.stop].reshape(-1, whole.frames)[:, -1]
    own = 0 if "sample" in fields.dims else int((ends < microseconds(one.times[:1])[0]).sum())
    # no other file goes on with the time of a sample
    waits = "sample" not in fields.dims
    rest = stretch.fields["time"].values[max(start + whole.stop, stretch.earlier) :] if waits else times[:0]
    result = replace(
        one,
        fields=fields[[name for name in plan.names if name in given]].isel(time=slice(own, None)),
        partners=stretch.partners,
        needed=waits and (len(rest) > 0 or plan.differs(given)),
        rest=rest[0] if len(rest) else None,
        lead=start + whole.start,
    )
    if not result.fields.sizes["time"]:
        return result
    return replace(result, surveys=take_survey(result.fields, scheduler).variables)


def _waiting(one: Candidate) -> Candidate:
    """A file of which nothing can be made yet."""
    return replace(one, fields=one.fields.isel(time=slice(0, 0)), needed=True, rest=one.times[0])


def _first(
    plan: Plan, stretch: Stretch, given: frozenset[str], falls: bool
) -> tuple[int, xr.Dataset, dict[str, Points]]:
    """What is made of the values of the files: from which frame on, the fields, and where they never have values.

    Sums that may fall (net radiation) have no falls that could be taken for rounding.
    """
    start, fields, surveys = 0, stretch.fields, stretch.own.surveys
    absent = {name: survey.always_nan for name, survey in surveys.items()}
    made = {}
    for making in plan.first:
        if making.name not in given:
            continue
        of = fields
        if making.differs:
            (name,) = making.inputs
            begin, sums = amounts(
                fields[name],
                making.variable.accumulated,
                stretch.means[name],
                microseconds(fields["time"].values),
                stretch.step or 0,
                0.0 if falls else surveys[name].highest,
            )
            start, of = max(start, begin), fields.assign({name: sums})
        seconds = None if stretch.step is None else stretch.step / 1e6
        made[making.name] = derived(of, making, seconds)[making.name]
        absent[making.name] = np.logical_or.reduce([surveys[name].always_nan for name in making.inputs])
    return start, fields.assign(made), absent


def _in_space(config: Config, fields: xr.Dataset, absent: dict[str, Points]) -> xr.Dataset:
    source = config.source
    if source.coarsen > 1 or (source.regrid is not None and source.regrid.method != "nearest"):
        _check_directions(fields)
    if source.regrid is not None:
        return regridded(fields, source.regrid, absent)
    return coarsened(fields, source.coarsen, absent)


def _in_time(config: Config, fields: xr.Dataset, step: int) -> tuple[xr.Dataset, Intervals]:
    resample, times = config.source.resample, microseconds(fields["time"].values)
    if resample is None:
        return fields, Intervals(0, len(times), 1, step, times)
    whole = intervals(times, step, resample)
    if whole.start == whole.stop:
        return fields.isel(time=slice(0, 0)), whole
    # a wind is that of the mean components, whatever is made of the others
    usual: How = resample.how if resample.how in ("first", "last") else "mean"
    own = {name: config.variables[name].resample or resample.how for name in config.varying}
    hows = {str(name): own.get(str(name), usual) for name in fields.data_vars}
    _check_directions(fields[[name for name in fields.data_vars if hows[str(name)] not in ("first", "last")]])
    return resampled(fields, whole, resample, hows), whole


def _check_gaps(one: Candidate) -> None:
    """Nothing is missing at times: it would spoil an interval that another file may have to answer for.

    Raises:
        SourceError: ``Q-NAN``.
    """
    for name, survey in one.surveys.items():
        if gaps := int((survey.ever_nan & ~survey.always_nan).sum()):
            raise SourceError(
                "Q-NAN", f"variable {name!r} is missing at times at {gaps} points, where it is resampled; fill the gaps"
            )


def _check_directions(fields: xr.Dataset) -> None:
    """No angle is averaged: the mean of 350 and 10 degrees is not 180.

    Raises:
        SourceError: ``Q-DIRECTION``.
    """
    for name, data in fields.data_vars.items():
        if str(data.attrs.get("standard_name", "")).endswith("direction"):
            raise SourceError(
                "Q-DIRECTION",
                f"variable {name!r} is a direction and would be averaged as a number; derive eastward_wind and "
                "northward_wind of it and the speed, and wind_direction of these",
            )
