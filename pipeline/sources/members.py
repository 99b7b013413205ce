"""One member of an ensemble.

of_member(dataset, 3)       # without the dimension of members
"""

from __future__ import annotations

import cf_xarray  # noqa: F401  (adds the accessor `.cf`)
import numpy as np
import xarray as xr

from ..errors import SourceError

_NAMES = ("number", "member", "realization", "ensemble", "ens", "ensemble_member")


def of_member(dataset: xr.Dataset, member: int | None) -> xr.Dataset:
    """The member of this number, or at this place where members have no numbers; a dataset without members as it is.

    Raises:
        SourceError: ``Q-MISSING-VARIABLE``: there is no such member.
    """
    known = {*_NAMES, *map(str, dataset.cf.standard_names.get("realization", ()))}
    dims = [dim for dim in dataset.dims if str(dim).lower() in known]
    if member is None or not dims:
        return dataset
    dim = dims[0]
    numbers = dataset[dim].values  # counts members where there is no coordinate
    places = np.flatnonzero(numbers == member)
    if len(places) != 1:
        raise SourceError(
            "Q-MISSING-VARIABLE",
            f"expected the member {member}, it has {numbers[0]} to {numbers[-1]} along {str(dim)!r}; correct "
            "source.member",
        )
    return dataset.isel({dim: int(places[0])}, drop=True)
