"""The order in which windows are visited: a pure function of seed, epoch, rank and world size.

What lives here: `order`. What does not: the windows themselves (`windows`), reading them (`FrameReader`).

    for batch in order(seed=0, epoch=3, count=len(cases), batch_size=8, rank=1, world_size=2):
        frames, forcing = reader.read([cases[number] for number in batch], length)

Step s of an epoch visits the same windows on any number of workers, so a run may resume at a step with more or fewer of
them and neither loses nor repeats a window.
"""

from __future__ import annotations

import numpy as np

from .errors import ConfigError


def order(
    seed: int, epoch: int, count: int, batch_size: int, rank: int, world_size: int, shuffle: bool = True
) -> list[list[int]]:
    """Window numbers for every step of one epoch on one rank.

    Step s takes `batch_size` consecutive entries of one order common to all ranks; rank r gets the r-th equal part of
    them. With `shuffle` the remainder that does not fill a step is left out (every rank then has the same number of
    full steps, as gradient averaging needs), a different one in every epoch. Without, nothing is left out: the last
    step may be shorter, and empty on some ranks.

    Args:
        seed: Of the run.
        epoch: Each epoch has its own order.
        count: Number of windows.
        batch_size: Windows of a step over all ranks; a multiple of `world_size`.
        rank: This worker, 0..world_size-1.
        world_size: Number of workers.
        shuffle: Visit in random order (training) or in the given one (scoring).

    Raises:
        ConfigError: There are fewer windows than fill one step of training, or the batch cannot be shared out equally.
    """
    if batch_size % world_size:
        raise ConfigError(
            f"the batch must be a multiple of the number of workers ({world_size}), got {batch_size}; "
            "change training.batch_size or training.workers"
        )
    if not 0 <= rank < world_size:
        raise ValueError(f"rank must lie in 0..{world_size - 1}, got {rank}")
    if shuffle and count < batch_size:
        raise ConfigError(
            f"training has {count} windows but one step needs {batch_size}; make training.batch_size or window.stride "
            "smaller, or ingest more data"
        )
    numbers = _permutation(seed, epoch, count) if shuffle else np.arange(count)
    steps = count // batch_size if shuffle else -(-count // batch_size)
    share = batch_size // world_size
    starts = (step * batch_size + rank * share for step in range(steps))
    return [numbers[start : start + share].tolist() for start in starts]


def _permutation(seed: int, epoch: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """A random permutation that no numpy release changes: only the bit stream is guaranteed to stay, so sort that."""
    stream = np.random.Philox(np.random.SeedSequence((seed, epoch)))
    return np.argsort(stream.random_raw(count), kind="stable")
