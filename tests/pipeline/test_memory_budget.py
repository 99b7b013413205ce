"""The memory of an ingest is bounded by the configuration, whatever the size of the input and the transforms."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import check_config
from pipeline.errors import ConfigError
from pipeline.memory_budget import MemoryBudget

ROOT = Path(__file__).parents[2]
BOUND = 64 * 2**20

# Input of two variables on 256 x 256 points, one file of a size that is asked for, made in another process; then an
# ingest that loads all libraries, and one whose peak above that is measured.
SCRIPT = """
import sys
from pathlib import Path
import numpy as np
import xarray as xr
from pipeline import archive
from pipeline.config import read_config
from pipeline.ingest import ingest

config, what, count = read_config(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
folder, side, few = config.source_path, 256, 24

def memory(kind):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(kind)).split()[1])

def values(first, last):
    base = np.random.default_rng(1).normal(size=(1, side, side)).astype("float32")
    return base + 0.05 * np.arange(first, last, dtype="float32")[:, None, None]

def make(name, first, last):
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    fields = {name: (("time", "lat", "lon"), values(first, last), {"units": "m s-1"}) for name in ("u", "v")}
    axis = np.linspace(0, 51, side)
    path = folder / name
    xr.Dataset(fields, {"time": times, "lat": axis, "lon": axis}).to_netcdf(path, engine="netcdf4")
    return path.stat().st_size

if what == "make":
    print(make("a.nc", 0, few), make("b.nc", few, few + count))
else:
    large = (folder / "b.nc").rename(folder.parent / "b.nc")
    ingest(config)
    large.rename(folder / "b.nc")
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here on
    appended = ingest(config).appended
    found = archive.open_arrays(config.archive_path, ["u"])["u"]
    print(memory("VmHWM") - before, appended, *found.shape, float(found[-1, 0, 0] - found[-1 - appended, 0, 0]))
"""

# glibc keeps freed blocks for later, more or less of them by chance; what is freed is to be given back at once
PROMPT = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

ALL = {
    "source": {
        "resample": {"step": "2h", "label": "left"},
        "regrid": {"lat": [1, 50, 0.25], "lon": [1, 50, 0.25]},
    },
    "variables": {"u": {"units": "km h-1"}, "w": {"units": "m s-1", "derive": {"wind_speed": ["u", "v"]}}},
}
PLAIN = {"source": {}, "variables": {"u": {"units": "m s-1"}, "v": {"units": "m s-1"}}}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").is_file(), reason="peak memory is read from Linux's /proc")
@pytest.mark.parametrize(("case", "count"), [(PLAIN, 1296), (ALL, 1296)], ids=["plain", "all transforms"])
def test_an_archive_ten_times_the_bound_is_ingested_within_it(tmp_path, case, count):
    folder = tmp_path / "input"
    folder.mkdir()
    config = check_config(
        {
            "name": "large",
            "root": str(tmp_path / "runs"),
            "boundary": "closed",
            "source": {"path": str(folder), **case["source"]},
            "variables": case["variables"],
            "archive": {"chunk_time": 4, "shard_time": 4, "chunk_space": 128, "shard_space": 256},
            "compute": {"memory_bytes": BOUND},
        }
    )
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())

    def call(what):
        made = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(SCRIPT), str(path), what, str(count)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **PROMPT},
            text=True,
            capture_output=True,
            timeout=600,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        return [float(number) for number in made.stdout.split()]

    _, size = call("make")
    assert size >= 10 * BOUND
    growth, appended, frames, *_, rise = call("ingest")
    print(f"input {size / 2**20:.0f} MiB, bound {BOUND / 2**20:.0f} MiB, growth of the peak {growth / 2**20:.1f} MiB")
    assert 0 < growth <= BOUND
    step = 2 if case is ALL else 1
    assert (appended, frames) == (count // step, (24 + count) // step)
    assert rise == pytest.approx(0.05 * count * (3.6 if case is ALL else 1.0), rel=1e-4)


@given(st.integers(2**24, 2**36), st.integers(1, 256))
def test_the_parts_fit_into_the_whole(whole, threads):
    budget = MemoryBudget.of(whole, threads)
    assert budget.block_bytes * threads <= whole / 4
    assert budget.slab_bytes <= whole / 4
    assert MemoryBudget.of(2**36, threads).block_bytes <= MemoryBudget().block_bytes


def test_a_row_of_shards_that_does_not_fit_is_refused_with_one_that_does():
    budget = MemoryBudget.of(60 * 2**20, threads=2)
    budget.check_row(10 * 2**20, 240)
    with pytest.raises(ConfigError, match=r"takes 40 MiB, .* leaves 10 MiB .* set archive.shard_time to 60 or less"):
        budget.check_row(40 * 2**20, 240)
    MemoryBudget().check_row(2**40, 240)  # no bound was set
