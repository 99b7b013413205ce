"""A proof of concept: five cells trained alike on a user's data and machine, and what can be concluded from it.

What lives here: its conclusion as one value, with its JSON form. What does not: the trials it consists of
(`contenders`), the division of the budget (`budget`), the rules of the decision (`verdict`), the page (`report`), the
order of work (`workflows`).

    found = conclude(config, snapshot_id, hardware, shares, probes, results, failures, terms)
    found.decision.sentence
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..comparison import Comparison, Interval, compare
from ..config import Config, PromotionConfig
from ..cost import time_text
from ..scorecard import Reference, Scorecard
from .budget import Shares, budget_for, duration_text, longest
from .contenders import CELLS
from .limits import Hardware, limits, other_work
from .probe import Probe
from .projection import Retraining, project
from .results import TrialResult
from .verdict import Decision, Evidence, decide, nothing_trained

MINCONV = CELLS[:3]


@dataclass(frozen=True)
class Terms:
    """What the user says about retraining.

    Attributes:
        every: Seconds between two retrainings.
        price_per_hour: Of this machine, in any money; None: costs are left out.
    """

    every: float
    price_per_hour: float | None = None


@dataclass(frozen=True, eq=False)
class CellFound:
    """What was found of one cell.

    Attributes:
        probe: What its parts cost.
        result: Of its trial.
        retraining: Projected for the configuration as written.
        compared: Its scorecard with itself, for what it is against the baselines.
    """

    probe: Probe
    result: TrialResult
    retraining: Retraining
    compared: Comparison

    @property
    def against(self) -> dict[Reference, Interval]:
        """log(RMSE of it / RMSE of the baseline) on the primary metric, with its interval, by baseline."""
        return {name: change for (model, name), change in self.compared.against.items() if model == "b"}

    @property
    def cell(self) -> str:
        """Its name."""
        return self.result.cell

    @property
    def hardest(self) -> Reference:
        """The baseline with the smallest RMSE on the primary metric."""
        return max(self.against, key=lambda name: self.against[name].estimate)


@dataclass(frozen=True, eq=False)
class ProofOfConcept:
    """All that was found.

    Attributes:
        name: Of the pipeline.
        snapshot_id: Version of the Archive.
        hardware: That everything ran on.
        shares: What the budget was divided into.
        used: Seconds of the budget that were used.
        terms: What the user said about retraining.
        cells: That came to an end, in the order of `CELLS`.
        failures: The sentence of each that did not.
        chosen: Name of the MinConv cell that is judged; empty: none came to an end.
        decision: Go, no-go or undecided.
        evidence: Further sentences that the decision goes with.
        limits: What limits the chosen cell on this machine, and whether other work slowed the trainings.
    """

    name: str
    snapshot_id: str
    hardware: Hardware
    shares: Shares
    used: float
    terms: Terms
    cells: tuple[CellFound, ...]
    failures: Mapping[str, str]
    chosen: str
    decision: Decision
    evidence: tuple[str, ...]
    limits: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON; numbers that are not finite are null."""
        return {
            "name": self.name,
            "snapshot_id": self.snapshot_id,
            "decision": asdict(self.decision),
            "chosen": self.chosen,
            "evidence": list(self.evidence),
            "limits": list(self.limits),
            "hardware": asdict(self.hardware),
            "budget": {"seconds": self.shares.budget, "used_seconds": self.used, "shares": self.shares.parts()},
            "training_seconds_each": self.shares.each,
            "retraining_interval_seconds": self.terms.every,
            "price_per_hour": self.terms.price_per_hour,
            "cells": [_cell_dict(one, self.terms) for one in self.cells],
            "failures": dict(self.failures),
            "registered": False,
        }


def conclude(
    config: Config,
    snapshot_id: str,
    hardware: Hardware,
    shares: Shares,
    probes: Sequence[Probe],
    results: Sequence[TrialResult],
    failures: Mapping[str, str],
    terms: Terms,
) -> ProofOfConcept:
    """What follows from the trials.

    Args:
        config: As written.
        snapshot_id: The version of the Archive.
        hardware: That they ran on.
        shares: Of the budget.
        probes: Of the cells that could be measured.
        results: Of the trials that came to an end.
        failures: The sentence of each that did not, by cell.
        terms: Of retraining.
    """
    measured = {probe.cell: probe for probe in probes}
    cells = [_found(config, measured[result.cell], result) for result in results]
    candidates = [one for one in cells if one.cell in MINCONV]
    best = min(candidates, key=lambda one: one.result.validation_error, default=None)
    decision, evidence, limiting = nothing_trained(dict(failures)), tuple[str, ...](), tuple[str, ...]()
    if best is not None:
        decision = decide(_evidence(config, best, probes, terms))
        evidence = _beside(config, best, cells)
        shared = other_work(results, hardware, config.training.threads)
        limiting = (*limits(best.probe, best.result, hardware, config.training.threads), *([shared] if shared else []))
    return ProofOfConcept(
        name=config.name,
        snapshot_id=snapshot_id,
        hardware=hardware,
        shares=shares,
        used=sum(probe.seconds for probe in probes) + sum(result.took for result in results),
        terms=terms,
        cells=tuple(cells),
        failures=failures,
        chosen="" if best is None else best.cell,
        decision=decision,
        evidence=evidence,
        limits=limiting,
    )


def _found(config: Config, probe: Probe, result: TrialResult) -> CellFound:
    compared = _compared(config.promotion, result.scorecard, result.scorecard)
    return CellFound(probe, result, project(config.training, probe, result.step_seconds), compared)


def _compared(rules: PromotionConfig, a: Scorecard, b: Scorecard) -> Comparison:
    return compare(
        a,
        b,
        seed=rules.seed,
        draws=rules.draws,
        block=rules.block,
        confidence=rules.confidence,
        variables=rules.variables,
    )


def _evidence(config: Config, best: CellFound, probes: Sequence[Probe], terms: Terms) -> Evidence:
    card, rules, hardest = best.result.scorecard, config.promotion, best.hardest
    whole = longest(replace(best.probe, step_seconds=best.result.step_seconds), config.training)
    return Evidence(
        cell=best.cell,
        baseline=hardest.replace("_", " "),
        change=best.against[hardest],
        change_text=best.compared.in_words(best.against[hardest]),
        cases=card.cases,
        minimum_cases=rules.minimum_cases,
        trained_share=best.result.seconds / whole,
        full_budget=duration_text(budget_for(whole, probes)),
        retraining=best.retraining.total,
        every=terms.every,
        retraining_text=time_text(best.retraining.total),
        every_text=time_text(terms.every),
        gpu=config.training.gpu,
    )


def _beside(config: Config, best: CellFound, cells: Sequence[CellFound]) -> tuple[str, ...]:
    """The chosen cell beside the other baselines, and beside the better of the cells that it is to replace."""
    told = [
        f"Against {name.replace('_', ' ')} the RMSE of {best.cell} is {best.compared.in_words(change)}."
        for name, change in best.against.items()
        if name != best.hardest
    ]
    others = [one for one in cells if one.cell not in MINCONV]
    if others:
        other = min(others, key=lambda one: one.result.validation_error)
        compared = _compared(config.promotion, other.result.scorecard, best.result.scorecard)
        told.append(
            f"Against {other.cell} with as many parameters, trained for the same time, its RMSE is "
            f"{compared.in_words(compared.primary)}; a step takes "
            f"{best.result.step_seconds / other.result.step_seconds:.2g} times as long."
        )
    return tuple(told)


def _cell_dict(found: CellFound, terms: Terms) -> dict[str, Any]:
    result, retraining = found.result, found.retraining
    kept = ("cell", "hidden", "seed", "parameters", "epochs", "steps", "frames", "cpu_share", "peak_bytes")
    projected: dict[str, Any] = {**asdict(retraining), "total": retraining.total, "per_day": retraining.per_day}
    if terms.price_per_hour is not None:
        projected["cost"] = retraining.cost(terms.price_per_hour)
    return {
        **{name: value for name, value in result.to_dict().items() if name in kept},
        "training_seconds": result.seconds,
        "step_seconds": result.step_seconds,
        "step_parts": dict(found.probe.parts),
        "validation_error": result.validation_error,
        "curve": [list(point) for point in result.curve],
        "took_seconds": result.took,
        "retraining": projected,
        "skill": {name: _skill_of(change) for name, change in found.against.items()},
        "scores": _scores(result.scorecard),
    }


def skill_of(change: Interval) -> tuple[float, float, float]:
    """1 - RMSE / RMSE of the baseline with its lower and upper end, from the mean log-ratio."""
    middle, low, high = (-value / 100 for value in change.percent)
    return middle, high, low


def _skill_of(change: Interval) -> dict[str, float | None]:
    return dict(zip(("skill", "lower", "upper"), map(_plain, skill_of(change)), strict=True))


def _scores(card: Scorecard) -> dict[str, Any]:
    """RMSE of model and baselines and skill with intervals, by variable and lead time."""
    table: dict[str, Any] = {"cases": card.cases, "lead_time": list(card.leads.labels), "variables": {}}
    for number, name in enumerate(card.variables):
        errors = card.scores["rmse"].isel(variable=number)
        table["variables"][name] = {
            "units": str(errors["units"].item()),
            "rmse": {source: _row(errors.sel(source=source).values) for source in ("model", *card.references)},
            "skill": {
                reference: {end: _row(getattr(found, end)[number]) for end in ("skill", "lower", "upper")}
                for reference, found in card.skill_intervals.items()
            },
        }
    return table


def _row(values: NDArray[np.float64]) -> list[float | None]:
    return [_plain(float(value)) for value in values]


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
