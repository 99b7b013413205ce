"""What one reading of a block of frames shows, and how the blocks of a variable come together.

What lives here: the arithmetic of one block, in numpy, wherever the block is computed. What does not: laying a variable
out in blocks and what its survey means (`survey.take_survey`), and the checks that read it.

    parts = np.empty((2,), object)
    parts[:] = [survey_block(values[:10]), survey_block(values[10:])]
    joined(parts)                       # equals survey_block(values)
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .zero_blocks import zero_blocks

_STRIP_VALUES = 2**17  # looked at together: they and what is made of them stay in a processor's cache


@dataclass(frozen=True)
class BlockSurvey:
    """What one reading of a block [..., H, W] showed; its frames are those of the leading axes.

    Attributes:
        always: Points that are NaN in every frame, bool [H, W].
        ever: Points that are NaN in some frame, bool [H, W].
        lowest: Smallest value of each frame, NaN apart; inf where there is none.
        highest: Largest value of each frame, NaN apart; -inf where there is none.
        sums: Sum of each frame in double precision, NaN apart.
        prints: Fingerprint of each frame's bits, NaN counted as zero: equal frames have equal ones.
        zero_blocks: Zeros of each frame that make blocks (see `zero_blocks`); `nearest`: its value next to zero.
    """

    always: npt.NDArray[np.bool_]
    ever: npt.NDArray[np.bool_]
    lowest: npt.NDArray[np.floating[Any]]
    highest: npt.NDArray[np.floating[Any]]
    sums: npt.NDArray[np.float64]
    prints: npt.NDArray[np.uint64]
    zero_blocks: npt.NDArray[np.intp]
    nearest: npt.NDArray[np.float64]


def survey_block(values: npt.NDArray[np.floating[Any]]) -> BlockSurvey:
    """Survey a block of float32 or float64, each value looked at while it is in the cache."""
    frames, grid = values.shape[:-2], values.shape[-2:]
    points = grid[0] * grid[1]
    rows = np.ascontiguousarray(values).reshape(-1, points)
    always, ever = np.ones(points, bool), np.zeros(points, bool)
    lowest, highest = np.empty(len(rows), values.dtype), np.empty(len(rows), values.dtype)
    sums, prints = np.empty(len(rows)), np.empty(len(rows), np.uint64)
    zeros, nearest = np.empty(len(rows), np.intp), np.empty(len(rows))
    step = max(1, _STRIP_VALUES // points)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        strip = rows[part]
        zeros[part], nearest[part] = zero_blocks(strip.reshape(-1, *grid))
        low = high = strip
        missing = np.isnan(strip)
        if missing.any():
            always &= missing.all(axis=0)
            ever |= missing.any(axis=0)
            low, high = np.where(missing, np.inf, strip), np.where(missing, -np.inf, strip)
            strip = np.where(missing, strip.dtype.type(0), strip)
        else:
            always[:] = False
        lowest[part], highest[part] = low.min(axis=1), high.max(axis=1)
        with np.errstate(invalid="ignore"):  # inf and -inf in one frame; another check tells of them
            sums[part] = strip.sum(axis=1, dtype=np.float64)
        bits: npt.NDArray[Any] = strip.view(f"u{strip.itemsize}")
        prints[part] = (bits * _weights(points)).sum(axis=1, dtype=np.uint64)
    return BlockSurvey(
        always.reshape(grid),
        ever.reshape(grid),
        lowest.reshape(frames),
        highest.reshape(frames),
        sums.reshape(frames),
        prints.reshape(frames),
        zeros.reshape(frames),
        nearest.reshape(frames),
    )


def joined(blocks: npt.NDArray[np.object_]) -> BlockSurvey:
    """The survey of a variable from those of its blocks, which are in the order of its leading axes."""

    def series(name: str) -> Any:
        return np.block(np.frompyfunc(lambda one: getattr(one, name), 1, 1)(blocks).tolist())

    each: list[BlockSurvey] = blocks.ravel().tolist()
    return BlockSurvey(
        functools.reduce(np.logical_and, (one.always for one in each)),
        functools.reduce(np.logical_or, (one.ever for one in each)),
        *map(series, ("lowest", "highest", "sums", "prints", "zero_blocks", "nearest")),
    )


@functools.lru_cache(maxsize=4)
def _weights(points: int) -> npt.NDArray[np.uint64]:
    """One odd number for each point: where frames differ at one point, their sums modulo 2^64 differ too."""
    return np.random.default_rng(0).integers(0, 2**63, points, np.uint64) * np.uint64(2) + np.uint64(1)
