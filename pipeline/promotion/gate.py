"""The gate: whether a challenger may become champion, and why, in words.

What lives here: `judge` and its `Verdict`. What does not: the comparison of errors (`comparison`), moving aliases
(`transaction`).

    verdict = judge(challenger_scores, champion_scores, PromotionConfig())
    verdict.promote, verdict.reasons

A challenger is promoted if all of these hold: both were scored on the same cases, and enough of them; all its errors
are finite; its mean log-ratio of RMSE to persistence is below zero; its mean log-ratio of RMSE to the champion's, over
variables and lead times, is below zero by at least the gain, with an interval that excludes zero; and at no variable
and lead time is its RMSE higher by more than the tolerance with an interval that excludes zero. A tie is no promotion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from ..comparison import Comparison, Interval, compare, size_text
from ..config_operations import PromotionConfig
from ..errors import ComparisonError
from ..scorecard import Scorecard

_SHOWN = 3  # of the variables and lead times that are worse


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Attributes:
        promote: Whether the challenger is to become champion.
        reasons: Sentences: all that speak against it or, where nothing does, what speaks for it.
        numbers: What the reasons rest on: changes in per cent of RMSE, negative where the challenger is better.
    """

    promote: bool
    reasons: tuple[str, ...]
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The reasons as one paragraph."""
        return " ".join(self.reasons)


def judge(challenger: Scorecard, champion: Scorecard | None, rules: PromotionConfig) -> Verdict:
    """Decide whether a challenger becomes champion.

    Args:
        challenger: Its scores.
        champion: The champion's scores on the same cases; None: there is no champion.
        rules: The section `promotion` of the configuration.
    """
    if sentence := _not_finite(challenger):
        return Verdict(False, (sentence,), {"cases": float(challenger.cases)})
    try:
        found = compare(
            champion or challenger,
            challenger,
            seed=rules.seed,
            draws=rules.draws,
            block=rules.block,
            confidence=rules.confidence,
            variables=rules.variables,
        )
    except ComparisonError as error:
        return Verdict(False, (f"It cannot be compared with the champion: {error}.",))
    numbers = _numbers(found, champion is not None)
    against = [_few_cases(found, rules), _against_persistence(found)]
    if champion is not None:
        against += [_against_champion(found, rules), _worse_somewhere(found, rules)]
    reasons = tuple(sentence for sentence in against if sentence)
    if reasons:
        return Verdict(False, reasons, numbers)
    return Verdict(True, _in_favour(found, rules, champion is not None), numbers)


def _not_finite(scorecard: Scorecard) -> str:
    """Where the model has no finite error although there is a truth; empty where nowhere."""
    mse = scorecard.scores["mse"].transpose("source", "variable", "lead_time", "case").sel(source="model")
    scored = np.isfinite(scorecard.scores["mse"].sel(source="persistence").transpose(*mse.dims).values)
    bad = scored & ~np.isfinite(mse.values)
    if not scored.any():
        return "No case could be scored: there is no truth at any of them."
    if not bad.any():
        return ""
    variable, lead = (int(index) for index in np.argwhere(bad.any(axis=-1))[0])
    name, label = scorecard.scores["long_name"].values[variable], scorecard.leads.labels[lead]
    return (
        f"Its forecasts are not finite: {name} at {label} in {int(bad[variable, lead].sum())} of {scorecard.cases} "
        f"cases, {int(bad.any(axis=-1).sum())} of {bad[..., 0].size} combinations of variable and lead time in all."
    )


def _few_cases(found: Comparison, rules: PromotionConfig) -> str:
    if found.cases >= rules.minimum_cases:
        return ""
    return (
        f"{found.cases} test cases are too few to decide on, {rules.minimum_cases} are needed; lengthen the test "
        "split or lower promotion.minimum_cases."
    )


def _against_persistence(found: Comparison) -> str:
    change = found.against["b", "persistence"]
    if change.estimate < 0:
        return ""
    if math.isnan(change.estimate):
        return "It cannot be compared with persistence: one of the two has no error anywhere."
    return f"It does not beat persistence: its RMSE is {found.in_words(change)}."


def _against_champion(found: Comparison, rules: PromotionConfig) -> str:
    change = found.primary
    if math.isnan(change.estimate):
        return "It cannot be compared with the champion: one of the two has no error anywhere."
    if change.lower == change.upper == 0:
        return "It forecasts exactly as the champion does."
    text = f"its RMSE is {found.in_words(change)}."
    if change.worse:
        return f"It is worse than the champion: {text}"
    if not change.better:
        return f"It is not certain to be better than the champion: {text}"
    if change.percent[0] > -100 * rules.gain:
        return (
            f"It is better than the champion by less than the {size_text(100 * rules.gain)} that make a change: {text}"
        )
    return ""


def _worse_somewhere(found: Comparison, rules: PromotionConfig) -> str:
    table = found.table
    bad = (table["change"] > math.log1p(rules.tolerance)) & (table["lower"] > 0)
    places = np.argwhere(bad.values)
    if not len(places):
        return ""
    worst = sorted(places.tolist(), key=lambda place: -float(table["change"].values[*place]))
    shown = "; ".join(_place(found, *place) for place in worst[:_SHOWN])
    more = f"; and at {len(worst) - _SHOWN} more" if len(worst) > _SHOWN else ""
    tolerated = size_text(100 * rules.tolerance)
    return f"Its RMSE is higher than the champion's by more than the {tolerated} tolerated: {shown}{more}."


def _place(found: Comparison, variable: int, lead: int) -> str:
    here = found.table.isel(variable=variable, lead_time=lead)
    change = Interval(*(float(here[name]) for name in ("change", "lower", "upper")))
    return f"{here['long_name'].item()} at {found.leads.labels[lead]} {found.in_words(change)}"


def _in_favour(found: Comparison, rules: PromotionConfig, champion: bool) -> tuple[str, ...]:
    persistence = f"Against persistence its RMSE is {found.in_words(found.against['b', 'persistence'])}."
    if not champion:
        return "There is no champion yet.", persistence
    many = _many(rules, found.table["change"].shape)
    return (
        f"It is better than the champion: its RMSE is {found.in_words(found.primary)}, on average over {many}.",
        f"At no variable and lead time is it worse by more than {size_text(100 * rules.tolerance)}.",
        persistence,
    )


def _many(rules: PromotionConfig, shape: tuple[int, ...]) -> str:
    variables = len(rules.variables) or shape[0]
    return f"{variables} variable{'s' * (variables > 1)} and {shape[1]} lead time{'s' * (shape[1] > 1)}"


def _numbers(found: Comparison, champion: bool) -> dict[str, float]:
    """The figures behind the verdict under flat names."""
    intervals = {"against_persistence": found.against["b", "persistence"]}
    if champion:
        intervals["against_champion"] = found.primary
    numbers = {"cases": float(found.cases), "block": float(found.block), "confidence": found.confidence}
    for name, change in intervals.items():
        for end, value in zip(("", "_lower", "_upper"), change.percent, strict=True):
            numbers[f"{name}{end}"] = value
    if champion:
        numbers["worst_change"] = 100 * float(np.expm1(np.nanmax(found.table["change"].values, initial=-np.inf)))
    return {name: value for name, value in numbers.items() if math.isfinite(value)}
