import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import QuarantineError, SourceError
from pipeline.ingest import ingest
from pipeline.quarantine import Rejected, accept, entries, find_entry, record, settle
from pipeline.sources import digest

ROOT = Path(__file__).parents[2]
FIRST, SECOND = "a1" * 32, "a1" * 31 + "b2"


def rejected(sha256=FIRST, name="a.nc", rule="Q-RANGE", message="too warm; check it"):
    return Rejected(sha256, Path("/data") / name, 10, rule, message)


def save(folder, name, hours, warm=0.0):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(*hours) * np.timedelta64(1, "h")
    values = np.random.default_rng(hours[0]).normal(280, 1, (len(times), 4, 5)).astype("float32") + np.float32(warm)
    xr.Dataset(
        {"t": (("time", "lat", "lon"), values, {"units": "K"})},
        coords={"time": times, "lat": np.arange(4.0), "lon": np.arange(5.0)},
    ).to_netcdf(folder / name, engine="netcdf4")
    return folder / name


@pytest.fixture
def made(tmp_path):
    """A configuration whose Archive holds a.nc; b.nc, which comes next, is too warm."""
    folder = tmp_path / "input"
    folder.mkdir()
    config = check_config(
        {
            "name": "test",
            "root": str(tmp_path / "runs"),
            "boundary": "closed",
            "source": {"path": str(folder), "max_rejected_share": 0.7},
            "variables": {"t": {"units": "K", "valid_range": [250, 310]}},
        }
    )
    save(folder, "a.nc", (0, 10))
    assert not ingest(config).rejected
    save(folder, "b.nc", (10, 20), warm=50.0)
    return config, folder


def test_an_entry_says_what_was_rejected_and_why(made):
    config, folder = made
    assert entries(config.quarantine_path) == []
    before = (folder / "b.nc").read_bytes()
    result = ingest(config)
    (entry,) = entries(config.quarantine_path)
    assert [one.rule for one in result.rejected] == [entry.rule] == ["Q-RANGE"]
    assert entry.message == result.rejected[0].message
    assert (entry.path, entry.size) == (str(folder / "b.nc"), len(before))
    assert entry.sha256 == digest(folder / "b.nc")
    assert (entry.state, entry.config_hash) == ("rejected", config.hash())
    assert (folder / "b.nc").read_bytes() == before
    sidecar = json.loads((config.quarantine_path / f"{entry.sha256}.json").read_text())
    assert sidecar["history"][0]["rules"] == ["Q-RANGE"]
    ingest(config)
    (again,) = entries(config.quarantine_path)
    assert again.history == entry.history


def test_a_batch_that_fails_leaves_its_rejected_in_quarantine(made):
    config, folder = made
    for name in ("c.nc", "d.nc"):
        (folder / name).write_text("<html>")
    with pytest.raises(SourceError, match="max_rejected_share"):
        ingest(config)
    # c.nc and d.nc are the same bytes
    assert sorted(entry.rule for entry in entries(config.quarantine_path)) == ["Q-NOT-NETCDF", "Q-RANGE"]


def test_accepted_by_a_person_it_goes_in_and_the_reason_stays(made):
    config, folder = made
    ingest(config)
    (entry,) = entries(config.quarantine_path)
    accept(config.quarantine_path, entry.name, ["Q-RANGE"], by="ann", why="a heat wave")
    result = ingest(config, only={folder / "b.nc"})
    assert (result.appended, [one.rule for one in result.warned], result.rejected) == (10, ["Q-RANGE"], ())
    (entry,) = entries(config.quarantine_path)
    assert [step.what for step in entry.history] == ["rejected", "accepted", "ingested"]
    (noted,) = archive.log(config.archive_path)[0].metadata["accepted"]
    assert (noted["name"], noted["rules"], noted["by"], noted["why"]) == ("b.nc", ["Q-RANGE"], "ann", "a heat wave")
    values = archive.open_dataset(config.archive_path)["t"].values[10:]
    np.testing.assert_array_equal(values, xr.open_dataset(folder / "b.nc")["t"].values)
    with pytest.raises(QuarantineError, match="is ingested"):
        accept(config.quarantine_path, entry.name, [], by="ann", why="again")


def test_what_was_accepted_is_those_bytes_and_no_others(made):
    config, folder = made
    ingest(config)
    accept(config.quarantine_path, digest(folder / "b.nc"), [], by="ann", why="a heat wave")
    save(folder, "b.nc", (10, 20), warm=90.0)
    assert [one.rule for one in ingest(config).rejected] == ["Q-RANGE"]


def test_fetched_again_it_is_replaced_and_under_other_settings_ingested(made):
    config, folder = made
    ingest(config)
    save(folder, "c.nc", (20, 30), warm=50.0)
    ingest(config)
    save(folder, "b.nc", (10, 20))
    ingest(config, only={folder / "b.nc"})
    assert {Path(one.path).name: one.state for one in entries(config.quarantine_path)} == {
        "b.nc": "replaced",
        "c.nc": "rejected",
    }
    wider = config.model_copy(
        update={"variables": {"t": config.variables["t"].model_copy(update={"valid_range": (250.0, 400.0)})}}
    )
    assert ingest(wider).appended == 10
    assert [one.state for one in entries(config.quarantine_path)] == ["replaced", "ingested"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a1", [], "why"), "at least 4 digits"),
        (("a1a1a1a1", [], "why"), "2 entries"),
        (("ffff", [], "why"), "no entry"),
        ((FIRST, [], " "), "needs a reason"),
        ((FIRST, ["Q-TRUNCATED"], "why"), "Q-TRUNCATED cannot be accepted, only .*Q-RANGE.* can"),
        ((FIRST, ["Q-NONE"], "why"), "Q-NONE cannot be accepted"),
    ],
)
def test_what_cannot_be_accepted(tmp_path, words, message):
    record(tmp_path, [rejected(), rejected(SECOND, "b.nc")], "0" * 12)
    name, rules, why = words
    before = entries(tmp_path)
    with pytest.raises(QuarantineError, match=message):
        accept(tmp_path, name, rules, by="ann", why=why)
    assert entries(tmp_path) == before
    assert find_entry(tmp_path, SECOND).path == "/data/b.nc"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("reject"), st.sampled_from([FIRST, SECOND]), st.sampled_from(["Q-RANGE", "Q-NAN"])),
            st.tuples(st.just("settle"), st.sampled_from([FIRST, SECOND]), st.just("")),
            st.tuples(st.just("accept"), st.sampled_from([FIRST, SECOND]), st.just("Q-RANGE")),
        ),
        max_size=8,
    )
)
@settings(deadline=None, max_examples=30)
def test_nothing_is_ever_taken_out_of_a_history(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("quarantine")
    histories = {}
    for what, sha256, rule in steps:
        if what == "reject":
            record(folder, [rejected(sha256, rule=rule)], "0" * 12)
        elif what == "settle":
            settle(folder, {sha256}, {})
        elif any(one.sha256 == sha256 and one.state == "rejected" for one in entries(folder)):
            accept(folder, sha256, [rule], by="ann", why="checked")
        for entry in entries(folder):
            known = histories.get(entry.sha256, ())
            assert entry.history[: len(known)] == known
            histories[entry.sha256] = entry.history
    assert set(histories) == {one.sha256 for one in entries(folder)}


def test_a_damaged_entry_is_one_sentence(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(QuarantineError, match=r"x\.json is no entry"):
        entries(tmp_path)


def test_killed_between_entry_and_its_name_no_half_entry_is_met(tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from pipeline.quarantine import Rejected, record
folder = Path({str(tmp_path)!r})
def file(sha256, rule): return Rejected(sha256, Path("/data/a.nc"), 10, rule, "message")
record(folder, [file({FIRST!r}, "Q-NAN")], "0" * 12)
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
record(folder, [file({FIRST!r}, "Q-RANGE"), file({SECOND!r}, "Q-RANGE")], "0" * 12)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, timeout=120).returncode == -9
    assert [(one.sha256, one.rule) for one in entries(tmp_path)] == [(FIRST, "Q-NAN")]
    record(tmp_path, [rejected(), rejected(SECOND)], "0" * 12)
    assert [(one.sha256, one.rule) for one in entries(tmp_path)] == [(FIRST, "Q-RANGE"), (SECOND, "Q-RANGE")]
    assert not list(tmp_path.glob(".*"))
