"""What is at a URL brought into a folder of the pipeline, with a record of what it was.

What lives here: fetching what is new or changed, the records, what may be removed again. What does not: listing a place
(`place`), its errors in words (`wording`), what becomes of the files (`ingest`).

    found = fetch("s3://bucket/era5", Path("runs/era5/fetched"), ["{time:%Y}/*.nc"], archived=digests)
    found.paths, found.known, found.failed
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...checksums import FILE as SUMS
from ...durable_file import write_text
from ...errors import SourceError
from ...file_pattern import FilePattern
from ..files import digest
from ..zarr_pointer import point
from .place import filesystem, identity_of, identity_of_group, info_of, matching
from .wording import cause_of, in_our_words, kind_of

RECORDS = ".records"


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
    with in_our_words(url):
        system, base = filesystem(url)
        names: dict[str, dict[str, Any]] = {}
        for pattern in map(FilePattern.parse, patterns):
            there = matching(system, base, pattern)
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
                if kind_of(error) == "unreachable":
                    raise
                reason = f"it cannot be fetched from {url} ({cause_of(error)}); check it there"
                found.failed[folder / name] = SourceError("Q-UNREADABLE", reason)
        _fetch_sums(system, base, url, folder)
    return found


def discard(folder: Path, digests: Mapping[Path, str], archived: Collection[str]) -> None:
    """Remove fetched files that are in the archive as a whole; their records stay."""
    for path, sha256 in digests.items():
        if sha256 in archived and _place(folder, path.relative_to(folder).as_posix()).is_file():
            path.unlink(missing_ok=True)


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
    identity = identity_of_group(system, source) if is_group else identity_of(system, info)
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
    if info_of(system, there) is not None:
        write_text(folder / SUMS, system.cat_file(there).decode("utf-8", errors="replace"))
    else:
        (folder / SUMS).unlink(missing_ok=True)


def _place(folder: Path, name: str) -> Path:
    return folder / RECORDS / f"{name}.json"


def _record(folder: Path, name: str) -> dict[str, Any] | None:
    try:
        tree = json.loads(_place(folder, name).read_bytes())
    except (OSError, ValueError):
        return None
    return tree if isinstance(tree, dict) and {"identity", "sha256"} <= tree.keys() else None
