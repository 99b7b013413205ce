"""Whether an input lies inside the folder of the input: links and names must not lead out of it.

check_enclosed(Path("data"), Path("data/day.nc"))      # SourceError Q-PATH where day.nc is a link to /etc/passwd
"""

from __future__ import annotations

from pathlib import Path

from ..errors import SourceError


def check_enclosed(folder: Path, path: Path) -> None:
    """A file, or everything in a Zarr folder, lies inside `folder` when all links are followed.

    Raises:
        SourceError: ``Q-PATH``.
    """
    inside = folder.resolve()
    links = [one for one in path.rglob("*") if one.is_symlink()] if path.is_dir() else []
    for one in (path, *links):
        target = one.resolve()
        if not target.is_relative_to(inside):
            raise SourceError(
                "Q-PATH",
                f"{one.relative_to(folder).as_posix()!r} leads to {target}, expected a place inside the input folder; "
                "copy it there, or set quality.rules.Q-PATH to off where such links are yours",
            )
