"""The benchmark scripts run, with sizes that say nothing about time, and the numbers that accuracy.py promises."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from minconv.scan import BLOCKS

ROOT = Path(__file__).parents[2]


def run(script: str, *arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, f"tests/bench/{script}.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def accuracy():
    spec = importlib.util.spec_from_file_location("accuracy", ROOT / "tests/bench/accuracy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("cell", BLOCKS)
def test_float32_gradients_are_a_hundred_times_as_accurate_as_in_the_log_domain(cell, accuracy):
    log_domain = accuracy.gradient_error("logspace, fp32", cell, 200)
    for name in ("ours, fp32", "reference, fp32"):
        assert accuracy.gradient_error(name, cell, 200) * 100 < log_domain


@pytest.mark.parametrize("cell", BLOCKS)
def test_bfloat16_gradients_hold_where_log_domain_ones_are_lost(cell, accuracy):
    assert accuracy.gradient_error("ours, bf16", cell, 200) < 5e-3
    assert accuracy.gradient_error("logspace, bf16", cell, 200) > 1


@pytest.mark.slow
def test_training_in_bfloat16_follows_float32_and_in_the_log_domain_it_does_not(accuracy):
    """At T = 200."""
    names = ("ours, fp32", "ours, bf16", "logspace, bf16")
    exact, ours, log_domain = (accuracy.losses(name, frames=200, steps=150) for name in names)
    assert exact[-1] < 0.01 * exact[0]  # it learns
    assert ours == pytest.approx(exact, rel=0.1)
    assert log_domain[-1] > 5 * exact[-1]


@pytest.mark.slow
def test_the_table_of_accuracy_has_every_contestant(accuracy):
    printed = run("accuracy", "--frames", "5", "20", "--steps", "10")
    for name in accuracy.CONTESTANTS:
        assert f"| {name} |" in printed
    assert sum(line.startswith(tuple(f"| {cell} | " for cell in BLOCKS)) for line in printed.splitlines()) == 6


@pytest.mark.slow
def test_the_benchmark_for_gpus_measures_what_it_should(tmp_path):
    run("gpu", "--smoke", "--json", str(tmp_path / "gpu.json"))
    record = json.loads((tmp_path / "gpu.json").read_text())
    assert record["about"]["torch"]
    contestants = {}
    for figure in record["figures"]:
        assert figure["milliseconds"] > 0
        contestants.setdefault(figure["case"], set()).add(figure["contestant"])
    for cell in ("gru", "lstm"):
        for dtype in ("float32", "bfloat16"):
            for part in ("forward", "backward", "forward+backward"):
                found = contestants[f"scan {part}, {cell}, {dtype}, [2, 5, 4, 6, 8]"]
                assert {"ours", "copy of as many bytes"} <= found
                assert ("log-domain" in found) == ("loop over frames, compiled" in found) == (part != "backward")
                # Long and few: in chunks, which one walk is compared with.
                assert "ours, one walk" in contestants[f"scan {part}, {cell}, {dtype}, [1, 130, 2, 2, 3]"]
    layers = [found for case, found in contestants.items() if case.startswith("training step of a layer")]
    expected = {"MinConvGRU", "its convolution alone", "MinConvGRU, log-domain", "ConvLSTM", "ConvGRU"}
    assert layers == [expected, expected]
