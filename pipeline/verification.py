"""Verification: forecasts against the archive at the same valid times, beside the baselines.

What lives here: the errors of every case and their mean. What does not: making forecasts (`forecast`), fitting the
climatology (`climatology`), and reading the result (`scorecard`, whose names are importable from here too).

    scorer = Scorer(["t2m"], lead_times, grid.area_weights(), mask, units={"t2m": "K"})
    scorer.add(prediction, truth, last_frame, climatology, damped, cases=["2017-01-26T00"])
    scorer.result().metrics()

With e = forecast - truth at one point and <.> the area-weighted mean over the scored points of one case: MSE = <e^2>,
MAE = <|e|>, bias = <e>; over cases RMSE = sqrt(mean of MSE), and MAE and bias are plain means. With the anomalies f
and t of forecast and truth from the climatology, the anomaly correlation coefficient of one case is ACC = <f t> /
sqrt(<f^2> <t^2>), not centred, and over cases their mean (Rasp et al. 2024, doi 10.1029/2023MS004019); the climatology
has none.

Points outside the mask are never scored. At the rest all sources are scored on the same points: those where the
truth and the baselines have values; the others are counted as `excluded`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .errors import ForecastError
from .lead_time import LeadTimes
from .scorecard import REFERENCES, SOURCES, Scorecard, ScoreRow, make_scorecard

__all__ = ["REFERENCES", "SOURCES", "ScoreRow", "Scorecard", "Scorer"]


class Scorer:
    """Takes batches of cases and keeps the errors of each; the result does not depend on how cases were batched.

    Args:
        variables: Names along C.
        lead_times: Lead times along L, timedelta64.
        weights: Area weights [H, W], not negative; only their ratios matter.
        mask: True at points to score, [H, W].
        units: Units by variable; none: ``"1"``.
        long_names: Names for people by variable; none: the variable's name.
        attrs: What the scorecard says about itself, e.g. model_version, snapshot_id, climatology.
    """

    def __init__(
        self,
        variables: Sequence[str],
        lead_times: NDArray[np.timedelta64],
        weights: NDArray[np.float64],
        mask: NDArray[np.bool_],
        *,
        units: Mapping[str, str] | None = None,
        long_names: Mapping[str, str] | None = None,
        attrs: Mapping[str, str] | None = None,
    ) -> None:
        if weights.shape != mask.shape:
            raise ValueError(f"weights and mask must have one shape, got {weights.shape} and {mask.shape}")
        self._variables = list(variables)
        self._lead_times = lead_times
        self._points = np.flatnonzero(mask)
        self._grid = mask.shape
        self._weights = np.asarray(weights, dtype=np.float64).reshape(-1)[self._points]
        if not self._weights.sum() > 0:
            raise ForecastError(
                "no grid point can be scored: the mask leaves none, or all have no area; check the mask"
            )
        self._units = dict(units or {})
        self._long_names = dict(long_names or {})
        self._attrs = dict(attrs or {})
        self._cases: list[str] = []
        self._errors: list[NDArray[np.float64]] = []
        self._excluded = np.zeros((len(self._lead_times), len(self._variables)), dtype=np.int64)

    def add(
        self,
        prediction: NDArray[np.floating],
        truth: NDArray[np.floating],
        persistence: NDArray[np.floating],
        climatology: NDArray[np.floating],
        damped: NDArray[np.floating] | None = None,
        cases: Sequence[str] | None = None,
    ) -> None:
        """Score a batch, in physical units.

        Args:
            prediction: [B, L, C, H, W].
            truth: [B, L, C, H, W]; NaN where there is none.
            persistence: The last frame of the history, [B, C, H, W].
            climatology: [B, L, C, H, W].
            damped: Damped persistence, [B, L, C, H, W]; in every batch or in none, and then it is not scored.
            cases: Name of each case, e.g. its init_time; none: its number.

        Raises:
            ForecastError: A prediction is not finite at an unmasked point.
            ValueError: A shape differs.
        """
        count = len(prediction)
        shape = (count, len(self._lead_times), len(self._variables), *self._grid)
        frame = (count, *shape[2:])
        for name, array, wanted in (
            ("prediction", prediction, shape),
            ("truth", truth, shape),
            ("persistence", persistence, frame),
            ("climatology", climatology, shape),
            *([] if damped is None else [("damped persistence", damped, shape)]),
        ):
            if array.shape != wanted:
                raise ValueError(f"{name} must have shape {wanted}, got {array.shape}")
        names = [str(len(self._cases) + number) for number in range(count)] if cases is None else list(cases)
        if len(names) != count:
            raise ValueError(f"{count} cases need as many names, got {len(names)}")
        # Checked before anything is kept, so that a refused batch leaves the scorer as it was.
        predictions = [self._scored_points(case) for case in prediction]
        for name, values in zip(names, predictions, strict=True):
            self._refuse_non_finite(values, name)
        for number, values in enumerate(predictions):
            self._add_case(
                values,
                self._scored_points(truth[number]),
                self._scored_points(persistence[number][None]),
                self._scored_points(climatology[number]),
                *([] if damped is None else [self._scored_points(damped[number])]),
            )
        self._cases += names

    def merge(self, others: Iterable[Scorer]) -> None:
        """Take over, after our own, the cases of Scorers of the same variables, lead times and points."""
        for other in others:
            self._cases += other._cases
            self._errors += other._errors
            self._excluded = self._excluded + other._excluded  # what comes from another process is read-only

    def result(self) -> Scorecard:
        """The Scorecard of all cases so far.

        Raises:
            ForecastError: There were none.
        """
        if not self._cases:
            raise ForecastError("there is no test case to score; make the test split longer or the window shorter")
        errors = np.stack(self._errors)  # [case, score, source, lead, variable]
        with_value = np.isfinite(errors)
        cases = with_value.sum(axis=0)
        means = np.where(with_value, errors, 0.0).sum(axis=0) / np.where(cases > 0, cases, np.nan)
        mse, mae, bias, acc = np.swapaxes(means, -1, -2)
        return make_scorecard(
            rmse=np.sqrt(mse),
            mae=mae,
            bias=bias,
            acc=acc,
            mse=np.swapaxes(errors[:, 0], -1, -2),
            excluded=self._excluded.T.copy(),
            variables=self._variables,
            units=[self._units.get(name, "1") for name in self._variables],
            long_names=[self._long_names.get(name, name) for name in self._variables],
            lead_times=np.asarray(self._lead_times),
            cases=self._cases,
            attrs={**self._attrs, "cases": str(len(self._cases))},
        )

    def _scored_points(self, fields: NDArray[np.floating]) -> NDArray[np.float64]:
        """The unmasked points of [L, C, H, W] as float64 [L, C, P]."""
        return fields.reshape(*fields.shape[:2], -1)[..., self._points].astype(np.float64)

    def _refuse_non_finite(self, values: NDArray[np.float64], case: str) -> None:
        bad = ~np.isfinite(values)
        if not bad.any():
            return
        lead, variable, _ = (int(index) for index in np.argwhere(bad)[0])
        label = LeadTimes.of(self._lead_times).labels[lead]
        raise ForecastError(
            f"the forecast of {self._variables[variable]} at {label} is not finite at "
            f"{int(bad[lead, variable].sum())} of {bad.shape[-1]} points (case {case}), expected numbers everywhere; "
            "the rollout diverged: train with a lower training.learning_rate or with training.closed_loop_steps"
        )

    def _add_case(
        self,
        prediction: NDArray[np.float64],
        truth: NDArray[np.float64],
        persistence: NDArray[np.float64],
        climatology: NDArray[np.float64],
        *damped: NDArray[np.float64],
    ) -> None:
        usable = np.isfinite(truth) & np.isfinite(persistence) & np.isfinite(climatology)
        weights = np.where(usable, self._weights, 0.0)
        total = weights.sum(axis=-1)
        norm = np.where(total > 0, total, np.nan)
        sources = (prediction, persistence, climatology, *damped)
        scores = np.empty((4, len(sources), *usable.shape[:2]))
        true_anomaly = np.where(usable, truth - climatology, 0.0)
        for number, forecast in enumerate(sources):
            error = np.where(usable, forecast - truth, 0.0)
            for row, values in enumerate((error**2, np.abs(error), error)):
                scores[row, number] = (weights * values).sum(axis=-1) / norm
            scores[3, number] = _correlation(np.where(usable, forecast - climatology, 0.0), true_anomaly, weights)
        self._errors.append(scores)
        self._excluded += (~usable).sum(axis=-1)


def _correlation(
    first: NDArray[np.float64], second: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted correlation about zero over the last axis; NaN where one of the two is zero throughout."""
    product, first_power, second_power = (
        (weights * values).sum(axis=-1) for values in (first * second, first**2, second**2)
    )
    spread = np.sqrt(first_power) * np.sqrt(second_power)
    correlation: NDArray[np.float64] = product / np.where(spread > 0, spread, np.nan)
    return correlation
