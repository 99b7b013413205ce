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


def report(folder: Path, *what: str, kills: int, seed: int = 0) -> dict[str, Any]:
    """What the tool says at its end; its lines show with ``-rP``, the seed among them."""
    words = [str(folder), *what, "--kills", str(kills), "--seed", str(seed)]
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
    found = report(tmp_path, "here", kills=3, seed=seed)
    assert (found["kills"], found["starts"]) == (3, 4)
    assert found["largest_deviation"] == 0.0


@pytest.mark.slow
@pytest.mark.cluster
def test_the_driver_of_two_workers_and_then_a_worker_is_stopped(tmp_path: Path) -> None:
    """In one run: the second start has its two workers go on, notice that one of them is silent, and go on again."""
    found = report(tmp_path, "driver", "stop", "--epochs", "20", kills=2)
    assert (found["kills"], found["starts"]) == (2, 2)
    assert found["largest_deviation"] == 0.0
    assert len(found["seconds_lost"]) == 2
    assert 10.0 < found["seconds_lost"][1] < 120.0  # 15 until it is noticed, the rest to start again
