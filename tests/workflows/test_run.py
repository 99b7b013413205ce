"""`minconv run` as a user starts it, on Ray: twice, with new input, and interrupted in every way in between.

Each command has, where the system allows it, a network of its own, of which nothing but the loopback is up.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from pipeline import archive
from pipeline.registry import ModelVersion, Registry

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

LEAVE_SECONDS = 30.0  # from the signal to the end of the command
SECONDS = 5.0  # of training; with the checkpoints, which do not count, several times that
AGENTS_SECONDS = 120.0  # after the driver was killed, two of Ray's processes take a minute to notice
HOUR = np.timedelta64(1, "h")


@functools.cache
def own_network() -> tuple[str, ...]:
    """What to put before a command."""
    prefix = ("unshare", "--user", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    try:
        done = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    except OSError:
        return ()
    return prefix if done.returncode == 0 else ()


class Home:
    """A configuration, what is made of it, and a folder for temporary files that has to be empty again."""

    def __init__(self, folder: Path, temporary: Path, tree: dict[str, Any]) -> None:
        self.folder, self.temporary = folder, temporary
        self.config = folder / "config.yaml"
        self.name = str(tree["name"])
        self.config.write_text(yaml.safe_dump({**tree, "root": str(folder / "runs")}))

    def start(self) -> subprocess.Popen[str]:
        """`minconv run`, as the leader of a process group, as in a terminal."""
        command = [*own_network(), sys.executable, "-c", "from workflows.cli import main; main()"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(self.temporary)}
        return subprocess.Popen(
            [*command, "run", "-c", str(self.config)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=self.folder,
        )

    def run(self) -> str:
        """Run to the end; what it printed."""
        with self.start() as process:
            stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        assert "Traceback" not in stderr
        return stdout

    def versions(self) -> list[ModelVersion]:
        """Newest first."""
        return Registry(f"sqlite:///{self.folder}/runs/mlflow.db", None, self.name).versions()

    def epochs(self) -> list[int]:
        """Epochs of the checkpoints that are there."""
        found = []
        for state in (self.folder / "runs" / self.name / "training").glob("*/checkpoint-*/state.json"):
            try:
                found.append(int(json.loads(state.read_text())["epoch"]))
            except (OSError, ValueError):  # being written, or removed
                continue
        return sorted(found)

    def written(self) -> dict[str, tuple[int, int]]:
        """All files of archive, registry, forecasts and report, with size and time."""
        files = (path for path in (self.folder / "runs").rglob("*") if path.is_file() and path.suffix != ".lock")
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Callable[[dict[str, Any]], Home]]:
    """Makes a home; the folder of temporary files has a path short enough for Ray's sockets."""
    temporary = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))
    yield lambda tree: Home(tmp_path, temporary, tree)
    shutil.rmtree(temporary)


def blobs(**training: Any) -> dict[str, Any]:
    return {
        "name": "blobs",
        "generate": {"kind": "advection", "samples": 10, "steps": 14, "size": 8, "coarsen": 1},
        "variables": {"tracer": {"units": "1"}},
        "archive": {"chunk_time": 14, "shard_time": 14},
        "window": {"history": 4, "horizon": 4, "stride": 2},
        "model": {"hidden": [8], "patch": 1},
        "training": {"batch_size": 2, "threads": 1, **training},
    }


def write_weather(path: Path, first: int, hours: int) -> None:
    """A daily cycle over 6 x 8 points from hour `first` of the year on."""
    time = first + np.arange(hours)
    field = (
        280
        + 5 * np.sin(2 * np.pi * time / 24)[:, None, None]
        + np.random.default_rng(first).normal(0, 0.3, (hours, 6, 8))
    )
    coords = {
        "time": np.datetime64("2020-01-01T00", "ns") + time * HOUR,
        "lat": ("lat", np.linspace(50, 52.5, 6), {"standard_name": "latitude", "units": "degrees_north"}),
        "lon": ("lon", np.linspace(-3, 0.5, 8), {"standard_name": "longitude", "units": "degrees_east"}),
    }
    xr.Dataset({"t2m": (("time", "lat", "lon"), field.astype("f4"), {"units": "K"})}, coords).to_netcdf(path)


def processes_below(pid: int) -> dict[int, str]:
    """All processes below one: their ids, and when they started, which tells them from later ones with the same id."""
    parents: dict[int, list[int]] = {}
    started: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (fields := stat_of(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
            started[int(entry.name)] = fields[19]
    found, todo = dict[int, str](), [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found |= {one: started[one] for one in below}
        todo += below
    return found


def stat_of(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; none if the process has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
    return [] if fields[0] in "ZX" else fields


def still_there(processes: dict[int, str], seconds: float) -> list[int]:
    """Those of the processes that have not ended after so long."""
    end = time.monotonic() + seconds
    while True:
        left = [pid for pid, started in processes.items() if (fields := stat_of(pid)) and fields[19] == started]
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.2)


def until(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def test_a_run_survives_ctrl_c_termination_and_a_kill(home):
    """Interrupted three times while it trains, it goes on each time where it was, and ends with one version."""
    here = home(blobs(epochs=100_000, max_seconds=SECONDS))
    orphans: dict[int, str] = {}
    reached = 0
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with here.start() as process:
            try:
                goal = reached + 1
                until(lambda goal=goal: bool(here.epochs()) and here.epochs()[-1] > goal, process)
                below = processes_below(process.pid)
                assert len(below) >= 4  # Ray's head, a worker and more
                began = time.monotonic()
                if number == signal.SIGINT:
                    os.killpg(process.pid, number)  # a terminal sends it to the whole group
                else:
                    process.send_signal(number)
                stdout, stderr = process.communicate(timeout=LEAVE_SECONDS)
            finally:
                process.kill()
        reached = here.epochs()[-1]
        assert "Traceback" not in stderr
        if number == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
            orphans = below
        else:
            assert process.returncode == 130, (number, stdout, stderr)
            assert stderr.splitlines()[-1].startswith("error: interrupted; ")
            assert still_there(below, 5.0) == []
            assert list(here.temporary.iterdir()) == []
            assert time.monotonic() - began < LEAVE_SECONDS
        assert here.versions() == []

    assert "blobs version 1 (champion)" in here.run()
    (version,) = here.versions()
    *_, state = sorted((here.folder / "runs" / "blobs" / "training").glob("*/checkpoint-*/state.json"))
    history = json.loads(state.read_text())["history"]
    assert [record["epoch"] for record in history] == list(range(1, len(history) + 1))
    assert len(history) > reached
    assert history[-1]["seconds"] == pytest.approx(SECONDS, abs=SECONDS)
    assert version.metrics["training/validation_loss"] == pytest.approx(history[-1]["validation_loss"])
    # What the killed driver left: Ray ends by itself, its folder is swept up by a later run.
    assert still_there(orphans, AGENTS_SECONDS) == []
    assert len(list(here.temporary.iterdir())) <= 2


def test_a_run_is_done_once_and_new_input_makes_a_challenger(home, tmp_path):
    (tmp_path / "data").mkdir()
    write_weather(tmp_path / "data" / "first.nc", 0, 240)
    here = home(
        {
            "name": "weather",
            "source": {"path": str(tmp_path / "data")},
            "variables": {"t2m": {"units": "K"}},
            "boundary": "closed",
            "forcings": ["time_of_day"],
            "window": {"history": 6, "horizon": 3, "stride": 4},
            "model": {"hidden": [8], "patch": 2},
            "training": {"epochs": 2, "batch_size": 4, "threads": 1},
        }
    )
    first = here.run()
    assert "peak memory" in first
    assert here.written()
    before = here.written()
    again = here.run()
    assert again.count("done before") == 5
    assert here.written() == before
    (champion,) = here.versions()

    write_weather(tmp_path / "data" / "second.nc", 240, 48)
    third = here.run()
    assert "1 file(s), 48 new along time" in third
    newest, older = here.versions()
    assert (newest.version, newest.aliases) == (2, ("challenger",))
    assert (older.version, older.aliases, older.tags) == (1, ("champion",), champion.tags)
    commits = archive.log(tmp_path / "runs" / "weather" / "archive")
    assert [commit.snapshot_id for commit in commits] == [newest.tags["snapshot_id"], older.tags["snapshot_id"]]
    assert len(list((tmp_path / "runs" / "weather" / "forecasts").iterdir())) == 2
    assert list(here.temporary.iterdir()) == []
