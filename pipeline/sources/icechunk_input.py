"""Icechunk repositories as input: the newest version of their branch `main`.

What lives here: where a repository is, in a folder or on S3. What does not: the Archive, a repository of our own
(`pipeline.archive`).

    xr.open_zarr(store_in(Path("data/repository")))
    xr.open_zarr(store_at("s3://weather/repository"))
"""

from __future__ import annotations

from pathlib import Path

import icechunk

from ..errors import SourceError
from .remote import known_of

_BRANCH = "main"


def store_in(folder: Path) -> icechunk.IcechunkStore:
    """Of the repository in a folder."""
    return _newest(icechunk.local_filesystem_storage(str(folder)))


def store_at(url: str) -> icechunk.IcechunkStore:
    """Of the repository at a URL, with what the environment says about S3.

    Raises:
        SourceError: ``Q-UNREADABLE``: it is not on S3.
    """
    protocol, _, place = url.partition("://")
    if protocol not in ("s3", "s3a"):
        raise SourceError(
            "Q-UNREADABLE",
            f"Icechunk repositories are read from folders and from s3://, got {url}; copy it to a folder",
        )
    bucket, _, prefix = place.partition("/")
    known = known_of(protocol)
    endpoint = known.get("endpoint_url")
    return _newest(
        icechunk.s3_storage(
            bucket=bucket,
            prefix=prefix,
            endpoint_url=endpoint,
            allow_http=str(endpoint or "").startswith("http:"),
            **({"anonymous": True} if known.get("anon") else {"from_env": True}),
        )
    )


def _newest(storage: icechunk.Storage) -> icechunk.IcechunkStore:
    return icechunk.Repository.open(storage).readonly_session(_BRANCH).store
