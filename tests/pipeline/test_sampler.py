from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.sampler import order

worlds = st.integers(1, 5)


def all_ranks(seed, epoch, count, share, world, shuffle=True):
    return [order(seed, epoch, count, share * world, rank, world, shuffle) for rank in range(world)]


@given(st.integers(0, 2**40), st.integers(0, 99), st.integers(0, 90), st.integers(1, 4), worlds)
def test_shuffled_ranks_take_equal_full_steps_and_never_repeat(seed, epoch, extra, share, world):
    count = share * world + extra
    ranks = all_ranks(seed, epoch, count, share, world)
    assert {len(batches) for batches in ranks} == {count // (share * world)}
    assert {len(batch) for batches in ranks for batch in batches} == {share}
    seen = Counter(number for batches in ranks for batch in batches for number in batch)
    assert max(seen.values()) == 1
    assert set(seen) <= set(range(count))
    assert len(seen) == count - count % (share * world)


@given(st.integers(0, 90), st.integers(1, 4), worlds)
def test_unshuffled_ranks_visit_everything_once_in_order(count, share, world):
    ranks = all_ranks(0, 0, count, share, world, shuffle=False)
    steps = zip(*ranks, strict=True)
    assert [number for step in steps for batch in step for number in batch] == list(range(count))


@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from([(1, 2), (2, 4), (1, 4), (3, 6)]))
def test_a_step_visits_the_same_windows_on_any_number_of_workers(seed, epoch, worlds_of_two_runs):
    few, many = (all_ranks(seed, epoch, 50, 12 // world, world) for world in worlds_of_two_runs)
    for step in range(50 // 12):
        assert [n for batches in few for n in batches[step]] == [n for batches in many for n in batches[step]]


def test_depends_on_seed_and_epoch_alone():
    first = order(1, 0, 40, 4, 0, 1)
    assert first == order(1, 0, 40, 4, 0, 1)
    assert first != order(1, 1, 40, 4, 0, 1)
    assert first != order(2, 0, 40, 4, 0, 1)


def test_the_order_never_changes_between_releases():
    assert order(0, 0, 6, 2, 0, 1) == [[0, 3], [5, 1], [2, 4]]


def test_every_window_is_visited_in_the_long_run():
    seen = {number for epoch in range(30) for batch in order(0, epoch, 7, 4, 0, 1) for number in batch}
    assert seen == set(range(7))


def test_refuses_training_that_would_make_no_step():
    with pytest.raises(ConfigError, match="3 windows but one step needs 4"):
        order(0, 0, 3, 4, 0, 1)
    with pytest.raises(ConfigError, match="multiple of the number of workers"):
        order(0, 0, 30, 3, 0, 2)
    with pytest.raises(ValueError, match="rank"):
        order(0, 0, 30, 4, 2, 2)
