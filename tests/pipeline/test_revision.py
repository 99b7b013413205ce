"""Revised files: refused, or taken as one commit that replaces frames and leaves the old version readable."""

import hashlib
import json

import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.archive import Replacement
from pipeline.config import ArchiveConfig, check_config
from pipeline.errors import ArchiveError
from pipeline.ingest import ingest, rehearse, report_of
from pipeline.quarantine import entries
from pipeline.revision import revised_since

VALUES = {name: np.random.default_rng(7).normal(280, 5, (90, 12, 10)).astype("float32") for name in ("t", "q")}
SEA = np.zeros((12, 10), bool)
SEA[:3, :4] = True


def frames(first, last, change=None, names=("t", "q")):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    values = {name: VALUES[name][first:last].copy() for name in names}
    for field in values.values():
        field[:, SEA] = np.nan
    for (name, hour), by in (change or {}).items():
        values[name][hour - first] += np.float32(by)
    return xr.Dataset(
        {name: (("time", "lat", "lon"), field, {"units": "K"}) for name, field in values.items()},
        coords={"time": times, "lat": np.arange(12.0), "lon": np.arange(10.0)},
    )


def settings(folder, revise="accept", **source):
    return check_config(
        {
            "name": "test",
            "root": str(folder.parent / "runs"),
            "boundary": "closed",
            "source": {"path": str(folder), "revise": revise, "max_rejected_share": 1.0, **source},
            "variables": {"t": {"units": "K", "valid_range": [200, 400]}, "q": {"units": "K"}},
            # shards are cut in time and in space, and end inside of what is revised
            "archive": {"chunk_time": 5, "shard_time": 10, "chunk_space": 4, "shard_space": 8},
        }
    )


def stored(config, version=None):
    with archive.open_dataset(config.archive_path, version) as found:
        return {name: found[name].values for name in ("t", "q")}


def expected(last, change=None):
    return {name: field.values for name, field in frames(0, last, change).data_vars.items()}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "input"
    made.mkdir()
    frames(0, 30).to_netcdf(made / "a.nc")
    return made


def test_refused_by_default_with_the_next_step(folder):
    config = settings(folder, revise="refuse")
    assert check_config({"variables": {"t": {"units": "K"}}, "source": {"path": "x"}}).source.revise == "refuse"
    before = ingest(config)
    frames(10, 30, {("t", 12): 1.0, ("t", 13): 1.0, ("q", 20): 1.0}).to_netcdf(folder / "b.nc")
    result = ingest(config)
    assert (result.snapshot_id, result.revised, result.committed) == (before.snapshot_id, 0, ())
    (refused,) = result.rejected
    assert refused.rule == "Q-OVERLAP"
    assert "'t' has other values than the archive in 2 frames between 2020-01-01T12:00 and 2020-01-01T13:00; " in str(
        refused
    )
    assert "source.revise=accept" in refused.message
    assert [entry.state for entry in entries(config.quarantine_path)] == ["rejected"]
    # a change of mind: the very file is taken then, and its entry closed
    taken = ingest(settings(folder))
    assert (taken.revised, [path.name for path in taken.committed]) == (3, ["b.nc"])
    assert [entry.state for entry in entries(config.quarantine_path)] == ["ingested"]


def test_one_rejected_revision_can_be_taken_by_name_however_old(folder):
    (folder / "a.nc").unlink()
    for day in range(3):
        frames(24 * day, 24 * day + 24).to_netcdf(folder / f"2020010{day + 1}.nc")
    pattern = {"files": ["{time:%Y%m%d}*.nc"]}
    refusing = settings(folder, revise="refuse", reopen_hours=72, **pattern)
    ingest(refusing)
    for day in (0, 1):
        frames(24 * day, 24 * day + 24, {("t", 24 * day + 5): 1.0}).to_netcdf(folder / f"2020010{day + 1}_v2.nc")
    assert len(ingest(refusing).rejected) == 2
    later = settings(folder, **pattern)
    assert ingest(later).revised == 0  # by their names they are done with
    result = ingest(later, only={folder / "20200101_v2.nc"})
    assert (result.revised, [path.name for path in result.committed]) == (1, ["20200101_v2.nc"])
    assert sorted(entry.state for entry in entries(later.quarantine_path)) == ["ingested", "rejected"]
    np.testing.assert_array_equal(stored(later)["t"], expected(72, {("t", 5): 1.0})["t"])


def test_revision_and_append_are_one_commit_that_leaves_the_old_version_as_it_was(folder):
    config = settings(folder)
    before = ingest(config)
    change = {("t", 8): 1.0, ("t", 9): 2.0, ("t", 10): 3.0, ("t", 25): 4.0, ("q", 9): 5.0}
    frames(5, 47, change).to_netcdf(folder / "b.nc")
    with rehearse(config) as rehearsal:
        foretold = report_of(rehearsal, 1.0)
    assert (foretold.revised, foretold.appended) == (4, 17)
    result = ingest(config)
    assert (result.revised, result.appended, result.rejected) == (4, 17, ())
    for name, field in expected(47, change).items():
        np.testing.assert_array_equal(stored(config)[name], field)
    for name, field in expected(30).items():
        np.testing.assert_array_equal(stored(config, before.snapshot_id)[name], field)
    commits = archive.log(config.archive_path)
    assert [one.snapshot_id for one in commits] == [result.snapshot_id, before.snapshot_id]
    assert commits[0].message == (
        "ingest 1 file(s): 2020-01-02T06:00 to 2020-01-02T22:00, 17 frames; "
        "revised 4 frames of t, q, 2020-01-01T08:00 to 2020-01-02T01:00"
    )
    for version in (None, before.snapshot_id):
        assert archive.verify(config.archive_path, version).damaged == ()
    assert archive.verify(config.archive_path).unrecorded == 0
    assert ingest(config).snapshot_id == result.snapshot_id  # both files are known now


def test_the_commit_notes_file_frames_and_hashes(folder):
    config = settings(folder)
    ingest(config)
    change = {("t", 8): 1.0, ("t", 9): 2.0, ("t", 25): 4.0}
    frames(5, 30, change).to_netcdf(folder / "b.nc")
    result = ingest(config)
    noted = archive.log(config.archive_path)[0].metadata["revised"]
    digest = hashlib.sha256((folder / "b.nc").read_bytes()).hexdigest()
    assert [(one["variable"], one["start"], one["stop"], one["file"], one["sha256"]) for one in noted] == [
        ("t", 8, 10, "b.nc", digest),
        ("t", 25, 26, "b.nc", digest),
    ]
    assert (noted[0]["first"], noted[0]["last"]) == ("2020-01-01T08:00", "2020-01-01T09:00")
    assert noted[0]["old"] == hashlib.sha256(expected(30)["t"][8:10].tobytes()).hexdigest()
    assert noted[0]["new"] == hashlib.sha256(stored(config)["t"][8:10].tobytes()).hexdigest()
    commits = archive.log(config.archive_path)
    assert revised_since(commits, commits[1].snapshot_id) == {"t": {8, 9, 25}}
    assert revised_since(commits, result.snapshot_id) == {}
    reports = sorted((config.work_dir / "ingests").glob("*.json"))
    report = json.loads(reports[-1].read_text())
    assert (report["revised"], report["appended"], report["snapshot_id"]) == (3, 0, result.snapshot_id)
    assert "0 new along time, revised 3 frames; " in reports[-1].with_suffix(".txt").read_text()


def test_some_variables_only(folder):
    config = settings(folder)
    ingest(config)
    frames(0, 30, {("q", 3): 2.0}, names=("q",)).to_netcdf(folder / "q.nc")
    assert ingest(config).revised == 1
    for name, field in expected(30, {("q", 3): 2.0}).items():
        np.testing.assert_array_equal(stored(config)[name], field)


def test_a_value_at_a_masked_point_is_no_revision(folder):
    config = settings(folder)
    for name, value in (("a.nc", 280.0), ("b.nc", 281.0)):  # q has values where t, and so the archive, is masked
        whole = frames(0, 30)
        whole["q"].values[:, SEA] = value
        whole.to_netcdf(folder.parent / name)
    (folder.parent / "a.nc").replace(folder / "a.nc")
    before = ingest(config)
    (folder.parent / "b.nc").replace(folder / "b.nc")
    result = ingest(config)
    assert (result.snapshot_id, result.revised) == (before.snapshot_id, 0)
    assert "b.nc" in [path.name for path in result.skipped]


@pytest.mark.parametrize(
    ("rule", "place", "value"),
    [("Q-RANGE", (3, 5, 5), 1e4), ("Q-NAN", (3, 5, 5), np.nan), ("Q-INF", (3, 5, 5), np.inf)],
)
def test_revised_values_pass_every_check(folder, rule, place, value):
    config = settings(folder)
    before = ingest(config)
    spoiled = frames(0, 30)
    spoiled["t"].values[place] = value
    spoiled.to_netcdf(folder / "b.nc")
    result = ingest(config)
    assert [one.rule for one in result.rejected] == [rule]
    assert result.snapshot_id == before.snapshot_id


def test_files_that_contradict_each_other_revise_in_turn_and_no_values_come_back(folder):
    config = settings(folder)
    ingest(config)
    frames(0, 30, {("t", 4): 1.0}).to_netcdf(folder / "b.nc")
    frames(0, 40, {("t", 4): 2.0}).to_netcdf(folder / "c.nc")
    frames(30, 40, {("t", 33): 5.0}).to_netcdf(folder / "d.nc")
    first = ingest(config)
    assert [path.name for path in first.committed] == ["b.nc", "d.nc"]
    assert [(one.path.name, one.rule) for one in first.waiting] == [("c.nc", "Q-OVERLAP")]
    second = ingest(config)
    assert [path.name for path in second.committed] == ["c.nc"]
    np.testing.assert_array_equal(stored(config)["t"], expected(40, {("t", 4): 2.0})["t"])
    assert ingest(config).snapshot_id == second.snapshot_id


def test_what_an_unfinished_file_gave_does_not_come_back_after_a_revision(folder):
    (folder / "a.nc").unlink()
    config = settings(folder)
    frames(0, 60, names=("t",)).to_netcdf(folder / "t.nc")
    frames(0, 30, names=("q",)).to_netcdf(folder / "q.nc")
    assert ingest(config).appended == 30  # t.nc waits with the rest
    frames(20, 30, {("t", 21): 3.0}, names=("t",)).to_netcdf(folder / "t_v2.nc")
    assert ingest(config).revised == 1
    frames(30, 60, names=("q",)).to_netcdf(folder / "q2.nc")
    result = ingest(config)
    assert (result.appended, result.revised, result.rejected) == (30, 0, ())
    for name, field in expected(60, {("t", 21): 3.0}).items():
        np.testing.assert_array_equal(stored(config)[name], field)


def test_a_revision_that_fails_midway_leaves_everything_as_it_was(folder, monkeypatch):
    config = settings(folder)
    before = ingest(config)
    frames(0, 40, {("t", hour): 1.0 for hour in range(30)}).to_netcdf(folder / "b.nc")
    monkeypatch.setattr("pipeline.archive.writing.SLAB_BYTES", 1)

    def full(event):
        if event.unit == "MB":
            raise OSError(28, "No space left on device")

    with pytest.raises(ArchiveError, match=r"no space left on the disk.*it is as it was before"):
        ingest(config, full)
    assert archive.head(config.archive_path) == before.snapshot_id
    np.testing.assert_array_equal(stored(config)["t"], expected(30)["t"])
    assert archive.verify(config.archive_path).damaged == ()
    assert ingest(config).revised == 30


def test_a_collection_keeps_what_is_known_of_revisions(folder):
    config = settings(folder)
    ingest(config)
    frames(0, 30, {("t", 4): 1.0}).to_netcdf(folder / "b.nc")
    ingest(config)
    frames(30, 40).to_netcdf(folder / "c.nc")
    result = ingest(config)
    archive.collect(config.archive_path, set(), keep_days=0, apply=True)
    # what is folded into one commit happened before
    assert revised_since(archive.log(config.archive_path), result.snapshot_id) == {}
    archive.collect(config.archive_path, set(), keep_days=0, apply=True)
    assert revised_since(archive.log(config.archive_path), result.snapshot_id) == {"t": {4}}  # it is dropped now
    assert archive.verify(config.archive_path).damaged == ()
    assert ingest(config).committed == ()


def test_what_can_be_replaced(folder):
    config = settings(folder)
    ingest(config)
    layout, path = ArchiveConfig(), config.archive_path
    values = archive.open_dataset(path)["t"].isel(time=slice(0, 4)).load()
    for replacement, reason in [
        (Replacement("x", 0, values), "got values for 'x'"),
        (Replacement("t", 28, values), "has 30 along 'time', got values for 28 to 31"),
        (Replacement("t", 0, values.isel(lat=slice(3))), "bring it to the same grid"),
    ]:
        with pytest.raises(ArchiveError, match=reason):
            archive.write(path, None, layout, message="", metadata={}, replacements=[replacement])
    with pytest.raises(ArchiveError, match="nothing that could be replaced"):
        archive.write(
            path.with_name("new"), None, layout, message="", metadata={}, replacements=[Replacement("t", 0, values)]
        )
