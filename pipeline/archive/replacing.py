"""Other values for frames that an Archive has: the part of a commit that changes instead of adding.

What lives here: their form, their check and their writing into a session. What does not: who may change what
(`pipeline.revision`), the commit (`writing`).

    write(path, None, layout, message="", metadata={}, replacements=[Replacement("t2m", 48, values)])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import xarray as xr
import zarr

from ..errors import ArchiveError
from ..executor import DaskScheduler
from ..failpoints import reach
from ..layout import slabs
from .checksums import HashingStore


@dataclass(frozen=True)
class Replacement:
    """Consecutive frames (or samples) of one variable.

    Attributes:
        variable: Whose.
        start: Index of the first along the growing axis.
        values: What they are from now on, lazy or in memory, in the Archive's form: dimension order, units, masked
            points NaN.
    """

    variable: str
    start: int
    values: xr.DataArray

    @property
    def stop(self) -> int:
        """Index after the last."""
        return self.start + int(self.values.shape[0])


def check_replacements(path: Path, archived: xr.Dataset, replacements: Sequence[Replacement]) -> None:
    """Check that there is something of that form to be replaced.

    Raises:
        ArchiveError: No such variable or frames, or another shape.
    """
    for one in replacements:
        if one.variable not in archived.data_vars:
            there = ", ".join(map(str, archived.data_vars))
            raise ArchiveError(f"archive {path} holds {there}, got values for {one.variable!r}; correct the name")
        field = archived[one.variable]
        if one.values.dims != field.dims or one.values.shape[1:] != field.shape[1:]:
            raise ArchiveError(
                f"archive {path} has {one.variable} as {dict(field.sizes)}, got {dict(one.values.sizes)} to replace "
                "some of it with; bring it to the same grid"
            )
        if not 0 <= one.start < one.stop <= field.shape[0]:
            raise ArchiveError(
                f"archive {path} has {field.shape[0]} along {field.dims[0]!r}, got values for {one.start} to "
                f"{one.stop - 1}; append what is new"
            )


def replace_frames(
    store: HashingStore,
    replacements: Sequence[Replacement],
    slab_bytes: int,
    scheduler: DaskScheduler,
    written: Callable[[int], None],
) -> None:
    """Write them into the store of a session.

    Zarr reads a shard that is covered in part, changes it and writes it anew; one slab is written after the other, so
    that no shard has two writers, and slabs end where shards do, so that each shard is rewritten once.
    """
    root = zarr.open_group(store, mode="r+")
    for one in replacements:
        array = cast("zarr.Array[Any]", root[one.variable])
        shard = (array.shards or array.chunks)[0]
        rows = slab_bytes // (4 * int(np.prod(array.shape[1:])))
        for first, last in slabs(one.start, one.stop, shard, rows):
            slab = one.values[first - one.start : last - one.start].compute(scheduler=scheduler)
            array[first:last] = slab.values.astype("float32")
            reach("archive.replace.slab")
            written(slab.nbytes)
