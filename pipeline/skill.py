"""Ratios of RMSE over the same cases, and the skill of a model with its interval.

What lives here: log(RMSE / RMSE), and 1 - RMSE / RMSE with a block-bootstrap interval. What does not: the resampling
(`bootstrap`), the scores of a model (`scorecard`), two models (`comparison`).

    skill = skill_interval(mse_of_model, mse_of_persistence)       # both [case, variable, lead_time]
    skill.lower, skill.upper                                       # [variable, lead_time]

Model and baseline have the same cases in each draw. Blocks are as long as the variable needs whose cases are the most
alike, so that one length serves all. The interval is made of log-ratios: its ends are those of log(RMSE / RMSE).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .bootstrap import block_length, interval, resampled_means

DRAWS, CONFIDENCE = 2000, 0.95


@dataclass(frozen=True, eq=False)
class SkillInterval:
    """Skill of a model against a baseline and the ends of its interval, all [variable, lead_time].

    Attributes:
        skill: 1 - RMSE / RMSE of the baseline; NaN where that has no error.
        lower: NaN where there is no skill; -inf where there are fewer than two blocks.
        upper: The other end; 1 where there are fewer than two blocks.
        block: Cases in a block of the bootstrap.
    """

    skill: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    block: int


def skill_interval(
    model: NDArray[np.float64],
    baseline: NDArray[np.float64],
    *,
    seed: int = 0,
    draws: int = DRAWS,
    confidence: float = CONFIDENCE,
) -> SkillInterval:
    """Skill of a model against a baseline with its interval.

    Args:
        model: MSE of each case, [case, variable, lead_time]; what is not finite is left out.
        baseline: The same of the baseline.
        seed: The same seed gives the same interval.
        draws: Draws of the bootstrap.
        confidence: Of the interval.
    """
    cases, shape = len(model), model.shape[1:]
    block = max(
        block_length(mean_difference(baseline[:, number], model[:, number])) for number in range(model.shape[1])
    )
    flat = [errors.reshape(cases, -1) for errors in (model, baseline)]
    means = [finite_means(errors) for errors in flat]
    estimate = np.where(means[1] > 0, log_ratio(*means), np.nan)
    drawn = log_ratio(*(resampled_means(errors, block, draws, seed) for errors in flat))
    ends = interval(estimate, drawn, cases / block, confidence)
    skill, upper, lower = (-np.expm1(values).reshape(shape) for values in (estimate, *ends))
    return SkillInterval(skill, lower, upper, block)


def finite_means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means along the first axis over what is finite; NaN where nothing is."""
    known = np.isfinite(values)
    number = known.sum(axis=0)
    means: NDArray[np.float64] = np.where(known, values, 0.0).sum(axis=0) / np.where(number > 0, number, np.nan)
    return means


def log_ratio(mse: NDArray[np.float64], over: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(RMSE / RMSE); zero where both are."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 0.5 * (np.log(mse) - np.log(over))
    return np.where((mse == 0) & (over == 0), 0.0, ratio)


def mean_difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """What each case adds to the mean over columns of log(RMSE of b / RMSE of a), [case], to first order.

    Args:
        a: MSE of each case, [case, column].
        b: The same of the other.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = 0.5 * (b / finite_means(b) - a / finite_means(a))
    return finite_means(parts.T)
