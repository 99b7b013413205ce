"""The coordinate `present` of an Archive as it grows and as its gaps are filled.

What lives here: its place in a store. What does not: its meaning (`pipeline.presence`), the commit (`writing`).

    ordered = with_flags(store, archived, fields)
    mark_filled(store, archived, replacements)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import ZstdCodec

from ..failpoints import reach
from ..presence import PRESENT, flags
from .checksums import HashingStore
from .integrity import CHECKSUM
from .replacing import Replacement


def with_flags(store: HashingStore, archived: xr.Dataset, fields: xr.Dataset) -> xr.Dataset:
    """The fields with the coordinate, if the Archive has it or is to have it; made there with the first gap.

    Args:
        store: Of the session, which takes the checksums of what is written.
        archived: What is there.
        fields: What is to be appended.
    """
    if PRESENT in archived.coords and PRESENT not in fields.coords:
        return fields.assign_coords({PRESENT: flags(np.ones(fields.sizes["time"], dtype=bool))})
    if PRESENT in fields.coords and PRESENT not in archived.coords:
        before = flags(np.ones(archived.sizes["time"], dtype=bool))
        zarr.open_group(store, mode="r+").create_array(
            PRESENT,
            data=before.values,
            chunks=(4096,),
            compressors=(ZstdCodec(), CHECKSUM),
            dimension_names=("time",),
            attributes={name: np.asarray(value).tolist() for name, value in before.attrs.items()},
        )
        reach("archive.missing.made")
    return fields


def mark_filled(store: HashingStore, archived: xr.Dataset, replacements: Sequence[Replacement]) -> None:
    """Frames of which every variable has new values are there from now on."""
    if PRESENT not in archived.coords:
        return
    array = cast("zarr.Array[Any]", zarr.open_group(store, mode="r+")[PRESENT])
    there = np.asarray(array[:])
    given = {str(name): np.zeros(len(there), dtype=bool) for name in archived.data_vars}
    for one in replacements:
        given[one.variable][one.start : one.stop] = True
    filled = np.logical_and.reduce(list(given.values())) & (there == 0)
    if filled.any():
        array[:] = np.where(filled, np.int8(1), there)
        reach("archive.missing.filled")
