"""Decoded frames in a mapped file: found again, made whole or not at all, removed when out of date."""

from __future__ import annotations

import errno
import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline import frame_files, machine
from pipeline.errors import ArchiveError
from pipeline.frame_files import FrameFiles, storage_of

VALUES = np.random.default_rng(0).normal(size=(2, 6, 3, 4)).astype(np.float32)


def blocks(made: list[int], values: NDArray[np.float32] = VALUES) -> Iterator[NDArray[np.float32]]:
    made.append(1)
    for sample in values:
        yield sample[:4]
        yield sample[4:]


def opened(folder: Path, made: list[int], snapshot: str = "A", name: str = "train-fields") -> NDArray[np.float32]:
    return FrameFiles(folder).open(name, {"snapshot_id": snapshot}, VALUES.shape, blocks(made))


def test_a_file_is_made_once_and_found_again(tmp_path: Path) -> None:
    made: list[int] = []
    for _ in range(3):
        values = opened(tmp_path / "cache", made)
        assert isinstance(values, np.memmap)
        assert not values.flags.writeable
        np.testing.assert_array_equal(values, VALUES)
    assert made == [1]
    (path,) = (tmp_path / "cache").glob("*.npy")
    np.testing.assert_array_equal(np.load(path), VALUES)


def test_another_version_replaces_the_file_and_leaves_those_of_other_names(tmp_path: Path) -> None:
    made: list[int] = []
    old = opened(tmp_path, made)
    opened(tmp_path, made, name="validation-fields")
    opened(tmp_path, made, "B")
    assert made == [1, 1, 1]
    assert len(list(tmp_path.glob("train-fields-*.npy"))) == 1
    assert len(list(tmp_path.glob("validation-fields-*.npy"))) == 1
    np.testing.assert_array_equal(old, VALUES)  # whoever has it mapped keeps it


def test_a_disk_that_is_full_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    def full() -> Iterator[NDArray[np.float32]]:
        yield VALUES[0, :2]
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArchiveError, match=r"No space left on device.*training\.cache=none"):
        FrameFiles(tmp_path).open("train-fields", {}, VALUES.shape, full())
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_file_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    made: list[int] = []
    opened(tmp_path, made)
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(path.read_bytes()[:-8])
    np.testing.assert_array_equal(opened(tmp_path, made), VALUES)
    assert made == [1, 1]


def _opens(folder: Path, made: multiprocessing.Queue[int]) -> None:
    calls: list[int] = []
    values = opened(folder, calls)
    made.put(len(calls) if np.array_equal(values, VALUES) else -1)


@pytest.mark.slow
def test_of_several_processes_one_makes_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    made = context.Queue()
    processes = [context.Process(target=_opens, args=(tmp_path, made)) for _ in range(3)]
    for process in processes:
        process.start()
    counts = sorted(made.get(timeout=120) for _ in processes)
    for process in processes:
        process.join()
    assert counts == [0, 0, 1]


def test_where_frames_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_disk", lambda folder: 1000)
    assert storage_of("auto", 100, 100, tmp_path) == "memory"
    assert storage_of("auto", 101, 100, tmp_path) == "disk"
    assert storage_of("auto", 101, 100, None) == "none"
    assert storage_of("auto", 500, 100, tmp_path) == "disk"
    assert storage_of("auto", 501, 100, tmp_path) == "none"
    for kind in ("memory", "disk", "none"):
        assert storage_of(kind, 10**9, 0, tmp_path) == kind  # type: ignore[arg-type]
    (tmp_path / "train-fields-0.npy").write_bytes(bytes(400))  # the very file perhaps, or one that makes room
    assert storage_of("auto", 700, 100, tmp_path) == "disk"
    assert frame_files.DISK_MARGIN > 1
