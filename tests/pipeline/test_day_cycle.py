import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.day_cycle import DaySpread

PARTS, SHAPE = 8, (3, 4)


def spread(values, finite=None, first=0):
    days = DaySpread(PARTS, SHAPE)
    slots = (first + np.arange(len(values))) % PARTS
    there = np.ones(values.shape, bool) if finite is None else finite
    days.add(np.where(there, values, 0.0), there, slots)
    means = np.stack([np.nanmean(np.where(there, values, np.nan)[slots == slot], axis=0) for slot in range(PARTS)])
    return days, means


def wave(days, harmonic, noise, seed=0):
    random = np.random.default_rng(seed)
    phase = 2 * np.pi * harmonic * np.arange(PARTS * days) / PARTS
    return 5 + np.cos(phase)[:, None, None] + noise * random.standard_normal((PARTS * days, *SHAPE))


@pytest.mark.parametrize("harmonic", [1, 2, 3, 4])
def test_a_harmonic_of_the_day_is_kept_and_noise_is_not(harmonic):
    days, means = spread(wave(20, harmonic, 0.3))
    assert days.standing_out()[harmonic - 1]
    clean = 5 + np.cos(2 * np.pi * harmonic * np.arange(PARTS) / PARTS)[:, None, None]
    before, after = (np.sqrt(np.mean((one - clean) ** 2)) for one in (means, days.smoothed(means)))
    assert after < before


def test_noise_alone_leaves_the_mean_of_all_hours_mostly():
    kept = [spread(wave(20, 1, 1.0, seed) - wave(20, 1, 0.0) + 5)[0].standing_out().mean() for seed in range(20)]
    assert np.mean(kept) < 0.1


@given(st.integers(0, PARTS - 1), st.integers(0, 2**32 - 1))
def test_power_and_variance_are_those_of_whole_days(first, seed):
    values = np.random.default_rng(seed).standard_normal((5 * PARTS, *SHAPE))
    days, _ = spread(values, first=first)
    start = (PARTS - first) % PARTS
    whole = values[start : start + (len(values) - start - 1) // PARTS * PARTS].reshape(-1, PARTS, *SHAPE)
    rise = values[start + PARTS :: PARTS][: len(whole)] - whole[:, 0]
    lines = rise[:, None] * (np.arange(PARTS) / PARTS)[:, None, None]
    harmonics = np.fft.rfft(whole - lines, axis=1)[:, 1:]
    mean, n = harmonics.mean(axis=0), len(harmonics)
    variance = (np.abs(harmonics - mean) ** 2).sum(axis=0) / (n - 1) / n
    expected = (np.abs(mean) ** 2).sum(axis=(1, 2)) > 2 * variance.sum(axis=(1, 2))
    np.testing.assert_array_equal(days.standing_out(), expected)


def test_days_that_lack_a_value_do_not_count_at_that_point():
    values = wave(6, 1, 0.1)
    finite = np.ones(values.shape, bool)
    finite[3, 0, 0] = False
    wild = values.copy()
    wild[3, 0, 0] = 1e6
    days, means = spread(wild, finite)
    assert list(days._days[0, :2]) == [4, 5]  # the last one has no frame after it
    assert days.standing_out()[0]
    assert np.abs(days.smoothed(means)).max() < 7


def test_a_trend_is_no_cycle():
    days, _ = spread(np.cumsum(np.full((12 * PARTS, *SHAPE), 0.5), axis=0) + wave(12, 1, 0.01))
    assert list(days.standing_out()) == [True, False, False, False]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_too_few_days_all_is_kept(count):
    days, means = spread(wave(count, 2, 0.5))
    np.testing.assert_allclose(days.smoothed(means), means)


def test_the_cycle_stays_within_the_extremes_of_the_means():
    night = np.maximum(0.0, wave(10, 1, 0.2) - 5)
    days, means = spread(night)
    cycle = days.smoothed(means)
    assert cycle.min() >= 0.0
    assert (cycle <= means.max(axis=0)).all()
