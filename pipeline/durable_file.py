"""A small text file that is written whole or not at all: a reader, or a crash, never meets half of it.

write_text(folder / "entry.json", text)
"""

from __future__ import annotations

import os
from pathlib import Path

from .failpoints import reach


def write_text(path: Path, text: str) -> None:
    """Write a file in place of what is there; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        reach("file.partial")
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    reach("file.replaced")


def partials(folder: Path) -> list[Path]:
    """Files that are being written in a folder, or whose writer was killed."""
    return sorted(folder.glob(".*.partial"))


def remove_partials(folder: Path) -> list[Path]:
    """Delete them, for one who knows that nobody writes there now; says what they were."""
    found = partials(folder)
    for partial in found:
        partial.unlink(missing_ok=True)
    return found
