from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.exact_sums import Sums, exact_sum

singles = hnp.arrays(np.float32, st.integers(0, 30), elements=st.floats(width=32, allow_nan=True, allow_infinity=True))
doubles = hnp.arrays(np.float64, st.integers(0, 30), elements=st.floats(-1e30, 1e30).filter(lambda x: abs(x) > 1e-60))


def by_fractions(values):
    exact = [Fraction(float(value)) for value in values if np.isfinite(value)]
    return Sums(len(exact), sum(exact, Fraction(0)), sum((one * one for one in exact), Fraction(0)))


@given(st.one_of(singles, doubles))
def test_nothing_is_rounded(values):
    assert Sums.of(values) == by_fractions(values)


def test_what_is_not_chosen_does_not_count():
    values = np.array([[1.0, np.nan, 3.0], [4.0, 5.0, np.inf]])
    assert Sums.of(values, np.array([True, True, False])) == by_fractions([1.0, 4.0, 5.0])


@given(st.lists(singles, max_size=6), st.randoms())
def test_parts_in_any_order_give_the_very_sums_of_the_whole(parts, random):
    added = Sums()
    for part in random.sample(parts, len(parts)):
        added += Sums.of(part)
    assert added == Sums.of(np.concatenate([*parts, np.empty(0, np.float32)]))


@given(singles, singles, singles)
def test_adding_is_associative_and_commutative_and_taking_away_undoes_it(a, b, c):
    x, y, z = map(Sums.of, (a, b, c))
    assert x + y == y + x
    assert (x + y) + z == x + (y + z)
    assert (x + y) - y == x
    assert x - x == Sums()


@given(singles)
def test_survives_json(values):
    assert Sums.from_dict(Sums.of(values).to_dict()) == Sums.of(values)


@pytest.mark.parametrize("spread", [0, 20, 60])
def test_more_values_than_are_summed_at_once(spread):
    rng = np.random.default_rng(spread)
    values = (rng.normal(size=150_001) * 2.0 ** rng.integers(-spread, spread + 1, 150_001)).astype(np.float32)
    assert Sums.of(values) == by_fractions(values)
    assert Sums.of(np.diff(values.astype(np.float64))) == by_fractions(np.diff(values.astype(np.float64)))


def test_a_spike_that_is_taken_away_leaves_no_trace():
    calm, spike = np.random.default_rng(0).normal(size=500).astype(np.float32), np.array([3e38], np.float32)
    assert (Sums.of(calm) + Sums.of(spike)) - Sums.of(spike) == Sums.of(calm)


def test_the_bound_on_how_many_are_summed_at_once_is_met_by_equal_values():
    full = np.full(2**16, np.nextafter(2.0, 0.0))
    assert exact_sum(full) == 2**16 * Fraction(float(full[0]))
    assert exact_sum(-full) == -(2**16) * Fraction(float(full[0]))
