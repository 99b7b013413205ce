"""What an ingest leaves behind to read."""

import json

import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import SourceError
from pipeline.ingest import ingest, rehearse, report_of


def save(folder, name, hours):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(*hours) * np.timedelta64(1, "h")
    values = np.random.default_rng(hours[0]).normal(280, 1, (len(times), 4, 5)).astype("float32")
    xr.Dataset(
        {"t": (("time", "lat", "lon"), values, {"units": "K"})},
        coords={"time": times, "lat": np.arange(4.0), "lon": np.arange(5.0)},
    ).to_netcdf(folder / name, engine="netcdf4")


@pytest.fixture
def made(tmp_path):
    folder = tmp_path / "input"
    folder.mkdir()
    save(folder, "a.nc", (0, 10))
    save(folder, "late.nc", (20, 30))
    (folder / "bad.nc").write_text("<html>")
    tree = {"name": "test", "root": str(tmp_path / "runs"), "boundary": "closed", "source": {"path": str(folder)}}
    return check_config({**tree, "variables": {"t": {"units": "K"}}}), folder


def kept(config):
    return [json.loads(path.read_text()) for path in sorted(config.ingests_path.glob("*.json"))]


def test_a_report_tells_what_became_of_each_file(made):
    config, folder = made
    result = ingest(config)
    (report,) = kept(config)
    assert report["accepted"] == [str(folder / "a.nc")]
    assert [(one["file"], one["rule"]) for one in report["waiting"]] == [(str(folder / "late.nc"), "Q-GAP")]
    assert report["rejected_by_rule"] == {"Q-NOT-NETCDF": 1}
    assert (report["appended"], report["dim"], report["snapshot_id"]) == (10, "time", result.snapshot_id)
    assert report["size_bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    assert report["megabytes_per_second"] > 0
    assert not report["dry_run"]
    (text,) = config.ingests_path.glob("*.txt")
    assert "1 accepted, 0 repairs, 0 warnings, 1 waiting, 1 rejected (1 by Q-NOT-NETCDF), 0 skipped" in text.read_text()


def test_an_ingest_with_nothing_new_leaves_no_report(made):
    config, folder = made
    for name in ("late.nc", "bad.nc"):
        (folder / name).unlink()
    ingest(config)
    assert ingest(config).skipped == (folder / "a.nc",)
    assert len(kept(config)) == 1


def test_a_batch_that_fails_leaves_its_report(made):
    config, folder = made
    (folder / "a.nc").write_bytes(b"")
    (folder / "late.nc").write_bytes(b"")
    with pytest.raises(SourceError) as caught:
        ingest(config)
    (report,) = kept(config)
    assert report["error"] == str(caught.value)
    assert report["rejected_by_rule"] == {"Q-EMPTY": 2, "Q-NOT-NETCDF": 1}
    assert (report["accepted"], report["appended"], report["snapshot_id"]) == ([], 0, None)


def test_a_rehearsal_foretells_the_ingest_and_writes_nothing(made):
    config, _ = made
    with rehearse(config) as found:
        foretold = report_of(found, 1.0, found.refused)
    assert not config.work_dir.exists()
    result = ingest(config)
    told = report_of(result, 1.0)
    assert (foretold.appended, foretold.rejected, foretold.waiting) == (told.appended, told.rejected, told.waiting)
    assert (foretold.dry_run, told.dry_run, foretold.error) == (True, False, "")
    assert archive.head(config.archive_path) == told.snapshot_id
    with rehearse(config) as found:
        assert report_of(found, 1.0).appended == 0


def test_a_rehearsal_says_that_the_batch_would_fail(made):
    config, folder = made
    (folder / "a.nc").write_bytes(b"")
    (folder / "late.nc").write_bytes(b"")
    with rehearse(config) as found:
        assert "nothing is left to commit" in found.refused
    with pytest.raises(SourceError) as caught:
        ingest(config)
    assert found.refused == str(caught.value)
