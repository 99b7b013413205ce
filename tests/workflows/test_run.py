"""`minconv run` as a user starts it, on Ray, interrupted in every way. Without Ray, again and with new input:
`test_commands`.

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

import pytest
import yaml

from pipeline.registry import ModelVersion, Registry

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

LEAVE_SECONDS = 30.0  # from the signal to the end of the command
SECONDS = 12.0  # of training, so that none of its four starts comes to the end; checkpoints do not count
AGENTS_SECONDS = 120.0  # after the driver was killed, two of Ray's processes take a minute to notice


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
