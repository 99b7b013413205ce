"""Whether a GRIB file is whole, told from the frames of its messages; GRIB's own library is not needed for it.

What lives here: knowing such a file, and walking over its messages. What does not: what the messages hold (`grib`).

    if looks_like_grib(path):
        check_messages(path)      # SourceError where one is cut short

A message starts with ``GRIB``, says how long it is, and ends with ``7777`` (WMO Manual on Codes, FM 92, editions 1 and
2). Between messages there may be anything, e.g. headings of a telecommunication system; after the last one, padding.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from ..errors import SourceError

SUFFIXES = (".grib", ".grib1", ".grib2", ".grb", ".grb1", ".grb2")
_START, _END = b"GRIB", b"7777"
_PADDING = b"\0 \r\n\t\x03"
# section -> those that may follow it in edition 2; a message may hold several fields
_FOLLOWING: dict[int, tuple[int, ...]] = {0: (1,), 1: (2, 3), 2: (3,), 3: (4,), 4: (5,), 5: (6,), 6: (7,), 7: (2, 3, 4)}
_LARGE = 0x800000  # the ECMWF's mark of a message of edition 1 beyond 8 MiB, whose length is then counted by 120 bytes


def looks_like_grib(path: Path) -> bool:
    """Whether a file starts with a GRIB message, or is named like one that does."""
    if path.suffix in SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(len(_START)) == _START


def check_messages(path: Path) -> None:
    """Check that every message is as long as it says and ends as it should.

    Raises:
        SourceError: ``Q-NOT-GRIB`` where there is no message at all, ``Q-TRUNCATED``.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        place, number = _next_start(file, 0), 0
        if place is None:
            file.seek(0)
            raise SourceError(
                "Q-NOT-GRIB",
                f"expected GRIB messages, but it starts with {file.read(8)!r}; fetch it again or exclude it in "
                "source.files",
            )
        while place is not None:
            number += 1
            end = place + _length(file, place, number)
            if end > size:
                raise SourceError(
                    "Q-TRUNCATED",
                    f"message {number} promises to end at byte {end}, the file has {size}; fetch it again",
                )
            file.seek(end - len(_END))
            if file.read(len(_END)) != _END:
                raise SourceError(
                    "Q-TRUNCATED", f"message {number} does not end with 7777 at byte {end}; fetch it again"
                )
            _check_sections(file, place, end, number)
            last, place = end, _next_start(file, end)
        file.seek(last)
        while block := file.read(2**20):
            if block.strip(_PADDING):
                raise SourceError(
                    "Q-TRUNCATED", f"{size - last} bytes after message {number} are no message; fetch it again"
                )


def _next_start(file: BinaryIO, place: int) -> int | None:
    """Where the next message starts, at `place` as a rule."""
    file.seek(place)
    before = b""
    while block := file.read(2**20 if before else 2**10):
        found = (before + block).find(_START)
        if found >= 0:
            return place + found
        before = (before + block)[1 - len(_START) :]
        place = file.tell() - len(before)
    return None


def _length(file: BinaryIO, place: int, number: int) -> int:
    """Bytes of the message that starts at `place`."""
    file.seek(place + 4)
    header = file.read(12)
    edition = header[3] if len(header) > 3 else 0
    shortest = 12 if edition == 1 else 20
    length = _number(header[:3]) if edition == 1 else _number(header[4:12])
    if edition == 1 and length & _LARGE:
        length = _large_length(file, place, length)
    if edition not in (1, 2) or length < shortest or len(header) < 12:
        raise SourceError(
            "Q-TRUNCATED", f"message {number} at byte {place} has a damaged or cut header; fetch it again"
        )
    return length


def _check_sections(file: BinaryIO, place: int, end: int, number: int) -> None:
    """The sections of edition 2 fill their message in order; ecCodes does not survive every damage of their headers."""
    file.seek(place + 7)
    if file.read(1) != b"\x02":
        return
    start, before = place + 16, 0
    while start < end - len(_END):
        file.seek(start)
        header = file.read(5)
        length = _number(header[:4])
        if length < 5 or header[4] not in _FOLLOWING[before]:
            break
        start, before = start + length, header[4]
    if start != end - len(_END) or before != 7:
        raise SourceError("Q-TRUNCATED", f"the sections of message {number} do not make it up; fetch it again")


def _large_length(file: BinaryIO, place: int, stated: int) -> int:
    """Of a message whose stated length is rounded up to 120 bytes; its section 4 states by how much."""
    length = (stated & ~_LARGE) * 120
    start = place + 8
    file.seek(start)
    product = file.read(8)
    has_grid, has_bitmap = (bool(product[7] & flag) if len(product) == 8 else False for flag in (0x80, 0x40))
    for present in (True, has_grid, has_bitmap):
        if present:
            file.seek(start)
            start += _number(file.read(3))
    file.seek(start)
    rounding = _number(file.read(3))
    # a plain message that just happens to be longer than 8 MiB has a section of more than 120 bytes
    return length - rounding + len(_END) if rounding < 120 else stated


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")
