"""Input at a URL: its files brought into a folder of the pipeline, its Zarr groups named there and read where they are.

What lives here: listing a place that fsspec reaches, fetching what is new or changed, what may be removed again. What
does not: what becomes of the files (`ingest`), and opening a Zarr group (`opening`).

    found = fetch("s3://bucket/era5", Path("runs/era5/fetched"), ["{time:%Y}/*.nc"], archived=digests)
    found.paths, found.known, found.failed

A file is fetched under another name and renamed when all its bytes are there. Beside it is a record of what the place
said about it (size, ETag or time of change) and of its sha256; while both hold, it is not fetched again. What is in the
archive as a whole is removed and known by its record from then on. Credentials are those that the library of the
protocol finds in the environment; they are neither taken nor kept here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

from ..checksums import FILE as SUMS
from ..durable_file import write_text
from ..errors import ConfigError, SourceError
from ..file_pattern import FilePattern
from .files import ICECHUNK_FOLDERS, ZARR_METADATA, digest
from .zarr_pointer import ICECHUNK, point

RECORDS = ".records"
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
# what places say about the bytes of a file, under one name or another
_IDENTITY = (
    *("size", "ETag", "etag", "Content-MD5", "Digest", "md5Hash", "generation"),
    *("Last-Modified", "LastModified", "last_modified", "mtime", "updated", "created"),
)


@dataclass(frozen=True)
class Fetched:
    """What is at a URL.

    Attributes:
        paths: Where the files are now; in place of a Zarr group a small file that names it.
        known: Files that are in the archive as a whole, which were not fetched.
        failed: Files that could not be fetched, and why.
    """

    paths: list[Path] = field(default_factory=list)
    known: list[Path] = field(default_factory=list)
    failed: dict[Path, SourceError] = field(default_factory=dict)


def fetch(
    url: str,
    folder: Path,
    patterns: Iterable[str],
    archived: Collection[str],
    is_past: Callable[[FilePattern, Mapping[str, str]], Collection[str]] = lambda pattern, names: (),
    progress: Callable[[str], None] = lambda name: None,
) -> Fetched:
    """Bring what matches into `folder`.

    Args:
        url: Of the folder there.
        folder: Here.
        patterns: As in `files.find`.
        archived: The sha256 of all files that are in the archive as a whole.
        is_past: Of a pattern and the names it fits, those that need not be looked at.
        progress: Called with the name of each file that is fetched.

    Raises:
        SourceError: ``Q-NO-FOLDER``: there is no such place; ``Q-NO-FILES``: nothing matches; ``Q-UNREADABLE``: it
            cannot be reached, or does not let us.
        ConfigError: The library for this protocol is not installed.
    """
    found = Fetched()
    with _in_our_words(url):
        system, base = _filesystem(url)
        names: dict[str, dict[str, Any]] = {}
        for pattern in map(FilePattern.parse, patterns):
            there = _matching(system, base, pattern)
            past = is_past(pattern, {name: name for name in there})
            names |= {name: info for name, info in there.items() if name not in past}
            found.known.extend(folder / name for name in past)
        if not names and not found.known:
            raise SourceError(
                "Q-NO-FILES", f"no file at {url} matches {', '.join(patterns)}; correct source.path or source.files"
            )
        for name, info in sorted(names.items()):
            try:
                fetched = _fetched(system, url, folder, name, info, archived, progress)
                (found.paths if fetched else found.known).append(folder / name)
            except Exception as error:
                if _kind(error) == "unreachable":
                    raise
                reason = f"it cannot be fetched from {url} ({_cause(error)}); check it there"
                found.failed[folder / name] = SourceError("Q-UNREADABLE", reason)
        _fetch_sums(system, base, url, folder)
    return found


def discard(folder: Path, digests: Mapping[Path, str], archived: Collection[str]) -> None:
    """Remove fetched files that are in the archive as a whole; their records stay."""
    for path, sha256 in digests.items():
        if sha256 in archived and _place(folder, path.relative_to(folder).as_posix()).is_file():
            path.unlink(missing_ok=True)


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


def _filesystem(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    protocol = url.partition("://")[0]
    try:
        # what an earlier listing said may be old
        system, base = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True, **storage_options(protocol))
    except (ImportError, ValueError) as error:
        extra = "s3" if protocol in ("s3", "s3a") else ""
        what = f"run: pip install 'minconv-pipeline[{extra}]'" if extra else "install its library for fsspec"
        raise ConfigError(f"source.path {url} cannot be read ({_cause(error)}); {what}") from error
    return system, str(base).rstrip("/")


def _matching(system: Any, base: str, pattern: FilePattern) -> dict[str, dict[str, Any]]:
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
        elif (info := _info(system, f"{base}/{prefix}{head}")) is not None:
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


def _fetched(
    system: Any,
    url: str,
    folder: Path,
    name: str,
    info: dict[str, Any],
    archived: Collection[str],
    progress: Callable[[str], None],
) -> bool:
    """Whether the file is here now; if not, it is in the archive."""
    source = str(info["name"])
    is_group = info["type"] == "directory"
    identity = _group_identity(system, source) if is_group else _identity(system, info)
    record = _record(folder, name)
    path = folder / name
    if record is not None and record["identity"] == identity and len(identity) > 1:
        if path.is_file() and digest(path) == record["sha256"]:
            return True
        if record["sha256"] in archived:
            return False
    progress(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_group:
        point(path, f"{url}/{name}", identity)
    else:
        _download(system, source, path, identity.get("size"))
    sha256 = digest(path)
    write_text(_place(folder, name), json.dumps({"identity": identity, "sha256": sha256}))
    return True


def _download(system: Any, source: str, path: Path, size: str | None) -> None:
    """Whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    system.get_file(source, str(partial))
    got = partial.stat().st_size
    if size is not None and got != int(size):
        partial.unlink()
        raise OSError(f"{got} of {size} bytes of {path.name} arrived")
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def _fetch_sums(system: Any, base: str, url: str, folder: Path) -> None:
    """The checksums that a provider states beside the files are those of what was fetched."""
    there = f"{base}/{SUMS}"
    if _info(system, there) is not None:
        write_text(folder / SUMS, system.cat_file(there).decode("utf-8", errors="replace"))
    else:
        (folder / SUMS).unlink(missing_ok=True)


def _identity(system: Any, info: dict[str, Any]) -> dict[str, str]:
    """What the place says about the bytes of a file; listings of the web say nothing."""
    told = info if info.get("size") is not None else system.info(info["name"])
    return {key: str(told[key]) for key in _IDENTITY if told.get(key) is not None}


def _group_identity(system: Any, source: str) -> dict[str, str]:
    """The same of a Zarr group or an Icechunk repository, from its metadata and the names and sizes of all objects."""
    total = hashlib.sha256()
    objects = system.find(source, detail=True)
    for name, info in sorted(objects.items()):
        told = {key: str(info[key]) for key in _IDENTITY if info.get(key) is not None}
        total.update(f"{name.removeprefix(source)}\0{json.dumps(told)}\0".encode())
    for name in ZARR_METADATA:
        if _info(system, f"{source.rstrip('/')}/{name}") is not None:
            total.update(system.cat_file(f"{source.rstrip('/')}/{name}"))
    parts = {name.removeprefix(source).lstrip("/").partition("/")[0] for name in objects}
    kind = {ICECHUNK: "true"} if parts >= ICECHUNK_FOLDERS else {}
    return {"objects": str(len(objects)), "sha256": total.hexdigest(), **kind}


def _info(system: Any, place: str) -> dict[str, Any] | None:
    """What is told of a place; None where there is nothing."""
    try:
        told: dict[str, Any] = system.info(place)
    except FileNotFoundError as error:
        if _kind(error) != "absent":
            raise
        return None
    return told


def _place(folder: Path, name: str) -> Path:
    return folder / RECORDS / f"{name}.json"


def _record(folder: Path, name: str) -> dict[str, Any] | None:
    try:
        tree = json.loads(_place(folder, name).read_bytes())
    except (OSError, ValueError):
        return None
    return tree if isinstance(tree, dict) and {"identity", "sha256"} <= tree.keys() else None


@contextmanager
def _in_our_words(url: str) -> Iterator[None]:
    """Whatever the library of a protocol raises says that the place is not there, closed, or cannot be reached."""
    try:
        yield
    except (SourceError, ConfigError):
        raise
    except Exception as error:  # each protocol has a library with types of its own
        kind = _kind(error)
        if kind == "absent":
            raise SourceError(
                "Q-NO-FOLDER", f"{url} does not exist; set source.path to the place of the files"
            ) from error
        refused = kind == "refused"
        what = "does not let us read it" if refused else "cannot be reached"
        step = "check the credentials in the environment" if refused else "check the address and the network"
        raise SourceError(
            "Q-UNREADABLE", f"{url} {what} ({_cause(error)}); {step}; what was fetched is kept for the next run"
        ) from error


def _kind(error: BaseException) -> Literal["absent", "refused", "unreachable"]:
    """What stands behind an error; fsspec takes whatever goes wrong with a file of the web for its absence."""
    behind = error.__cause__ if isinstance(error, FileNotFoundError) and error.__cause__ is not None else error
    status = _status(behind)
    if isinstance(behind, PermissionError) or status in (401, 403):
        return "refused"
    return "absent" if isinstance(behind, FileNotFoundError) or status in (404, 410) else "unreachable"


def _status(error: BaseException) -> int | None:
    """Of the answer, as the libraries of the web and of S3 keep it."""
    response = getattr(error, "response", None)
    told = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
    status = getattr(error, "status", told)
    return status if isinstance(status, int) else None


def _cause(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        return _cause(error.__cause__)
    status = getattr(error, "status", None)
    text = str(getattr(error, "strerror", None) or error).strip().partition("\n")[0]
    return f"{status} {getattr(error, 'message', '')}".strip() if status else text or type(error).__name__
