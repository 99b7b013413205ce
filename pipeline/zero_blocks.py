"""Blocks of zeros in fields that are not zero elsewhere, as a tile that was never filled leaves them.

What lives here: finding them in frames, and telling whether zero is foreign to a variable. What does not: what is done
about them (`suspicion`).

    points, smallest = zero_blocks(frames)            # [0, 0, 64, 0]: the third frame has a block of 64 zeros
    zero_is_foreign(250.0, 300.0, smallest.min())     # True: nothing lies between zero and 250

Signs that together tell such a block from the dry part of a field of rain. In the whole file zero is no natural end of
the values: they have both signs, or none lies between zero and a twentieth of the largest. In a frame zeros are less
than half of the values, and their edges are straight: walking along them, one turns less often than every fourth point,
where the edges of natural areas are ragged.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST = 16  # zeros in a frame that are worth a look
_NATURAL = 0.05  # of the largest value: smaller ones beside zeros say that zero is where the values end
_HUGE = np.float32(3e38)  # beyond every value
_STRAIGHT = 4.0  # points along an edge for each of its corners

Frames = NDArray[np.floating[Any]]


def zero_blocks(frames: Frames) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """For each frame how many zeros it has, if they have straight edges (else 0), and its smallest other size.

    Args:
        frames: [..., H, W], NaN where missing.

    Returns:
        Counts and sizes, [...]; the size is huge for frames with hardly any zero, which nobody asks for.
    """
    whole = frames.reshape(-1, *frames.shape[-2:])
    # frame by frame: one fits into the processor's cache, all of them do not
    found = [_zeros(frame) for frame in whole]
    counts = np.array([count for count, _ in found], dtype=np.intp)
    return counts.reshape(frames.shape[:-2]), np.array([size for _, size in found]).reshape(frames.shape[:-2])


def zero_is_foreign(lowest: float, highest: float, smallest: float) -> bool:
    """Whether zero is no natural end of values that run from `lowest` to `highest`.

    Args:
        lowest: Of all values.
        highest: Likewise.
        smallest: Size of the value next to zero but not zero.
    """
    small = _NATURAL * max(-lowest, highest)
    return smallest > small or (lowest < -small and highest > small)


def _zeros(frame: Frames) -> tuple[int, float]:
    zero = frame == 0.0
    count = int(np.count_nonzero(zero))
    if count < _LEAST:
        return 0, np.inf
    # sums and reductions run at the speed of memory, choosing among values does not
    smallest = float(np.fmin.reduce(np.abs(frame) + _HUGE * zero, axis=None))
    if not zero_is_foreign(float(np.fmin.reduce(frame, axis=None)), float(np.fmax.reduce(frame, axis=None)), smallest):
        return 0, smallest
    others = ~zero & ~np.isnan(frame)
    minor = count < np.count_nonzero(others)
    return (count if minor and _has_straight_edges(zero, others) else 0), smallest


def _has_straight_edges(zero: NDArray[np.bool_], others: NDArray[np.bool_]) -> bool:
    """Edges are neighbours of which one is zero, one is not; a corner has an odd number of zeros among four points."""
    down = (zero[1:] & others[:-1]) | (zero[:-1] & others[1:])
    right = (zero[:, 1:] & others[:, :-1]) | (zero[:, :-1] & others[:, 1:])
    known = zero | others
    whole = known[1:, 1:] & known[1:, :-1] & known[:-1, 1:] & known[:-1, :-1]
    odd = zero[1:, 1:] ^ zero[1:, :-1] ^ zero[:-1, 1:] ^ zero[:-1, :-1]
    length, corners = int(down.sum() + right.sum()), int((whole & odd).sum())
    return length >= _STRAIGHT and length >= _STRAIGHT * corners
