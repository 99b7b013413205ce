import os
import subprocess
import sys
import textwrap
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.archive import writing
from pipeline.config import ArchiveConfig
from pipeline.errors import ArchiveError

ROOT = Path(__file__).parents[2]
LAYOUT = ArchiveConfig(chunk_time=5, shard_time=20, chunk_space=16, shard_space=32)
VALUES = np.random.default_rng(0).normal(size=(100, 40, 50)).astype("float32")

# what the subprocesses below share with this file; they die half way
PRELUDE = """
import os, signal, sys
from pathlib import Path
import numpy as np, xarray as xr
from pipeline import archive
from pipeline.archive import writing
from pipeline.config import ArchiveConfig
from pipeline.errors import ArchiveError
writing.SLAB_BYTES = 1
path = Path(sys.argv[1])
layout = ArchiveConfig(chunk_time=5, shard_time=20, chunk_space=16, shard_space=32)
def die(*ignored):
    os.kill(os.getpid(), signal.SIGKILL)
def fields(first, last):
    values = np.random.default_rng(0).normal(size=(100, 40, 50)).astype("float32")[first:last]
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), values, {"units": "K"})},
        coords={
            "time": times,
            "lat": np.arange(40.0),
            "lon": np.arange(50.0),
            "mask": (("lat", "lon"), np.ones((40, 50), "int8")),
        },
    )
"""


def fields(first, last):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), VALUES[first:last].copy(), {"units": "K", "long_name": "air temperature"})},
        coords={
            "time": times,
            "lat": ("lat", np.arange(40.0), {"units": "degrees_north"}),
            "lon": np.arange(50.0),
            "mask": (("lat", "lon"), np.ones((40, 50), "int8")),
        },
        attrs={"boundary": "closed"},
    )


def write(path, first, last, **options):
    return archive.write(
        path, fields(first, last), LAYOUT, message=f"{first} to {last}", metadata={"n": last}, **options
    )


def run(script, *arguments, prefix=()):
    code = PRELUDE + textwrap.dedent(script)
    command = [*prefix, sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def files_in(path):
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "archive"


def test_appends_over_tiles_and_shards_equal_the_source(path, monkeypatch):
    monkeypatch.setattr(writing, "SLAB_BYTES", 1)  # one shard of time per slab: several slabs per commit
    events = []
    for first, last in [(0, 30), (30, 45), (45, 100)]:
        write(path, first, last, progress=events.append)
    with archive.open_dataset(path) as dataset:
        np.testing.assert_array_equal(dataset["t"].values, VALUES)
        assert (np.diff(dataset["time"].values) == np.timedelta64(1, "h")).all()
        assert dataset["time"].values[0] == np.datetime64("2020-01-01T00")
        assert dataset["t"].dtype == "float32"
        assert dataset["mask"].dtype == "int8"
        assert dataset["t"].attrs == {"units": "K", "long_name": "air temperature"}
        assert dataset["lat"].attrs["units"] == "degrees_north"
        assert dataset.attrs["boundary"] == "closed"
        assert set(dataset.coords) == {"time", "lat", "lon", "mask"}
    arrays = archive.open_arrays(path, ["t", "mask"])
    assert arrays["t"].chunks == (5, 16, 16)
    assert arrays["t"].shards == (20, 32, 32)
    np.testing.assert_array_equal(arrays["t"][33:61, 7:40], VALUES[33:61, 7:40])
    assert {event.unit for event in events} == {"MB"}
    assert all(event.done <= event.total for event in events)
    assert events[-1].done == events[-1].total


def test_lazy_input_of_any_block_size(path):
    for first, last in [(0, 33), (33, 100)]:
        archive.write(path, fields(first, last).chunk(time=7, lat=13, lon=50), LAYOUT, message="", metadata={})
    with archive.open_dataset(path, chunks={}) as dataset:
        np.testing.assert_array_equal(dataset["t"].compute(scheduler="threads").values, VALUES)


def test_log_head_info_and_pinned_versions(path):
    commits = [write(path, 0, 30), write(path, 30, 50)]
    assert archive.head(path) == commits[1].snapshot_id
    assert archive.log(path) == commits[::-1]
    assert commits[1].parent_id == commits[0].snapshot_id
    assert commits[1].metadata == {"n": 50}
    assert commits[1].message == "30 to 50"
    with archive.open_dataset(path, commits[0].snapshot_id) as old:
        assert old.sizes["time"] == 30
    found = archive.info(path)
    assert found.dims == {"time": 50, "lat": 40, "lon": 50}
    assert found.variables == {"t": "K"}
    assert (found.first_time, found.last_time) == ("2020-01-01T00:00", "2020-01-03T01:00")
    assert found.commits == 2
    assert archive.info(path, commits[0].snapshot_id).commits == 1
    assert VALUES[:50].nbytes / 2 < found.size_bytes < VALUES[:50].nbytes * 1.5


def test_sample_archive_numbers_samples_and_keeps_relative_time(path):
    values = VALUES[:48].reshape(4, 12, 40, 50)
    dataset = xr.Dataset(
        {"v": (("sample", "time", "y", "x"), values, {"units": "s-1"})},
        coords={
            "sample": [7, 8, 9, 10],
            "time": ("time", np.arange(12.0), {"units": "s"}),
            "y": np.arange(40.0),
            "x": np.arange(50.0),
            "mask": (("y", "x"), np.ones((40, 50), "int8")),
        },
    )
    for part in (slice(0, 3), slice(3, 4)):
        archive.write(path, dataset.isel(sample=part), LAYOUT, message="", metadata={})
    with archive.open_dataset(path) as found:
        np.testing.assert_array_equal(found["v"].values, values)
        assert found["sample"].values.tolist() == [0, 1, 2, 3]
        assert found["time"].dtype == "float64"
        assert found["time"].attrs["units"] == "s"
    assert archive.open_arrays(path, ["v"])["v"].chunks == (1, 5, 16, 16)
    assert archive.info(path).last_time == "11 s"


def test_permanently_missing_points_stay_nan(path):
    dataset = fields(0, 30)
    dataset["t"][:, :32, :32] = np.nan
    archive.write(path, dataset, LAYOUT, message="", metadata={})
    with archive.open_dataset(path) as found:
        np.testing.assert_array_equal(found["t"].values, dataset["t"].values)


def test_nothing_is_shown_on_screen(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write(path, 0, 30)
        write(path, 30, 50)
        archive.open_dataset(path).close()
    finished = run('archive.write(path, fields(0, 30), layout, message="", metadata={})', path.with_name("other"))
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")


def test_there_is_no_archive(path):
    assert not archive.exists(path)
    for action in (archive.head, archive.log, archive.info, archive.open_dataset):
        with pytest.raises(ArchiveError, match=r"there is no archive at .*; run 'minconv ingest' first"):
            action(path)
    assert not path.exists()


def test_a_folder_of_something_else_is_left_alone(path):
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    assert not archive.exists(path)
    with pytest.raises(ArchiveError, match="is not an archive"):
        archive.head(path)
    with pytest.raises(ArchiveError, match="is not an archive"):
        write(path, 0, 5)
    assert files_in(path) == ["notes.txt"]


@pytest.mark.parametrize("name", ["nonsense", "", "AAAAAAAAAAAAAAAAAAAG"])
def test_unknown_version(path, name):
    write(path, 0, 5)
    for action in (lambda: archive.open_dataset(path, name), lambda: archive.open_arrays(path, ["t"], name)):
        with pytest.raises(ArchiveError, match="has no version"):
            action()


def test_unknown_variable(path):
    write(path, 0, 5)
    with pytest.raises(ArchiveError, match=r"no variable 'q'; it holds .*t"):
        archive.open_arrays(path, ["q"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.rename(t="q"), "holds the variables t, got q"),
        (lambda data: data.assign_coords(lat=data["lat"] + 1), "other values along 'lat'"),
        (lambda data: data.rename(lat="y", lon="x"), "has the dims"),
        (lambda data: data.assign_coords(time=data["time"] - np.timedelta64(1, "h")), "append later times only"),
        (lambda data: data.rename(lat="north"), "need the dims"),
        (lambda data: data.drop_vars("lat"), "'lat' has none"),
    ],
)
def test_what_does_not_continue_the_archive_is_refused(path, change, message):
    before = write(path, 0, 30)
    stored = files_in(path)
    with pytest.raises(ArchiveError, match=message):
        archive.write(path, change(fields(30, 50)), LAYOUT, message="", metadata={})
    assert archive.head(path) == before.snapshot_id
    assert files_in(path) == stored


def test_a_first_commit_needs_the_mask(path):
    with pytest.raises(ArchiveError, match="needs the coordinate 'mask'"):
        archive.write(path, fields(0, 5).drop_vars("mask"), LAYOUT, message="", metadata={})
    assert not path.exists()


def test_lock_is_waited_for_and_its_timeout_is_one_sentence(path):
    write(path, 0, 5)
    taken, done = threading.Event(), threading.Event()

    def hold():
        with archive.lock(path):
            taken.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(30)
    try:
        with pytest.raises(ArchiveError, match="is locked: another process was still writing"):
            write(path, 5, 10, lock_timeout=0.05)
    finally:
        done.set()
        holder.join()
    write(path, 5, 10, lock_timeout=0.05)


def test_a_holder_of_the_lock_may_write(path):
    with archive.lock(path):
        write(path, 0, 5, lock_timeout=0.05)
    assert archive.exists(path)


KILLS = {
    "inside a block": """
        def late(block, block_info=None):
            return die() if block_info[0]["array-location"][0][0] >= 30 else block
        blocks = fields(45, 100)
        blocks["t"] = blocks["t"].chunk(time=5)
        blocks["t"].data = blocks["t"].data.map_blocks(late, dtype="float32", meta=np.empty((0, 0, 0), "float32"))
        archive.write(path, blocks, layout, message="", metadata={})
    """,
    "after a slab": """
        archive.write(path, fields(45, 100), layout, message="", metadata={}, progress=lambda e: die())
    """,
    "before the commit": """
        def last(event):
            if event.done == event.total:
                die()
        archive.write(path, fields(45, 100), layout, message="", metadata={}, progress=last)
    """,
}


@pytest.mark.parametrize(
    "moment", [pytest.param(name, marks=[] if name == "before the commit" else pytest.mark.slow) for name in KILLS]
)
def test_killed_while_appending(path, moment):
    before = write(path, 0, 45)
    stored = files_in(path)
    died = run(KILLS[moment], path)
    assert died.returncode == -9, died.stderr
    assert archive.head(path) == before.snapshot_id
    assert archive.open_dataset(path).sizes["time"] == 45
    assert set(files_in(path)) >= set(stored)
    write(path, 45, 100)
    np.testing.assert_array_equal(archive.open_dataset(path)["t"].values, VALUES)
    # what the killed write left is swept up: the disk holds what an uninterrupted run holds
    write(path.with_name("calm"), 0, 45)
    write(path.with_name("calm"), 45, 100)
    assert len(files_in(path)) == len(files_in(path.with_name("calm")))
    assert not path.with_name("archive.unfinished").exists()


def test_killed_while_creating(path):
    died = run('archive.write(path, fields(0, 45), layout, message="", metadata={}, progress=lambda e: die())', path)
    assert died.returncode == -9, died.stderr
    assert not archive.exists(path)
    write(path, 0, 100)
    np.testing.assert_array_equal(archive.open_dataset(path)["t"].values, VALUES)
    assert len(archive.log(path)) == 1


def test_failing_input_leaves_nothing(path):
    before = write(path, 0, 45)
    stored = files_in(path)
    bad = fields(45, 100).chunk(time=20)

    def fail(block):
        raise RuntimeError("sensor on fire")

    bad["t"].data = bad["t"].data.map_blocks(fail, dtype="float32", meta=np.empty((0, 0, 0), "float32"))
    with pytest.raises(RuntimeError, match="sensor on fire"):
        archive.write(path, bad, LAYOUT, message="", metadata={})
    assert archive.head(path) == before.snapshot_id
    assert files_in(path) == stored


FULL = """
    archive.write(path, fields(0, 20), layout, message="", metadata={})
    before = archive.head(path)
    stored = sorted(f for f in path.rglob("*") if f.is_file())
    LIMIT
    big = xr.concat([fields(20, 100)] * 1, dim="time")
    try:
        archive.write(path, big, layout, message="", metadata={})
    except ArchiveError as error:
        print(error)
    assert archive.head(path) == before
    assert archive.open_dataset(path)["t"].values.shape[0] == 20
    print(*[f for f in path.rglob("*") if f.is_file() and f not in stored])
"""


@pytest.mark.slow
def test_file_size_limit_stands_in_for_a_full_disk(path):
    limited = FULL.replace("LIMIT", "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))")
    finished = run(limited, path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(f"archive {path} could not be written (")
    assert "; it is as it was before; " in finished.stdout
    assert finished.stderr == ""


def test_full_disk(path):
    disk = path.parent / "disk"
    disk.mkdir()
    mount = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=300k tmpfs {disk} && exec "$@"', "sh"]
    try:
        allowed = subprocess.run([*mount, "true"], capture_output=True, timeout=30).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        pytest.skip("a small file system cannot be mounted here")
    finished = run(FULL.replace("LIMIT", ""), disk / "archive", prefix=mount)
    assert finished.returncode == 0, finished.stderr
    sentence, left_behind = finished.stdout.split("\n", 1)
    assert sentence == (
        f"archive {disk / 'archive'} could not be written (no space left on the disk); it is as it was before; "
        "free some space, then run the command again"
    )
    assert left_behind == "\n"  # the space that the failed write took is free again


@pytest.mark.slow
def test_committers_in_several_processes_lose_nothing(path):
    write(path, 0, 10)
    script = """
    first = int(sys.argv[2])
    # each appends when its turn has come: the archive says where it ends
    import time
    for _ in range(200):
        with archive.lock(path):
            if archive.open_dataset(path).sizes["time"] == first:
                archive.write(path, fields(first, first + 10), layout, message="", metadata={})
                break
        time.sleep(0.02)
    """
    with_code = PRELUDE + textwrap.dedent(script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = [
        subprocess.Popen([sys.executable, "-c", with_code, str(path), str(first)], cwd=ROOT, env=environment)
        for first in (10, 20)
    ]
    assert [process.wait(60) for process in started] == [0, 0]
    np.testing.assert_array_equal(archive.open_dataset(path)["t"].values, VALUES[:30])
    assert len(archive.log(path)) == 3
