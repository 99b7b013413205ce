from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.sampler import Balanced, ByShards, order

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


@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from([(1, 2), (2, 4), (1, 4), (3, 6), (1, 5), (5, 7)]))
def test_a_step_visits_the_same_windows_on_any_number_of_workers(seed, epoch, worlds_of_two_runs):
    few, many = ([order(seed, epoch, 50, 12, rank, world) for rank in range(world)] for world in worlds_of_two_runs)
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
    with pytest.raises(ConfigError, match="a window for each of 4 workers, got 3"):
        order(0, 0, 30, 3, 0, 4)
    with pytest.raises(ValueError, match="rank"):
        order(0, 0, 30, 4, 2, 2)


def visits(shuffle, count, epoch=0, seed=0):
    return [number for batch in order(seed, epoch, count, 1, 0, 1, shuffle) for number in batch]


@given(st.integers(1, 9), st.integers(1, 12), st.integers(0, 5), st.integers(0, 2**40))
def test_tiles_are_visited_alike_at_any_time(tiles, windows, epoch, seed):
    seen = visits(Balanced(tiles), windows * tiles, epoch, seed)
    assert sorted(seen) == list(range(windows * tiles))
    for first in range(0, len(seen), tiles):
        assert sorted(number % tiles for number in seen[first : first + tiles]) == list(range(tiles))


def test_every_tile_has_its_own_order_of_windows_and_every_round_its_own_order_of_tiles():
    seen = visits(Balanced(4), 80)
    by_tile = {tile: [number // 4 for number in seen if number % 4 == tile] for tile in range(4)}
    assert len({tuple(order_) for order_ in by_tile.values()}) == 4
    rounds = [tuple(number % 4 for number in seen[first : first + 4]) for first in range(0, 80, 4)]
    assert len(set(rounds)) > 10
    assert seen != visits(Balanced(4), 80, epoch=1)


def test_without_tiles_balanced_is_a_permutation_of_its_own():
    assert sorted(visits(Balanced(1), 30)) == list(range(30))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 4), st.integers(0, 3))
def test_shards_are_visited_one_buffer_at_a_time(shards, buffer, epoch):
    shard_of = np.unique(shards, return_inverse=True)[1]
    seen = visits(ByShards(shard_of, buffer), len(shards), epoch)
    assert sorted(seen) == list(range(len(shards)))
    open_, finished = set(), set()
    for number in seen:
        shard = shard_of[number]
        assert shard not in finished
        if shard not in open_ and len(open_) == buffer:
            finished |= open_
            open_ = set()
        open_.add(shard)
        assert len(open_) <= buffer


def test_shards_and_their_windows_come_in_another_order_each_epoch():
    shuffle = ByShards(np.arange(40) // 10, 1)
    one, other = visits(shuffle, 40), visits(shuffle, 40, epoch=1)
    assert one != other
    assert [number // 10 for number in one[::10]] != [number // 10 for number in other[::10]]
    assert one[:10] != sorted(one[:10])


@pytest.mark.parametrize("shuffle", [Balanced(5), ByShards(np.arange(50) // 7, 2)])
@given(st.integers(0, 9), st.integers(0, 9), st.sampled_from([(1, 2), (2, 4), (1, 4), (3, 6), (1, 5), (5, 7)]))
def test_other_shuffles_too_visit_the_same_windows_on_any_number_of_workers(shuffle, seed, epoch, worlds_of_two_runs):
    few, many = (
        [order(seed, epoch, 50, 12, rank, world, shuffle) for rank in range(world)] for world in worlds_of_two_runs
    )
    for step in range(50 // 12):
        visited = [n for batches in few for n in batches[step]]
        assert visited == [n for batches in many for n in batches[step]]
    everything = [n for batches in few for batch in batches for n in batch]
    assert len(set(everything)) == len(everything) == 48


def test_a_shard_is_needed_for_every_window():
    with pytest.raises(ValueError, match="3 windows have a shard, got 4"):
        visits(ByShards(np.zeros(3, dtype=int), 1), 4)
