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
    zero = frames == 0.0
    counts = np.count_nonzero(zero, axis=(-2, -1))
    points = np.zeros(counts.shape, dtype=np.intp)
    for place in map(tuple, np.argwhere(counts >= _LEAST)):
        if _is_block(frames[place], zero[place]):
            points[place] = counts[place]
    return points


def _is_block(frame: Frames, zero: NDArray[np.bool_]) -> bool:
    others = ~zero & ~np.isnan(frame)
    return bool(others.any()) and _is_foreign(frame[others]) and _has_straight_edges(zero, others)


def _is_foreign(values: Frames) -> bool:
    """Whether zero is among values without being their natural end."""
    sizes = np.abs(values)
    enough = _NATURAL * sizes.max()
    both_signs = values.min() < -enough and values.max() > enough
    return bool(both_signs or sizes.min() > enough)


def _has_straight_edges(zero: NDArray[np.bool_], others: NDArray[np.bool_]) -> bool:
    """Edges are neighbours of which one is zero, one is not; a corner has an odd number of zeros among four points."""
    down = (zero[1:] & others[:-1]) | (zero[:-1] & others[1:])
    right = (zero[:, 1:] & others[:, :-1]) | (zero[:, :-1] & others[:, 1:])
    known = zero | others
    whole = known[1:, 1:] & known[1:, :-1] & known[:-1, 1:] & known[:-1, :-1]
    odd = zero[1:, 1:] ^ zero[1:, :-1] ^ zero[:-1, 1:] ^ zero[:-1, :-1]
    length, corners = int(down.sum() + right.sum()), int((whole & odd).sum())
    return length >= _STRAIGHT and length >= _STRAIGHT * corners
