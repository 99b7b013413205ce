"""Skill with its interval: exact relations, coverage of a known truth, and what is not known."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.skill import skill_interval


def errors(seed, cases=60, shape=(2, 3)):
    rng = np.random.default_rng(seed)
    shared = rng.gamma(4.0, 0.25, (cases, 1, 1))
    return tuple(shared * rng.gamma(8.0, 0.125, (cases, *shape)) for _ in range(2))


@given(factor=st.floats(0.1, 5.0), seed=st.integers(0, 3))
def test_a_common_factor_is_found_exactly_with_no_uncertainty(factor, seed):
    _, baseline = errors(seed)
    found = skill_interval(factor**2 * baseline, baseline, draws=50)
    for values in (found.skill, found.lower, found.upper):
        np.testing.assert_allclose(values, 1 - factor, atol=1e-9)


@given(seed=st.integers(0, 50))
def test_the_interval_is_about_the_skill_and_the_same_again(seed):
    model, baseline = errors(seed)
    found, again = (skill_interval(model, baseline, draws=200) for _ in range(2))
    expected = 1 - np.sqrt(model.mean(axis=0) / baseline.mean(axis=0))
    np.testing.assert_allclose(found.skill, expected)
    assert np.all((found.lower < found.skill) & (found.skill < found.upper))
    assert np.all(found.upper < 1)
    np.testing.assert_array_equal(found.lower, again.lower)


def test_the_truth_lies_within_about_as_often_as_promised():
    inside = []
    for seed in range(150):
        found = skill_interval(*errors(seed, shape=(1, 1)), draws=300, seed=seed)
        inside.append(bool(found.lower[0, 0] <= 0 <= found.upper[0, 0]))  # both have the same distribution
    assert 0.88 <= np.mean(inside) <= 1.0


def test_the_variable_whose_cases_are_most_alike_sets_the_block():
    model, baseline = errors(1, cases=200)
    slow = np.repeat(errors(2, cases=10)[0][:, :1], 20, axis=0)
    more = np.concatenate((model, slow), axis=1), np.concatenate((baseline, np.ones_like(slow)), axis=1)
    assert skill_interval(*more, draws=50).block > skill_interval(model, baseline, draws=50).block


def test_few_cases_tell_nothing_of_the_uncertainty():
    found = skill_interval(*errors(0, cases=1), draws=50)
    assert np.all(np.isneginf(found.lower))
    assert np.all(found.upper == 1)


def test_without_error_of_the_baseline_or_without_cases_there_is_no_skill():
    model, baseline = errors(0)
    baseline[:, 0, 1], model[:, 1, 2] = 0, np.nan
    found = skill_interval(model, baseline, draws=50)
    for values in (found.skill, found.lower, found.upper):
        np.testing.assert_array_equal(np.isnan(values), [[False, True, False], [False, False, True]])
