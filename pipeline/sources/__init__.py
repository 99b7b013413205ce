"""Sources: raw gridded files, opened lazily and brought to the contract that `pipeline.fields` states.

What lives here: finding files and telling whether they are whole (`files`, `netcdf3`), units (`units`), and names,
dimension order, axes and dtype (`harmonise`). What does not: judging values (`quality`) and choosing what is committed
(`ingest`). A new kind of input is a new file here that returns the same lazy dataset.

    for path in find(Path("data"), ["*.nc"]):
        dataset = harmonise(open_lazily(path), {"t2m": VariableConfig(units="K", source_name="Tair")})
"""

from __future__ import annotations

from .files import check_container, digest, find, open_lazily
from .harmonise import harmonise, present_variables

__all__ = ["check_container", "digest", "find", "harmonise", "open_lazily", "present_variables"]
