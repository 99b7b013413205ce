"""Input files: finding them, and telling whether they are whole.

paths = find(Path("data"), ["*.nc"])
check_container(paths[0])
"""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from pathlib import Path

from ..errors import SourceError
from ..file_pattern import FilePattern
from .grib_messages import check_messages, looks_like_grib
from .netcdf3 import expected_size
from .zarr_pointer import stands_for_group

_MAGIC = (b"\x89HDF\r\n\x1a\n", b"CDF\x01", b"CDF\x02", b"CDF\x05")
# without a form of their own that could be checked before they are read
TABLES = (".csv", ".parquet")
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
FILMS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
ZARR_METADATA = ("zarr.json", ".zgroup", ".zmetadata")  # of version 3, of version 2, of version 2 consolidated

ICECHUNK_FOLDERS = {"refs", "snapshots"}  # branches and versions


def find(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """The input files in `folder` that match one of `patterns`, by name; files that start with a dot are left out.

    Raises:
        SourceError: The folder is missing or nothing matches.
    """
    if not folder.is_dir():
        raise SourceError(
            "Q-NO-FOLDER", f"input folder {folder} does not exist; set source.path to the folder of the files"
        )
    found = {path for pattern in patterns for path in _matching(folder, FilePattern.parse(pattern))}
    if not found:
        raise SourceError(
            "Q-NO-FILES",
            f"no file in {folder} matches {', '.join(patterns)}; correct source.path or source.files",
        )
    return sorted(found)


def settled(
    folder: Path, patterns: Sequence[str], last: datetime.datetime, missing: Sequence[datetime.datetime] = ()
) -> frozenset[Path]:
    """Files that by the times in their names hold nothing after `last`, and nothing at a time that is missing.

    Args:
        folder: As in `find`.
        patterns: As in `find`; only those with a ``{time:...}`` settle anything (see `pipeline.file_pattern`).
        last: As in `FilePattern.past`.
        missing: As in `FilePattern.past`.
    """
    found: set[Path] = set()
    for pattern in map(FilePattern.parse, patterns):
        names = {path: path.relative_to(folder).as_posix() for path in _matching(folder, pattern)}
        found |= pattern.past(names, last, missing)
    return frozenset(found)


def _matching(folder: Path, pattern: FilePattern) -> list[Path]:
    """What fits a pattern; a name with a time that is no date does not."""
    paths = [path for path in folder.glob(pattern.glob) if not path.name.startswith(".")]
    return [path for path in paths if not pattern.form or pattern.start(path.relative_to(folder).as_posix())]


def digest(path: Path) -> str:
    """The sha256 of a file's bytes, or of all names and bytes in a Zarr folder."""
    total = hashlib.sha256()
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    for file in files:
        if file != path:
            total.update(f"{file.relative_to(path).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                total.update(block)
    return total.hexdigest()


def check_container(path: Path) -> None:
    """Check that a file is of a known kind and as long as it should be; a folder is a Zarr group or Icechunk.

    Raises:
        SourceError: ``Q-EMPTY``, ``Q-NOT-NETCDF``, ``Q-NOT-GRIB``, ``Q-NOT-ZARR`` or ``Q-TRUNCATED``.
    """
    if path.is_dir():
        if not is_icechunk(path) and not any((path / name).is_file() for name in ZARR_METADATA):
            raise SourceError(
                "Q-NOT-ZARR",
                "expected a Zarr group or an Icechunk repository, the folder is neither; name NetCDF files, Zarr "
                "groups or "
                "repositories in source.files",
            )
        return
    size = path.stat().st_size
    if size == 0:
        raise SourceError("Q-EMPTY", "the file is empty, expected values; fetch it again")
    if path.suffix.lower() in (*TABLES, *PICTURES, *FILMS) or stands_for_group(path):
        return
    if looks_like_grib(path):
        check_messages(path)
        return
    with path.open("rb") as file:
        start = file.read(8)
    if not start.startswith(_MAGIC):
        raise SourceError(
            "Q-NOT-NETCDF",
            f"expected a NetCDF or GRIB file, but it starts with {start!r}; fetch it again or exclude it in "
            "source.files",
        )
    try:
        expected = expected_size(path)
    except EOFError as error:
        raise SourceError("Q-TRUNCATED", "the header is cut short, expected a whole one; fetch it again") from error
    if expected is not None and size < expected:
        raise SourceError("Q-TRUNCATED", f"expected {expected} bytes by its header, found {size}; fetch it again")


def is_icechunk(path: Path) -> bool:
    """Whether a folder looks like an Icechunk repository: its branches and its versions are there."""
    return all((path / name).is_dir() for name in ICECHUNK_FOLDERS)
