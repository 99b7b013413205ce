"""What one retraining takes on this machine, from what was measured: seconds, money, how often a day.

    retraining = project(config.training, probe, result.step_seconds)
    retraining.total, retraining.per_day, retraining.cost(price_per_hour=0.4)

It is of one process that computes the whole batch. With Ray, its start is added; what more workers gain is not.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..config import TrainingConfig
from ..cost import START_SECONDS, run_seconds
from .probe import Probe

_DAY, _HOUR = 86_400.0, 3600.0


@dataclass(frozen=True)
class Retraining:
    """Seconds of one retraining of the configuration as written.

    Attributes:
        starting: Of processes.
        training: Of all epochs with their validation.
        scoring: Of test cases.
    """

    starting: float
    training: float
    scoring: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.starting + self.training + self.scoring

    @property
    def per_day(self) -> float:
        """How many fit into a day, one after the other."""
        return _DAY / self.total

    @property
    def per_day_text(self) -> str:
        """The same to three digits."""
        return f"{self.per_day:,.0f}" if self.per_day >= 100 else f"{self.per_day:.3g}"

    def cost(self, price_per_hour: float) -> float:
        """Of one, in the money of the price."""
        return self.total / _HOUR * price_per_hour


def project(options: TrainingConfig, probe: Probe, step_seconds: float) -> Retraining:
    """What a retraining takes.

    Args:
        options: Of the configuration as written; patience may end it sooner.
        probe: Of its cell.
        step_seconds: In the mean over a training.
    """
    return Retraining(
        starting=probe.start_seconds + (START_SECONDS if options.workers else 0.0),
        training=run_seconds(options, probe.steps, step_seconds, probe.validation_seconds),
        scoring=probe.scoring_seconds,
    )
