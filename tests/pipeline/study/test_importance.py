"""Importance: it finds what matters, and does not find what does not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.study import features, importance_of


def made(count, seed=0):
    random = np.random.default_rng(seed)
    return [
        {
            "rate": float(10 ** random.uniform(-4, -2)),
            "noise": float(random.uniform(0, 0.3)),
            "cell": str(random.choice(["a", "b", "c"])),
            "hidden": [int(random.choice([20, 40]))] * int(random.integers(1, 4)),
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("count", [12, 30, 100])
def test_a_best_value_in_the_middle_is_found(count):
    trials = made(count)
    errors = [abs(math.log10(one["rate"]) + 3) + 0.1 for one in trials]
    found = importance_of(trials, errors)
    assert next(iter(found.shares)) == "rate"
    assert found.told("rate")
    assert found.shares["rate"] > 0.8
    assert found.trials == count


def test_a_choice_and_the_width_of_layers_are_found():
    trials = made(40)
    errors = [{"a": 1.0, "b": 3.0, "c": 2.0}[one["cell"]] + one["hidden"][0] / 20 for one in trials]
    found = importance_of(trials, errors)
    assert set(list(found.shares)[:2]) == {"cell", "hidden/width"}
    assert found.told("cell")
    assert found.told("hidden/width")
    assert not found.told("noise")


def test_a_trial_that_failed_counts_as_the_worst():
    trials = made(20)
    errors = [math.inf if one["rate"] > 1e-3 else 0.5 + one["rate"] for one in trials]
    assert importance_of(trials, errors).told("rate")


def test_what_is_chance_is_called_so_in_all_but_a_few_studies():
    """Errors that have nothing to do with the settings: some setting is told in about one study of twenty."""
    random = np.random.default_rng(5)
    wrong = 0
    for seed in range(40):
        found = importance_of(made(12, seed), random.normal(size=12).tolist())
        wrong += any(found.told(name) for name in found.shares)
    assert wrong <= 6  # 99.5 % of all such runs, if it is 5 %


@settings(max_examples=25)
@given(st.lists(st.one_of(st.floats(0.01, 10), st.just(math.inf)), min_size=8, max_size=30), st.integers(0, 99))
def test_shares_are_between_zero_and_one_and_scale_does_not_count(errors, seed):
    trials = made(len(errors), seed)
    found = importance_of(trials, errors)
    if found is None:
        assert len(set(errors)) == 1
        return
    assert all(0 <= share <= 1 for share in found.shares.values())
    assert list(found.shares.values()) == sorted(found.shares.values(), reverse=True)
    again = importance_of(trials, [2 * error for error in errors])
    assert again == found


def test_too_few_trials_tell_nothing():
    trials = made(8)
    errors = [float(number) for number in range(8)]
    assert importance_of(trials[:7], errors[:7]) is None
    assert importance_of(trials, errors) is not None
    assert importance_of([{"seed": 0}] * 8, errors) is None
    assert importance_of([], []) is None


def test_a_setting_with_a_value_for_each_trial_explains_nothing_that_can_be_told():
    trials = [{"cell": str(number)} for number in range(9)]
    assert importance_of(trials, list(range(9))).shares == {"cell": 0.0}


def test_lists_of_numbers_are_lengths_and_means():
    columns = features([{"hidden": [4, 8], "flag": True}, {"hidden": [6], "flag": False}])
    assert columns == {"hidden/depth": [2, 1], "hidden/width": [6.0, 6.0], "flag": [True, False]}
