"""Frames of an Archive as plain arrays, from memory where they fit and from Zarr where they do not.

What lives here: reading some variables of some samples and frames, with a number at every point. What does not:
windows and forcings (`windows`), the Archive's files (`archive`).

    frames = Frames([arrays["t2m"]], fill=[280.0], valid=mask, sampled=False, held=splits.train, cache_bytes=2**30)
    frames.at(sample=0, span=Span(24, 48))      # float32 [24, 1, H, W]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .splits import Span, Split

# Frames read at once while a split is taken into memory: bounds the copy that lies beside it.
FRAMES_PER_READ = 256

Normal = Callable[[Span], NDArray[np.float32]]


class Frames:
    """Some variables of one version of an Archive.

    Args:
        arrays: One array per variable, [T, H, W] or [N, T, H, W].
        fill: Per variable, the value put at masked points and where a value is missing.
        valid: Bool [H, W], False at masked points.
        sampled: Whether the arrays have a sample axis.
        held: The frames to keep in memory when they take at most `cache_bytes`.
        cache_bytes: Memory that the frames may take.
        normal: Subtracted from the values of a span of frames, [T, C, H, W]; None: nothing is.

    Attributes:
        cached: Whether `held` lies in memory.
    """

    def __init__(
        self,
        arrays: Sequence[Any],
        fill: Sequence[float],
        valid: NDArray[np.bool_],
        sampled: bool,
        held: Split,
        cache_bytes: int,
        normal: Normal | None = None,
    ) -> None:
        self._arrays, self._fill, self._valid = list(arrays), np.asarray(fill, dtype=np.float32), valid
        self._sampled, self._held, self._normal = sampled, held, normal
        size = 4 * held.samples.size * held.frames.size * len(self._arrays) * valid.size
        self.cached = size <= cache_bytes
        self._memory = self._load(held.samples, held.frames) if self.cached else None

    def __len__(self) -> int:
        """Number of variables."""
        return len(self._arrays)

    def at(self, sample: int, span: Span) -> NDArray[np.float32]:
        """Consecutive frames of one sample, [T, C, H, W]; inside the Archive."""
        samples, frames = self._held.samples, self._held.frames
        inside = sample in samples.range and frames.start <= span.start and span.stop <= frames.stop
        if self._memory is None or not inside:
            loaded: NDArray[np.float32] = self._load(Span(sample, sample + 1), span)[0]
            return loaded
        first = span.start - frames.start
        held: NDArray[np.float32] = self._memory[sample - samples.start, first : first + span.size]
        return held

    def _load(self, samples: Span, frames: Span) -> NDArray[np.float32]:
        """Read samples and frames, [N, T, C, H, W], with `fill` at masked and missing points."""
        out = np.empty((samples.size, frames.size, len(self), *self._valid.shape), dtype=np.float32)
        for row, sample in enumerate(samples.range):
            for begin in range(*frames, FRAMES_PER_READ):
                end = min(begin + FRAMES_PER_READ, frames.stop)
                target = out[row, begin - frames.start : end - frames.start]
                normal = None if self._normal is None else self._normal(Span(begin, end))
                for channel, array in enumerate(self._arrays):
                    block = array[sample, begin:end] if self._sampled else array[begin:end]
                    block = block if normal is None else block - normal[:, channel]
                    gone = np.isnan(block) | ~self._valid
                    target[:, channel] = np.where(gone, self._fill[channel], block)
        return out
