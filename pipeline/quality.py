"""The checks that decide whether a file may go in: one small function per rule, each with an id.

What lives here: rejections and the checks on values, masks, grids and times of fields that were already brought to
the contract. What does not: opening files and the rules broken while doing so (`sources`: Q-EMPTY, Q-NOT-NETCDF,
Q-NOT-ZARR, Q-TRUNCATED, Q-MISSING-VARIABLE, Q-UNITS, Q-DIMENSIONS, Q-TIME, Q-GRID), and joining files (`assembly`:
Q-OVERLAP, Q-GAP), and what a configuration may allow (`suspicion`).

    survey = take_survey(fields).variables             # reads every value once, block by block
    check_finite(survey)                               # SourceError Q-INF

A check raises `SourceError`; `ingest` turns it into the `Rejection` of that file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .block_survey import BlockSurvey, joined, survey_block
from .cadence import Cadence
from .errors import SourceError
from .executor import DaskScheduler
from .fields import is_whole, time_text
from .gaps import NO_GAPS, GapPolicy
from .rules import RULES, Action
from .sources.codecs import remedy, rule_of_unreadable
from .sources.projection import CURVILINEAR
from .zero_blocks import zero_is_foreign

Series = np.ndarray[Any, np.dtype[np.float64]]
Points = np.ndarray[Any, np.dtype[np.bool_]]
Prints = np.ndarray[Any, np.dtype[np.uint64]]
Counts = np.ndarray[Any, np.dtype[np.intp]]
# what the libraries raise where a block of a file cannot be read
UNREADABLE = (OSError, RuntimeError, ValueError, IndexError, KeyError)


@dataclass(frozen=True)
class Rejection:
    """A file that is not taken, the id of the rule it breaks, and what is wrong with it in one sentence.

    Attributes:
        entry: Its name in the quarantine, where it has one.
    """

    rule: str
    path: Path
    message: str
    entry: str = ""

    def __str__(self) -> str:
        found = f"{self.rule}: {self.path.name}: {self.message}"
        if not self.entry:
            return found
        joint = " " if found.endswith("?") else "; "
        return f"{found}{joint}quarantined as {self.entry}, then 'minconv quarantine retry {self.entry}'"


@dataclass(frozen=True)
class Lenience:
    """Rules that do not reject: one that is broken becomes a warning, or nothing.

    Attributes:
        warned: Rules whose breach is told.
        off: Rules that are not looked at.
        strict: Repairs that are not made: a file in need of one is rejected.
    """

    warned: frozenset[str] = frozenset()
    off: frozenset[str] = frozenset()
    strict: frozenset[str] = frozenset()

    def repaired(self, path: Path, rule: str, message: str) -> list[Rejection]:
        """What is told of a repair.

        Raises:
            SourceError: Such repairs are not to be made.
        """
        if rule in self.strict:
            raise SourceError(
                rule, f"{message}: expected nothing to be put right (quality.rules.{rule}: reject); correct the file"
            )
        return [Rejection(rule, path, message)]

    def judged(self, path: Path, check: Callable[[], None]) -> list[Rejection]:
        """The warning that a check of a file comes to, if any.

        Raises:
            SourceError: The file breaks a rule that rejects.
        """
        try:
            check()
        except SourceError as error:
            if error.rule not in self.warned | self.off:
                raise
            return [] if error.rule in self.off else [Rejection(error.rule, path, error.message)]
        return []


def lenience_of(actions: Mapping[str, Action], accepted: frozenset[str]) -> Lenience:
    """What a configuration (`quality.actions`) and a person who accepted a file against rules leave of the rules."""
    warned = frozenset(rule for rule, action in actions.items() if action == "warn")
    off = frozenset(rule for rule, action in actions.items() if action == "off")
    strict = frozenset(rule for rule, action in actions.items() if action == "reject" and RULES[rule].default == "fix")
    return Lenience(warned | accepted, off - accepted, strict - accepted)


@dataclass(frozen=True)
class VariableSurvey:
    """What one reading of a variable showed.

    Attributes:
        always_nan: Points that are NaN in every frame, bool [H, W].
        ever_nan: Points that are NaN in some frame, bool [H, W]; the same object where the two agree.
        lowest: Smallest value, NaN apart; `highest` likewise. Infinite where there is an Inf; NaN where all is NaN.
        means: Mean over the grid, of each frame [T], or of each sample [S, T].
        prints: Fingerprint of each frame: equal frames have equal ones; likewise, [T].
        varied: Whether a frame is finite and not of one value throughout; likewise, [T].
        zero_blocks: Zeros in each frame that make blocks (see `zero_blocks`); likewise, [T].
    """

    always_nan: Points
    ever_nan: Points
    lowest: float
    highest: float
    means: Series
    prints: Prints
    varied: Points
    zero_blocks: Counts

    @property
    def unchanged(self) -> Points:
        """Whether a frame equals the one before, and is not of one value throughout, [T - 1]."""
        same: Points = (self.prints[..., 1:] == self.prints[..., :-1]) & self.varied[..., 1:]
        return same


@dataclass(frozen=True)
class Survey:
    """What one reading of a file showed.

    Attributes:
        variables: By name.
        excesses: For each relation between variables, by how much it is broken at most, in each frame.
    """

    variables: dict[str, VariableSurvey]
    excesses: tuple[Series, ...] = ()


def take_survey(
    fields: xr.Dataset, scheduler: DaskScheduler = "threads", excesses: Sequence[xr.DataArray] = ()
) -> Survey:
    """Read every value once, block by block; fields in memory as they are.

    Args:
        fields: Lazy or in memory, with the grid last.
        scheduler: What Dask computes with.
        excesses: Made of the same fields, which are read once for both.

    Raises:
        SourceError: ``Q-TRUNCATED``: some block cannot be read; ``Q-CODEC``: nothing here decodes it.
    """
    if is_whole(fields):
        variables = {str(name): _judged(survey_block(field.values)) for name, field in fields.data_vars.items()}
        return Survey(variables, tuple(_most(excess).values for excess in excesses))
    return _survey(fields, xr.Dataset(_blockwise(fields, excesses)).compute, scheduler)


def take_survey_and_keep(
    fields: xr.Dataset, scheduler: DaskScheduler = "threads", excesses: Sequence[xr.DataArray] = ()
) -> tuple[Survey, xr.Dataset]:
    """The same, and the fields with the values that were read, so that nothing is read again.

    Args:
        fields: As in `take_survey`; their values must fit in memory.
        scheduler: What Dask computes with.
        excesses: As in `take_survey`.

    Raises:
        SourceError: As `take_survey`.
    """
    if is_whole(fields):
        return take_survey(fields, scheduler, excesses), fields
    kept: dict[str, xr.DataArray] = {}

    def compute(scheduler: DaskScheduler) -> xr.Dataset:
        # one graph of both, in which a block is surveyed while others are read
        variables: dict[Any, Any] = {name: field.variable for name, field in fields.data_vars.items()}
        both = xr.Dataset({**variables, **_blockwise(fields, excesses)}).persist(scheduler=scheduler)
        kept.update({str(name): both[name] for name in fields.data_vars})
        return both.drop_vars(list(kept)).compute(scheduler="synchronous")  # they are there, but for the last step

    survey = _survey(fields, compute, scheduler)
    return survey, fields.assign({name: (data.dims, data.data, data.attrs) for name, data in kept.items()})


def _blockwise(fields: xr.Dataset, excesses: Sequence[xr.DataArray]) -> dict[str, tuple[tuple[str, ...], Any]]:
    """The surveys of the blocks of each field, lazily: dimensions, and one object for each block; and the excesses."""
    surveys: dict[str, tuple[tuple[str, ...], Any]] = {}
    for name, field in fields.data_vars.items():
        cut = field.chunks is None or any(len(sizes) > 1 for sizes in field.chunks[-2:])
        # asked for only where it changes something: it takes as long as all the rest here
        blocks = (field.chunk(dict.fromkeys(field.dims[-2:], -1)) if cut else field).data
        surveys[f"survey of {name}"] = (
            tuple(f"blocks of {name} along {dim}" for dim in field.dims[:-2]),
            blocks.map_blocks(
                _survey_as_array,
                chunks=tuple((1,) * count for count in blocks.numblocks[:-2]),
                drop_axis=[blocks.ndim - 2, blocks.ndim - 1],
                dtype=object,
                meta=np.empty((0,) * (blocks.ndim - 2), object),
            ),
        )
    for number, excess in enumerate(excesses):
        most = _most(excess)
        surveys[f"excess {number}"] = (tuple(map(str, most.dims)), most.data)
    return surveys


def _most(excess: xr.DataArray) -> xr.DataArray:
    """Of each frame; -inf where nothing is there."""
    return excess.fillna(-np.inf).max(excess.dims[-2:])


def _survey_as_array(values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
    result = np.empty((1,) * (values.ndim - 2), object)
    result.flat[0] = survey_block(values)
    return result


def _survey(fields: xr.Dataset, compute: Callable[..., xr.Dataset], scheduler: DaskScheduler) -> Survey:
    try:
        found = compute(scheduler=scheduler)
    except UNREADABLE as error:
        raise _unreadable(fields, error) from error
    variables = {str(name): _judged(joined(found[f"survey of {name}"].values)) for name in fields.data_vars}
    excesses = [str(name) for name in found.data_vars if str(name).startswith("excess ")]
    return Survey(variables, tuple(found[name].values for name in excesses))


def _judged(whole: BlockSurvey) -> VariableSurvey:
    always, ever = whole.always, whole.ever
    lowest, highest = float(whole.lowest.min()), float(whole.highest.max())
    if always.all():
        lowest = highest = float("nan")
    return VariableSurvey(
        always_nan=always,
        ever_nan=always if np.array_equal(always, ever) else ever,
        lowest=lowest,
        highest=highest,
        means=whole.sums / max(1, int((~always).sum())),
        prints=whole.prints,
        varied=(whole.lowest < whole.highest) & np.isfinite(whole.lowest) & np.isfinite(whole.highest),
        zero_blocks=whole.zero_blocks * zero_is_foreign(lowest, highest, float(whole.nearest.min())),
    )


def _unreadable(fields: xr.Dataset, error: BaseException) -> SourceError:
    """Which blocks of which field cannot be read, and why; at worst what was said of the whole."""
    message, cause = "it cannot be read", error
    for name, field in fields.data_vars.items():
        axis = str(field.dims[0])
        stops = [int(stop) for stop in np.cumsum(field.chunksizes.get(axis, (field.sizes[axis],)))]
        spans = list(zip((0, *stops[:-1]), stops, strict=True))
        broken = [(span, found) for span in spans if (found := _failure(field.isel({axis: slice(*span)}))) is not None]
        if broken:
            (start, stop), cause = broken[0]
            message = (
                f"variable {name!r} cannot be read at {axis} {start} to {stop - 1} of {field.sizes[axis]}, expected "
                f"{len(spans)} blocks, read {len(spans) - len(broken)}"
            )
            break
    rule = rule_of_unreadable(cause)
    reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    return SourceError(rule, f"{message} ({reason}); {remedy(rule)}")


def _failure(field: xr.DataArray) -> BaseException | None:
    try:
        field.compute(scheduler="threads")
    except UNREADABLE as error:
        return error
    return None


def check_finite(surveys: Mapping[str, VariableSurvey]) -> None:
    """No value is infinite, and some value is there.

    Raises:
        SourceError: ``Q-INF`` or ``Q-NAN``.
    """
    for name, survey in surveys.items():
        if survey.always_nan.all():
            raise SourceError("Q-NAN", f"variable {name!r} has no values at all, expected some; fetch it again")
        if not np.isfinite([survey.lowest, survey.highest]).all():
            raise SourceError("Q-INF", f"variable {name!r} has infinite values, expected finite ones; correct the file")


def check_mask(surveys: Mapping[str, VariableSurvey], masked: Points, nan_points: Mapping[str, int]) -> None:
    """Values are missing only at permanently masked points, and there where they are missing elsewhere.

    Args:
        surveys: Of one file.
        masked: The permanent mask, True = masked, bool [H, W].
        nan_points: For each variable, at how many points it is permanently missing by itself.

    Raises:
        SourceError: ``Q-NAN`` for gaps in time, ``Q-MASK`` for another mask.
    """
    for name, survey in surveys.items():
        if absent := int((survey.always_nan & ~masked).sum()):
            raise SourceError(
                "Q-MASK",
                f"variable {name!r} is missing throughout at {absent} points that are valid elsewhere, expected "
                "values; check its "
                "mask",
            )
        if gaps := int((survey.ever_nan & ~masked).sum()):
            raise SourceError(
                "Q-NAN",
                f"variable {name!r} is missing at times at {gaps} points outside the permanent mask, expected "
                "values; fill "
                "the gaps",
            )
        found, expected = int((~survey.ever_nan & masked).sum()), int(masked.sum()) - nan_points.get(name, 0)
        if found > expected:
            raise SourceError(
                "Q-MASK",
                f"variable {name!r} has values at {found - expected} points that are masked elsewhere, expected "
                "none; check "
                "its mask",
            )


def check_grid(fields: xr.Dataset, reference: xr.Dataset) -> None:
    """Dimensions and coordinates of space (and of time, within a sample) are those of the reference.

    Raises:
        SourceError: ``Q-DIMENSIONS``, ``Q-GRID`` or ``Q-TIME``.
    """
    found, expected = (_projection(one) for one in (fields, reference))
    if found.startswith(CURVILINEAR) and "lat" in reference.dims:
        raise SourceError(
            "Q-GRID", "its latitudes and longitudes are curvilinear, expected one axis of each; regrid the file"
        )
    if found and expected and found != expected:
        raise SourceError("Q-GRID", f"its grid is {found}, expected {expected}; regrid the file")
    if fields.sizes.keys() != reference.sizes.keys():
        raise SourceError(
            "Q-DIMENSIONS",
            f"dimensions are {', '.join(map(str, fields.sizes))}, expected {', '.join(map(str, reference.sizes))}; "
            "bring it to the same dimensions",
        )
    for dim in map(str, fields.dims):
        if dim == "sample" or (dim == "time" and "sample" not in fields.dims):
            continue
        got, wanted = fields.variables[dim].values, reference.variables[dim].values
        rule = "Q-TIME" if dim == "time" else "Q-GRID"
        if got.shape != wanted.shape:
            raise SourceError(
                rule, f"{len(got)} points along {dim!r}, expected {len(wanted)}; bring it to the same grid"
            )
        if got.dtype.kind != wanted.dtype.kind or not _close(got, wanted):
            raise SourceError(
                rule,
                f"{dim!r} runs from {got[0]} to {got[-1]}, expected {wanted[0]} to {wanted[-1]}; regrid it",
            )
    if fields.variables["time"].dtype.kind != reference.variables["time"].dtype.kind:
        raise SourceError("Q-TIME", "times are relative here and dates elsewhere, or the reverse; make them alike")


def _projection(fields: xr.Dataset) -> str:
    """What lies under the axes of the fields, as `sources.projection` puts it; empty where no variable says so."""
    attributes = [fields.variables[name].attrs for name in fields.data_vars]
    told = [str(each["projection"]) for each in attributes if "projection" in each]
    return told[0] if told else ""


def _close(got: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> bool:
    """Equal within a thousandth of the spacing: coordinates kept in single precision are the same grid."""
    if np.array_equal(got, wanted):
        return True
    if got.dtype.kind == "M":
        return False
    spacing = float(np.abs(np.diff(wanted)).min()) if len(wanted) > 1 else 1.0
    return bool(np.allclose(got, wanted, rtol=0.0, atol=1e-3 * spacing))


def check_cadence(times: np.ndarray[Any, Any], cadence: Cadence | None, gaps: GapPolicy = NO_GAPS) -> None:
    """Neighbouring times of one file are one step apart, but for gaps that are allowed.

    Raises:
        SourceError: ``Q-TIME``.
    """
    count = gaps.row(times, cadence).count
    if count < len(times):
        raise SourceError(
            "Q-TIME",
            f"{time_text(times[count])} follows {time_text(times[count - 1])}, expected steps of {cadence}; "
            "fill the gap, leave the file out, or allow such gaps by quality.longest_gap or quality.allowed_gaps",
        )
