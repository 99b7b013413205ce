"""Which settings explained the validation error of a search, as far as its trials can tell.

    found = importance_of(settings, errors)
    found.shares         # {"training.learning_rate": 0.61, "model.hidden/width": 0.12, ...}
    found.chance         # 0.35: shares below it may be chance

The share of a setting is the adjusted R² of the *ranks* of the errors on that setting alone: on a parabola of its rank
where it takes many numbers, so that a best value in the middle counts, else on the means of its values. Ranks, because
one trial that diverged would otherwise be all that is seen; adjusted, because few trials fit anything. A list of
numbers, as the widths of layers, counts as its length and its mean. What two settings do only together is not seen.

Chance is what remains when the errors are shuffled among the trials: 95 % of the shuffles stay below it with all
settings together, so that ten settings do not give ten chances (the max-T method of Westfall and Young).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

FEWEST_TRIALS = 8
SHUFFLES = 1999
CONFIDENCE = 0.95
_MANY_VALUES = 5  # from so many distinct numbers on a setting is a curve, below it is groups


@dataclass(frozen=True)
class Importance:
    """What each setting explains.

    Attributes:
        shares: Of the variance of the ranks of the errors, 0 to 1, the largest first.
        chance: Shares below it may be chance.
        trials: That it was found from.
    """

    shares: Mapping[str, float]
    chance: float
    trials: int

    def told(self, name: str) -> bool:
        """Whether the share of a setting is above chance."""
        return self.shares[name] > self.chance


def importance_of(settings: Sequence[Mapping[str, Any]], errors: Sequence[float]) -> Importance | None:
    """What each setting explains; None: there are too few trials to tell, or all have the same error.

    Args:
        settings: Of each trial, the same keys.
        errors: Of each trial; infinite where it failed, which counts as the worst.
    """
    count = len(errors)
    columns = {name: column for name, column in features(settings).items() if len({_text(one) for one in column}) > 1}
    if count < FEWEST_TRIALS or len(set(errors)) == 1 or not columns:
        return None
    ranks = pd.Series(list(errors)).rank().to_numpy()
    ranks = (ranks - ranks.mean()) / np.linalg.norm(ranks - ranks.mean())
    random = np.random.default_rng(0)
    shuffled = np.stack([ranks, *(random.permutation(ranks) for _ in range(SHUFFLES))], axis=1)
    shares = {name: _adjusted(_basis(column), shuffled) for name, column in columns.items()}
    largest = np.max([share[1:] for share in shares.values()], axis=0)
    ordered = sorted(((name, float(share[0])) for name, share in shares.items()), key=lambda item: -item[1])
    return Importance(dict(ordered), max(0.0, float(np.quantile(largest, CONFIDENCE))), count)


def features(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """One column for each setting; a list of numbers is two, its length and its mean."""
    columns: dict[str, list[Any]] = {}
    for key in settings[0] if settings else ():
        values = [one[key] for one in settings]
        if all(isinstance(value, list | tuple) and value and all(map(is_number, value)) for value in values):
            columns[f"{key}/depth"] = [len(value) for value in values]
            columns[f"{key}/width"] = [float(np.mean(value)) for value in values]
        else:
            columns[key] = values
    return columns


def is_number(value: Any) -> bool:
    """Whether a value is a number, which true is not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _basis(column: Sequence[Any]) -> NDArray[np.float64]:
    """Orthonormal columns, centred, that span what a setting may explain."""
    if all(map(is_number, column)) and len(set(column)) >= _MANY_VALUES:
        place = pd.Series(list(column)).rank().to_numpy() / len(column)
        spanned = np.stack([place, place**2], axis=1)
    else:
        texts = [_text(one) for one in column]
        spanned = np.array([[text == other for other in sorted(set(texts))] for text in texts], dtype=np.float64)
    left, sizes, _ = np.linalg.svd(spanned - spanned.mean(axis=0), full_matrices=False)
    return left[:, sizes > 1e-9 * max(1.0, float(sizes.max()))]


def _adjusted(basis: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Adjusted R² of each target, 0 at least; 0 as well for a setting of nearly as many values as there are trials."""
    count, free = len(targets), len(targets) - 1 - basis.shape[1]
    if free < 2:
        return np.zeros(targets.shape[1])
    explained = ((basis.T @ targets) ** 2).sum(axis=0)
    adjusted: NDArray[np.float64] = np.maximum(0.0, 1.0 - (1.0 - explained) * (count - 1) / free)
    return adjusted


def _text(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value, sort_keys=True)
