"""Each file of a batch with as much of the files before it as its frames are made of.

A frame of the archive may be made of several frames of the files, and those may lie in several files. It belongs to
the file that holds the last of them, the owner; what it needs of earlier files is put before the owner's own frames,
and the whole goes through the transforms as if it were one file (a stretch).

What lives here: finding and joining what comes before a file. What does not: what is made of it (`batch`).

    stretches = Stretches(config, plan, ordered, archived)
    stretches.of(candidate).fields
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from ..assembly import Candidate
from ..cadence import Cadence, Times, infer
from ..config import Config
from ..errors import SourceError
from ..gaps import GapPolicy
from ..quality import check_cadence
from .plan import Plan
from .resampling import Microseconds


@dataclass(frozen=True)
class Stretch:
    """A file and what is needed of the files before it.

    Attributes:
        own: The file.
        fields: Of all of them, in one row.
        earlier: How many frames are of earlier files.
        partners: Those files.
        means: By variable, of each frame over the grid.
        step: Between the frames, in microseconds; None where it is not known.
    """

    own: Candidate
    fields: xr.Dataset
    earlier: int
    partners: tuple[Candidate, ...]
    means: dict[str, np.ndarray[Any, Any]]
    step: int | None


class Stretches:
    """Finds what comes before each file of a batch.

    Args:
        config: Says over how long frames are joined.
        plan: Says which are made of the frame before.
        ordered: By time.
        archived: What is there already.
    """

    def __init__(self, config: Config, plan: Plan, ordered: Sequence[Candidate], archived: xr.Dataset | None) -> None:
        self._resample, self._plan, self._gaps = config.source.resample, plan, GapPolicy.of(config.quality)
        self._archived = None if self._resample is not None or archived is None else archived["time"].values
        self._holders: dict[Any, tuple[Candidate, int]] = {}
        self._times: dict[Any, list[Times]] = {}
        for one in ordered:
            if "sample" not in one.fields.dims:
                self._times.setdefault(_kind(one), []).append(one.times)
                for place, time in enumerate(microseconds(one.times).tolist()):
                    self._holders.setdefault((_kind(one), time), (one, place))

    def of(self, one: Candidate) -> Stretch:
        """A file and what it needs of those before it.

        Raises:
            SourceError: ``Q-TIME``: its frames are not regular, or cannot make the step that is wanted.
        """
        given = self._plan.given(one.surveys)
        step = self._step(one, given)
        alone = Stretch(one, one.fields, 0, (), {name: survey.means for name, survey in one.surveys.items()}, step)
        differs = self._plan.differs(given)
        if step is None or "sample" in one.fields.dims or not (differs or self._resample):
            return alone
        # all of the interval that the file begins in, and of the one before: what is of no use there is told off
        span = (0 if self._resample is None else 2 * self._resample.seconds * 10**6) + (step if differs else 0)
        first, pieces = int(microseconds(one.times[:1])[0]), list[tuple[Candidate, int]]()
        for time in range(first - step, first - span - 1, -step):
            if (found := self._holders.get((_kind(one), time))) is None:
                break
            pieces.insert(0, found)
        if not pieces:
            return alone
        partners = tuple({id(other): other for other, _ in pieces}.values())
        parts = [
            other.fields.isel(time=[place for whose, place in pieces if whose is other]).assign_coords(
                {dim: one.fields[dim].variable for dim in one.fields.dims if dim != "time"}
            )
            for other in partners
        ]
        joined = xr.concat(
            [*parts, one.fields], "time", data_vars="all", coords="minimal", compat="override", join="override",
            combine_attrs="override",
        ).assign_attrs(one.fields.attrs)  # fmt: skip
        means = {
            name: np.r_[[other.surveys[name].means[place] for other, place in pieces], survey.means]
            for name, survey in one.surveys.items()
        }
        return Stretch(one, joined, len(pieces), partners, means, step)

    def _step(self, one: Candidate, given: frozenset[str]) -> int | None:
        """Microseconds between the frames; None where they do not tell, or nobody asks."""
        if self._resample is None and not self._plan.timed(given):
            return None
        own = infer(one.times)
        check_cadence(one.times, own, self._gaps)
        known = own or infer(self._neighbours(one))
        if known is None:
            return None
        fits = not known.months and self._fits(known)
        if not fits and own is not None:
            wanted = "a fixed number of seconds" if known.months or self._resample is None else self._resample.step
            raise SourceError(
                "Q-TIME", f"its steps of {known} do not make {wanted}; correct source.resample, or leave the file out"
            )
        return round(known.seconds * 10**6) if fits else None

    def _fits(self, known: Cadence) -> bool:
        return self._resample is None or self._resample.seconds * 10**6 % round(known.seconds * 10**6) == 0

    def _neighbours(self, one: Candidate) -> Times:
        """Times that tell the step of a file of a single one."""
        others = np.unique(np.concatenate(self._times.get(_kind(one), [one.times])))
        return others if len(others) > 1 or self._archived is None else self._archived


def microseconds(times: Times) -> Microseconds:
    """Times, or relative seconds, as whole microseconds."""
    if times.dtype.kind == "M":
        return times.astype("datetime64[us]").astype("int64")
    return np.round(times * 1e6).astype("int64")


def _kind(one: Candidate) -> tuple[Any, ...]:
    """What files must share to be put in a row."""
    grid = tuple(one.fields[dim].values.astype("float32").tobytes() for dim in one.fields.dims if dim != "time")
    return tuple(sorted(map(str, one.fields.data_vars))), one.times.dtype.kind, grid
