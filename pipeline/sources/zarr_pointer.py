"""A small file that stands for a Zarr group at a URL, so that such a group is an input like any file.

It changes when the group does, by what is told of it; so its sha256 says whether the group is known already.

    point(path, "s3://bucket/era5.zarr", {"objects": "310", "sha256": "3f2a..."})
    pointed_url(path, "s3://bucket")        # "s3://bucket/era5.zarr"
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..durable_file import write_text

_START = b'{"zarr": "'
_LONGEST = 2**16


def point(path: Path, url: str, identity: Mapping[str, str]) -> None:
    """Write the file that stands for the group at `url`, of which `identity` is told."""
    write_text(path, json.dumps({"zarr": url, **identity}))


def stands_for_group(path: Path) -> bool:
    """Whether a file is one of these."""
    with path.open("rb") as file:
        return file.read(len(_START)) == _START


def pointed_url(path: Path, url: str) -> str | None:
    """The group below `url` that a file stands for; None for any other file, and for a group elsewhere."""
    if not path.is_file() or path.stat().st_size > _LONGEST or not stands_for_group(path):
        return None
    try:
        there = json.loads(path.read_bytes())["zarr"]
    except (ValueError, KeyError):
        return None
    # a file that was fetched must not send us to another place
    return str(there) if str(there).startswith(f"{url}/") else None
