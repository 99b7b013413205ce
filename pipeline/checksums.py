"""The sha256 that a provider states for its files, in a file `SHA256SUMS` beside them (as `sha256sum` writes it).

stated_digests(Path("data"))        # {Path("data/t2m.nc"): "3f2a..."}; empty where there is no such file
"""

from __future__ import annotations

import re
from pathlib import Path

from .errors import SourceError
from .file_pattern import leads_out

FILE = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")


def stated_digests(folder: Path) -> dict[Path, str]:
    """What is stated, by path; names count from the folder.

    Raises:
        SourceError: ``Q-CHECKSUM``: a line is none of `sha256sum`; ``Q-PATH``: it names something outside.
    """
    place = folder / FILE
    if not place.is_file():
        return {}
    stated = {}
    for number, line in enumerate(place.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        found = _LINE.fullmatch(line)
        if found is None and line.strip():
            raise SourceError(
                "Q-CHECKSUM",
                f"line {number} of {place} is not '<sha256>  <name>'; write it with sha256sum, or remove it",
            )
        if found is not None and leads_out(found[2]):
            raise SourceError(
                "Q-PATH",
                f"line {number} of {place} names {found[2]!r}, expected a name inside the folder; correct that line",
            )
        if found is not None:
            stated[folder / found[2]] = found[1].lower()
    return stated


def check_digest(path: Path, sha256: str, stated: dict[Path, str]) -> None:
    """The bytes of a file are those that its provider states, where it does.

    Raises:
        SourceError: ``Q-CHECKSUM``.
    """
    expected = stated.get(path, sha256)
    if sha256 != expected:
        raise SourceError(
            "Q-CHECKSUM",
            f"its sha256 is {sha256[:16]}..., expected {expected[:16]}... by {FILE}; fetch it again, or correct {FILE}",
        )
