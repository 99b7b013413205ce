"""The order in which windows are visited: a pure function of seed, epoch, rank and world size.

What lives here: `order`, and the ways to shuffle: `at_random`, over tiles alike (`Balanced`), shard by shard
(`ByShards`). What does not: the windows themselves (`windows`), reading them (`FrameReader`).

    for batch in order(seed=0, epoch=3, count=len(cases), batch_size=8, rank=1, world_size=2):
        frames, forcing = reader.read([cases[number] for number in batch], length)

Step s of an epoch visits the same windows on any number of workers, so a run may resume at a step with more or fewer of
them and neither loses nor repeats a window.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .errors import ConfigError

Numbers = NDArray[np.intp]
Shuffle = Callable[[int, int, int], Numbers]  # seed, epoch, count -> every number below count, once


def order(
    seed: int,
    epoch: int,
    count: int,
    batch_size: int,
    rank: int,
    world_size: int,
    shuffle: bool | Shuffle = True,
) -> list[list[int]]:
    """Window numbers for every step of one epoch on one rank.

    Step s takes `batch_size` consecutive entries of one order common to all ranks; rank r gets the r-th part of them,
    as equal as whole windows allow. With `shuffle` the remainder that does not fill a step is left out (every rank then
    has the same number of full steps, as gradient averaging needs), a different one in every epoch. Without, nothing is
    left out: the last step may be shorter, and empty on some ranks.

    Args:
        seed: Of the run.
        epoch: Each epoch has its own order.
        count: Number of windows.
        batch_size: Windows of a step over all ranks, at least one each.
        rank: This worker, 0..world_size-1.
        world_size: Number of workers.
        shuffle: Visit in an order of that kind (training; True: `at_random`) or in the given one (scoring).

    Raises:
        ConfigError: There are fewer windows than fill one step of training, or fewer in a batch than workers.
    """
    if batch_size < world_size:
        raise ConfigError(
            f"the batch must have a window for each of {world_size} workers, got {batch_size}; "
            "change training.batch_size or training.workers"
        )
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must lie in 0..{world_size - 1}, got {rank}")
    if shuffle and count < batch_size:
        raise ConfigError(
            f"training has {count} windows but one step needs {batch_size}; make training.batch_size or window.stride "
            "smaller, or ingest more data"
        )
    visit: Shuffle = shuffle if callable(shuffle) else at_random
    numbers = visit(seed, epoch, count) if shuffle else np.arange(count)
    steps = count // batch_size if shuffle else -(-count // batch_size)
    first, last = share_of(batch_size, rank, world_size)
    starts = (step * batch_size for step in range(steps))
    return [numbers[start + first : start + last].tolist() for start in starts]


def share_of(batch_size: int, rank: int, world_size: int) -> tuple[int, int]:
    """First window of a batch that is a worker's, and the one after its last."""
    return rank * batch_size // world_size, (rank + 1) * batch_size // world_size


def at_random(seed: int, epoch: int, count: int) -> Numbers:
    """A random permutation."""
    return np.argsort(_draws(seed, epoch, count), kind="stable")


@dataclass(frozen=True)
class Balanced:
    """Windows of `tiles` tiles, number = window · tiles + tile: of any so many visits in a row that begin a round, each
    goes to another tile, and every tile's windows come in an order of their own.

    So an epoch that ends early, or leaves out its remainder, has still seen all tiles alike.
    """

    tiles: int

    def __call__(self, seed: int, epoch: int, count: int) -> Numbers:
        """The order of an epoch."""
        draws = _draws(seed, epoch, 2 * count).reshape(2, -1, self.tiles)
        windows = np.argsort(draws[0], axis=0, kind="stable")
        tiles = np.argsort(draws[1], axis=1, kind="stable")
        return (np.take_along_axis(windows, tiles, axis=1) * self.tiles + tiles).reshape(-1)


@dataclass(frozen=True, eq=False)
class ByShards:
    """Shards in random order, and within some of them at a time the windows in random order.

    Whoever keeps so many shards in memory decodes each about once in an epoch.

    Attributes:
        shard_of: Number of the shard of every window, from 0 without gaps.
        buffer: Shards whose windows are mixed.
    """

    shard_of: Numbers
    buffer: int

    def __call__(self, seed: int, epoch: int, count: int) -> Numbers:
        """The order of an epoch."""
        if count != len(self.shard_of):
            raise ValueError(f"{len(self.shard_of)} windows have a shard, got {count} windows")
        shards = int(self.shard_of.max(initial=-1)) + 1
        draws = _draws(seed, epoch, shards + count)
        place = np.empty(shards, dtype=np.intp)
        place[np.argsort(draws[:shards], kind="stable")] = np.arange(shards)
        return np.lexsort((draws[shards:], place[self.shard_of] // self.buffer))


def _draws(seed: int, epoch: int, count: int) -> NDArray[np.uint64]:
    """Random numbers that no numpy release changes: only the bit stream is guaranteed to stay, so sort by that."""
    stream = np.random.Philox(np.random.SeedSequence((seed, epoch)))
    return np.asarray(stream.random_raw(count), dtype=np.uint64)
