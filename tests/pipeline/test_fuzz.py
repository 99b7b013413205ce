"""Damaged NetCDF files: none ends an ingest or makes it hang, and what is not rejected has its values.

The files are read in a process of their own (`fuzzed_ingest`), limited in memory and time. `pytest -rP -m slow` shows
how many were tried, caught and missed; docs/quality.md has the numbers of a longer run.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is limited by Linux's RLIMIT_AS"),
]
ROOT = Path(__file__).parents[2]
FIRST, LAST = 0, 80


def run(folder, kind, *words):
    command = [sys.executable, "-m", "tests.pipeline.fuzzed_ingest", str(folder), kind, str(FIRST), str(LAST), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    lines = [json.loads(line) for line in started.stdout.splitlines()]
    # the last line names the seed of the case that ended the process
    assert started.returncode == 0, (started.returncode, lines[-1:], started.stderr[-2000:])
    return lines


@pytest.mark.parametrize("kind", ["netcdf3", "netcdf4", "netcdf4_checksums"])
def test_a_damaged_file_is_rejected_or_has_its_values(tmp_path, kind):
    cases = [line for line in run(tmp_path, kind) if "outcome" in line]
    assert [case["seed"] for case in cases] == list(range(FIRST, LAST))
    missed = [case for case in cases if case["outcome"] == "changed"]
    harmless = [case for case in cases if case["outcome"] == "unchanged"]
    print(f"{kind}, seeds {FIRST} to {LAST - 1}: {len(cases)} tried, {len(cases) - len(missed) - len(harmless)} caught")
    print(f"{len(harmless)} taken with their values, {len(missed)} missed: {[case['seed'] for case in missed]}")
    print(Counter(f"{case['place']} {case['outcome']}" for case in cases))
    for place in ("header", "body"):
        assert any(case["outcome"].startswith("Q-") for case in cases if case["place"] == place)
    if kind == "netcdf4_checksums":
        assert missed == []


@pytest.mark.parametrize("kind", ["netcdf3", "netcdf4"])
def test_all_of_them_in_one_ingest(tmp_path, kind):
    (found,) = run(tmp_path, kind, "--batch")
    print(kind, found)
    assert found["good"]
    assert found["rejected"] == found["quarantined"] > 0
    assert found["rejected"] + found["other"] == LAST - FIRST
