"""What a Scorecard says, in words.

in_words(scorecard)    # "Over 12 test cases the model beats both persistence and climatology ..."
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..lead_time import LeadTimes
from ..scorecard import Scorecard, ScoreRow
from .unit import Unit


def in_words(scorecard: Scorecard) -> str:
    """One paragraph: for which variables, and up to which lead time, the model is better than the baselines."""
    names = [_in_sentence(str(name)) for name in scorecard.scores["long_name"].values]
    count = f"{scorecard.cases} test case{'s' if scorecard.cases != 1 else ''}"
    intervals = scorecard.skill_intervals
    if any(np.isfinite(found.lower).any() for found in intervals.values()):
        better = np.logical_and.reduce([found.lower > 0 for found in intervals.values()])
        start = f"Over {count} the model is clearly better than every baseline"
    else:
        better = np.logical_and.reduce([found.skill > 0 for found in intervals.values()])
        start = f"Over {count}, too few for intervals, the model's RMSE is below that of every baseline"
    sentences = [f"{start} {_by_variable(names, better, scorecard)}."]
    for name, found in intervals.items():
        lost = [variable for variable, row in zip(names, found.lower > 0, strict=True) if not row.any()]
        if lost:
            whom = "" if len(lost) == len(names) else f" for {_join(lost)}"
            sentences.append(f"It is not clearly better than {name.replace('_', ' ')}{whom} at any lead time.")
    rows = [row for row in scorecard.table(leads=2) if row.variable == scorecard.variables[0]]
    unit = Unit.of([(row.rmse, *row.baselines.values()) for row in rows], rows[0].units)
    sentences.append(f"RMSE of {names[0]}{unit.label}: " + "; ".join(_numbers(row, unit) for row in rows) + ".")
    return " ".join(sentences)


def lead_range(better: Sequence[bool] | NDArray[np.bool_], leads: LeadTimes) -> str:
    """Where a row of booleans over lead times is true, in words: ``from +2 h to +9 h``."""
    places = np.flatnonzero(better)
    labels, last = leads.labels, len(leads.values) - 1
    if len(places) == 0:
        return "at no lead time"
    if len(places) == last + 1:
        return "at every lead time"
    if len(places) == 1:
        return f"at {labels[places[0]]}"
    if places[-1] - places[0] + 1 != len(places):
        return f"at {len(places)} of {last + 1} lead times"
    if places[0] == 0:
        return f"up to {labels[places[-1]]}"
    return f"from {labels[places[0]]} {'on' if places[-1] == last else f'to {labels[places[-1]]}'}"


def _by_variable(names: list[str], both: NDArray[np.bool_], scorecard: Scorecard) -> str:
    """Variables that share a range of lead times are named together, the best first."""
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(both):
        groups.setdefault(lead_range(row, scorecard.leads), []).append(number)
    if len(groups) == 1:
        (text,) = groups
        return text if len(names) == 1 else f"{text} for every variable"
    ordered = sorted(groups.items(), key=lambda group: -int(both[group[1][0]].sum()))
    return "; ".join(f"{text} for {_join([names[number] for number in members])}" for text, members in ordered)


def _numbers(row: ScoreRow, unit: Unit) -> str:
    model, *errors = unit.scaled((row.rmse, *row.baselines.values()))
    named = [f"{error:.3g} of {name.replace('_', ' ')}" for name, error in zip(row.baselines, errors, strict=True)]
    return f"{model:.3g} against {_join(named)} at {row.lead_time}"


def _in_sentence(name: str) -> str:
    """Title Case becomes lower case; words such as SST or U10 stay."""
    return re.sub(r"\b[A-Z](?=[a-z]+\b)", lambda letter: letter.group().lower(), name)


def _join(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
