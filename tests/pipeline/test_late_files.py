"""Files that come late, or twice at once: an archive that was filled by them is the one that was filled in order."""

import itertools
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import ArchiveError
from pipeline.ingest import ingest

ROOT = Path(__file__).parents[2]
VALUES = np.random.default_rng(11).normal(280, 5, (24 * 12, 10, 12)).astype("float32")
VALUES[:, :2, :3] = np.nan


def write_day(folder, day):
    folder.mkdir(exist_ok=True)
    hours = np.arange(24 * day, 24 * day + 24)
    times = np.datetime64("2020-01-01T00", "ns") + hours * np.timedelta64(1, "h")
    path = folder / f"{times[0].astype('datetime64[D]').astype(object):%Y%m%d}.nc"
    xr.Dataset(
        {"t": (("time", "lat", "lon"), VALUES[hours], {"units": "K"})},
        coords={"time": times, "lat": np.arange(10.0), "lon": np.arange(12.0)},
    ).to_netcdf(path)
    return path


def settings(folder, name="test", **archive_section):
    return check_config(
        {
            "name": name,
            "root": str(folder.parent / "runs"),
            "boundary": "closed",
            "source": {"path": str(folder), "files": ["{time:%Y%m%d}.nc"]},
            "variables": {"t": {"units": "K"}},
            "archive": {"chunk_time": 6, "shard_time": 36, "chunk_space": 4, "shard_space": 8, **archive_section},
        }
    )


def files_of(config):
    """What the commits of an archive note about files, whichever commit it is."""
    noted = [file for commit in archive.log(config.archive_path) for file in commit.metadata["files"]]
    return sorted((file["name"], file["sha256"], file["complete"]) for file in noted)


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0)])
def test_days_in_any_order_after_the_first_come_to_the_archive_that_is_made_in_order(tmp_path, order):
    folder = tmp_path / "input"
    late, ordered = settings(folder, "late"), settings(folder, "ordered")
    write_day(folder, 0)
    ingest(late)
    came = [0]
    for day in (1 + place for place in order):
        write_day(folder, day)
        came.append(day)
        result = ingest(late)
        there = next(number for number in itertools.count() if number not in came)  # days without a gap
        assert archive.info(late.archive_path).dims["time"] == 24 * there
        assert [(one.rule, one.path.name) for one in result.waiting] == [
            ("Q-GAP", f"202001{number + 1:02d}.nc") for number in sorted(came) if number > there
        ]
        assert result.rejected == ()
    ingest(ordered)
    with archive.open_dataset(late.archive_path) as one, archive.open_dataset(ordered.archive_path) as other:
        xr.testing.assert_identical(one.load(), other.load())
        np.testing.assert_array_equal(one["t"].values, VALUES[: 24 * 4])
    assert files_of(late) == files_of(ordered)
    assert archive.verify(late.archive_path) == archive.verify(ordered.archive_path)
    head = archive.head(late.archive_path)
    assert ingest(late).snapshot_id == head


def test_a_day_before_the_archive_begins_is_refused_and_says_what_to_do(tmp_path):
    folder = tmp_path / "input"
    write_day(folder, 1)
    config = settings(folder)
    config = config.model_copy(update={"source": config.source.model_copy(update={"files": ("*.nc",)})})
    before = ingest(config)
    write_day(folder, 0)
    write_day(folder, 2)
    result = ingest(config)
    (early,) = result.rejected
    assert (early.rule, early.path.name, result.appended) == ("Q-EARLY", "20200101.nc", 24)
    assert early.message == (
        "24 of its times, from 2020-01-01T00:00 on, lie before the start of the archive (2020-01-02T00:00), which "
        "grows at its end only; to have them, ingest all files under another name"
    )
    # what the message advises
    anew = config.model_copy(update={"name": "anew"})
    assert ingest(anew).appended == 72
    with archive.open_dataset(anew.archive_path) as found:
        np.testing.assert_array_equal(found["t"].values, VALUES[:72])
    assert before.snapshot_id in [commit.snapshot_id for commit in archive.log(config.archive_path)]


def start(script):
    """Another process, spawned."""
    code = (
        "import time\nfrom pathlib import Path\nfrom pipeline import archive\nfrom pipeline.config import read_config\n"
        f"from pipeline.ingest import ingest\n{textwrap.dedent(script)}"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_writer_that_waits_says_so_and_gives_up_after_the_time_that_is_set(tmp_path):
    folder = tmp_path / "input"
    write_day(folder, 0)
    config = settings(folder, wait_seconds=2.2)
    holder = start(f"""
        with archive.lock(Path({str(config.archive_path)!r})):
            print("held", flush=True)
            time.sleep(60)
    """)
    try:
        assert holder.stdout.readline() == "held\n"
        events, began = [], time.monotonic()
        with pytest.raises(ArchiveError, match=r"is locked: another process was still writing to it after 2\.2 s; "):
            ingest(config, events.append)
        assert 2.0 < time.monotonic() - began < 30
    finally:
        holder.kill()
        holder.communicate()
    assert [(event.done, event.total, event.unit) for event in events] == [(1, 2, "s"), (2, 2, "s")]
    assert {event.message for event in events} == {"another process is writing to the archive, waiting"}
    assert ingest(config).appended == 24  # of a killed holder the lock is free


@pytest.mark.slow
def test_three_writers_at_once_lose_nothing_that_was_acknowledged(tmp_path):
    """Writer k has days k, k + 3, ...: each must wait for the others again and again, to the end."""
    folder = tmp_path / "input"
    write_day(folder, 0)
    config = settings(folder)
    acknowledged = [(ingest(config).snapshot_id, "20200101.nc")]
    script = """
        config = read_config(Path({path!r}))
        print("ready", flush=True)
        deadline = time.monotonic() + 400
        while time.monotonic() < deadline:
            result = ingest(config)
            for path in result.committed:
                print(result.snapshot_id, path.name, flush=True)
            if not result.waiting:
                break
            time.sleep(0.3)  # the others' turn
    """
    writers = []
    for number in range(3):
        own = tmp_path / f"input{number}"
        for day in range(1 + number, 12, 3):
            write_day(own, day)
        mine = config.model_copy(update={"source": config.source.model_copy(update={"path": own})})
        path = tmp_path / f"writer{number}.yaml"
        path.write_text(mine.to_yaml())
        writers.append(start(script.format(path=str(path))))
    for writer in writers:
        output, errors = writer.communicate(timeout=500)
        assert writer.returncode == 0, errors
        acknowledged += [tuple(line.split()) for line in output.splitlines()[1:]]
    commits = archive.log(config.archive_path)
    assert len(acknowledged) == 12
    for snapshot_id, name in acknowledged:
        (commit,) = [commit for commit in commits if commit.snapshot_id == snapshot_id]
        assert name in [file["name"] for file in commit.metadata["files"]]
    assert len(files_of(config)) == len({sha256 for _, sha256, _ in files_of(config)}) == 12
    with archive.open_dataset(config.archive_path) as found:
        np.testing.assert_array_equal(found["t"].values, VALUES)
    for commit in commits:
        assert archive.verify(config.archive_path, commit.snapshot_id).damaged == ()
