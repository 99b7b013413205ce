"""The sha256 of every chunk file of an Archive, recorded by the commit that wrote it, and their check.

What lives here: the arrays ``checksums/NAME`` beside the fields (uint8, chunk grid of NAME + 32 bytes; zeros: none is
recorded), their making and `verify`. What does not: leftovers beside the Archive (`leftovers`).

    found = verify(path)
    found.damaged    # (Damage("t2m", "2017-01-01T00:00 to 2017-01-10T23:00, block 0, 1", "it is missing"),)

"Chunk" here means what is one file: a shard with the chunks in it.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import icechunk
import numpy as np
import numpy.typing as npt
import zarr
from zarr.buffer import default_buffer_prototype
from zarr.core.buffer import Buffer
from zarr.core.sync import sync
from zarr.storage import WrapperStore

from ..errors import ArchiveError
from ..failpoints import reach
from ..fields import time_text
from ..progress import Event, Progress, silent
from .integrity import readable
from .repository import readonly_store

GROUP = "checksums"
_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Damage:
    """A chunk that is not what was committed: whose, where along time and space, and what is wrong with it."""

    variable: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.variable}, {self.where}: {self.what}"


@dataclass(frozen=True)
class Verification:
    """What reading every chunk of a version showed.

    Attributes:
        chunks: How many were read and compared.
        unrecorded: How many were read, but have no checksum to compare with (written by an older release).
        damaged: The bad and the missing ones.
    """

    chunks: int
    unrecorded: int
    damaged: tuple[Damage, ...]


class HashingStore(WrapperStore[icechunk.IcechunkStore]):
    """The store of a session, which takes the sha256 of what is written while its bytes are at hand.

    Attributes:
        digests: By key; of what was deleted again there is none.
    """

    def __init__(self, store: icechunk.IcechunkStore, digests: dict[str, bytes] | None = None) -> None:
        super().__init__(store)
        self.digests: dict[str, bytes] = {} if digests is None else digests

    def _with_store(self, store: icechunk.IcechunkStore) -> HashingStore:
        return type(self)(store, self.digests)

    async def set(self, key: str, value: Buffer) -> None:
        """Write, and note the digest."""
        await super().set(key, value)
        # in a thread: shards are large, and others are compressed meanwhile
        self.digests[key] = await asyncio.to_thread(_sha256, value)

    async def delete(self, key: str) -> None:
        """Delete, and forget the digest."""
        self.digests.pop(key, None)
        await super().delete(key)


def record(
    session: icechunk.Session, before: icechunk.IcechunkStore, threads: Executor, known: Mapping[str, bytes]
) -> None:
    """Add to a session, before its commit, the checksums of the chunks it wrote.

    Args:
        session: Holds the new chunks.
        before: The version that it goes on with.
        threads: Read and hash.
        known: What `HashingStore` noted; the rest is read again.

    Raises:
        ArchiveError: A chunk that was gone on with is damaged: the new checksum would hide it.
    """
    root = zarr.open_group(session.store, mode="r+")
    sums = root.require_group(GROUP)
    for path, indices in session.status().updated_chunks.items():
        name = path.removeprefix("/")
        if name.startswith(GROUP):
            continue
        table = np.zeros((*_grid(_array(root, name)), _BYTES), "uint8")
        if name in sums:
            kept = np.asarray(_array(sums, name)[:])
            table[tuple(map(slice, kept.shape))] = kept
        places = [tuple(index) for index in indices]
        replaced = [(place, table[place].tobytes()) for place in places if table[place].any()]
        states = threads.map(lambda one, name=name: _state(before, name, *one), replaced)
        for (place, _), what in zip(replaced, states, strict=True):
            if what:
                raise ArchiveError(
                    f"a chunk of {name} ({', '.join(map(str, place))}) that is to be gone on with is damaged: {what}; "
                    "see 'minconv archive verify'"
                )
        digests = threads.map(
            lambda place, name=name: known.get(_key(name, place)) or _digest(session.store, name, place), places
        )
        for place, digest in zip(places, digests, strict=True):
            table[place] = np.frombuffer(digest or bytes(_BYTES), "uint8")
        sums.create_array(name, data=table, chunks=table.shape, overwrite=True)
        reach("archive.checksums.array")


def verify(path: Path, snapshot_id: str | None = None, progress: Progress = silent) -> Verification:
    """Read every chunk of a version and compare it with the checksum recorded when it was written.

    Args:
        path: Folder of the Archive.
        snapshot_id: The version; None: the newest.
        progress: Called after each chunk.

    Raises:
        ArchiveError: No Archive, no such version, or the list of its chunks cannot be read.
    """
    store = readonly_store(path, snapshot_id)
    with readable(path), ThreadPoolExecutor(os.cpu_count()) as threads:
        root = zarr.open_group(store, mode="r")
        work = [(name, place, known) for name, array in sorted(root.arrays()) for place, known in _known(root, array)]
        states = threads.map(lambda one: _state(store, *one), work)
        damaged: list[Damage] = []
        unrecorded = 0
        for done, ((name, place, known), what) in enumerate(zip(work, states, strict=True), start=1):
            if what:
                damaged.append(Damage(name, _where(root, name, place), what))
            unrecorded += not known
            progress(Event("verify", done, len(work), "chunks"))
    return Verification(len(work) - unrecorded, unrecorded, tuple(damaged))


def _known(root: zarr.Group, array: zarr.Array[Any]) -> Iterator[tuple[tuple[int, ...], bytes]]:
    """The places of all chunks that are there or should be, each with its checksum; empty where none is recorded."""
    name, grid = array.basename, _grid(array)
    table = np.zeros((*grid, _BYTES), "uint8")
    if f"{GROUP}/{name}" in root:
        recorded = np.asarray(_array(root, f"{GROUP}/{name}")[:])
        table[tuple(map(slice, recorded.shape))] = recorded
    there = sync(_places(array.store, name))
    for place in np.ndindex(grid):
        digest = table[place].tobytes() if table[place].any() else b""
        if digest or place in there:
            yield place, digest


async def _places(store: Any, name: str) -> set[tuple[int, ...]]:
    return {tuple(place) async for place in store.session.chunk_coordinates(f"/{name}")}


def _state(store: icechunk.IcechunkStore, name: str, place: tuple[int, ...], known: bytes) -> str:
    """What is wrong with a chunk; empty where nothing is."""
    try:
        digest = _digest(store, name, place)
    except (icechunk.IcechunkError, OSError):
        return "its file is missing or cannot be read"
    if digest is None:
        return "it is missing"
    return "its bytes differ from those that were committed" if known and digest != known else ""


def _digest(store: icechunk.IcechunkStore, name: str, place: tuple[int, ...]) -> bytes | None:
    """The sha256 of a chunk's bytes; None where there is none (all of it is the fill value)."""
    found = sync(store.get(_key(name, place), default_buffer_prototype()))
    return None if found is None else _sha256(found)


def _sha256(found: Buffer) -> bytes:
    return hashlib.sha256(found.as_numpy_array().data).digest()


def _key(name: str, place: tuple[int, ...]) -> str:
    return "/".join((name, "c", *map(str, place)))


def _array(group: zarr.Group, name: str) -> zarr.Array[Any]:
    return cast("zarr.Array[Any]", group[name])


def _grid(array: zarr.Array[Any]) -> tuple[int, ...]:
    cut = array.shards or array.chunks
    return tuple(math.ceil(size / piece) for size, piece in zip(array.shape, cut, strict=True))


def _where(root: zarr.Group, name: str, place: tuple[int, ...]) -> str:
    """``2017-01-01T00:00 to 2017-01-10T23:00, block 0, 1``; numbers where the times themselves cannot be read."""
    array = _array(root, name)
    cut = (array.shards or array.chunks)[0]
    first, last = place[0] * cut, min((place[0] + 1) * cut, array.shape[0]) - 1
    axis = (array.metadata.dimension_names or ("",))[0]  # type: ignore[union-attr]
    text = f"{axis} {first} to {last}"
    if axis == "time" and name != "time":
        try:
            times = _times(root)
            text = f"{time_text(times[first])} to {time_text(times[last])}"
        except (icechunk.IcechunkError, OSError, ValueError, RuntimeError):  # whatever a damaged array ends in
            pass
    return text + (f", block {', '.join(map(str, place[1:]))}" if len(place) > 1 else "")


def _times(root: zarr.Group) -> npt.NDArray[Any]:
    array = _array(root, "time")
    values = np.asarray(array[:])
    absolute = "since" in str(array.attrs.get("units", ""))
    return values.astype("datetime64[s]") if absolute else values
