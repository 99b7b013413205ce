"""Processes that hold the lease and are killed, or put to sleep and woken: what they were told is there stays."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.ledger import Ledger, NightKey, Tenure

ROOT = Path(__file__).parents[3]
KEY = NightKey("blobs", "2020-03-11", "c", "d")
HOLDER = """
import sys
import time
from pathlib import Path
from pipeline.errors import LeaseLostError
from pipeline.ledger import Ledger, NightKey
ledger = Ledger(Path(sys.argv[1]))
with ledger.hold(NightKey("blobs", "2020-03-11", "c", "d"), seconds=float(sys.argv[2]), patience=0) as tenure:
    try:
        for number in range(10**6):
            tenure.record(f"step {number}", number)
            print(number, flush=True)  # acknowledged
            time.sleep(float(sys.argv[3]))
    except LeaseLostError as error:
        sys.exit(f"refused: {error}")
"""


def holder(path: Path, seconds: float, pause: float = 0.0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(path), str(seconds), str(pause)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


@pytest.mark.parametrize("steps", [1, 3, 9])
def test_a_killed_holder_loses_nothing_that_was_acknowledged_and_blocks_nobody(tmp_path, steps):
    path = tmp_path / "nights.db"
    with holder(path, seconds=3600) as process:
        acknowledged = [int(process.stdout.readline()) for _ in range(steps)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().split()]
        process.wait()
    ledger = Ledger(path)
    assert ledger.lease("blobs") is None  # its process is gone
    taken = ledger.take(KEY, 60)
    assert isinstance(taken, Tenure)
    # the last one may have been written and not yet acknowledged
    assert list(taken.night.steps.values())[: len(acknowledged)] == acknowledged
    assert len(taken.night.steps) <= len(acknowledged) + 1
    taken.record("after", True)
    taken.finish()
    assert ledger.night(KEY).finished


def stop_between_writes(pid: int, path: Path) -> None:
    """One that is stopped within a transaction blocks the file, as the transaction may not be cut in two."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        try:
            with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                return
        except sqlite3.OperationalError:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.05)


def test_a_holder_that_sleeps_through_its_lease_is_fenced_off(tmp_path):
    path = tmp_path / "nights.db"
    ledger = Ledger(path)
    process = holder(path, seconds=1.0, pause=0.1)
    try:
        process.stdout.readline()
        stop_between_writes(process.pid, path)
        until(lambda: ledger.lease("blobs") is None)
        taken = ledger.take(KEY, 3600)
        assert isinstance(taken, Tenure)
        before = dict(taken.night.steps)
        os.kill(process.pid, signal.SIGCONT)
        _, stderr = process.communicate(timeout=120)
        assert process.returncode == 1
        assert "taken over by another run of blobs" in stderr
        assert taken.night.steps == before
        taken.check()
    finally:
        process.kill()
        process.wait()


def test_of_many_that_start_at_once_one_holds(tmp_path):
    path = tmp_path / "nights.db"
    processes = [holder(path, seconds=3600) for _ in range(3)]
    try:
        until(lambda: sum(process.poll() is not None for process in processes) == 2)
        (last,) = [process for process in processes if process.poll() is None]
        assert last.stdout.readline() == "0\n"
        refused = [process.communicate()[1] for process in processes if process is not last]
        assert all("another run of blobs is at work" in text for text in refused)
        assert Ledger(path).lease("blobs").pid == last.pid
    finally:
        for process in processes:
            process.kill()
            process.communicate()
