"""Whether an input is still being written: it is younger than it should be, or changes while it is looked at.

before = stamp(path)                       # sizes and times of change
check_settled(before, seconds=60, now=time.time())
stamp(path) == before                      # False where somebody wrote to it since
"""

from __future__ import annotations

from pathlib import Path

from ..errors import SourceError

Stamp = frozenset[tuple[str, int, int]]


def stamp(path: Path) -> Stamp:
    """Name, size and time of change of a file, or of all files of a Zarr folder; empty where there is nothing."""
    files = [path] if path.is_file() else path.rglob("*")
    found = set()
    for file in files:
        try:
            state = file.stat()
        except OSError:  # gone since it was listed, or a link to nowhere
            continue
        if file.is_file():
            found.add((file.as_posix(), state.st_size, state.st_mtime_ns))
    return frozenset(found)


def check_settled(found: Stamp, seconds: float, now: float) -> None:
    """Nothing was written to an input for so many seconds; a time of change in the future counts as long ago.

    Raises:
        SourceError: ``Q-UNSETTLED``.
    """
    if not found or not seconds:
        return
    age = now - max(changed for _, _, changed in found) / 1e9
    if 0.0 <= age < seconds:
        raise SourceError(
            "Q-UNSETTLED",
            f"it was written to {age:.0f} s ago, expected at least {seconds:g} s of rest (source.settle_seconds); "
            "ingest again later",
        )
