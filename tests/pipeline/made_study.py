"""Probes and trial results of made numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.config import Config, check_config
from pipeline.scorecard import Scorecard
from pipeline.study import CELLS, TrialResult
from pipeline.study.budget import divide
from pipeline.study.limits import Hardware
from pipeline.study.poc import ProofOfConcept, Terms, conclude
from pipeline.study.probe import Probe
from tests.conftest import MadeScorecards


def made_probe(cell: str = "minconvgru", **changes: Any) -> Probe:
    """A step of 50 ms, epochs of 100 steps."""
    fields: dict[str, Any] = {
        "cell": cell,
        "step_seconds": 0.05,
        "parts": {"data wait": 0.002, "forward": 0.02, "backward": 0.025, "optimizer": 0.002, "other": 0.001},
        "steps": 100,
        "validation_seconds": 1.0,
        "scoring_seconds": 4.0,
        "start_seconds": 3.0,
        "seconds": 6.0,
    }
    return Probe(**{**fields, **changes})


def made_result(cell: str, scorecard: Scorecard, validation_error: float = 0.3, **changes: Any) -> TrialResult:
    """A training of 40 seconds in two epochs."""
    fields: dict[str, Any] = {
        "name": cell,
        "cell": cell,
        "hidden": (16, 16),
        "seed": 0,
        "parameters": 12_345,
        "epochs": 2,
        "steps": 800,
        "frames": 32_000,
        "seconds": 40.0,
        "cpu_share": 0.98,
        "peak_bytes": 700_000_000,
        "validation_error": validation_error,
        "checkpoint": Path("none"),
        "key": "key",
        "snapshot_id": "SNAPSHOT",
        "scorecard": scorecard,
        "curve": ((20.0, 2 * validation_error), (40.0, validation_error)),
        "took": 50.0,
    }
    return TrialResult(**{**fields, **changes})


RMSE_OF = {"minconvgru": 1.2, "minconvlstm": 1.0, "minconvexplstm": 1.4, "convgru": 1.1, "convlstm": 1.6}
VALIDATION_OF = {"minconvgru": 0.30, "minconvlstm": 0.25, "minconvexplstm": 0.35, "convgru": 0.28, "convlstm": 0.4}


def made_proof(
    config: Config | None = None,
    price: float | None = None,
    every: float = 86_400.0,
    factor: float = 1.0,
    without: tuple[str, ...] = (),
    leads: int = 4,
    cases: int = 40,
) -> ProofOfConcept:
    """A proof of concept concluded from made results; persistence and climatology have an RMSE of 2."""
    written = config or check_config({"source": {"path": "."}, "training": {"epochs": 8}})
    probes = [made_probe(cell) for cell in CELLS]
    results = [
        made_result(
            cell,
            MadeScorecards()(factor * RMSE_OF[cell], noise=0.2, seed=number, leads=leads, cases=cases),
            VALIDATION_OF[cell],
        )
        for number, cell in enumerate(CELLS)
        if cell not in without
    ]
    failures = dict.fromkeys(without, "the loss is not finite")
    shares = divide(300.0, probes, written.training)
    here = Hardware("a <processor>", 4, 16 * 10**9, "", "")
    return conclude(written, "SNAPSHOT", here, shares, probes, results, failures, Terms(every, price))
