"""Damage that a reader meets: bytes that are not those that were written, a file that is not there. Never wrong values.

What lives here: the checksum (CRC-32C) that each chunk ends with, and the errors of a reader as one sentence. What does
not: looking for damage in all of an Archive (`checksums`), which knows more and says where it is.

    encoding = {"compressors": (*compressors, CHECKSUM)}
    with readable(path):
        arrays = zarr.open_group(ReadingStore(store, path), mode="r")

A compressor notices few flipped bits: without the checksum, nine of ten became other values (docs/durability.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import icechunk
import zarr
from zarr.codecs import Crc32cCodec
from zarr.registry import register_codec
from zarr.storage import WrapperStore

from ..errors import ArchiveError
from .repository import translated

CHECKSUM = Crc32cCodec()


class ChunkError(ArchiveError, ValueError):
    """A chunk's checksum differs; a `ValueError` as well, as Zarr's own is."""


class CheckingCodec(Crc32cCodec):
    """Zarr's codec ``crc32c``, whose error is one sentence."""

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        try:
            return super()._decode_sync(chunk_bytes, chunk_spec)
        except ValueError as error:
            raise ChunkError(
                "a chunk of the archive holds other bytes than were written (its checksum differs); "
                "'minconv archive verify' names it and says what to do"
            ) from error


class ReadingStore(WrapperStore[icechunk.IcechunkStore]):
    """The store of a version whose errors are one sentence."""

    def __init__(self, store: icechunk.IcechunkStore, path: Path) -> None:
        super().__init__(store)
        self._path = path

    def _with_store(self, store: icechunk.IcechunkStore) -> ReadingStore:
        return type(self)(store, self._path)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """A chunk's bytes, or a part of them."""
        with translated(self._path, "read"):
            return await self._store.get(key, prototype, byte_range)


register_codec("crc32c", CheckingCodec)


@contextmanager
def checked() -> Iterator[None]:
    """Arrays that are opened in the body read with `CheckingCodec`."""
    with zarr.config.set({"codecs.crc32c": f"{CheckingCodec.__module__}.{CheckingCodec.__qualname__}"}):
        yield


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Open arrays in the body; what damaged metadata ends in is one sentence."""
    with translated(path, "read"), checked():
        try:
            yield
        except ArchiveError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            raise ArchiveError(
                f"archive {path} cannot be read, its metadata is damaged ({type(error).__name__}); put back its files "
                "from a backup, or move the archive away and ingest its files again"
            ) from error
