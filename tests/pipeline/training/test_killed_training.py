"""Kill -9 at random steps by another process: the same command ends with the bits of a run that nobody killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


def report(folder: Path, mode: str, kills: int, seed: int) -> dict[str, Any]:
    """What the tool says at its end; its lines show with ``-rP``, the seed among them."""
    words = [str(folder), mode, "--kills", str(kills), "--seed", str(seed)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.training.killed_training", *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_process_of_a_training_without_ray(tmp_path: Path, seed: int) -> None:
    found = report(tmp_path, "here", 3, seed)
    assert (found["kills"], found["starts"]) == (3, 4)
    assert found["largest_deviation"] == 0.0


@pytest.mark.slow
@pytest.mark.cluster
def test_the_driver_of_two_workers(tmp_path: Path) -> None:
    found = report(tmp_path, "driver", 1, 0)
    assert (found["kills"], found["starts"]) == (1, 2)
    assert found["largest_deviation"] == 0.0


@pytest.mark.slow
@pytest.mark.cluster
def test_a_worker_that_was_stopped_is_noticed_and_the_others_go_on(tmp_path: Path) -> None:
    found = report(tmp_path, "stop", 1, 0)
    assert (found["kills"], found["starts"]) == (1, 1)
    assert found["largest_deviation"] == 0.0
    assert found["most_seconds_lost"] < 120.0  # 15 until it is noticed, the rest to start again
