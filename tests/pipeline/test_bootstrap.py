"""Resampled means and intervals: exact where they can be, and as often right as they say where not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.bootstrap import block_length, interval, resampled_means

SERIES = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e6, 1e6, allow_subnormal=False))


def autocorrelated(cases: int, correlation: float, seed: int) -> np.ndarray:
    """A series of mean zero whose neighbours have this correlation."""
    noise = np.random.default_rng(seed).normal(size=cases + 100)
    series = np.zeros_like(noise)
    for now in range(1, len(noise)):
        series[now] = correlation * series[now - 1] + noise[now]
    return series[100:]


def ends(series: np.ndarray, block: int, draws: int = 300, seed: int = 0) -> tuple[float, float]:
    means = resampled_means(series[:, None], block, draws, seed)
    lower, upper = interval(series.mean(keepdims=True), means, len(series) / block, 0.95)
    return float(lower[0]), float(upper[0])


@given(SERIES, st.integers(1, 50), st.integers(0, 9))
def test_means_lie_within_the_values_and_the_seed_decides(series, block, seed):
    means = resampled_means(series[:, None], block, 50, seed)
    slack = 1e-9 * (1 + np.abs(series).max())
    assert means.shape == (50, 1)
    assert np.all((means >= series.min() - slack) & (means <= series.max() + slack))
    np.testing.assert_array_equal(means, resampled_means(series[:, None], block, 50, seed))


@given(SERIES, st.integers(1, 50))
def test_a_block_as_long_as_the_series_draws_all_of_it(series, more):
    means = resampled_means(series[:, None], len(series) + more, 20, 0)
    np.testing.assert_allclose(means, series.mean(), rtol=1e-9, atol=1e-9 * (1 + np.abs(series).max()))


@given(SERIES, st.integers(1, 12))
def test_all_columns_have_the_same_cases(series, block):
    both = resampled_means(np.stack([series, 3 * series + 5], axis=1), block, 30, 1)
    np.testing.assert_allclose(both[:, 1], 3 * both[:, 0] + 5, rtol=1e-9, atol=1e-6 * (1 + np.abs(series).max()))


def test_cases_are_drawn_in_blocks_that_wrap_around():
    marks = np.eye(10)
    drawn = np.rint(10 * resampled_means(marks, 5, 2000, 0)).astype(int)  # how often each case is in each draw
    assert np.all(drawn.sum(axis=1) == 10)
    starts = np.arange(10)
    blocks = np.stack([np.isin(starts, (start + np.arange(5)) % 10) for start in starts]).astype(int)
    pairs = {tuple(one + two) for one in blocks for two in blocks}
    assert {tuple(row) for row in drawn} <= pairs
    assert {tuple(one + one) for one in blocks} <= {tuple(row) for row in drawn}


def test_draws_do_not_depend_on_how_many_fit_into_memory(monkeypatch):
    values = np.random.default_rng(0).normal(size=(50, 3))
    whole = resampled_means(values, 4, 100, 0)
    monkeypatch.setattr("pipeline.bootstrap._BYTES_AT_ONCE", 16 * 50 * 7)
    np.testing.assert_allclose(resampled_means(values, 4, 100, 0), whole, rtol=1e-12, atol=1e-15)


def test_what_is_not_finite_is_left_out():
    values = np.array([[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan], [np.inf, 7.0]])
    means = resampled_means(values, 1, 400, 0)
    first = means[:, 0][np.isfinite(means[:, 0])]
    assert set(np.round(first, 6)) <= {1.0, 3.0, 2.0, 1.5, 2.5, round(5 / 3, 6), round(7 / 3, 6)}
    assert set(means[np.isfinite(means[:, 1]), 1]) == {7.0}
    assert np.isnan(means[:, 1]).any()


@pytest.mark.parametrize(("correlation", "least", "most"), [(0.0, 5, 9), (0.5, 6, 13), (0.9, 13, 25)])
def test_blocks_are_longer_where_neighbours_are_more_alike(correlation, least, most):
    lengths = [block_length(autocorrelated(100, correlation, seed)) for seed in range(30)]
    assert least <= np.median(lengths) <= most


@given(SERIES)
def test_a_block_is_at_least_the_cube_root_and_at_most_a_quarter(series):
    length = block_length(series)
    assert 1 <= length <= max(1, len(series) // 4)
    if len(series) >= 27:
        assert length >= 3


def test_a_constant_or_unknown_series_has_the_shortest_block():
    assert block_length(np.ones(27)) == 3
    assert block_length(np.full(27, np.nan)) == 1
    assert block_length(np.array([])) == 1


def test_the_interval_of_few_blocks_is_wider_and_of_less_than_two_infinite():
    series = np.random.default_rng(0).normal(size=40)
    means = resampled_means(series[:, None], 1, 1000, 0)
    widths = []
    for blocks in (40.0, 8.0, 4.0, 2.0):
        lower, upper = interval(series.mean(keepdims=True), means, blocks, 0.95)
        widths.append(float(upper[0] - lower[0]))
    assert widths == sorted(widths)
    assert interval(series.mean(keepdims=True), means, 1.9, 0.95) == (-np.inf, np.inf)


def test_the_interval_of_a_normal_mean_is_that_of_student():
    """The textbook interval of an independent sample: mean ± t(n - 1) · s / sqrt(n)."""
    found = np.array([ends(np.random.default_rng(seed).normal(size=30), 1, 1000) for seed in range(60)])
    samples = np.array([np.random.default_rng(seed).normal(size=30) for seed in range(60)])
    half = 2.0452 * samples.std(axis=1, ddof=1) / np.sqrt(30)
    np.testing.assert_allclose(np.diff(found, axis=1)[:, 0] / (2 * half), 1.0, atol=0.12)
    np.testing.assert_allclose((np.diff(found, axis=1)[:, 0] / (2 * half)).mean(), 1.0, atol=0.02)


@pytest.mark.parametrize(("cases", "correlation", "most"), [(12, 0.0, 0.04), (100, 0.0, 0.05), (100, 0.8, 0.09)])
def test_a_tie_is_rarely_taken_for_a_win(cases, correlation, most):
    """2.5 % is what the interval promises; plain resampling of single cases gives 25 % at a correlation of 0.8."""
    wins = 0
    for seed in range(300):
        series = autocorrelated(cases, correlation, seed)
        wins += ends(series, block_length(series), 200, seed)[1] < 0
    assert wins / 300 <= most
