"""The gates before a training."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config_operations import NightlyConfig
from pipeline.exact_sums import Sums
from pipeline.novelty import Drift, measure_drift
from pipeline.retraining import decide
from pipeline.statistics import Moments, Statistics

NO_DRIFT = Drift({"t2m": 0.1}, {"t2m": 1.0})
FAR = Drift({"t2m": 0.1, "q2m": -4.0}, {"t2m": 1.0, "q2m": 1.0})
ORDINARY = {"champion": True, "new": 24, "revised": 0, "rejected_share": 0.0, "drift": NO_DRIFT, "skill": 0.5}


def test_an_ordinary_night_trains_from_the_champion():
    decision = decide(NightlyConfig(), **ORDINARY)
    assert (decision.train, decision.warm) == (True, True)
    assert decision.reasons == (
        "There are 24 new, which differ from the champion's by 0.1 standard deviations.",
        "Training starts from the champion's weights.",
    )


def test_revised_frames_count_as_new_ones():
    facts = {**ORDINARY, "new": 0, "revised": 3, "drift": None}
    decision = decide(NightlyConfig(), **facts)
    assert (decision.train, decision.reasons[0]) == (True, "There are 3 revised.")
    assert decide(NightlyConfig(min_new=4), **facts).reasons[0].startswith("Nothing is trained: there are 3 revised ")
    assert decide(NightlyConfig(min_new=4), **{**facts, "new": 1}).reasons[0] == "There are 1 new and 3 revised."


@pytest.mark.parametrize(
    ("rules", "facts", "word"),
    [
        ({}, {"new": 0, "drift": None}, "nothing new"),
        ({"min_new": 48}, {}, "48 are needed"),
        ({}, {"rejected_share": 0.5}, "50 % of the night's new files were rejected"),
        ({}, {"rejected_share": 0.5, "champion": False}, "rejected"),
        ({"min_drift": 0.5}, {}, "less than the 0.5"),
    ],
)
def test_what_speaks_against_a_training_is_said(rules, facts, word):
    decision = decide(NightlyConfig(**rules), **{**ORDINARY, **facts})
    assert (decision.train, decision.warm) == (False, False)
    assert word in " ".join(decision.reasons)


@pytest.mark.parametrize(
    ("rules", "facts", "word"),
    [
        ({}, {"champion": False, "new": 240, "drift": None, "skill": None}, "first version"),
        ({"warm_start": False}, {}, "nightly.warm_start is false"),
        ({}, {"changed": ("model", "boundary")}, "model, boundary changed"),
        ({}, {"drift": FAR}, "the champion's scale no longer fits"),
        ({}, {"skill": -0.1}, "does not beat persistence any more"),
    ],
)
def test_what_speaks_against_the_champions_weights_is_said(rules, facts, word):
    decision = decide(NightlyConfig(**rules), **{**ORDINARY, **facts})
    assert (decision.train, decision.warm) == (True, False)
    assert word in " ".join(decision.reasons)


def statistics(values: list[float]) -> Statistics:
    moments = Moments.of([Sums.of(np.array(values))])
    return Statistics(("t2m",), moments, moments)


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=20), st.floats(0.5, 20), st.floats(-100, 100))
def test_drift_is_in_standard_deviations_whatever_the_units(values, scale, offset):
    values = [*values, values[0] + 1.0]
    old = np.array(values)
    found = measure_drift(statistics((old * 2 + 3 * old.std()).tolist()), statistics(old.tolist()))
    again = measure_drift(
        statistics((scale * (old * 2 + 3 * old.std()) + offset).tolist()), statistics((scale * old + offset).tolist())
    )
    assert again.size == pytest.approx(found.size, rel=1e-6, abs=1e-6)
    assert again.spread["t2m"] == pytest.approx(2.0, rel=1e-6)
    assert measure_drift(statistics(values), statistics(values)).size == 0
