"""How the values of a variable are stored: packing and byte order.

What lives here: refusing a packing that loses the values, and telling which files of a batch are stored in another way
than most. What does not: unpacking, which xarray does file by file.

    check_packing(dataset, {"t2m": "Tair"})          # SourceError Q-PACKING where scale_factor is 0
    storage(dataset, {"t2m": "Tair"})["t2m"]         # "int16 with scale_factor 0.01, add_offset 273"
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from ..errors import SourceError


def check_packing(dataset: xr.Dataset, held: Mapping[str, str]) -> None:
    """The packing of every variable can be undone.

    Raises:
        SourceError: ``Q-PACKING``.
    """
    for source in held.values():
        for key in ("scale_factor", "add_offset"):
            found = dataset.variables[source].encoding.get(key)
            if found is not None and not _usable(key, found):
                raise SourceError(
                    "Q-PACKING",
                    f"variable {source!r} has the {key} {found}, expected a finite number"
                    f"{' other than 0' if key == 'scale_factor' else ''}; correct the attribute",
                )


def _usable(key: str, found: object) -> bool:
    try:
        value = float(np.asarray(found).item())
    except (TypeError, ValueError):
        return False
    return math.isfinite(value) and (key != "scale_factor" or value != 0.0)


def storage(dataset: xr.Dataset, held: Mapping[str, str]) -> dict[str, str]:
    """By name in the archive, how its values are stored; empty text for plain ones in the byte order of most machines.

    Nothing is said of NetCDF-3, all of which has the other byte order.
    """
    return {name: _described(dataset.variables[source]) for name, source in held.items()}


def _described(field: xr.Variable) -> str:
    stored = field.encoding.get("dtype")
    packed = [f"{key} {field.encoding[key]:g}" for key in ("scale_factor", "add_offset") if key in field.encoding]
    swapped = field.encoding.get("endian") == "big" or getattr(stored, "byteorder", "=") == ">"
    classic = "source" in field.encoding and "chunksizes" not in field.encoding
    order = "big-endian " if swapped and not classic else ""
    if not packed and not order:
        return ""
    kind = np.dtype(stored).newbyteorder("=").name if stored is not None else field.dtype.name
    return f"{order}{kind}{' with ' if packed else ''}{', '.join(packed)}"


def unlike_most(stored: Mapping[Path, Mapping[str, str]]) -> dict[Path, str]:
    """What to tell of files that store a variable in another way than most of the batch; the first such variable."""
    told: dict[Path, str] = {}
    for name in dict.fromkeys(name for each in stored.values() for name in each):
        counts = Counter(each[name] for each in stored.values() if name in each)
        usual = counts.most_common(1)[0][0]
        for path, each in stored.items():
            if each.get(name, usual) != usual:
                told.setdefault(
                    path,
                    f"variable {name!r} is stored as {each[name] or 'plain numbers'}, most are "
                    f"{usual or 'plain numbers'}; decoded",
                )
    return told
