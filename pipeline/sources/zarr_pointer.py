"""A small file that stands for a Zarr group (or an Icechunk repository) at a URL, so that it is an input like any file.

It changes when the group does, by what is told of it; so its sha256 says whether the group is known already.

    point(path, "s3://bucket/era5.zarr", {"objects": "310", "sha256": "3f2a..."})
    pointed(path, "s3://bucket").url        # "s3://bucket/era5.zarr"
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..durable_file import write_text

_START = b'{"zarr": "'
_LONGEST = 2**16
ICECHUNK = "icechunk"  # told of a repository


def point(path: Path, url: str, identity: Mapping[str, str]) -> None:
    """Write the file that stands for the group at `url`, of which `identity` is told."""
    write_text(path, json.dumps({"zarr": url, **identity}))


def stands_for_group(path: Path) -> bool:
    """Whether a file is one of these."""
    with path.open("rb") as file:
        return file.read(len(_START)) == _START


@dataclass(frozen=True)
class Pointed:
    """What such a file stands for: its URL, and whether it is an Icechunk repository rather than a Zarr group."""

    url: str
    icechunk: bool


def pointed(path: Path, url: str) -> Pointed | None:
    """What below `url` a file stands for; None for any other file, and for what is elsewhere."""
    if not path.is_file() or path.stat().st_size > _LONGEST or not stands_for_group(path):
        return None
    try:
        tree = json.loads(path.read_bytes())
        there = str(tree["zarr"])
    except (ValueError, KeyError):
        return None
    # a file that was fetched must not send us to another place
    return Pointed(there, ICECHUNK in tree) if there.startswith(f"{url}/") else None
