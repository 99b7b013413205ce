"""How long a NetCDF-3 file must be by its own header.

The netCDF library reads a truncated NetCDF-3 file without an error and makes up the missing values, so its length has
to be checked against the header. NetCDF-4 (HDF5) needs no such check: a file cut anywhere does not open.

    expected_size(Path("t2m.nc"))    # bytes, or None for another format

Layout of the header: NetCDF Classic Format Specification (CDF-1, CDF-2, CDF-5), Unidata.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 4, 6: 8, 7: 1, 8: 2, 9: 4, 10: 8, 11: 8}
_LIST_LIMIT = 1 << 20  # a damaged header must not make us allocate without end


@dataclass(frozen=True)
class _Header:
    """Reads numbers of the widths that the version byte implies."""

    file: BinaryIO
    version: int

    def number(self) -> int:
        """A count: 8 bytes in CDF-5, else 4."""
        return self._integer(8 if self.version == 5 else 4)

    def offset(self) -> int:
        """A place in the file: 4 bytes in CDF-1, else 8."""
        return self._integer(4 if self.version == 1 else 8)

    def tag(self) -> int:
        """A type or list tag, always 4 bytes."""
        return self._integer(4)

    def skip(self, size: int) -> None:
        """Step over `size` bytes and the padding to a multiple of 4."""
        wanted = size + -size % 4
        if wanted > _LIST_LIMIT * 8 or len(self.file.read(wanted)) < wanted:
            raise EOFError

    def list_length(self) -> int:
        """Length of the list that starts here."""
        self.tag()
        length = self.number()
        if length > _LIST_LIMIT:
            raise EOFError
        return length

    def skip_attributes(self) -> None:
        """Step over a list of attributes."""
        for _ in range(self.list_length()):
            self.skip(self.number())
            width = _TYPE_BYTES.get(self.tag(), 0)
            if not width:
                raise EOFError
            self.skip(width * self.number())

    def _integer(self, width: int) -> int:
        data = self.file.read(width)
        if len(data) < width:
            raise EOFError
        return int(struct.unpack(">I" if width == 4 else ">Q", data)[0])


def expected_size(path: Path) -> int | None:
    """Bytes that the header promises (the padding at the very end may be absent), or None if this is not NetCDF-3.

    Raises:
        EOFError: The header itself is cut or damaged.
    """
    with path.open("rb") as file:
        magic = file.read(4)
        if magic[:3] != b"CDF" or magic[3] not in (1, 2, 5):
            return None
        header = _Header(file, magic[3])
        records = header.number()
        streaming = records == (2**64 - 1 if magic[3] == 5 else 2**32 - 1)
        sizes = []
        for _ in range(header.list_length()):
            header.skip(header.number())
            sizes.append(header.number())
        header.skip_attributes()
        return _end(header, sizes, 0 if streaming else records)


def _end(header: _Header, sizes: list[int], records: int) -> int:
    fixed_end, record_starts, record_sizes = 0, [], []
    for _ in range(header.list_length()):
        header.skip(header.number())
        dims = [header.number() for _ in range(header.number())]
        header.skip_attributes()
        width = _TYPE_BYTES.get(header.tag(), 0)
        header.number()  # the stored size overflows for large variables and is not to be relied on
        begin = header.offset()
        if not width or any(dim >= len(sizes) for dim in dims):
            raise EOFError
        lengths = [sizes[dim] for dim in dims]
        recorded = bool(lengths) and lengths[0] == 0
        size = width
        for length in lengths[1:] if recorded else lengths:
            size *= length
        if recorded:
            record_starts.append(begin)
            record_sizes.append(size)
        else:
            fixed_end = max(fixed_end, begin + size)
    if not record_starts or not records:
        return max(fixed_end, header.file.tell())
    # records are padded to 4 bytes each, except where there is a single record variable
    padded = record_sizes if len(record_sizes) == 1 else [size + -size % 4 for size in record_sizes]
    last = max(start + size for start, size in zip(record_starts, record_sizes, strict=True))
    return max(fixed_end, last + (records - 1) * sum(padded))
