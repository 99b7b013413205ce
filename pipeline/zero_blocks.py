"""Blocks of zeros in fields that are not zero elsewhere, as a tile that was never filled leaves them.

What lives here: finding them in frames. What does not: what is done about them (`suspicion`).

    zero_block_points(frames)      # [0, 0, 64, 0]: the third frame has a block of 64 zeros

Two signs together tell such a block from the dry part of a field of rain. Zero is no natural end of the values: they
have both signs, or none lies between zero and a hundredth of the largest. And the edges of the block are straight:
walking along them, one turns less often than every fourth point, where the edges of natural areas are ragged. A frame
that is zero throughout is no block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST = 16  # zeros in a frame that are worth a look
_NATURAL = 0.01  # of the largest value: smaller ones beside zeros say that zero is where the values end
_STRAIGHT = 4.0  # points along an edge for each of its corners

Frames = NDArray[np.floating[Any]]


def zero_block_points(frames: Frames) -> NDArray[np.intp]:
    """For each frame how many zeros it has, if they make blocks; else 0.

    Args:
        frames: [..., H, W], NaN where missing.
    """
    whole = frames.reshape(-1, *frames.shape[-2:])
    # frame by frame: one fits into the processor's cache, all of them do not
    found = [_points(frame) for frame in whole]
    return np.array(found, dtype=np.intp).reshape(frames.shape[:-2])


def _points(frame: Frames) -> int:
    zero = frame == 0.0
    count = int(np.count_nonzero(zero))
    if count < _LEAST or count == frame.size or not _is_foreign(frame):
        return 0
    others = ~zero & ~np.isnan(frame)
    return count if others.any() and _has_straight_edges(zero, others) else 0


def _is_foreign(frame: Frames) -> bool:
    """Whether zero is among the values without being their natural end."""
    lowest, highest = float(np.fmin.reduce(frame, axis=None)), float(np.fmax.reduce(frame, axis=None))
    small = _NATURAL * max(-lowest, highest)
    if lowest < -small and highest > small:
        return True
    sizes = frame if highest > small else -frame
    return not bool(((sizes > 0.0) & (sizes <= small)).any())


def _has_straight_edges(zero: NDArray[np.bool_], others: NDArray[np.bool_]) -> bool:
    """Edges are neighbours of which one is zero, one is not; a corner has an odd number of zeros among four points."""
    down = (zero[1:] & others[:-1]) | (zero[:-1] & others[1:])
    right = (zero[:, 1:] & others[:, :-1]) | (zero[:, :-1] & others[:, 1:])
    known = zero | others
    whole = known[1:, 1:] & known[1:, :-1] & known[:-1, 1:] & known[:-1, :-1]
    odd = zero[1:, 1:] ^ zero[1:, :-1] ^ zero[:-1, 1:] ^ zero[:-1, :-1]
    length, corners = int(down.sum() + right.sum()), int((whole & odd).sum())
    return length >= _STRAIGHT and length >= _STRAIGHT * corners
