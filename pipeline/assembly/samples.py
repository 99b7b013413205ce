"""Joining files of simulations along `sample`, in the order of the numbers their samples carry.

assembly = assemble_samples(candidates, archived=None, places={})
sample_numbers(fields)                       # (first, last)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import xarray as xr

from ..errors import SourceError
from ..rejection import Rejection
from .candidate import Assembly, Candidate
from .overlap import same_values


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
        if numbers == there and all(same_values(fields[name], other[name], "sample") for name in fields.data_vars):
            return True
        raise SourceError(
            "Q-OVERLAP",
            f"samples {numbers[0]} to {numbers[1]} are there already with other values; give them other "
            "numbers, or ingest them under another name",
        )
    return False


def _concat(parts: Sequence[xr.Dataset], axis: str) -> xr.Dataset:
    if len(parts) == 1:
        return parts[0]
    return xr.concat(
        parts, dim=axis, data_vars="all", coords="minimal", compat="override", join="override", combine_attrs="override"
    )
