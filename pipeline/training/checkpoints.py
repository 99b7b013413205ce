"""Training checkpoints on disk: folders that appear whole, of which the newest few are kept.

    kept = Checkpoints(Path("runs/demo/training/demo-1f0c"))
    with kept.writing(Place(epoch=2, step=150)) as folder:
        ...                          # files of it
    kept.newest()                    # Place(epoch=2, step=150)

A checkpoint is a folder ``checkpoint-EPOCH-STEP``, named after the finished epochs and the finished steps of the one
after them:

    latest/             the weights
    best/               the weights with the lowest validation error so far, once an epoch was finished
    average/            the moving average of the weights, where there is one
    optimizer.pt        tensors only, read with ``weights_only=True``
    state.json          the rest of the state (`state.RunState`)
    MANIFEST.json       sha256 of every other file, written last

It is written under another name, brought to the disk and renamed; older ones are removed after that. So a kill at any
moment leaves the one before it, and a checkpoint that was damaged later is passed over for the one before it.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import minconv

from ..durable_file import write_text
from ..errors import TrainingError
from ..failpoints import reach

LATEST, BEST, AVERAGE = "latest", "best", "average"
OPTIMIZER, STATE, MANIFEST = "optimizer.pt", "state.json", "MANIFEST.json"
KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{5,})-(\d{7,})")
_PART = ".part"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Place(NamedTuple):
    """How far a training is.

    Attributes:
        epoch: Epochs that are finished.
        step: Steps of the epoch after them that are done.
    """

    epoch: int
    step: int


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: Of the run; on a cluster one that all nodes see.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, place: Place) -> Path:
        """Folder of a checkpoint, which need not be there."""
        return self.folder / f"checkpoint-{place.epoch:05d}-{place.step:07d}"

    def newest(self) -> Place | None:
        """The furthest checkpoint that is whole; None: there is none."""
        for place in self._places():
            try:
                verify(self.path(place))
            except TrainingError:
                continue
            return place
        return None

    @contextmanager
    def writing(self, place: Place) -> Iterator[Path]:
        """An empty folder to write a checkpoint into, which is there, whole, when the body has ended.

        Raises:
            TrainingError: The disk is full; checkpoints before it are as they were.
            OSError: It cannot be written for another reason, which may pass; the same.
        """
        target = self.path(place)
        part = target.with_name(target.name + _PART)
        try:
            shutil.rmtree(part, ignore_errors=True)  # of a writer that was killed
            part.mkdir(parents=True)
            yield part
            reach("training.checkpoint.written")
            seal(part)
            reach("training.checkpoint.sealed")
            if target.exists():  # a damaged one, passed over; or the same again, as one before it is still there
                shutil.rmtree(target)
            part.rename(target)
            _sync(self.folder)
        except (OSError, minconv.CheckpointError) as error:
            shutil.rmtree(part, ignore_errors=True)
            cause = error if isinstance(error, OSError) else error.__cause__
            if not isinstance(cause, OSError) or cause.errno not in _FULL:
                raise
            raise TrainingError(
                f"the checkpoint of the training cannot be written to {self.folder} ({os.strerror(cause.errno)}); free "
                "some space, then start the same command again to go on from the last one"
            ) from error
        reach("training.checkpoint.kept")
        self._remove_older_than(place)

    def _places(self) -> list[Place]:
        """All, the furthest first, whole or not."""
        matches = (_NAME.fullmatch(path.name) for path in self.folder.glob("checkpoint-*"))
        return sorted((Place(int(match[1]), int(match[2])) for match in matches if match), reverse=True)

    def _remove_older_than(self, place: Place) -> None:
        for older in [found for found in self._places() if found < place][KEPT - 1 :]:
            shutil.rmtree(self.path(older), ignore_errors=True)
        for part in self.folder.glob(f"checkpoint-*{_PART}"):
            shutil.rmtree(part, ignore_errors=True)


def seal(folder: Path) -> None:
    """Bring all files to the disk, then write the manifest; from here on the checkpoint counts as whole."""
    manifest = {}
    for path in _files(folder):
        manifest[path] = _sha256(folder / path)
        _sync(folder / path)
    write_text(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True))


def verify(folder: Path) -> None:
    """Check a checkpoint against its manifest.

    Raises:
        TrainingError: There is no manifest, or a file is missing or altered.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise TrainingError(f"checkpoint {folder} has no readable {MANIFEST}; it is torn, remove it") from error
    for path, sha256 in manifest.items():
        if not (folder / path).is_file() or _sha256(folder / path) != sha256:
            raise TrainingError(f"checkpoint {folder}: {path} is missing or altered; it is torn, remove it")


def _files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
