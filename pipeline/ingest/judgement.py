"""One file brought to the contract and judged by its values: what is good, what is told of it, what was put right.

What lives here: the order of the checks of one file. What does not: the checks (`quality`, `suspicion`), opening the
file and what becomes of a batch (`batch`).

    judged = judge(config, plan, path, sha256, dataset, {"t2m": "Tair"}, lenience, cache)
    judged.candidate, judged.warned, judged.fixed
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import xarray as xr

from ..assembly import Candidate
from ..config import Config, VariableConfig
from ..errors import SourceError
from ..fields import is_whole
from ..plausible import is_often_zero, tiny_negative
from ..quality import check_finite
from ..rejection import Lenience, Rejection
from ..relations import relations_of
from ..repairs import repairs
from ..rules import RULES
from ..sources import harmonise, in_blocks
from ..sources.units import conversion
from ..survey import VariableSurvey
from ..suspicion import (
    check_frozen,
    check_jumps,
    check_relations,
    check_repeated,
    check_sentinels,
    check_zero,
    check_zero_blocks,
)
from ..tiny_negatives import without_tiny_negatives
from ..transforms import Plan, is_identity
from .cache import Cache
from .derived import bounds


@dataclass(frozen=True)
class Judged:
    """A file that may go in, the warnings of its checks, and its repairs.

    Attributes:
        kept: Whether its values are in memory, so that the file is not read again.
    """

    candidate: Candidate
    warned: list[Rejection]
    fixed: list[Rejection]
    kept: bool


def judge(
    config: Config,
    plan: Plan,
    path: Path,
    sha256: str,
    dataset: xr.Dataset,
    held: Mapping[str, str],
    lenience: Lenience,
    cache: Cache,
) -> Judged:
    """Bring a file to the contract, read every value of it, and check them as the file has them.

    Args:
        config: Read are the sections source and quality.
        plan: What is read of files.
        path: The file.
        sha256: Of its bytes.
        dataset: As it was opened.
        held: Name in the plan to name in the file.
        lenience: What is not to be held against it.
        cache: Keeps what was read where that is what is written.

    Raises:
        SourceError: It breaks a rule that rejects.
    """
    warned, fixed = _findings(dataset, path, lenience)
    fields = _harmonised(config, plan, path, dataset)
    scales = {name: _scale(dataset.variables[source], plan.read[name]) for name, source in held.items()}
    relations = () if "Q-CROSS" in lenience.off else tuple(relations_of(fields, _levels(plan)))
    written = is_identity(config, plan)  # else what is written is not what was read
    survey, known, kept = cache.survey(fields, [relation.excess for relation in relations], keep=written)
    check_finite(survey.variables)
    sizes = {} if "Q-FIX-NEGATIVE" in lenience.off else _tiny(config, plan, fields)
    put_right = list(repairs(dataset, held, fields, cut=config.source.region is not None))
    known, surveys, clipped = without_tiny_negatives(known, survey.variables, sizes)
    put_right += [("Q-FIX-NEGATIVE", message) for message in clipped]
    fixed += [one for rule, message in put_right for one in lenience.repaired(path, rule, message)]
    checks: tuple[Callable[[], None], ...] = (
        *_suspicions(config, plan, known, surveys, scales),
        partial(check_relations, relations, survey.excesses),
    )
    warned += [warning for check in checks for warning in lenience.judged(path, check)]
    if kept and is_whole(known):
        # joining files copies nothing of arrays in blocks; named, as Dask would hash the values for a name
        known = known.chunk(token=sha256)
    return Judged(Candidate(path, sha256, known, surveys), warned, fixed, kept)


def _harmonised(config: Config, plan: Plan, path: Path, dataset: xr.Dataset) -> xr.Dataset:
    """The fields; with their values, of a file that was opened whole."""
    if not is_whole(dataset):
        return harmonise(dataset, plan.read, config.source.region)
    try:
        return harmonise(dataset, plan.read, config.source.region).load()
    except SourceError:
        raise
    except Exception:  # which of its values cannot be read, and why, is told block by block
        return harmonise(in_blocks(config, dataset, path), plan.read, config.source.region)


def _levels(plan: Plan) -> dict[str, float | None]:
    return {name: variable.level for name, variable in plan.read.items()}


def _tiny(config: Config, plan: Plan, fields: xr.Dataset) -> dict[str, float]:
    """For each variable how far below zero a value counts as zero: as configured, else by its standard name."""
    return {
        str(name): config.quality.tiny_negative.get(
            str(name),
            tiny_negative(str(fields.variables[name].attrs.get("standard_name", "")), plan.read[str(name)].units),
        )
        for name in fields.data_vars
    }


def _suspicions(
    config: Config,
    plan: Plan,
    fields: xr.Dataset,
    surveys: Mapping[str, VariableSurvey],
    scales: Mapping[str, tuple[float, float]],
) -> Iterator[Callable[[], None]]:
    """The checks that a configuration may change, in order; variable by variable, so that none hides another."""
    for name, survey in surveys.items():
        alone, variable = {name: survey}, plan.read[name]
        yield partial(check_sentinels, alone, scales)
        yield from bounds(alone, name, variable, fields.variables[name])
        yield partial(check_zero, alone)
        if not is_often_zero(str(fields.variables[name].attrs.get("standard_name", ""))):
            yield partial(check_zero_blocks, alone)
        if variable.derive is None:  # sums stay the same while nothing comes, and fall when they start anew
            yield partial(check_frozen, alone, config.quality.frozen_frames)
            yield partial(check_repeated, alone)
            yield partial(check_jumps, alone, config.quality.max_jump)


def _scale(field: xr.Variable, variable: VariableConfig) -> tuple[float, float]:
    """Slope and offset from the units of a file to those of the Archive."""
    given = str(field.attrs.get("units", variable.units)).strip() or "1"
    return conversion(given, variable.units, water=variable.water)


def _findings(dataset: xr.Dataset, path: Path, lenience: Lenience) -> tuple[list[Rejection], list[Rejection]]:
    """What a source found wrong and left out or put right (its attribute `findings`): told, or a reason to reject.

    Raises:
        SourceError: By configuration.
    """
    warned: list[Rejection] = []
    fixed: list[Rejection] = []
    for rule, message in dataset.attrs.get("findings", ()):
        if RULES[rule].default == "fix":
            fixed += lenience.repaired(path, rule, message)
        else:
            warned += lenience.judged(path, partial(_raise, SourceError(rule, message)))
    return warned, fixed


def _raise(error: SourceError) -> None:
    raise error
