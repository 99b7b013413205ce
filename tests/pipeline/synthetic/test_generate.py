import os
import subprocess
import sys
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from pipeline import synthetic
from pipeline.config import GenerateConfig
from pipeline.errors import ConfigError, PipelineError
from pipeline.synthetic import generate
from pipeline.synthetic.navier_stokes import navier_stokes

ROOT = Path(__file__).parents[3]


def request(**changes):
    sizes = {"kind": "advection", "samples": 5, "steps": 3, "size": 8, "coarsen": 2, "samples_per_file": 2, "seed": 1}
    return GenerateConfig(**{**sizes, **changes})


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_hold_the_samples_in_order(tmp_path):
    paths = generate(request(kind="navier_stokes"), tmp_path / "made")
    assert [path.name for path in paths] == [f"navier_stokes_000{number}.nc" for number in range(3)]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [path.name for path in paths]
    parts = [xr.open_dataset(path, decode_timedelta=False).load() for path in paths]
    assert [part["sample"].values.tolist() for part in parts] == [[0, 1], [2, 3], [4]]
    whole = xr.concat(parts, "sample")["vorticity"]
    np.testing.assert_array_equal(whole, np.concatenate(list(navier_stokes(range(5), 3, 8, 1, coarsen=2))))


@pytest.mark.parametrize(
    ("kind", "name", "units"), [("navier_stokes", "vorticity", "s-1"), ("advection", "tracer", "1")]
)
def test_files_follow_the_conventions(tmp_path, kind, name, units):
    path = generate(request(kind=kind), tmp_path)[0]
    with xr.open_dataset(path, decode_timedelta=False) as file:
        assert file[name].dims == ("sample", "time", "y", "x")
        assert file[name].shape == (2, 3, 4, 4)
        assert file[name].dtype == np.float32
        assert file[name].attrs["units"] == units
        assert file[name].attrs["long_name"]
        assert file["time"].dtype == np.float64
        assert file["time"].values.tolist() == [0.0, 1.0, 2.0]
        assert file["time"].attrs["units"] == "s"
        assert file["sample"].dtype == np.int64
        np.testing.assert_allclose(file["x"], [0.0625, 0.3125, 0.5625, 0.8125])
        np.testing.assert_array_equal(file["y"], file["x"])
        assert file.attrs["Conventions"] == "CF-1.11"
        assert "seed 1" in file.attrs["comment"]


def test_noise_is_white_and_a_samples_own(tmp_path):
    sizes = {"kind": "navier_stokes", "samples": 3, "steps": 20, "size": 16, "samples_per_file": 2}

    def values(folder, **changes):
        parts = [xr.open_dataset(path) for path in generate(request(**sizes, **changes), tmp_path / folder)]
        return xr.concat(parts, "sample")["vorticity"].values

    clean = values("clean")
    noise = values("noisy", noise=0.5) - clean
    assert noise.std() == pytest.approx(0.5, rel=0.03)
    assert abs(np.corrcoef(noise[:, :-1].ravel(), noise[:, 1:].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.05
    alone = generate(request(**{**sizes, "samples_per_file": 1}, noise=0.5), tmp_path / "alone")
    np.testing.assert_array_equal(xr.open_dataset(alone[2])["vorticity"].values[0], (noise + clean)[2])
    with pytest.raises(ConfigError, match="is of another request"):
        generate(request(**sizes, noise=0.4), tmp_path / "noisy")


def test_bytes_depend_on_the_request_alone(tmp_path):
    generate(request(), tmp_path / "one")
    generate(request(samples=6), tmp_path / "two")
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    for name in ("advection_0000.nc", "advection_0001.nc"):
        assert one[name] == two[name]
    assert one["advection_0002.nc"] != two["advection_0002.nc"]


def test_what_is_there_is_kept_and_what_is_missing_is_made(tmp_path):
    paths = generate(request(), tmp_path)
    before, stamps = contents(tmp_path), [path.stat().st_mtime_ns for path in paths]
    events = []
    assert generate(request(), tmp_path, events.append) == paths
    assert [path.stat().st_mtime_ns for path in paths] == stamps
    assert [(event.done, event.total, event.message) for event in events] == [(5, 5, "already there")]
    paths[1].unlink()
    generate(request(), tmp_path, events.append)
    assert contents(tmp_path) == before
    assert (paths[0].stat().st_mtime_ns, paths[2].stat().st_mtime_ns) == (stamps[0], stamps[2])
    assert (events[-1].done, events[-1].message) == (5, paths[1].name)


@pytest.mark.parametrize(
    "change", [{"seed": 2}, {"steps": 4}, {"size": 16}, {"coarsen": 1}, {"samples": 6}, {"samples": 4}]
)
def test_files_of_another_request_are_refused_and_left_alone(tmp_path, change):
    generate(request(), tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=r"advection_000\d\.nc is of another request .* choose another folder"):
        generate(request(**change), tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("damage", [b"", b"CDF", b"<html>"])
def test_a_damaged_file_is_refused_and_left_alone(tmp_path, damage):
    path = generate(request(), tmp_path)[1]
    path.write_bytes(damage)
    with pytest.raises(ConfigError, match="damaged"):
        generate(request(), tmp_path)
    assert path.read_bytes() == damage


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), MemoryError(), RuntimeError("of the simulation")])
def test_nothing_half_written_stays_after_an_interruption(tmp_path, monkeypatch, fault):
    def interrupted(samples, *rest, **options):
        yield next(iter(original(samples[:1], *rest, **options)))
        if samples.start:
            raise fault
        yield next(iter(original(samples[1:], *rest, **options)))

    original = synthetic.advection.advection
    monkeypatch.setattr(synthetic.advection, "advection", interrupted)
    with pytest.raises(type(fault)):
        generate(request(), tmp_path)
    assert list(contents(tmp_path)) == ["advection_0000.nc"]
    monkeypatch.undo()
    generate(request(), tmp_path)
    resumed = contents(tmp_path)
    generate(request(), tmp_path / "undisturbed")
    assert contents(tmp_path / "undisturbed") == resumed


FULL_DISK = """
import resource, sys
from pathlib import Path
from pipeline.config import GenerateConfig
from pipeline.errors import PipelineError
from pipeline.synthetic import generate
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
try:
    generate(GenerateConfig(kind="advection", samples=20, steps=20, size=16, coarsen=1), Path(sys.argv[1]))
except PipelineError as error:
    print(error)
"""


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stderr
    assert "could not be written" in run.stdout
    assert "free disk space" in run.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PipelineError, match="could not be written"):
        generate(request(), tmp_path / "file" / "made")


def test_progress_counts_samples_with_their_rate(tmp_path):
    events = []
    generate(request(), tmp_path, events.append)
    assert [event.done for event in events] == [2, 4, 5]
    assert {event.total for event in events} == {5}
    assert {event.unit for event in events} == {"samples"}
    assert all(event.values["samples_per_second"] > 0 for event in events)


def test_coarsening_must_divide_the_size(tmp_path):
    with pytest.raises(ConfigError, match=r"coarsen must divide generate.size \(8\), got 3"):
        generate(request(coarsen=3), tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_the_request_is_in_the_file(tmp_path):
    with netCDF4.Dataset(generate(request(), tmp_path)[2]) as file:
        assert '"samples": [4, 5]' in file.request
