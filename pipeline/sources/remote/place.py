"""A place that fsspec reaches: its listing, and what it says about the bytes of a file or of a Zarr group.

system, base = filesystem("s3://bucket/era5")
matching(system, base, FilePattern.parse("{time:%Y}/*.nc"))       # {"2020/a.nc": {"size": 1000, ...}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

from ...errors import ConfigError
from ...file_pattern import FilePattern
from ..files import ICECHUNK_FOLDERS, ZARR_METADATA
from ..zarr_pointer import ICECHUNK
from .wording import cause_of, kind_of

_CONNECT_SECONDS, _READ_SECONDS = 10, 60
# what places say about the bytes of a file, under one name or another
_IDENTITY = (
    *("size", "ETag", "etag", "Content-MD5", "Digest", "md5Hash", "generation"),
    *("Last-Modified", "LastModified", "last_modified", "mtime", "updated", "created"),
)


def known_of(protocol: str) -> dict[str, Any]:
    """What the environment says about a protocol (FSSPEC_<PROTOCOL>_<ARGUMENT>)."""
    from fsspec.config import conf

    return dict(conf.get(protocol, {}))


def storage_options(protocol: str) -> dict[str, Any]:
    """Bounds on how long a place may be silent, where the environment has none for its protocol."""
    known = known_of(protocol)
    if protocol in ("http", "https") and "client_kwargs" not in known:
        from aiohttp import ClientTimeout

        return {"client_kwargs": {"timeout": ClientTimeout(sock_connect=_CONNECT_SECONDS, sock_read=_READ_SECONDS)}}
    if protocol in ("s3", "s3a") and "config_kwargs" not in known:
        return {"config_kwargs": {"connect_timeout": _CONNECT_SECONDS, "read_timeout": _READ_SECONDS}}
    return {}


def filesystem(url: str) -> tuple[Any, str]:
    """What reaches a URL, and the path there.

    Raises:
        ConfigError: The library for its protocol is not installed.
    """
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0]
    try:
        # what an earlier listing said may be old
        system, base = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **storage_options(protocol))
    except (ImportError, ValueError) as error:
        extra = "s3" if protocol in ("s3", "s3a") else ""
        what = f"run: pip install 'minconv-pipeline[{extra}]'" if extra else "install its library for fsspec"
        raise ConfigError(f"source.path {url} cannot be read ({cause_of(error)}); {what}") from error
    return system, str(base).rstrip("/")


def matching(system: Any, base: str, pattern: FilePattern) -> dict[str, dict[str, Any]]:
    """What a pattern fits, by name from `base` on; a name with a time that is no date is left out."""
    found = dict(_walked(system, base, "", pattern.glob.split("/")))
    return {name: info for name, info in found.items() if not pattern.form or pattern.start(name)}


def _walked(system: Any, base: str, prefix: str, parts: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Folder by folder, so that one that cannot be listed is an error and not an empty one."""
    head, rest = parts[0], parts[1:]
    if head == "**":
        yield from _walked(system, base, prefix, rest)
    elif not any(sign in head for sign in "*?["):
        if rest:
            yield from _walked(system, base, f"{prefix}{head}/", rest)
        elif (info := info_of(system, f"{base}/{prefix}{head}")) is not None:
            yield f"{prefix}{head}", info
        return
    for info in system.ls(f"{base}/{prefix}".rstrip("/"), detail=True):
        name = unquote(str(info["name"]).rstrip("/").rpartition("/")[2])
        folder = info["type"] == "directory"
        # names are taken for names only, whatever a listing says
        if (
            name.startswith((".", "?"))
            or "/" in name
            or f"{base}/{prefix}".rstrip("/") == str(info["name"]).rstrip("/")
        ):
            continue
        if head == "**":
            if folder:
                yield from _walked(system, base, f"{prefix}{name}/", parts)
        elif fnmatchcase(name, head):
            if rest and folder:
                yield from _walked(system, base, f"{prefix}{name}/", rest)
            elif not rest:
                yield f"{prefix}{name}", info


def identity_of(system: Any, info: dict[str, Any]) -> dict[str, str]:
    """What the place says about the bytes of a file; listings of the web say nothing."""
    told = info if info.get("size") is not None else system.info(info["name"])
    return {key: str(told[key]) for key in _IDENTITY if told.get(key) is not None}


def identity_of_group(system: Any, source: str) -> dict[str, str]:
    """The same of a Zarr group or an Icechunk repository, from its metadata and the names and sizes of all objects."""
    total = hashlib.sha256()
    objects = system.find(source, detail=True)
    for name, info in sorted(objects.items()):
        told = {key: str(info[key]) for key in _IDENTITY if info.get(key) is not None}
        total.update(f"{name.removeprefix(source)}\0{json.dumps(told)}\0".encode())
    for name in ZARR_METADATA:
        if info_of(system, f"{source.rstrip('/')}/{name}") is not None:
            total.update(system.cat_file(f"{source.rstrip('/')}/{name}"))
    parts = {name.removeprefix(source).lstrip("/").partition("/")[0] for name in objects}
    kind = {ICECHUNK: "true"} if parts >= ICECHUNK_FOLDERS else {}
    return {"objects": str(len(objects)), "sha256": total.hexdigest(), **kind}


def info_of(system: Any, place: str) -> dict[str, Any] | None:
    """What is told of a place; None where there is nothing."""
    try:
        told: dict[str, Any] = system.info(place)
    except FileNotFoundError as error:
        if kind_of(error) != "absent":
            raise
        return None
    return told
