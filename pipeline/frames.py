"""Frames of an Archive as plain arrays: from memory or a mapped file where they are kept, else from Zarr.

What lives here: reading some variables of some samples, frames and points, with a number at every point. What does not:
windows and forcings (`windows`), the Archive's files (`archive`), the mapped file (`frame_files`).

    frames = Frames([arrays["t2m"]], fill=[280.0], valid=mask, sampled=False, held=splits.train, storage="memory")
    frames.at(sample=0, span=Span(24, 48))      # float32 [24, 1, H, W]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frame_files import FrameFiles, Storage
from .recent import Recent
from .splits import Span, Split
from .tiles import Tile

# Frames read at once while a split is kept: bounds the copy that lies beside it.
FRAMES_PER_READ = 256

Normal = Callable[[Span], NDArray[np.float32]]
_BlockKey = tuple[int, int, Tile | None]


@dataclass(frozen=True)
class Kept:
    """The mapped file of some frames: its folder, its name, and what beside the frames decides its contents."""

    files: FrameFiles
    name: str
    identity: Mapping[str, Any]


@dataclass(frozen=True)
class Blocks:
    """How frames that are kept nowhere are decoded: whole blocks at a time, of which the latest stay in memory.

    Attributes:
        frames: Of a block, counted from the Archive's first frame.
        overlap: Frames of the next block that are decoded with it, so that a window lies within one.
        offset: Distance of the first frame asked for from the start of a window.
        count: Blocks that stay in memory.
    """

    frames: int
    overlap: int
    offset: int
    count: int

    def number(self, first: int) -> int:
        """Of the block that holds what begins at frame `first`."""
        return (first - self.offset) // self.frames

    def span(self, number: int) -> Span:
        """The frames that are decoded for it, not cut to the Archive."""
        first = number * self.frames + self.offset
        return Span(first, first + self.frames + self.overlap)


class Frames:
    """Some variables of one version of an Archive.

    Args:
        arrays: One array per variable, [T, H, W] or [N, T, H, W].
        fill: Per variable, the value put at masked points and where a value is missing.
        valid: Bool [H, W], False at masked points.
        sampled: Whether the arrays have a sample axis.
        held: The frames to keep.
        storage: Where: in memory, in a file (`kept`), or nowhere.
        normal: Subtracted from the values of a span of frames, [T, C, H, W]; None: nothing is.
        kept: The file.
        blocks: How to decode frames of `held` that are kept nowhere; None: each as it is asked for.

    Attributes:
        cached: Whether `held` is kept.
    """

    def __init__(
        self,
        arrays: Sequence[Any],
        fill: Sequence[float],
        valid: NDArray[np.bool_],
        sampled: bool,
        held: Split,
        storage: Storage = "none",
        normal: Normal | None = None,
        *,
        kept: Kept | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        self._arrays, self._fill, self._valid = list(arrays), np.asarray(fill, dtype=np.float32), valid
        self._sampled, self._held, self._normal = sampled, held, normal
        self._values: NDArray[np.float32] | None = None
        if storage == "memory":
            self._values = self._load(held.samples, held.frames)
        elif storage == "disk" and kept is not None:
            shape = (held.samples.size, held.frames.size, len(self), *valid.shape)
            identity = {**kept.identity, "samples": held.samples, "frames": held.frames}
            self._values = kept.files.open(kept.name, identity, shape, self._in_pieces())
        self.cached = self._values is not None
        self._blocks = blocks
        self._recent = Recent(self._decode, blocks.count) if blocks is not None else None

    def __len__(self) -> int:
        """Number of variables."""
        return len(self._arrays)

    def at(self, sample: int, span: Span, tile: Tile | None = None) -> NDArray[np.float32]:
        """Consecutive frames of one sample, [T, C, H, W], or the part [T, C, h, w] of a tile; inside the Archive."""
        samples, frames = self._held.samples, self._held.frames
        inside = sample in samples.range and frames.start <= span.start and span.stop <= frames.stop
        if self._values is not None and inside:
            first = span.start - frames.start
            held = self._values[sample - samples.start, first : first + span.size]
            part: NDArray[np.float32] = held if tile is None else tile.cut(held)
            return part
        if self._blocks is not None and self._recent is not None:
            number = self._blocks.number(span.start)
            block = self._inside(self._blocks.span(number))
            if block.start <= span.start and span.stop <= block.stop:
                decoded = self._recent.get((sample, number, tile))
                return decoded[span.start - block.start : span.stop - block.start]
        loaded: NDArray[np.float32] = self._load(Span(sample, sample + 1), span, tile)[0]
        return loaded

    def _decode(self, key: _BlockKey) -> NDArray[np.float32]:
        sample, number, tile = key
        span = self._inside(self._blocks.span(number)) if self._blocks is not None else self._held.frames
        loaded: NDArray[np.float32] = self._load(Span(sample, sample + 1), span, tile)[0]
        return loaded

    def _inside(self, span: Span) -> Span:
        """The part of a block that windows of the split can ask for."""
        offset = self._blocks.offset if self._blocks is not None else 0
        end = min(self._held.frames.stop + offset, self._arrays[0].shape[-3])
        return Span(max(span.start, self._held.frames.start), min(span.stop, end))

    def _in_pieces(self) -> Iterator[NDArray[np.float32]]:
        """What is kept, some frames at a time, in the order of a file."""
        for sample in self._held.samples.range:
            for begin in range(*self._held.frames, FRAMES_PER_READ):
                end = min(begin + FRAMES_PER_READ, self._held.frames.stop)
                yield self._load(Span(sample, sample + 1), Span(begin, end))[0]

    def _load(self, samples: Span, frames: Span, tile: Tile | None = None) -> NDArray[np.float32]:
        """Read samples and frames, [N, T, C, H, W] or a tile of it, with `fill` at masked and missing points."""
        valid = self._valid if tile is None else tile.cut(self._valid)
        out = np.empty((samples.size, frames.size, len(self), *valid.shape), dtype=np.float32)
        for row, sample in enumerate(samples.range):
            for begin in range(*frames, FRAMES_PER_READ):
                end = min(begin + FRAMES_PER_READ, frames.stop)
                target = out[row, begin - frames.start : end - frames.start]
                normal = None if self._normal is None else self._normal(Span(begin, end))
                for channel, array in enumerate(self._arrays):
                    block = self._read(array, sample, Span(begin, end), tile)
                    if normal is not None:
                        block = block - (normal[:, channel] if tile is None else tile.cut(normal[:, channel]))
                    gone = np.isnan(block) | ~valid
                    target[:, channel] = np.where(gone, self._fill[channel], block)
        return out

    def _read(self, array: Any, sample: int, span: Span, tile: Tile | None) -> NDArray[np.float32]:
        """Frames of one array, [T, H, W]; of a tile only the points that it reads."""
        leading = (sample, span.slice) if self._sampled else (span.slice,)
        if tile is None:
            whole: NDArray[np.float32] = array[leading]
            return whole
        out = np.empty((span.size, *tile.shape), dtype=np.float32)
        for rows, to_rows in tile.rows.pieces:
            for columns, to_columns in tile.columns.pieces:
                out[:, to_rows, to_columns] = array[(*leading, rows, columns)]
        return out
