"""Tiles: parts of a large grid that are read, trained on and forecast one at a time, each with a halo around it.

What lives here: the arithmetic, which is indices alone. What does not: reading a tile (`frames`), the order of visits
(`sampler`), a forecast over tiles (`tiled_rollout`).

    tiling = Tiling.of(grid, size=(128, 128), halo=Halo(12, 12), mask=mask)
    for tile in tiling.tiles:
        part = tile.cut(field)               # [..., 152, 152], read through the halo
        tile.put(whole, model(part))         # its core alone, [..., 128, 128]

The cores share the grid out: every point lies in one core and in no other. All tiles have one shape, so that they make
a batch. Where an axis wraps, a halo goes on at its other end; where it does not, a tile at the edge ends there and has
the halo that it lacks on its other side, so that the edge of the grid is the edge of the tile and nothing is made up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .grid import Boundary, GridSpec
from .splits import Span


@dataclass(frozen=True)
class Halo:
    """How many points are read beyond each side of a core and not scored."""

    rows: int
    columns: int

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 0:
            raise ValueError(f"a halo must be at least 0 points wide, got {self.rows} and {self.columns}")


@dataclass(frozen=True)
class Extent:
    """A tile along one axis.

    Attributes:
        core: The points that are scored.
        start: The first point that is read; below 0 where it lies beyond the beginning of an axis that wraps.
        size: Number of points that are read.
        length: Of the axis.
    """

    core: Span
    start: int
    size: int
    length: int

    @cached_property
    def index(self) -> slice | NDArray[np.intp]:
        """What picks the points that are read out of the axis: a slice where they are consecutive."""
        if self.start >= 0 and self.start + self.size <= self.length:
            return slice(self.start, self.start + self.size)
        return (self.start + np.arange(self.size)) % self.length

    @property
    def inner(self) -> slice:
        """Where the core lies among the points that are read."""
        return slice(self.core.start - self.start, self.core.stop - self.start)

    @property
    def pieces(self) -> list[tuple[slice, slice]]:
        """Consecutive runs of the axis, and where each belongs among the points that are read."""
        runs, done = [], 0
        while done < self.size:
            first = (self.start + done) % self.length
            count = min(self.length - first, self.size - done)
            runs.append((slice(first, first + count), slice(done, done + count)))
            done += count
        return runs


@dataclass(frozen=True)
class Tile:
    """A part of the grid.

    Attributes:
        rows: Along the first axis.
        columns: Along the second.
    """

    rows: Extent
    columns: Extent

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of what is read, halo included."""
        return self.rows.size, self.columns.size

    @property
    def core(self) -> tuple[slice, slice]:
        """The scored points as slices of the grid."""
        return self.rows.core.slice, self.columns.core.slice

    def cut(self, field: Any) -> Any:
        """What the tile reads of a field [..., H, W], as an array or tensor [..., h, w]."""
        return field[..., self.rows.index, :][..., self.columns.index]

    def put(self, whole: Any, part: Any) -> None:
        """Write the core of a part [..., h, w] into a field [..., H, W]."""
        whole[..., self.core[0], self.core[1]] = part[..., self.rows.inner, self.columns.inner]

    def scored(self, weights: Any) -> Any:
        """Weights [H, W] on the tile, [h, w]: zero in the halo."""
        part = self.cut(weights) * 0
        part[self.rows.inner, self.columns.inner] = weights[self.core]
        return part


@dataclass(frozen=True)
class Tiling:
    """A grid cut into tiles of one shape.

    Attributes:
        grid_shape: (H, W).
        tiles: Those that have a valid point in their core, row by row.
        total: How many there are with the others.
    """

    grid_shape: tuple[int, int]
    tiles: tuple[Tile, ...]
    total: int

    @classmethod
    def of(cls, grid: GridSpec, size: tuple[int, int], halo: Halo, mask: NDArray[np.bool_] | None = None) -> Tiling:
        """Cut a grid.

        Args:
            grid: Its shape and boundary count.
            size: Points of a core along the axes; the last core of an axis may have fewer.
            halo: Around each core.
            mask: Bool [H, W], True at valid points; None: everywhere.
        """
        wraps = _wraps(grid.boundary)
        axes = zip(grid.shape, size, (halo.rows, halo.columns), wraps, strict=True)
        rows, columns = (extents(length, points, width, wrap) for length, points, width, wrap in axes)
        every = [Tile(row, column) for row, column in product(rows, columns)]
        kept = tuple(tile for tile in every if mask is None or mask[tile.core].any())
        return cls(grid.shape, kept, len(every))

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w) of what every tile reads."""
        return self.tiles[0].shape


def extents(length: int, size: int, halo: int, wraps: bool) -> list[Extent]:
    """Cut one axis into cores of `size` points with a halo on both sides; all read the same number of points."""
    if min(length, size) < 1 or halo < 0:
        raise ValueError(f"length and size must be at least 1 and halo at least 0, got {length}, {size} and {halo}")
    points = min(size, length) + 2 * halo
    read = points if wraps else min(points, length)
    found = []
    for begin in range(0, length, size):
        core = Span(begin, min(begin + size, length))
        start = begin - halo if wraps else min(max(begin - halo, 0), length - read)
        found.append(Extent(core, start, read, length))
    return found


def _wraps(boundary: Boundary) -> tuple[bool, bool]:
    return boundary == "periodic", boundary in ("periodic", "cylinder")
