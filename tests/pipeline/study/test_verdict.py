"""Each rule decides what it says, on its own, and says what would change it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.comparison import Interval
from pipeline.study.verdict import ENOUGH, Evidence, decide, nothing_trained

BETTER, WORSE, UNCERTAIN = Interval(-0.2, -0.3, -0.1), Interval(0.2, 0.1, 0.3), Interval(-0.01, -0.1, 0.1)


def evidence(**changes: Any) -> Evidence:
    fields: dict[str, Any] = {
        "cell": "minconvgru",
        "baseline": "damped persistence",
        "change": BETTER,
        "change_text": "18 % lower (95 % interval: 9.5 % to 26 % lower; 40 cases)",
        "cases": 40,
        "minimum_cases": 8,
        "trained_share": 1.0,
        "full_budget": "25m",
        "retraining": 600.0,
        "every": 86_400.0,
        "retraining_text": "10 min",
        "every_text": "24 h",
        "gpu": False,
    }
    return Evidence(**{**fields, **changes})


def test_go_needs_a_better_model_and_a_retraining_that_fits():
    found = decide(evidence())
    assert found.state == "go"
    assert found.changes == ()
    for part in ("Go: minconvgru beats damped persistence", "18 % lower", "takes 10 min", "interval of 24 h"):
        assert part in found.sentence


def test_a_better_model_that_is_too_slow_is_no_go_and_asks_for_a_gpu():
    found = decide(evidence(retraining=172_800.0))
    assert found.state == "no-go"
    assert "A GPU" in found.changes[0]
    assert "2 times as fast" in found.changes[0]
    assert "--every" in found.changes[1]
    assert "faster GPUs" in decide(evidence(retraining=172_800.0, gpu=True)).changes[0]


@pytest.mark.parametrize("change", [WORSE, UNCERTAIN])
def test_what_was_trained_too_little_is_undecided_and_asks_for_time(change):
    found = decide(evidence(change=change, trained_share=0.12))
    assert found.state == "undecided"
    assert "trained for 12% of what" in found.sentence
    assert "--budget 25m" in found.changes[0]


def test_what_was_trained_whole_and_is_worse_is_no_go_and_asks_for_data():
    found = decide(evidence(change=WORSE))
    assert found.state == "no-go"
    assert "More training data." in found.changes


def test_what_was_trained_whole_and_is_uncertain_is_undecided_and_asks_for_cases():
    found = decide(evidence(change=UNCERTAIN))
    assert found.state == "undecided"
    assert found.changes[0].startswith("More test cases")


def test_too_few_cases_decide_nothing():
    for few in (evidence(cases=3), evidence(change=Interval(-0.2, -math.inf, math.inf))):
        found = decide(few)
        assert found.state == "undecided"
        assert "promotion.minimum_cases" in found.changes[0]


def test_no_cell_that_came_to_an_end():
    found = nothing_trained({"minconvgru": "the loss is not finite"})
    assert found.state == "undecided"
    assert "minconvgru: the loss is not finite" in found.sentence


ends = st.tuples(*[st.floats(-2, 2) for _ in range(3)]).map(sorted)


@given(ends, st.integers(0, 50), st.floats(0, 3), st.floats(1, 1e6), st.floats(1, 1e6))
def test_go_exactly_where_all_conditions_hold_and_else_something_would_change_it(order, cases, share, takes, every):
    change = Interval(order[1], order[0], order[2])
    found = decide(evidence(change=change, cases=cases, trained_share=share, retraining=takes, every=every))
    assert (found.state == "go") == (change.upper < 0 and cases >= 8 and takes <= every)
    assert (found.state == "go") == (not found.changes)
    assert found.sentence.endswith(".")
    if found.state == "no-go":
        assert change.upper < 0 or (change.lower > 0 and share >= ENOUGH)
