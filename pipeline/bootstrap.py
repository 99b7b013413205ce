"""The uncertainty of means over test cases that follow each other in time: circular block bootstrap.

What lives here: the length of a block, resampled means, and the interval made of them. What does not: which errors are
compared (`comparison`).

    block = block_length(differences)
    draws = resampled_means(errors, block, draws=2000, seed=0)          # [2000, ...]
    lower, upper = interval(errors.mean(axis=0), draws, len(errors) / block, confidence=0.95)

Neighbouring cases have similar errors, so whole blocks of neighbours are drawn (Künsch 1989, Ann. Statist. 17,
1217-1241), around the end (Politis and Romano 1992). The length of a block follows Wilks (1997, J. Climate 10, 65-82):
L = (n - L + 1) ** (2/3 · (1 - n'/n)) with n'/n = (1 - r) / (1 + r), where r is the correlation of neighbours, corrected
for its bias in short series (Marriott and Pope 1954, Biometrika 41, 390-402); at least the cube root of n, at most a
quarter of n. Percentile intervals of few blocks are too short; they are stretched about the estimate by
sqrt(k / (k - 1)) · t / z, with k blocks and the quantiles of Student's t with k - 1 degrees of freedom and of the
normal distribution (after Hesterberg 2015, Am. Stat. 69, 371-386).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_BYTES_AT_ONCE = 2**26


def block_length(series: NDArray[np.float64]) -> int:
    """Length of a block for a series of one number per case, [n], in order; see the module's rule.

    Numbers that are not finite are left out.
    """
    known = series[np.isfinite(series)]
    count = len(known)
    if count < 3:
        return 1
    correlation = _neighbour_correlation(known)
    corrected = min(correlation + (1 + 4 * correlation) / count, 0.99)
    exponent = 2 / 3 * (1 - (1 - corrected) / (1 + corrected)) if corrected > 0 else 0.0
    length = 1.0
    for _ in range(100):  # to its fixed point
        length = float((count - length + 1) ** exponent)
    shortest = math.ceil(round(math.cbrt(count), 9))
    return max(1, min(max(shortest, round(length)), count // 4))


def resampled_means(values: NDArray[np.float64], block: int, draws: int, seed: int) -> NDArray[np.float64]:
    """Means over cases drawn in blocks, the same cases for all columns.

    Args:
        values: [n, k]; numbers that are not finite are left out of the mean of their column.
        block: Cases in a block.
        draws: Number of resampled means.
        seed: The same seed gives the same draws.

    Returns:
        [draws, k]; NaN where a draw holds no finite number.
    """
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    found = np.empty((draws, values.shape[1]))
    done = 0
    for counts in _counts(len(values), block, draws, seed):
        number = counts @ known
        with np.errstate(invalid="ignore"):
            found[done : done + len(counts)] = (counts @ filled) / np.where(number > 0, number, np.nan)
        done += len(counts)
    return found


def interval(
    estimate: NDArray[np.float64], resampled: NDArray[np.float64], blocks: float, confidence: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper end of the interval about each estimate, [k]; infinite with fewer than two blocks.

    Args:
        estimate: [k].
        resampled: [draws, k].
        blocks: Cases per length of a block.
        confidence: E.g. 0.95.
    """
    with np.errstate(invalid="ignore"):
        low, high = np.quantile(resampled, ((1 - confidence) / 2, (1 + confidence) / 2), axis=0)
        if blocks < 2:
            unknown = np.where(np.isnan(estimate), np.nan, np.inf)
            return -unknown, unknown
        stretch = _stretch(blocks, confidence)
        return estimate - (estimate - low) * stretch, estimate + (high - estimate) * stretch


def _counts(cases: int, block: int, draws: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each case is drawn, [some draws, n], as many draws at once as fit."""
    random = np.random.default_rng(seed)
    at_once = max(1, _BYTES_AT_ONCE // (16 * cases))
    for first in range(0, draws, at_once):
        rows = min(at_once, draws - first)
        starts = random.integers(0, cases, (rows, math.ceil(cases / block)))
        drawn = ((starts[:, :, None] + np.arange(block)) % cases).reshape(rows, -1)[:, :cases]
        flat = drawn + cases * np.arange(rows)[:, None]
        yield np.bincount(flat.ravel(), minlength=rows * cases).reshape(rows, cases).astype(np.float64)


def _neighbour_correlation(series: NDArray[np.float64]) -> float:
    departures = series - series.mean()
    variance = float(departures @ departures)
    return float(departures[1:] @ departures[:-1]) / variance if variance > 0 else 0.0


def _stretch(blocks: float, confidence: float) -> float:
    from scipy.special import stdtrit

    quantile = (1 + confidence) / 2
    return math.sqrt(blocks / (blocks - 1)) * float(stdtrit(blocks - 1, quantile)) / NormalDist().inv_cdf(quantile)
