"""Sources: raw gridded files, opened lazily and brought to the contract that `pipeline.fields` states.

What lives here: finding files and telling whether they are whole (`files`, `netcdf3`, `grib_messages`), fetching them
from elsewhere (`remote`, `zarr_pointer`), opening them (`opening`, `grib`, `images`, `members`), tables of sensors
(`tables`, `gridding`), units (`units`), levels (`levels`), names, dimension order, axes, region, dtype (`harmonise`).
What does not: other grids, steps and quantities (`transforms`), judging values (`quality`), choosing what is committed
(`ingest`). A new kind of input is a new file here that returns the same lazy dataset.

    for path in find(Path("data"), ["*.nc"]):
        dataset = harmonise(open_lazily(path), {"t2m": VariableConfig(units="K", source_name="Tair")})
"""

from __future__ import annotations

from .files import check_container, digest, find, settled
from .harmonise import harmonise, harmonise_static, present_variables
from .opening import in_blocks, names_held, open_input, open_lazily
from .remote import Fetched, discard, fetch
from .tables import open_table

__all__ = [
    "Fetched",
    "check_container",
    "digest",
    "discard",
    "fetch",
    "find",
    "harmonise",
    "harmonise_static",
    "in_blocks",
    "names_held",
    "open_input",
    "open_lazily",
    "open_table",
    "present_variables",
    "settled",
]
