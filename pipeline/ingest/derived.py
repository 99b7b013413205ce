"""The checks of variables that are made of others, after they were made; and bounds, which both kinds share.

for check in derived_suspicions(config, plan, candidate):
    check()                                          # SourceError Q-RANGE, Q-ACCUMULATION, ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import xarray as xr

from ..assembly import Candidate
from ..config import Config, VariableConfig
from ..plausible import plausible_range
from ..survey import VariableSurvey
from ..suspicion import check_falls, check_jumps, check_plausible, check_range
from ..transforms import Plan


def bounds(
    alone: Mapping[str, VariableSurvey], name: str, variable: VariableConfig, field: xr.Variable
) -> Iterator[Callable[[], None]]:
    """The checks of the range of one variable, by its configuration or its standard name."""
    standard_name = str(field.attrs.get("standard_name", ""))
    plausible = plausible_range(standard_name, variable.units) if variable.valid_range is None else None
    yield partial(check_range, alone, {name: variable.valid_range})
    yield partial(check_plausible, alone, {name: plausible})


def derived_suspicions(config: Config, plan: Plan, candidate: Candidate) -> Iterator[Callable[[], None]]:
    """The checks that a configuration may change, of what was made of a file."""
    for making in plan.makings:
        if making.name not in candidate.surveys:
            continue
        alone = {making.name: candidate.surveys[making.name]}
        if making.differs:
            yield partial(check_falls, alone)
        yield from bounds(alone, making.name, making.variable, candidate.fields.variables[making.name])
        yield partial(check_jumps, alone, config.quality.max_jump)
