"""One member of an ensemble.

of_member(dataset, 3)       # without the dimension of members
"""

from __future__ import annotations

import cf_xarray  # noqa: F401  (adds the accessor `.cf`)
import numpy as np
import xarray as xr

from ..errors import SourceError

_NAMES = ("number", "member", "realization", "ensemble", "ens", "ensemble_member")
_LISTED = 8


def of_member(dataset: xr.Dataset, member: int | None) -> xr.Dataset:
    """The member of this number, or at this place where members have no numbers; a dataset without members as it is.

    Raises:
        SourceError: ``Q-MEMBER``: there is no such member, or the file is that of another one.
    """
    if member is None:
        return dataset
    known = {*_NAMES, *map(str, dataset.cf.standard_names.get("realization", ()))}
    dims = [dim for dim in dataset.dims if str(dim).lower() in known]
    if dims:
        places = np.flatnonzero(dataset[dims[0]].values == member)  # counts members where there is no coordinate
        check_member(member, dataset[dims[0]].values.tolist(), len(places) == 1)
        return dataset.isel({dims[0]: int(places[0])}, drop=True)
    for name, data in dataset.coords.items():
        if str(name).lower() in known and data.ndim == 0:
            check_member(member, [data.item()], data.item() == member)
    return dataset


def check_member(member: int, found: list[int], there: bool) -> None:
    """The wanted member is one of those that a file has.

    Raises:
        SourceError: ``Q-MEMBER``.
    """
    if not there:
        listed = ", ".join(map(str, found[:_LISTED])) + (f", ... {found[-1]}" if len(found) > _LISTED else "")
        raise SourceError(
            "Q-MEMBER",
            f"expected the member {member} of the ensemble, it has {listed}; fetch it again, or correct source.member",
        )
