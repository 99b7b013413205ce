"""What one ingest commits: the fields in their final form, and the notes that are kept with them.

What lives here: mask, static fields and attributes put to the joined fields, and the record of the files. What does
not: choosing the fields (`assembly`) and writing them (`archive`).

    fields = finished(config, assembly.fields, reference, first=True, statics={})
    archive.write(path, fields, config.archive, message=headline(assembly), metadata=notes(...))
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from .assembly import Assembly, Candidate, sample_numbers
from .config import Config
from .fields import time_text
from .holdings import Holdings
from .presence import present
from .reference import Reference, mask_coordinate
from .rejection import Rejection
from .revision import revised_text
from .static_fields import StaticFile

_CONFIG_SECTIONS = ("source", "variables", "boundary", "archive", "quality")


def finished(
    config: Config,
    fields: xr.Dataset,
    reference: Reference,
    first: bool,
    statics: Mapping[str, xr.DataArray],
) -> xr.Dataset:
    """The fields with mask and attributes, in the order of the configuration.

    Args:
        config: Read are `variables` and `boundary`.
        fields: Joined.
        reference: Says what is masked.
        first: Whether this makes the Archive; only then mask and static fields go in.
        statics: The static fields on the Archive's grid.
    """
    mask = mask_coordinate(reference)
    ordered = fields[list(config.varying)]
    if any(reference.nan_points.get(name, 0) < reference.masked.sum() for name in config.varying):
        ordered = ordered.where(mask == 1)
    if first:
        ordered = ordered.assign_coords({"mask": mask, **statics})
    ordered = ordered.assign({name: ordered[name].assign_attrs(fields[name].attrs) for name in config.varying})
    ordered.attrs = {"Conventions": "CF-1.11", "boundary": config.boundary}
    return ordered


def notes(
    config: Config,
    assembly: Assembly,
    reference: Reference,
    held: Holdings,
    statics: Sequence[StaticFile],
    rejected: Sequence[Rejection],
) -> dict[str, Any]:
    """Which files went in and which did not, what they revised, by what configuration and code; JSON-able."""
    tree = config.model_dump(mode="json")
    files: list[dict[str, Any]] = [
        {"name": one.path.name, "sha256": one.digest, "variables": list(one.fields.data_vars), "complete": True}
        for one in statics
        if one.alone
    ]
    complete = assembly.complete
    files += [
        {"name": one.path.name, "sha256": one.digest, "variables": list(one.surveys), "complete": True}
        for one in complete.values()
        if all(one.digest != other.digest for other in assembly.used)
    ]
    place = 0 if held.archived is None else int(held.archived.sizes.get("sample", 0))
    for one in assembly.used:
        entry: dict[str, Any] = {
            "name": one.path.name,
            "sha256": one.digest,
            "variables": [str(name) for name in one.fields.data_vars],
            "complete": one.path in complete,
        }
        if not entry["complete"]:
            entry["taken"] = _taken(one, assembly, held)
        if "sample" in one.fields.dims:
            entry |= {"start": place, "samples": sample_numbers(one.fields)}
            place += one.fields.sizes["sample"]
        files.append(entry)
    return {
        "files": files,
        "rejected": [str(one) for one in [*rejected, *assembly.rejected]],
        "revised": [one.note() for one in assembly.revisions],
        "nan_points": dict(reference.nan_points),
        "config": {name: tree[name] for name in _CONFIG_SECTIONS},
        "config_hash": config.hash(_CONFIG_SECTIONS),
        "code_version": _code_version(),
    }


def headline(assembly: Assembly) -> str:
    """What a commit does, in a line: ``ingest 2 file(s): 2020-01-03T00:00 to 2020-01-03T23:00, 24 frames``."""
    parts = [] if assembly.fields is None else [coverage(assembly.fields)]
    parts += revised_text(assembly.revisions)
    return f"ingest {len(assembly.used)} file(s): {'; '.join(parts)}"


def _taken(one: Candidate, assembly: Assembly, held: Holdings) -> int:
    """How many frames of an unfinished file the Archive has after the commit."""
    fields = held.archived if assembly.fields is None else assembly.fields
    return 0 if fields is None else int((one.times <= fields["time"].values[-1]).sum())


def _code_version() -> str:
    try:
        return importlib.metadata.version("minconv-pipeline")
    except importlib.metadata.PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"


def extent(fields: xr.Dataset) -> int:
    """Number of samples, or of frames that are there."""
    return int(fields.sizes["sample"] if "sample" in fields.dims else present(fields).sum())


def coverage(fields: xr.Dataset) -> str:
    """First and last time and number of frames, or number of samples, in words."""
    if "sample" in fields.dims:
        return f"{fields.sizes['sample']} samples of {fields.sizes['time']} frames"
    times = fields["time"].values
    missing = int((~present(fields)).sum())
    lacking = f" of which {missing} {'is' if missing == 1 else 'are'} missing" if missing else ""
    return f"{time_text(times[0])} to {time_text(times[-1])}, {len(times)} frames{lacking}"
