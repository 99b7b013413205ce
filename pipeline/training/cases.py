"""The training windows of a run, on each tile where there are tiles, and the order in which they are visited.

cases = Cases(job, reader, tiling, kept_everywhere=True)
for numbers in cases.steps(epoch=3, worker=worker):
    batch = loader.read([cases[number] for number in numbers])
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..frames import Blocks
from ..sampler import Balanced, ByShards, Shuffle, at_random, order
from ..tiles import Tiling
from ..windows import FrameReader, Window, windows
from .job import TrainingJob
from .worker import Worker


class Cases:
    """What a training visits once an epoch.

    Args:
        job: Its training split and its options.
        reader: Of that split.
        tiling: The grid's; None: windows are on the whole grid.
        kept_everywhere: All workers keep all frames decoded, so that any order is as cheap as another.

    Attributes:
        shuffle: How they are shuffled.
    """

    def __init__(self, job: TrainingJob, reader: FrameReader, tiling: Tiling | None, kept_everywhere: bool) -> None:
        window = job.config.window
        self._windows = windows(job.splits.train, window.history + window.horizon, window.stride)
        self._tiles = None if tiling is None else tiling.tiles
        self._seed, self._batch_size = job.config.seed, job.config.training.batch_size
        wanted = job.config.training.shuffle
        by_shards = wanted == "shards" or (wanted is None and not kept_everywhere)
        blocks = reader.blocks if by_shards else None
        self.shuffle = self._at_random() if blocks is None else self._by_shards(blocks)

    @property
    def tile_count(self) -> int:
        """Tiles of the grid; 1 where it is whole."""
        return 1 if self._tiles is None else len(self._tiles)

    def __len__(self) -> int:
        """Windows of an epoch: of each tile, where there are tiles."""
        return len(self._windows) * self.tile_count

    def __getitem__(self, number: int) -> Window:
        """One of them."""
        window, tile = divmod(number, self.tile_count)
        found = self._windows[window]
        return found if self._tiles is None else dataclasses.replace(found, tile=self._tiles[tile])

    def steps(self, epoch: int, worker: Worker) -> list[list[int]]:
        """Numbers of the windows of every step of an epoch, for this worker."""
        return order(self._seed, epoch, len(self), self._batch_size, worker.rank, worker.world_size, self.shuffle)

    def _at_random(self) -> Shuffle:
        return at_random if self._tiles is None else Balanced(self.tile_count)

    def _by_shards(self, blocks: Blocks) -> Shuffle:
        places = np.array([(window.sample, blocks.number(window.start)) for window in self._windows])
        shards = np.unique(places, axis=0, return_inverse=True)[1].reshape(-1, 1)
        of_tiles = shards * self.tile_count + np.arange(self.tile_count)
        return ByShards(of_tiles.reshape(-1), max(1, blocks.count - 1))  # one that the next begins with
