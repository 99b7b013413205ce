"""Two models on the same test cases: by how much the errors of the second differ, and how certain that is.

What lives here: `compare` and its result. What does not: the resampling (`bootstrap`), one model against its baselines
(`skill`), the decision that follows (`promotion`), what made the models differ (`difference`).

    comparison = compare(champion_scorecard, challenger_scorecard)
    comparison.primary.percent        # RMSE of the second in per cent of the first's, with its interval
    comparison.table["change"].sel(variable="t2m")

The change of a variable at a lead time is log(RMSE of B / RMSE of A), RMSE = sqrt(mean over cases of the MSE); the
primary metric is its mean over variables and lead times: no units, no weight for a variable that has large numbers, and
the same size with the opposite sign when A and B change places. Per cent are 100 · (exp(change) - 1). Intervals are of
the paired block bootstrap: in each draw all sources, variables and lead times have the same cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .bootstrap import block_length, interval, resampled_means
from .errors import ComparisonError
from .lead_time import LeadTimes
from .scorecard import Reference, Scorecard
from .skill import CONFIDENCE, DRAWS, finite_means, log_ratio, mean_difference


@dataclass(frozen=True)
class Interval:
    """A mean log-ratio of RMSE with the ends of its interval; below zero the second model is the better one."""

    estimate: float
    lower: float
    upper: float

    @property
    def better(self) -> bool:
        """Whether all of it lies below zero."""
        return self.upper < 0

    @property
    def worse(self) -> bool:
        """Whether all of it lies above zero."""
        return self.lower > 0

    @property
    def percent(self) -> tuple[float, float, float]:
        """Estimate, lower and upper end as the change of RMSE in per cent."""
        return _percent(self.estimate), _percent(self.lower), _percent(self.upper)


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found; B is stated against A.

    Attributes:
        table: `rmse_a`, `rmse_b`, `rmse_persistence` and so on in the variable's units, `change` (see the
            module) and its ends `lower` and `upper`, all (variable, lead_time); coordinates `units`, `long_name`.
        primary: Mean of `change` over the variables that count and all lead times, with its interval.
        against: The same for (model, baseline), e.g. ``against["b", "persistence"]``.
        a: What the first scorecard says about itself: model_name, model_version, snapshot_id, ….
        b: What the second says.
        cases: Number of cases.
        block: Cases in a block of the bootstrap.
        draws: Draws of the bootstrap.
        confidence: Of the intervals, e.g. 0.95.
    """

    table: xr.Dataset
    primary: Interval
    against: dict[tuple[str, Reference], Interval]
    a: dict[str, str]
    b: dict[str, str]
    cases: int
    block: int
    draws: int
    confidence: float

    @property
    def references(self) -> tuple[Reference, ...]:
        """The baselines that both were scored against."""
        return tuple(dict.fromkeys(name for _, name in self.against))

    @property
    def leads(self) -> LeadTimes:
        """The lead times in the unit they read best in."""
        return LeadTimes.of(self.table["lead_time"].values)

    def percent_by_lead(self) -> dict[str, list[float]]:
        """Change of RMSE in per cent by variable, one number for each lead time."""
        names = [str(name) for name in self.table["variable"].values]
        return {name: [_percent(float(value)) for value in self.table["change"].sel(variable=name)] for name in names}

    def in_words(self, change: Interval) -> str:
        """A change with its interval: ``4.2 % lower (95 % interval: 3.1 % to 5.3 % lower; 40 cases)``."""
        middle, low, high = change.percent
        direction = "lower" if middle < 0 else "higher"
        if math.isinf(low) or math.isinf(high) or math.isnan(low):
            ends = "unknown, of so few cases"
        elif max(low, high) <= 0 or min(low, high) >= 0:
            near, far = sorted((abs(low), abs(high)))
            ends = f"{size_text(near)} to {size_text(far)} {direction}"
        else:
            ends = f"{size_text(low)} lower to {size_text(high)} higher"
        interval = f"{100 * self.confidence:g} % interval"
        return f"{size_text(middle)} {direction} ({interval}: {ends}; {self.cases} cases)"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON; numbers that are not finite are null."""
        table = {str(name): _plain(self.table[name].values) for name in self.table.data_vars}
        return {
            "a": self.a,
            "b": self.b,
            "cases": self.cases,
            "block": self.block,
            "draws": self.draws,
            "confidence": self.confidence,
            "primary": _plain_interval(self.primary),
            "against": {f"{model}_{name}": _plain_interval(found) for (model, name), found in self.against.items()},
            "variable": [str(name) for name in self.table["variable"].values],
            "units": [str(units) for units in self.table["units"].values],
            "lead_time": list(self.leads.labels),
            "table": table,
        }


def compare(
    a: Scorecard,
    b: Scorecard,
    *,
    seed: int = 0,
    draws: int = DRAWS,
    block: int | None = None,
    confidence: float = CONFIDENCE,
    variables: Sequence[str] = (),
) -> Comparison:
    """Compare two models that were scored on the same cases.

    Args:
        a: Scores of the first, e.g. the champion.
        b: Scores of the second, e.g. the challenger.
        seed: The same seed gives the same intervals.
        draws: Draws of the bootstrap.
        block: Cases in a block; none: by the rule of `bootstrap`, from the differences of the two.
        confidence: Of the intervals.
        variables: Those that the primary metric counts; empty: all.

    Raises:
        ComparisonError: Cases, variables, lead times or the truth differ, or one of `variables` was not scored.
    """
    _check_same(a, b)
    counted = _counted(a, variables)
    errors = {"a": _errors(a, "model"), "b": _errors(b, "model")}
    references = _references(a, b)
    errors |= {name: _errors(a, name) for name in references}
    chosen = block or block_length(mean_difference(errors["a"][:, counted], errors["b"][:, counted]))
    means = {name: resampled_means(values, chosen, draws, seed) for name, values in errors.items()}
    blocks = a.cases / chosen

    def change(over: str, of: str) -> tuple[NDArray[np.float64], ...]:
        estimate = log_ratio(finite_means(errors[of]), finite_means(errors[over]))
        return estimate, *interval(estimate, log_ratio(means[of], means[over]), blocks, confidence)

    def primary(over: str, of: str) -> Interval:
        estimate = log_ratio(finite_means(errors[of]), finite_means(errors[over]))[counted]
        drawn = log_ratio(means[of], means[over])[:, counted][:, np.isfinite(estimate)]
        mean = finite_means(estimate[:, None])
        lower, upper = interval(mean, finite_means(drawn.T)[:, None], blocks, confidence)
        return Interval(float(mean[0]), float(lower[0]), float(upper[0]))

    return Comparison(
        table=_table(a, errors, *change("a", "b")),
        primary=primary("a", "b"),
        against={(model, name): primary(name, model) for model in ("a", "b") for name in references},
        a=a.attrs,
        b=b.attrs,
        cases=a.cases,
        block=chosen,
        draws=draws,
        confidence=confidence,
    )


def size_text(percent: float) -> str:
    """The size of a number of per cent in two digits: ``4.2 %``, ``45 %``, ``0.31 %``."""
    size = abs(percent)
    if 0 < size < 0.01:
        return "less than 0.01 %"
    return f"{size:.0f} %" if size >= 9.95 else f"{size:.2g} %"


def _check_same(a: Scorecard, b: Scorecard) -> None:
    for name, what in (("variable", "variables"), ("lead_time", "lead times"), ("case", "cases")):
        first, second = a.scores[name].values, b.scores[name].values
        if not np.array_equal(first, second):
            same = len(set(first.tolist()) & set(second.tolist()))
            raise ComparisonError(
                f"{_title(a)} and {_title(b)} must be scored on the same {what}, got {len(first)} and {len(second)} of "
                f"which {same} are the same; score both with the same configuration on the same snapshot"
            )
    for name in _references(a, b):
        if not np.allclose(_errors(a, name), _errors(b, name), rtol=1e-6, atol=0.0, equal_nan=True):
            raise ComparisonError(
                f"{_title(a)} and {_title(b)} must be scored against the same truth, but the errors of {name} differ; "
                "score both with the same configuration on the same snapshot"
            )


def _references(a: Scorecard, b: Scorecard) -> tuple[Reference, ...]:
    """The baselines of both; scorecards of older versions have fewer."""
    return tuple(name for name in a.references if name in b.references)


def _counted(scorecard: Scorecard, variables: Sequence[str]) -> NDArray[np.bool_]:
    """Which columns of the errors the primary metric counts."""
    if unknown := [name for name in variables if name not in scorecard.variables]:
        raise ComparisonError(
            f"the primary metric must be of variables that were scored ({', '.join(scorecard.variables)}), "
            f"got {unknown[0]!r}; correct promotion.variables"
        )
    rows = np.array([not variables or name in variables for name in scorecard.variables])
    return np.repeat(rows, scorecard.scores.sizes["lead_time"])


def _errors(scorecard: Scorecard, source: str) -> NDArray[np.float64]:
    """MSE of each case, [case, variable and lead_time]."""
    mse = scorecard.scores["mse"].sel(source=source).transpose("case", "variable", "lead_time").values
    return mse.reshape(len(mse), -1)


def _table(a: Scorecard, errors: dict[str, NDArray[np.float64]], *change: NDArray[np.float64]) -> xr.Dataset:
    rmse = a.scores["rmse"].isel(source=0, drop=True)
    columns = {f"rmse_{name}": np.sqrt(finite_means(values)) for name, values in errors.items()}
    columns |= dict(zip(("change", "lower", "upper"), change, strict=True))
    return xr.Dataset({name: rmse.copy(data=values.reshape(rmse.shape)) for name, values in columns.items()})


def _title(scorecard: Scorecard) -> str:
    return f"{scorecard.attrs.get('model_name', 'model')} version {scorecard.attrs.get('model_version', '?')}"


def _percent(change: float) -> float:
    return 100 * math.expm1(change) if change < 700 else math.inf


def _plain(values: NDArray[np.float64]) -> Any:
    if values.ndim > 1:
        return [_plain(row) for row in values]
    return [float(value) if math.isfinite(value) else None for value in values]


def _plain_interval(found: Interval) -> dict[str, Any]:
    estimate, lower, upper = _plain(np.array([found.estimate, found.lower, found.upper]))
    return {"estimate": estimate, "lower": lower, "upper": upper}
