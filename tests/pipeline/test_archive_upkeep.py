"""Verification, export and garbage collection of archives."""

import datetime
import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
import zarr

from pipeline import archive
from pipeline.archive import checksums, writing
from pipeline.config import ArchiveConfig
from pipeline.errors import ArchiveError

LAYOUT = ArchiveConfig(chunk_time=5, shard_time=10, chunk_space=8, shard_space=8)
VALUES = np.random.default_rng(1).normal(size=(40, 16, 8)).astype("float32")


def fields(first, last):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), VALUES[first:last].copy(), {"units": "K"})},
        coords={
            "time": times,
            "lat": np.arange(16.0),
            "lon": np.arange(8.0),
            "mask": (("lat", "lon"), np.ones((16, 8), "int8")),
        },
    )


def write(path, first, last):
    notes = {"files": [{"name": f"{first}.nc", "sha256": "a", "complete": True, "n": first}], "n": first}
    return archive.write(path, fields(first, last), LAYOUT, message=f"{first} to {last}", metadata=notes)


def chunk_file(path, place):
    """The file that holds a chunk of `t`, found by its content."""
    sums = zarr.open_group(archive.open_arrays(path, ["t"])["t"].store, mode="r")["checksums/t"]
    digest = sums[place].tobytes()
    (found,) = [file for file in (path / "chunks").iterdir() if hashlib.sha256(file.read_bytes()).digest() == digest]
    return found


@pytest.fixture
def path(tmp_path):
    return tmp_path / "archive"


def test_a_sound_archive_is_verified_whole(path):
    events = []
    for first, last in [(0, 5), (5, 25), (25, 40)]:  # shards are begun by one commit and finished by the next
        write(path, first, last)
    found = archive.verify(path, progress=events.append)
    assert found == archive.Verification(chunks=4 * 2 + 4, unrecorded=0, damaged=())  # and time, lat, lon, mask
    assert (events[-1].done, events[-1].total) == (12, 12)
    with archive.open_dataset(path) as dataset:
        assert set(dataset.variables) == {"t", "time", "lat", "lon", "mask"}


def test_flipped_bit_and_missing_chunk_are_named(path):
    write(path, 0, 40)
    flipped, missing = chunk_file(path, (1, 0, 0)), chunk_file(path, (3, 1, 0))
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    missing.unlink()
    found = archive.verify(path)
    assert [str(one) for one in found.damaged] == [
        "t, 2020-01-01T10:00 to 2020-01-01T19:00, block 0, 0: its bytes differ from those that were committed",
        "t, 2020-01-02T06:00 to 2020-01-02T15:00, block 1, 0: its file is missing or cannot be read",
    ]


def test_a_pinned_version_is_verified_by_itself(path):
    first = write(path, 0, 15)
    write(path, 15, 30)
    chunk_file(path, (2, 0, 0)).unlink()
    assert archive.verify(path, first.snapshot_id).damaged == ()
    assert len(archive.verify(path).damaged) == 1


def test_chunks_of_older_releases_have_no_checksum_and_that_is_said(path, monkeypatch):
    monkeypatch.setattr(writing, "record", lambda *ignored: None)
    write(path, 0, 20)
    monkeypatch.setattr(writing, "record", checksums.record)
    assert archive.verify(path) == archive.Verification(chunks=0, unrecorded=8, damaged=())
    write(path, 20, 30)
    found = archive.verify(path)
    assert (found.unrecorded, found.damaged) == (4 + 3, ())  # lat, lon and mask are written once
    assert found.chunks > 0


def test_fields_without_values_have_no_chunk_and_are_sound(path):
    empty = fields(0, 20)
    empty["t"][10:] = np.nan
    archive.write(path, empty, LAYOUT, message="", metadata={})
    assert archive.verify(path) == archive.Verification(chunks=2 + 4, unrecorded=0, damaged=())


@pytest.mark.parametrize("name", ["out.nc", "out.zarr"])
def test_export_equals_the_archive(path, name):
    write(path, 0, 15)
    pinned = write(path, 15, 30)
    write(path, 30, 40)
    target = path.parent / "new" / name
    archive.export(path, target, pinned.snapshot_id)
    options = {"engine": "zarr", "consolidated": False} if name.endswith("zarr") else {}
    with xr.open_dataset(target, **options) as copy, archive.open_dataset(path, pinned.snapshot_id) as original:
        xr.testing.assert_identical(copy.set_coords("mask").load(), original.load())
    assert [one.name for one in target.parent.iterdir()] == [name]
    with pytest.raises(ArchiveError, match="is there already"):
        archive.export(path, target)


@pytest.mark.usefixtures("swallowed_interruption")
def test_an_export_that_is_interrupted_within_netcdf4_leaves_nothing(path):
    write(path, 0, 15)
    target = path.parent / "new" / "out.nc"
    with pytest.raises(KeyboardInterrupt):
        archive.export(path, target)
    assert list(target.parent.iterdir()) == []


def test_export_under_another_ending(path):
    write(path, 0, 15)
    with pytest.raises(ArchiveError, match=r"NAME.nc or NAME.zarr, got .*out.grib"):
        archive.export(path, path.with_name("out.grib"))


def contents(folder):
    return {str(one): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def test_collection_drops_what_is_old_and_keeps_what_is_pinned(path):
    commits = [write(path, first, first + 5) for first in range(0, 40, 5)]
    pinned, newest = commits[2].snapshot_id, commits[-1].snapshot_id
    before = contents(path)
    plan = archive.collect(path, {pinned, "UNKNOWN"}, keep_days=0, apply=False)
    assert contents(path) == before
    assert [one.name for one in path.parent.iterdir() if one.name.startswith(".")] == []
    assert list(plan.dropped) == [one for one in commits[::-1] if one.snapshot_id not in (pinned, newest)]
    assert plan.pinned == (pinned,)
    assert plan.chunks > 0
    done = archive.collect(path, {pinned, "UNKNOWN"}, keep_days=0, apply=True)
    assert (done.dropped, done.pinned, done.chunks) == (plan.dropped, plan.pinned, plan.chunks)
    for snapshot_id, length in [(pinned, 15), (newest, 40), (None, 40)]:
        with archive.open_dataset(path, snapshot_id) as dataset:
            np.testing.assert_array_equal(dataset["t"].values, VALUES[:length])
        assert archive.verify(path, snapshot_id).damaged == ()
        assert archive.info(path, snapshot_id).dims["time"] == length
    with pytest.raises(ArchiveError, match="has no version"):
        archive.open_dataset(path, commits[0].snapshot_id)
    # ingest still knows every file, and the first commit's notes
    names = sorted(file["name"] for file in archive.log(path)[0].metadata["files"])
    assert names == sorted(f"{first}.nc" for first in range(0, 40, 5))
    assert archive.log(path)[0].metadata["n"] == 0


def test_a_second_collection_finds_what_is_pinned_no_more(path):
    commits = [write(path, first, first + 5) for first in (0, 5, 10)]
    archive.collect(path, {commits[0].snapshot_id}, keep_days=0, apply=True)
    with archive.open_dataset(path, commits[0].snapshot_id) as dataset:
        assert dataset.sizes["time"] == 5
    found = archive.collect(path, set(), keep_days=0, apply=True)
    assert commits[0].snapshot_id in {one.snapshot_id for one in found.dropped}
    with pytest.raises(ArchiveError, match="has no version"):
        archive.open_dataset(path, commits[0].snapshot_id)
    np.testing.assert_array_equal(archive.open_dataset(path)["t"].values, VALUES[:15])


def test_a_pinned_version_can_be_read_while_others_are_dropped(path):
    commits = [write(path, first, first + 5) for first in range(0, 40, 5)]
    pinned, read, stop = commits[2].snapshot_id, [], threading.Event()
    opened = archive.open_dataset(path, pinned)  # before: nothing of it is read yet

    def reader():
        while not stop.is_set():
            frame = len(read) % 15
            read.append(np.array_equal(opened["t"][frame].values, VALUES[frame]))
            with archive.open_dataset(path, pinned) as again:
                read.append(np.array_equal(again["t"][-1].values, VALUES[14]))

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(reader) for _ in range(2)]
        while len(read) < 4:
            time.sleep(0.001)
        found = archive.collect(path, {pinned}, keep_days=0, apply=True)
        during = len(read)
        while len(read) < during + 4:
            time.sleep(0.001)
        stop.set()
        for one in readers:
            one.result()
    assert found.chunks > 0
    assert all(read)


def test_young_versions_stay(path):
    commits = [write(path, first, first + 5) for first in (0, 5, 10)]
    found = archive.collect(path, set(), keep_days=1, apply=True)
    assert found.dropped == ()
    assert archive.log(path) == commits[::-1]
    assert commits[0].written_at > datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)


def test_archive_goes_on_after_collections(path):
    for first in (0, 5, 10):
        write(path, first, first + 5)
    for _ in range(3):
        archive.collect(path, set(), keep_days=0, apply=True)
        assert sorted(file["n"] for file in archive.log(path)[0].metadata["files"]) == [0, 5, 10]
    write(path, 15, 40)
    np.testing.assert_array_equal(archive.open_dataset(path)["t"].values, VALUES)
    assert archive.verify(path) == archive.Verification(chunks=12, unrecorded=0, damaged=())
