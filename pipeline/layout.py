"""How arrays are cut: chunks and shards on disk, blocks in memory. Pure arithmetic on axes, no input or output.

What lives here: the rule that turns `ArchiveConfig` into chunk and shard shapes, and the cuts along the growing axis
that never split a shard between two tasks. What does not: codecs and files (`archive`).

    arrays = plan(("time", "lat", "lon"), {"time": 744, "lat": 20, "lon": 28}, ArchiveConfig())
    arrays.shards                    # (240, 20, 28)
    slabs(744, 1000, 240, 240)       # [(744, 960), (960, 1000)]
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .config import ArchiveConfig


@dataclass(frozen=True)
class ArrayLayout:
    """Points per chunk (the unit of reading) and per shard (the unit of writing) along each dimension."""

    chunks: tuple[int, ...]
    shards: tuple[int, ...]


def plan(dims: Sequence[str], sizes: Mapping[str, int], config: ArchiveConfig) -> ArrayLayout:
    """Chunk and shard shapes of one field.

    An axis shorter than its chunk gets a chunk of its own length, and a shard is never longer than the chunks that
    cover the axis, except along `time` where the archive grows. A sample archive keeps each sample in shards of its
    own, so that a Window touches one sample only, and there its time axis is as fixed as the others.

    Args:
        dims: Names in array order; `time` and `sample` are special, the others are space.
        sizes: Length of each dimension at the first commit.
        config: Wanted sizes.
    """
    chunks, shards = [], []
    for dim in dims:
        if dim == "sample":
            chunk = shard = 1
        elif dim == "time" and "sample" not in dims:
            chunk, shard = config.chunk_time, config.shard_time
        else:
            kind = "time" if dim == "time" else "space"
            chunk = min(getattr(config, f"chunk_{kind}"), sizes[dim])
            shard = min(getattr(config, f"shard_{kind}") // chunk * chunk, -(-sizes[dim] // chunk) * chunk)
        chunks.append(chunk)
        shards.append(shard)
    return ArrayLayout(tuple(chunks), tuple(shards))


def slabs(start: int, stop: int, shard: int, rows: int) -> list[tuple[int, int]]:
    """Cut [start, stop) at multiples of `rows`, made a multiple of `shard`; the first and last may be partial."""
    step = max(1, rows // shard) * shard
    edges = [start, *range((start // step + 1) * step, stop, step), stop]
    return list(itertools.pairwise(edges)) if stop > start else []


def blocks(start: int, stop: int, shard: int) -> tuple[int, ...]:
    """Lengths of the pieces of [start, stop) between shard boundaries, so that each shard has one writer."""
    return tuple(last - first for first, last in slabs(start, stop, shard, shard))
