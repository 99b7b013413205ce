"""One reading of a file's values: what each variable shows, for the checks that decide on it.

What lives here: laying variables out in blocks, reading each value once, and what that reading means. What does not:
the arithmetic of one block (`block_survey`), and the checks (`quality`, `suspicion`).

    survey = take_survey(fields)
    survey.variables["t2m"].highest
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from .block_survey import BlockSurvey, joined, survey_block
from .errors import SourceError
from .executor import DaskScheduler
from .fields import is_whole
from .sources.codecs import remedy, rule_of_unreadable
from .zero_blocks import zero_is_foreign

Series = np.ndarray[Any, np.dtype[np.float64]]
Points = np.ndarray[Any, np.dtype[np.bool_]]
Prints = np.ndarray[Any, np.dtype[np.uint64]]
Counts = np.ndarray[Any, np.dtype[np.intp]]
# what the libraries raise where a block of a file cannot be read
UNREADABLE = (OSError, RuntimeError, ValueError, IndexError, KeyError)


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
