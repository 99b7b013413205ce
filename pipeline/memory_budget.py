"""How much an ingest holds at once: blocks while reading, slabs while writing, from one number. Pure arithmetic.

What lives here: the rule. What does not: reading (`sources.opening`) and writing (`archive`).

    MemoryBudget.of(None).block_bytes                  # 16 MiB
    MemoryBudget.of(128 * 2**20, threads=2).slab_bytes # 21 MiB
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from .errors import ConfigError

_BLOCK = 16 * 2**20
_SLAB = 64 * 2**20
# measured: a block that is read, checked and transformed takes this many times its own size
_COPIES = 12
# likewise a slab, and the blocks of the input that it is cut from
_SLAB_COPIES = 6


@dataclass(frozen=True)
class MemoryBudget:
    """What may lie in memory.

    Attributes:
        block_bytes: Of the input, per thread.
        slab_bytes: Of the Archive, being written.
        whole: All together; None: no bound but these two.
    """

    block_bytes: int = _BLOCK
    slab_bytes: int = _SLAB
    whole: int | None = None

    @classmethod
    def of(cls, whole: int | None, threads: int | None = None) -> MemoryBudget:
        """The parts of a whole number of bytes (`compute.memory_bytes`); None: as much as is quick."""
        if whole is None:
            return cls()
        count = threads or os.cpu_count() or 1
        return cls(min(_BLOCK, whole // (_COPIES * count)), min(_SLAB, whole // _SLAB_COPIES), whole)

    def check_row(self, row_bytes: int, shard: int) -> None:
        """Whether one row of shards, the least that can be written at once, fits.

        Raises:
            ConfigError: It does not.
        """
        if self.whole is not None and row_bytes > self.slab_bytes:
            fits = max(1, shard * self.slab_bytes // row_bytes)
            raise ConfigError(
                f"a row of shards takes {row_bytes / 2**20:.0f} MiB, compute.memory_bytes ({self.whole}) leaves "
                f"{self.slab_bytes / 2**20:.0f} MiB to write at once; set archive.shard_time to {fits} or less in a "
                f"new archive, or compute.memory_bytes to {row_bytes * _SLAB_COPIES} or more"
            )
