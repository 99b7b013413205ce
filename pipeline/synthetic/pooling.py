"""Mean over square groups of grid points: how a simulation is written coarser than it was computed.

What lives here: the mean of fields and of coordinates. What does not: the fields.

    mean_pool(fields, 2)                 # [..., 32, 32] -> [..., 16, 16]
    pooled_positions(32, 2)              # the 16 positions of those means on the unit interval
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def mean_pool(fields: Floats, width: int) -> Floats:
    """Mean over groups of width × width points, [..., S, S] to [..., S / width, S / width]."""
    count = fields.shape[-1] // width
    grouped = fields.reshape(*fields.shape[:-2], count, width, count, width)
    return np.asarray(grouped.mean(axis=(-3, -1)))


def pooled_positions(size: int, width: int) -> Floats:
    """Mean position of every group of `width` of the points i / size, [size / width]."""
    return np.asarray((np.arange(size) / size).reshape(-1, width).mean(axis=1))
