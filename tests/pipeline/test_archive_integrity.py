"""Damage that readers meet: never other values, always one sentence. And what failed writers leave: nothing."""

import contextlib
import errno
import os

import icechunk
import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.archive.leftovers import unfinished
from pipeline.archive.repository import translated
from pipeline.config import ArchiveConfig
from pipeline.durable_file import partials, write_text
from pipeline.errors import ArchiveError
from pipeline.failpoints import handling

LAYOUT = ArchiveConfig(chunk_time=6, shard_time=12, chunk_space=8, shard_space=8)
# a smooth field, which compresses: bits of noise alone would be stored as they are
VALUES = np.round(285 + 9 * np.sin(np.arange(24 * 64) / 40), 1).astype("float32").reshape(24, 8, 8)


def fields(first, last):
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), VALUES[first:last].copy(), {"units": "K"})},
        coords={
            "time": np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h"),
            "lat": np.arange(8.0),
            "lon": np.arange(8.0),
            "mask": (("lat", "lon"), np.ones((8, 8), "int8")),
        },
    )


def write(path, first, last):
    return archive.write(path, fields(first, last), LAYOUT, message="", metadata={})


@pytest.fixture
def path(tmp_path):
    return tmp_path / "archive"


def read_dataset(path):
    with archive.open_dataset(path) as dataset:
        return dataset["t"].values


def read_lazily(path):
    with archive.open_dataset(path, chunks={}) as dataset:
        return dataset["t"].compute(scheduler="threads").values


def read_array(path):
    return archive.open_arrays(path, ["t"])["t"][:]


def test_no_flipped_bit_is_read_as_a_value(path):
    write(path, 0, 12)
    file = max((path / "chunks").iterdir(), key=lambda one: one.stat().st_size)
    whole, random = file.read_bytes(), np.random.default_rng(0)
    for place in random.integers(0, len(whole), 60):
        data = bytearray(whole)
        data[place] ^= 1 << int(random.integers(0, 8))
        file.write_bytes(data)
        with pytest.raises(ArchiveError, match="holds other bytes than were written"):
            read_array(path)
    file.write_bytes(whole)
    np.testing.assert_array_equal(read_array(path), VALUES[:12])


@pytest.mark.parametrize("read", [read_dataset, read_lazily, read_array])
def test_every_reader_says_it_in_one_sentence(path, read):
    write(path, 0, 12)
    file = max((path / "chunks").iterdir(), key=lambda one: one.stat().st_size)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)
    with pytest.raises(ArchiveError, match="'minconv archive verify' names it"):
        read(path)
    file.unlink()
    with pytest.raises(ArchiveError, match=r"archive .* could not be read \(.*o such file or directory"):
        read(path)


@pytest.mark.parametrize("share", [0.2, 0.8])  # in the chunk that is kept as it is, and in the one that grows
def test_an_append_does_not_go_on_with_a_damaged_shard(path, share):
    before = write(path, 0, 9)
    file = max((path / "chunks").iterdir(), key=lambda one: one.stat().st_size)
    data = bytearray(file.read_bytes())
    data[int(share * len(data))] ^= 1
    file.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"is damaged: its bytes differ|holds other bytes than were written"):
        write(path, 9, 24)
    assert archive.head(path) == before.snapshot_id


def test_other_damage_is_one_sentence_or_does_no_harm(path):
    """Icechunk's own files: a flipped bit ends in an error, or in a chunk that `verify` misses."""
    write(path, 0, 12)
    good, random = read_dataset(path), np.random.default_rng(1)
    files = [file for kind in ("snapshots", "manifests", "refs") for file in (path / kind).rglob("*") if file.is_file()]
    for number in range(90):
        file = files[number % len(files)]
        whole = file.read_bytes()
        data = bytearray(whole)
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(0, 8))
        file.write_bytes(data)
        with contextlib.suppress(ArchiveError):
            assert np.array_equal(read_dataset(path), good) or archive.verify(path).damaged
        file.write_bytes(whole)


# What failed writers leave


WHERE = "  | \n  | context:\n  |    0: icechunk::write\n  |             at icechunk/src/x.rs:1\n  | \n"


def test_the_cause_of_an_error_of_icechunk_is_found():
    commit = f"  x session error: store error: No space left on device (os error 28)\n{WHERE}"
    sentence = r"written \(no space left on the disk\); it is as it was"
    with pytest.raises(ArchiveError, match=sentence), translated("a", "written"):
        raise icechunk.IcechunkError(commit)
    chain = f"  x object store error\n{WHERE}  |-> copy failed\n  `-> Quota exceeded\n"
    with pytest.raises(ArchiveError, match=r"read \(Quota exceeded\); check"), translated("a", "read"):
        raise icechunk.IcechunkError(chain)


def test_files_that_a_killed_writer_had_staged_are_swept_up(path):
    write(path, 0, 12)
    staged = path / "chunks" / "00000000000000000000#1"
    staged.write_bytes(b"half")
    path.with_name("archive.unfinished").touch()
    assert archive.leftovers(path) == archive.Leftovers(True, 1, 4, ())
    write(path, 12, 24)
    assert not staged.exists()
    assert not archive.leftovers(path)


def test_the_marker_stays_where_sweeping_up_failed(path, monkeypatch):
    write(path, 0, 12)
    marker = path.with_name("archive.unfinished")

    def broken(name):
        if name == "archive.sweep.begun":
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(RuntimeError, match="the first"), handling(broken), unfinished(path):
        raise RuntimeError("the first")
    assert marker.exists()
    archive.recover(path)
    assert not marker.exists()


def test_a_file_is_whole_or_as_before(tmp_path):
    path = tmp_path / "entry.json"
    write_text(path, "first")

    def full(name):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with handling(full), pytest.raises(OSError, match="No space"):
        write_text(path, "second")
    assert path.read_text() == "first"
    assert partials(tmp_path) == []
    write_text(path, "third")
    assert path.read_text() == "third"
