"""Batches of windows, read in the background while the model computes.

What lives here: reading ahead, in order, and the time that the training waited for it. What does not: what is read
(`windows`), in which order (`sampler`).

    loader = Loader(reader, length=40, device=device, ahead=2)
    for batch in loader.batches(windows_of_each_step):
        loss = objective(batch.frames, batch.forcing)
    loader.waited                       # seconds

Threads, not processes: NumPy's copies, Zarr's decoding and Icechunk's reads work without Python's lock, and what a
process reads would have to be handed over (docs/performance.md, "Loader").
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from ..tiles import Tile, Tiling
from ..windows import FrameReader, Window

THREADS = 2


@dataclass(frozen=True)
class Batch:
    """Some windows.

    Attributes:
        frames: [B, T, C, H, W].
        forcing: [B, T, Cf, H, W].
        weights: Of the points of tiles, [B, h, w], zero in their halos; None: windows on the whole grid.
    """

    frames: Tensor
    forcing: Tensor
    weights: Tensor | None = None


class TileWeights:
    """Weights of the points of each tile, so that the mean loss over all tiles is the loss over the grid.

    Args:
        weights: [H, W], 0 where masked.
        tiling: Of that grid.
    """

    def __init__(self, weights: Tensor, tiling: Tiling) -> None:
        height, width = tiling.shape
        share = len(tiling.tiles) * height * width / weights.numel()
        self._weights = weights * (share / weights.mean())

    def __call__(self, tile: Tile) -> Tensor:
        """[h, w]."""
        scored: Tensor = tile.scored(self._weights)
        return scored


class Loader:
    """Reads windows for one device.

    Args:
        reader: Frames of the Archive; its threads share it.
        length: Frames of a window.
        device: Where batches go; from pinned memory, where that is a GPU.
        ahead: Batches that are read before they are asked for; 0: none, all is read when asked for.
        weights: Of tiles; needed where windows have tiles.

    Attributes:
        waited: Seconds that whoever took the batches has waited for them.
    """

    def __init__(
        self,
        reader: FrameReader,
        length: int,
        device: torch.device,
        ahead: int = 2,
        weights: TileWeights | None = None,
    ) -> None:
        self._reader, self._length, self._device, self._ahead = reader, length, device, ahead
        self._weights = weights
        self.waited = 0.0

    def batches(self, steps: Iterable[Sequence[Window]]) -> Generator[Batch, None, None]:
        """The windows of every step, in the order of the steps; what a read raises is raised here, at its step.

        Close the iterator to end the reading early (`contextlib.closing`).
        """
        if not self._ahead:
            for cases in steps:
                started = time.perf_counter()
                batch = self._read(cases)
                self.waited += time.perf_counter() - started
                yield self._moved(batch)
            return
        pool = ThreadPoolExecutor(min(THREADS, self._ahead), thread_name_prefix="loader")
        pending = deque[Future[Batch]]()
        try:
            for cases in steps:
                pending.append(pool.submit(self._read, cases))
                if len(pending) > self._ahead:
                    yield self._taken(pending.popleft())
            while pending:
                yield self._taken(pending.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def read(self, cases: Sequence[Window]) -> Batch:
        """One batch, now."""
        return self._moved(self._read(cases))

    def _taken(self, future: Future[Batch]) -> Batch:
        started = time.perf_counter()
        batch = future.result()
        self.waited += time.perf_counter() - started
        return self._moved(batch)

    def _read(self, cases: Sequence[Window]) -> Batch:
        frames, forcing = self._reader.read(cases, self._length)
        tiles = [case.tile for case in cases if case.tile is not None]
        weights = None
        if tiles and self._weights is not None:
            weights = torch.stack([self._weights(tile) for tile in tiles])
        batch = Batch(frames, forcing, weights)
        return _each(batch, Tensor.pin_memory) if self._device.type == "cuda" else batch

    def _moved(self, batch: Batch) -> Batch:
        return _each(batch, lambda values: values.to(self._device, non_blocking=True))


def _each(batch: Batch, function: Callable[[Tensor], Tensor]) -> Batch:
    weights = None if batch.weights is None else function(batch.weights)
    return Batch(function(batch.frames), function(batch.forcing), weights)
