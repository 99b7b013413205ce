"""Archives as earlier releases wrote them, which this one must read: a folder in ``golden/`` for each release.

Frames 0 to 12 and 12 to 30 in two commits; the value at a point is its number in array order, as float32; three points
of the first row are permanently missing.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from pipeline import archive
from pipeline.config import ArchiveConfig

RELEASES = sorted((Path(__file__).parent / "golden").glob("archive-*"))


@pytest.fixture(params=RELEASES, ids=lambda folder: folder.name)
def path(request, tmp_path):
    return Path(shutil.copytree(request.param, tmp_path / "archive"))


def values(length):
    numbers = np.arange(length * 6 * 8, dtype="float32").reshape(length, 6, 8)
    numbers[:, 0, :3] = np.nan
    return numbers


def test_there_is_one():
    assert RELEASES


def test_every_version_reads_as_it_was_written(path):
    commits = archive.log(path)
    assert [commit.message for commit in commits] == ["frames 12 to 30", "frames 0 to 12"]
    assert [commit.metadata["files"] for commit in commits] == [[{"name": "12.nc"}], [{"name": "0.nc"}]]
    for commit, length in zip(commits, (30, 12), strict=True):
        with archive.open_dataset(path, commit.snapshot_id) as dataset:
            np.testing.assert_array_equal(dataset["t"].values, values(length))
            assert dataset["t"].attrs["units"] == "K"
            assert dataset["mask"].values.sum() == 6 * 8 - 3
            assert (dataset["lat"].values[[0, -1]] == [50, 52.5]).all()
            assert (dataset["lon"].values[[0, -1]] == [-3, 0.5]).all()
            assert dataset["time"].values[-1] == np.datetime64("2020-01-01T00") + np.timedelta64(length - 1, "h")
        assert archive.verify(path, commit.snapshot_id).damaged == ()


def test_it_can_be_appended_to(path):
    with archive.open_dataset(path) as dataset:
        more = dataset.isel(time=slice(0, 5)).load()
    later = more.assign_coords(time=more["time"] + np.timedelta64(30, "h"))
    archive.write(path, later, ArchiveConfig(), message="more", metadata={})
    with archive.open_dataset(path) as dataset:
        np.testing.assert_array_equal(dataset["t"].values, np.concatenate([values(30), values(5)]))
    assert archive.verify(path).damaged == ()
