"""Frames of a split in a file that is mapped into memory: decoded once, then read at the speed of the page cache.

What lives here: that file, made whole or not at all, found again by what it holds, removed when it is out of date. What
does not: which frames there are (`frames`), who wants such a file (`training`).

    files = FrameFiles(work_dir / "cache")
    values = files.open("train-fields", identity={"snapshot_id": …}, shape=(1, 600, 2, 721, 1440), blocks=decoded)

A file is a plain ``.npy`` of float32, named after its contents' identity: a later run with the same version of the
Archive, variables and split reads it as it is. Making one removes the files of the same name with another identity; on
POSIX systems whoever still has those mapped keeps them until it ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import filelock
import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from . import machine
from .errors import ArchiveError

CacheKind = Literal["auto", "memory", "disk", "none"]
Storage = Literal["memory", "disk", "none"]

DISK_MARGIN = 2.0  # times its size must be free before a file is made unasked


def storage_of(kind: CacheKind, size: int, memory: int, folder: Path | None) -> Storage:
    """Where frames are kept.

    Args:
        kind: ``memory``, ``disk`` or ``none`` say it; ``auto``: in memory where they take at most `memory` bytes, else
            on disk where there is ample room, else nowhere.
        size: Bytes of the frames.
        memory: Bytes.
        folder: Of the files; None: there are none.
    """
    if kind != "auto":
        return kind
    if size <= memory:
        return "memory"
    if folder is None:
        return "none"
    return "disk" if machine.free_disk(folder) + held_bytes(folder) >= DISK_MARGIN * size else "none"


def held_bytes(folder: Path) -> int:
    """Bytes of the files that are there: they are what is wanted, or make room for it."""
    return sum(path.stat().st_size for path in folder.glob("*.npy"))


@dataclass(frozen=True)
class FrameFiles:
    """The folder of such files."""

    folder: Path

    def open(
        self, name: str, identity: Mapping[str, Any], shape: tuple[int, ...], blocks: Iterable[NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """The mapped values, read-only; made first where they are not there.

        Args:
            name: Of the file; one file of each name is kept.
            identity: Plain data that decides the contents.
            shape: Of the whole.
            blocks: The contents in C order, cut along the leading axes.

        Raises:
            ArchiveError: The file cannot be written, for lack of room perhaps.
        """
        key = json.dumps({**identity, "shape": shape}, sort_keys=True)
        path = self.folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npy"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(self.folder / f"{name}.lock"):
                values = _mapped(path)
                if values is None:
                    self._make(path, name, shape, blocks)
                    values = np.load(path, mmap_mode="r")
        except OSError as error:
            raise ArchiveError(
                f"the cache {path} cannot be written ({error.strerror or error}); free some space, or set "
                "training.cache=none"
            ) from error
        return values

    def _make(self, path: Path, name: str, shape: tuple[int, ...], blocks: Iterable[NDArray[np.float32]]) -> None:
        for stale in self.folder.glob(f"{name}-*"):
            stale.unlink()
        partial = path.with_suffix(".part")
        try:
            with partial.open("wb") as file:
                # Written, not mapped: where the disk is full that is an error, and not the end of the process.
                _write(file, shape, blocks)
            partial.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


def _write(file: BinaryIO, shape: tuple[int, ...], blocks: Iterable[NDArray[np.float32]]) -> None:
    header = {"descr": npy.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False, "shape": shape}
    npy.write_array_header_1_0(file, header)
    for block in blocks:
        file.write(np.ascontiguousarray(block).data)
    file.flush()
    os.fsync(file.fileno())


def _mapped(path: Path) -> NDArray[np.float32] | None:
    """The values of a file that is there and whole."""
    try:
        values: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (FileNotFoundError, ValueError):  # ValueError: something cut it short
        return None
    return values
