"""A time budget: read from what was typed, and divided over cells that all train for the same time.

What lives here: arithmetic. What does not: what a cell costs (`probe`), the trainings (`trial`).

    shares = divide(duration("10m", "--budget"), probes, config.training)
    shares.each          # seconds of training steps of every cell

From the budget a reserve is taken away, then what was spent on measuring, then what every cell needs whatever it is
trained for: the start of its process, one validation, the scoring. The rest goes to training steps, with the further
validations that they bring: an epoch of the cell i with steps of E_i seconds ends in V_i seconds of validation, so that
a training of T seconds takes at most T + (T / E_i + 1) V_i, and

    T = ((1 - reserve) budget - measuring - sum(start_i + V_i + scoring_i)) / sum(1 + V_i / E_i).

T is never longer than the configuration as written would train the slowest cell.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..config import TrainingConfig
from ..errors import ConfigError
from .probe import Probe

RESERVE = 0.15  # of the budget, for what takes longer than it was measured to
LEAST_STEPS = 20  # of the slowest cell
LEAST_SECONDS = 1.0  # of training of each
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


@dataclass(frozen=True)
class Shares:
    """What a budget is divided into; seconds over all cells, which add up to it.

    Attributes:
        budget: All of it.
        reserve: For what takes longer than it was measured to.
        measuring: Spent before anything is trained.
        starting: Of the processes.
        validation: At the ends of epochs, at most.
        scoring: Of test cases.
        training: Of steps.
        unused: What is more than the configuration as written would train.
        each: Seconds of training steps of every cell.
    """

    budget: float
    reserve: float
    measuring: float
    starting: float
    validation: float
    scoring: float
    training: float
    unused: float
    each: float

    def parts(self) -> dict[str, float]:
        """What adds up to the budget, in the order of the work."""
        names = ("measuring", "starting", "training", "validation", "scoring", "reserve", "unused")
        return {name: getattr(self, name) for name in names}


def duration(text: str, option: str) -> float:
    """Seconds of ``90s``, ``10m``, ``1h30m``, ``2d``.

    Raises:
        ConfigError: It is no duration, or none at all.
    """
    wanted = text.strip().lower()
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*(min|[smhd])", wanted)
    if not re.fullmatch(r"(\d+(\.\d+)?\s*(min|[smhd])\s*)+", wanted) or not (
        seconds := sum(float(number) * _UNITS[unit] for number, unit in parts)
    ):
        raise ConfigError(f"{option} must be a duration above zero like 90s, 10m, 1h30m or 1d, got {text!r}")
    return seconds


def duration_text(seconds: float) -> str:
    """The shortest duration that is not below, as it would be typed: ``95s``, ``3m``, ``2h30m``."""
    if seconds <= 120:
        return f"{math.ceil(seconds)}s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours}h" * (hours > 0) + f"{minutes}m" * (minutes > 0)


def divide(budget: float, probes: Sequence[Probe], options: TrainingConfig) -> Shares:
    """Give every cell the same time.

    Args:
        budget: Seconds.
        probes: Of all cells.
        options: Of the configuration as written, which none is to be trained longer than.

    Raises:
        ConfigError: It is too small; the least that works is named.
    """
    least = least_budget(probes)
    if budget < least:
        raise ConfigError(
            f"a budget of {duration_text(budget)} is too small for {len(probes)} cells on this machine: the least that "
            f"works is {duration_text(least)} ({_least_in_words(probes)}, {RESERVE:.0%} in reserve); give --budget "
            f"{duration_text(least)} or more, or make scoring cheaper with --set evaluation.stride=N"
        )
    room = (1 - RESERVE) * budget - _fixed(probes)
    each = min(room / _stretch(probes), max(longest(probe, options) for probe in probes))
    further = each * (_stretch(probes) - len(probes))
    return Shares(
        budget=budget,
        reserve=RESERVE * budget,
        measuring=sum(probe.seconds for probe in probes),
        starting=sum(probe.start_seconds for probe in probes),
        validation=sum(probe.validation_seconds for probe in probes) + further,
        scoring=sum(probe.scoring_seconds for probe in probes),
        training=each * len(probes),
        unused=max(0.0, room - each * _stretch(probes)),
        each=each,
    )


def least_budget(probes: Sequence[Probe]) -> float:
    """Seconds with which every cell is trained for a few steps."""
    return budget_for(_least_training(probes), probes)


def budget_for(each: float, probes: Sequence[Probe]) -> float:
    """Seconds that give every cell so many seconds of training steps."""
    return (_fixed(probes) + each * _stretch(probes)) / (1 - RESERVE)


def longest(probe: Probe, options: TrainingConfig) -> float:
    """Seconds of training steps of the configuration as written."""
    whole = options.total_steps(probe.steps) * probe.step_seconds
    return whole if options.max_seconds is None else min(whole, options.max_seconds)


def _least_training(probes: Sequence[Probe]) -> float:
    return max(LEAST_SECONDS, LEAST_STEPS * max(probe.step_seconds for probe in probes))


def _fixed(probes: Sequence[Probe]) -> float:
    """Seconds that do not depend on the time of training."""
    needed = (one.seconds + one.start_seconds + one.validation_seconds + one.scoring_seconds for one in probes)
    return sum(needed)


def _stretch(probes: Sequence[Probe]) -> float:
    """Seconds of steps and validations of all cells for each second of training of every one."""
    return sum(1 + probe.validation_seconds / probe.epoch_seconds for probe in probes)


def _least_in_words(probes: Sequence[Probe]) -> str:
    def total(name: str) -> float:
        return sum(float(getattr(probe, f"{name}seconds")) for probe in probes)

    named = {"measuring": total(""), "starting": total("start_")}
    named |= {"validating": total("validation_"), "scoring": total("scoring_")}
    named["training"] = _least_training(probes) * len(probes)
    return ", ".join(f"{name} {seconds:.0f} s" for name, seconds in named.items())
