import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import ArchiveError, ConfigError, SourceError
from pipeline.ingest import ingest

ROOT = Path(__file__).parents[2]
WFDE5 = ROOT.parent / "shared" / "data" / "wfde5_gb_2017-01"
ERSST = ROOT.parent / "shared" / "data" / "ersst_v5"
RNG = np.random.default_rng(3)
VALUES = {name: RNG.normal(280, 5, (120, 40, 50)).astype("float32") for name in ("t", "q")}
LAND = np.ones((40, 50), bool)
LAND[:8, :10] = False


def fields(first, last, names=("t",), masked=False, units="K"):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    dataset = xr.Dataset(
        {name: (("time", "lat", "lon"), VALUES[name][first:last].copy(), {"units": units}) for name in names},
        coords={
            "time": times,
            "lat": ("lat", np.linspace(40, 59.5, 40), {"units": "degrees_north"}),
            "lon": ("lon", np.linspace(-10, 14.5, 50), {"units": "degrees_east"}),
        },
    )
    if masked:
        for name in names:
            dataset[name].values[:, ~LAND] = np.nan
    return dataset


def save(folder, name, dataset, **options):
    folder.mkdir(exist_ok=True)
    dataset.to_netcdf(folder / name, engine="netcdf4", **options)
    return folder / name


def settings(folder, names=("t",), **changes):
    tree = {
        "name": "test",
        "root": str(folder.parent / "runs"),
        "boundary": "closed",
        "source": {"path": str(folder), **changes.pop("source", {})},
        "variables": {name: {"units": "K"} for name in names},
        "archive": {"chunk_time": 5, "shard_time": 20, "chunk_space": 16, "shard_space": 32},
        **changes,
    }
    return check_config(tree)


def stored(config, name="t", version=None):
    return archive.open_dataset(config.archive_path, version)[name].values


def rules(result):
    return {rejection.path.name: rejection.rule for rejection in result.rejected}


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "input"
    made.mkdir()
    return made


# what goes in


def test_tiles_shards_and_two_appends_equal_the_source(folder):
    config = settings(folder)
    cuts = [(0, 30), (30, 55), (55, 90), (90, 120)]
    versions = []
    for batch in (cuts[:1], cuts[1:3], cuts[3:]):
        for first, last in batch:
            save(folder, f"{first:03}.nc", fields(first, last, masked=True), encoding={"t": {"zlib": True}})
        result = ingest(config)
        assert [path.name for path in result.committed] == [f"{first:03}.nc" for first, _ in batch]
        assert result.appended == sum(last - first for first, last in batch)
        assert not result.rejected
        versions.append(result.snapshot_id)
    with archive.open_dataset(config.archive_path) as found:
        np.testing.assert_array_equal(found["t"].values, np.where(LAND, VALUES["t"], np.nan))
        np.testing.assert_array_equal(found["mask"].values, LAND.astype("int8"))
        assert (np.diff(found["time"].values) == np.timedelta64(1, "h")).all()
        assert found["t"].attrs["units"] == "K"
        assert found.attrs["boundary"] == "closed"
    assert [commit.snapshot_id for commit in archive.log(config.archive_path)] == versions[::-1]
    assert result.coverage == "2020-01-01T00:00 to 2020-01-05T23:00, 120 frames"
    assert result.dim == "time"
    arrays = archive.open_arrays(config.archive_path, ["t"])
    assert arrays["t"].shards == (20, 32, 32)


def test_the_commit_says_what_made_it(folder):
    save(folder, "a.nc", fields(0, 30))
    (folder / "b.nc").write_text("<html>")
    config = settings(folder)
    ingest(config)
    noted = archive.log(config.archive_path)[0].metadata
    assert [(file["name"], len(file["sha256"]), file["complete"]) for file in noted["files"]] == [("a.nc", 64, True)]
    assert noted["rejected"][0].startswith("Q-NOT-NETCDF: b.nc: ")
    assert noted["config"]["variables"]["t"]["units"] == "K"
    assert noted["config_hash"] == config.hash(["source", "variables", "boundary", "archive", "quality"])


def test_the_same_file_twice_is_a_no_op(folder):
    save(folder, "a.nc", fields(0, 30))
    config = settings(folder)
    first = ingest(config)
    shutil.copy(folder / "a.nc", folder / "other_name.nc")
    again = ingest(config)
    assert again.snapshot_id == first.snapshot_id
    assert again.appended == 0
    assert not again.committed
    assert [path.name for path in again.skipped] == ["a.nc", "other_name.nc"]


def test_progress_is_told(folder):
    save(folder, "a.nc", fields(0, 30))
    events = []
    ingest(settings(folder), events.append)
    assert {event.stage for event in events} == {"ingest"}
    assert [(event.done, event.total) for event in events if event.unit == "files"] == [(0, 1), (1, 1)]
    assert [event.unit for event in events][-1] == "MB"


def test_variables_spread_over_files_are_merged_and_strangers_ignored(folder):
    save(folder, "t1.nc", fields(0, 30, ["t"], masked=True))
    save(folder, "t2.nc", fields(30, 60, ["t"], masked=True))
    save(folder, "q.nc", fields(0, 60, ["q"]))
    save(folder, "land.nc", xr.Dataset({"lsm": (("a", "b"), np.ones((3, 4)))}))
    config = settings(folder, ["q", "t"])
    result = ingest(config)
    assert [path.name for path in result.ignored] == ["land.nc"]
    assert result.appended == 60
    # a point masked in one variable is masked in all
    for name in ("t", "q"):
        np.testing.assert_array_equal(stored(config, name), np.where(LAND, VALUES[name][:60], np.nan))
    save(folder, "t3.nc", fields(60, 80, ["t"], masked=True))
    waiting = ingest(config)
    assert waiting.appended == 0
    assert [(one.path.name, one.rule) for one in waiting.waiting] == [("t3.nc", "Q-GAP")]
    assert "wait for q at these times" in waiting.waiting[0].message
    save(folder, "q3.nc", fields(60, 80, ["q"]))
    assert ingest(config).appended == 20
    np.testing.assert_array_equal(stored(config, "q"), np.where(LAND, VALUES["q"][:80], np.nan))


def test_the_used_part_of_a_file_goes_in_and_the_rest_later(folder):
    save(folder, "t.nc", fields(0, 60, ["t"]))
    save(folder, "q1.nc", fields(0, 35, ["q"]))
    config = settings(folder, ["t", "q"])
    first = ingest(config)
    assert first.appended == 35
    assert "from 2020-01-02T11:00 on" in first.waiting[0].message
    save(folder, "q2.nc", fields(35, 60, ["q"]))
    second = ingest(config)
    assert [path.name for path in second.committed] == ["t.nc", "q2.nc"]
    assert not second.waiting
    for name in ("t", "q"):
        np.testing.assert_array_equal(stored(config, name), VALUES[name][:60])
    assert ingest(config).snapshot_id == second.snapshot_id


def test_a_file_that_grows_is_appended_from_where_it_grew(folder):
    config = settings(folder)
    save(folder, "a.nc", fields(0, 30, masked=True))
    ingest(config)
    save(folder, "a.nc", fields(0, 47, masked=True))
    assert ingest(config).appended == 17
    np.testing.assert_array_equal(stored(config), np.where(LAND, VALUES["t"][:47], np.nan))


def test_samples(folder):
    values = RNG.normal(size=(6, 10, 8, 8)).astype("float32")

    def simulation(first, last, shift=0.0):
        return xr.Dataset(
            {"t": (("sample", "time", "y", "x"), values[first:last] + np.float32(shift), {"units": "K"})},
            coords={"sample": np.arange(first, last), "time": ("time", np.arange(10.0), {"units": "s"})},
        )

    config = settings(folder, boundary="periodic")
    save(folder, "b.nc", simulation(0, 2))
    save(folder, "a.nc", simulation(2, 4))
    result = ingest(config)
    assert (result.dim, result.appended, result.coverage) == ("sample", 4, "4 samples of 10 frames")
    save(folder, "c.nc", simulation(4, 6))
    save(folder, "again.nc", simulation(2, 4), format="NETCDF3_64BIT")  # the same values in other bytes
    save(folder, "revised.nc", simulation(0, 2, shift=1.0))
    save(folder, "short.nc", simulation(0, 2).isel(time=slice(0, 5)))
    result = ingest(config)
    assert [path.name for path in result.committed] == ["c.nc"]
    assert "again.nc" in [path.name for path in result.skipped]
    assert rules(result) == {"revised.nc": "Q-OVERLAP", "short.nc": "Q-TIME"}
    np.testing.assert_array_equal(stored(config), values)
    with archive.open_dataset(config.archive_path) as found:
        assert found["sample"].values.tolist() == list(range(6))
        assert found["time"].dtype == "float64"


def test_months_are_a_cadence(folder):
    months = fields(0, 24).assign_coords(
        time=np.arange("2010-01", "2012-01", dtype="datetime64[M]").astype("datetime64[ns]")
    )
    save(folder, "a.nc", months.isel(time=slice(0, 7)))
    save(folder, "b.nc", months.isel(time=slice(7, 24)))
    assert ingest(settings(folder)).appended == 24


# what stays out


def spoiled(path, change):
    change(path)
    return path


def cut_in_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edited(**changes):
    def change(path):
        with xr.open_dataset(path) as opened:
            dataset = opened.load()
        for attribute, edit in changes.items():
            dataset = edit(dataset) if attribute != "t" else dataset.assign(t=edit(dataset["t"]))
        dataset.to_netcdf(path, engine="netcdf4")

    return change


def with_values(place, value):
    def edit(field):
        field.values[place] = value
        return field

    return edited(t=edit)


BAD = {
    "empty": (lambda path: path.write_bytes(b""), "Q-EMPTY"),
    "html": (lambda path: path.write_text("<html>404</html>"), "Q-NOT-NETCDF"),
    "half": (cut_in_half, "Q-TRUNCATED"),
    "units": (edited(t=lambda field: field.assign_attrs(units="m")), "Q-UNITS"),
    "no units": (edited(t=lambda field: field.drop_attrs()), "Q-UNITS"),
    "infinite": (with_values((3, 20, 20), np.inf), "Q-INF"),
    "gap": (with_values((3, 20, 20), np.nan), "Q-NAN"),
    "mask": (with_values((slice(None), 20, 20), np.nan), "Q-MASK"),
    "no mask": (with_values((slice(None), 2, 2), 280.0), "Q-MASK"),
    "range": (with_values((3, 20, 20), 10_000.0), "Q-RANGE"),
    "grid": (edited(all=lambda data: data.isel(lat=slice(0, 39))), "Q-GRID"),
    "moved": (edited(all=lambda data: data.assign_coords(lon=data["lon"] + 0.25)), "Q-GRID"),
    "steps": (edited(all=lambda data: data.isel(time=slice(0, None, 3))), "Q-TIME"),
    "hole": (edited(all=lambda data: data.isel(time=[0, 1, 2, 5, 6])), "Q-TIME"),
    "levels": (edited(all=lambda data: data.expand_dims(level=2, axis=1)), "Q-DIMENSIONS"),
    "revised": (with_values((0, 20, 20), 281.5), "Q-OVERLAP"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("archived", [False, True])
def test_a_bad_file_stays_out_and_the_good_ones_go_in(folder, name, archived):
    change, rule = BAD[name]
    config = settings(folder, variables={"t": {"units": "K", "valid_range": [200, 400]}})
    save(folder, "a.nc", fields(0, 30, masked=True))
    if archived:
        ingest(config)
    save(folder, "b.nc", fields(30, 60, masked=True))
    # a revision covers times that are there; any other bad file would have come next
    first = 10 if name == "revised" else 60
    spoiled(save(folder, "c.nc", fields(first, first + 30, masked=True)), change)
    result = ingest(config)
    assert rules(result) == {"c.nc": rule}
    assert result.appended == (30 if archived else 60)
    np.testing.assert_array_equal(stored(config), np.where(LAND, VALUES["t"][:60], np.nan))
    assert ingest(config).snapshot_id == result.snapshot_id


def test_the_same_values_in_other_bytes_are_skipped(folder):
    save(folder, "a.nc", fields(0, 30))
    config = settings(folder)
    first = ingest(config)
    save(folder, "b.nc", fields(10, 30), format="NETCDF3_64BIT")
    result = ingest(config)
    assert result.snapshot_id == first.snapshot_id
    assert sorted(path.name for path in result.skipped) == ["a.nc", "b.nc"]


def test_times_before_the_archive_and_between_its_steps(folder):
    save(folder, "a.nc", fields(20, 50))
    config = settings(folder, source={"max_rejected_share": 1.0})
    ingest(config)
    save(folder, "early.nc", fields(0, 20))
    shifted = fields(20, 50)
    save(folder, "shifted.nc", shifted.assign_coords(time=shifted["time"] + np.timedelta64(30, "m")))
    assert rules(ingest(config)) == {"early.nc": "Q-EARLY", "shifted.nc": "Q-TIME"}


def test_what_comes_after_a_gap_waits_and_is_not_counted_as_rejected(folder):
    for first in (0, 30, 60, 90):
        save(folder, f"{first:03}.nc", fields(first, first + 30))
    held_back = folder.parent / "030.nc"
    (folder / "030.nc").rename(held_back)
    config = settings(folder, source={"max_rejected_share": 0.0})
    result = ingest(config)
    assert result.appended == 30
    assert [one.path.name for one in result.waiting] == ["060.nc", "090.nc"]
    assert "wait for those between 2020-01-02T05:00 and then" in result.waiting[0].message
    held_back.rename(folder / "030.nc")
    assert ingest(config).appended == 90
    np.testing.assert_array_equal(stored(config), VALUES["t"])


def test_a_rejected_variable_keeps_its_times_out(folder):
    save(folder, "t.nc", fields(0, 60, ["t"]))
    save(folder, "q1.nc", fields(0, 30, ["q"]))
    cut_in_half(save(folder, "q2.nc", fields(30, 60, ["q"])))
    config = settings(folder, ["t", "q"])
    result = ingest(config)
    assert result.appended == 30
    assert rules(result) == {"q2.nc": "Q-TRUNCATED"}
    assert "wait for q at these times" in result.waiting[0].message


def test_too_many_rejected_files_stop_the_batch(folder):
    config = settings(folder)
    save(folder, "a.nc", fields(0, 30))
    before = ingest(config)
    save(folder, "b.nc", fields(30, 60))
    for name in ("c.nc", "d.nc", "e.nc"):
        (folder / name).write_bytes(b"")
    with pytest.raises(
        SourceError, match=r"^Q-EMPTY: c.nc: the file is empty.*2 more file\(s\).*3 of 5 files"
    ) as caught:
        ingest(config)
    assert caught.value.rule == "Q-EMPTY"
    assert archive.head(config.archive_path) == before.snapshot_id


def test_nothing_left_for_a_new_archive(folder):
    cut_in_half(save(folder, "a.nc", fields(0, 30)))
    config = settings(folder, source={"max_rejected_share": 1.0})
    with pytest.raises(SourceError, match=r"^Q-TRUNCATED: a.nc: .*nothing is left to commit, the archive is unchanged"):
        ingest(config)
    assert not config.archive_path.exists()


def test_a_variable_that_no_file_has_names_those_there(folder):
    save(folder, "a.nc", fields(0, 30, ["t", "q"]))
    with pytest.raises(
        SourceError,
        match=r"Q-MISSING-VARIABLE: variable 'w' is in no .*, which hold t, q; set variables.w.",
    ):
        ingest(settings(folder, ["t", "w"]))
    with pytest.raises(SourceError, match="Q-MISSING-VARIABLE: variable 'w'"):
        ingest(settings(folder, ["w"]))


def test_wrong_folder_and_pattern(folder):
    with pytest.raises(SourceError, match="Q-NO-FOLDER"):
        ingest(settings(folder / "none"))
    with pytest.raises(SourceError, match="Q-NO-FILES"):
        ingest(settings(folder))


def test_no_point_with_values_everywhere(folder):
    north, south = fields(0, 10, ["t"]), fields(0, 10, ["q"])
    north["t"].values[:, 20:] = np.nan
    south["q"].values[:, :20] = np.nan
    save(folder, "t.nc", north)
    save(folder, "q.nc", south)
    with pytest.raises(SourceError, match="Q-MASK"):
        ingest(settings(folder, ["t", "q"]))


@pytest.mark.parametrize(
    "change",
    [{"variables": {"t": {"units": "degC"}}}, {"variables": {"q": {"units": "K"}}}, {"boundary": "periodic"}],
    ids=["units", "variables", "boundary"],
)
def test_another_configuration_needs_another_archive(folder, change):
    save(folder, "a.nc", fields(0, 30, ["t", "q"]))
    before = ingest(settings(folder))
    with pytest.raises(ConfigError, match="use another name"):
        ingest(settings(folder, **change))
    assert archive.head(settings(folder).archive_path) == before.snapshot_id


# durability


def run(config, script):
    code = f"""
import os, signal, sys, time
import numpy as np
from pathlib import Path
from pipeline import archive
from pipeline.archive import writing
from pipeline.config import read_config
from pipeline.ingest import ingest
writing.SLAB_BYTES = 1
config = read_config(Path({str(config)!r}))
{textwrap.dedent(script)}
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def written(config, folder):
    path = folder.parent / "config.yaml"
    path.write_text(config.to_yaml())
    return path


def test_killed_while_writing_then_run_again(folder):
    config = settings(folder)
    save(folder, "a.nc", fields(0, 30, masked=True))
    before = ingest(config)
    save(folder, "b.nc", fields(30, 120, masked=True))
    kill = """
    def progress(event):
        if event.unit == "MB":
            os.kill(os.getpid(), signal.SIGKILL)
    ingest(config, progress)
    """
    died = run(written(config, folder), kill)
    assert died.wait(60) == -9
    died.communicate()
    assert archive.head(config.archive_path) == before.snapshot_id
    assert ingest(config).appended == 90
    np.testing.assert_array_equal(stored(config), np.where(LAND, VALUES["t"], np.nan))


@pytest.mark.slow
def test_killed_at_any_time_then_run_again(folder):
    config = settings(folder)
    save(folder, "a.nc", fields(0, 30, masked=True))
    ingest(config)
    save(folder, "b.nc", fields(30, 120, masked=True))
    expected = np.where(LAND, VALUES["t"], np.nan)
    path = written(config, folder)
    seed = int(np.random.SeedSequence().entropy % 2**32)
    print(f"seed {seed}")
    for wait in np.random.default_rng(seed).uniform(0.0, 0.6, 8):
        started = run(path, "print('ready', flush=True); ingest(config)")
        started.stdout.readline()
        try:
            started.communicate(timeout=float(wait))
        except subprocess.TimeoutExpired:
            started.kill()
            started.communicate()
        found = stored(config)
        np.testing.assert_array_equal(found, expected[: len(found)])
        assert len(found) in (30, 120)
    ingest(config)
    np.testing.assert_array_equal(stored(config), expected)


@pytest.mark.slow
def test_two_ingests_at_once_make_one_commit(folder):
    for first in (0, 30, 60, 90):
        save(folder, f"{first:03}.nc", fields(first, first + 30))
    config = settings(folder)
    script = "print(ingest(config).appended)"
    both = [run(written(config, folder), script) for _ in range(2)]
    finished = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], finished
    assert sorted(output for output, _ in finished) == ["0\n", "120\n"]
    assert len(archive.log(config.archive_path)) == 1
    np.testing.assert_array_equal(stored(config), VALUES["t"])


def test_full_disk_is_one_sentence_and_nothing_changes(folder, monkeypatch):
    config = settings(folder)
    save(folder, "a.nc", fields(0, 30))
    before = ingest(config)
    save(folder, "b.nc", fields(30, 120))

    def fail(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xr.Dataset, "to_zarr", fail)
    with pytest.raises(ArchiveError, match="no space left on the disk"):
        ingest(config)
    monkeypatch.undo()
    assert archive.head(config.archive_path) == before.snapshot_id
    assert ingest(config).appended == 90


# real data


@pytest.mark.skipif(not WFDE5.is_dir(), reason="the WFDE5 sample is not beside the project")
def test_wfde5(tmp_path):
    units = {"pr": "kg m-2 s-1", "Qair": "kg kg-1", "LWdown": "W m-2", "SWdown": "W m-2", "Wind": "m s-1"}
    config = check_config(
        {
            "name": "wfde5",
            "root": str(tmp_path),
            "boundary": "closed",
            "source": {"path": str(WFDE5)},
            "variables": {
                "t2m": {"units": "K", "source_name": "Tair"},
                **{name: {"units": unit} for name, unit in units.items()},
            },
        }
    )
    result = ingest(config)
    assert result.coverage == "2017-01-01T00:00 to 2017-01-31T23:00, 744 frames"
    assert [path.name for path in result.ignored] == ["land_sea_mask.nc"]
    assert len(result.committed) == 6
    with archive.open_dataset(config.archive_path) as found:
        assert found.sizes == {"time": 744, "lat": 20, "lon": 28}
        assert float((found["mask"] == 0).mean()) == pytest.approx(0.55, abs=0.01)
        for name, file in [("t2m", "air_temperature.nc"), ("pr", "precipitation_flux.nc")]:
            with xr.open_dataset(WFDE5 / file) as source:
                np.testing.assert_array_equal(found[name].values, source["Tair" if name == "t2m" else name].values)
    assert ingest(config).snapshot_id == result.snapshot_id


@pytest.mark.skipif(not ERSST.is_dir(), reason="the ERSST sample is not beside the project")
def test_ersst(tmp_path):
    config = check_config(
        {
            "name": "ersst",
            "root": str(tmp_path),
            "boundary": "cylinder",
            "source": {"path": str(ERSST)},
            "variables": {"sst": {"units": "K", "valid_range": [270, 320]}},
        }
    )
    assert ingest(config).coverage == "2010-01-01T00:00 to 2020-08-01T00:00, 128 frames"
    with archive.open_dataset(config.archive_path) as found, xr.open_dataset(ERSST / "sst.mnmean.nc") as source:
        assert found["lat"].values[[0, -1]].tolist() == [-88.0, 88.0]
        assert found["lon"].values[[0, -1]].tolist() == [-180.0, 178.0]
        place = {"lat": 10.0, "lon": -150.0}
        expected = source["sst"].sel(lat=10.0, lon=210.0).values.astype("float64") + 273.15
        np.testing.assert_allclose(found["sst"].sel(place).values, expected, rtol=1e-6)
