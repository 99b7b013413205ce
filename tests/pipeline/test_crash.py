"""Killed at every failpoint, at any time, and with a disk that fails: what was acknowledged is there, and the same
command, run again, leaves what an undisturbed run leaves.

The work is done by `killed_ingest`, in processes of its own. `pytest -rP -m slow` shows how many kills were survived;
docs/durability.md has the numbers of a longer run.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.failpoints import failpoints
from tests.pipeline.killed_ingest import SCENARIOS

ROOT = Path(__file__).parents[2]
KILLS = 24


WRITERS = [*sorted((ROOT / "pipeline" / "archive").glob("*.py")), ROOT / "pipeline" / "durable_file.py"]


@pytest.fixture(scope="module")
def crash(tmp_path_factory):
    """All cases, tried in one process: what they start from is made once."""
    seed = secrets.randbelow(2**32)
    print(f"seed {seed}")
    words = ["record", "points", "errors", "random", "--by-turns", "--ends", "--kills", KILLS, "--seed", seed]
    folder = tmp_path_factory.mktemp("crash") / "work"
    done = subprocess.run(
        [sys.executable, "-m", "tests.pipeline.killed_ingest", str(folder), *map(str, words)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=3000,
        check=False,
    )
    print(done.stderr)
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == any(case["wrong"] for case in cases), done.stderr[-2000:]

    def of(how, scenario=None):
        return [case for case in cases if case["how"] == how and scenario in (None, case["scenario"])]

    return of


def test_each_failpoint_has_its_own_name():
    names = failpoints(*WRITERS)
    assert len(names) == len(set(names)) > 15


@pytest.mark.slow
def test_the_scenarios_reach_every_failpoint(crash):
    assert {name for case in crash("record") for name in case["reached"]} == set(failpoints(*WRITERS))


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_killed_at_every_failpoint(crash, scenario):
    cases = crash("points", scenario)
    assert len(cases) >= 4
    assert all(case["wrong"] == [] for case in cases), [case for case in cases if case["wrong"]]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_space_and_input_output_errors_at_every_failpoint(crash, scenario):
    cases = crash("errors", scenario)
    assert {case["error"] for case in cases} == {os.strerror(28), os.strerror(5)}
    assert all(case["wrong"] == [] for case in cases), [case for case in cases if case["wrong"]]


@pytest.mark.slow
def test_killed_by_another_process_at_any_time(crash):
    cases = crash("random")
    assert len(cases) == KILLS
    assert all(case["wrong"] == [] for case in cases), [case for case in cases if case["wrong"]]


# A full file system, from the command line


FULL = """
cd "$0"
for free in 10000 60000; do
    rm -rf full
    { head -c 10000000 /dev/zero > filler; } 2> /dev/null  # until nothing is free
    truncate -s -$free filler
    "$@" > /dev/null; echo "full $?"
    rm filler
    "$@" > /dev/null; echo "free $?"
done
"""


@pytest.mark.slow
def test_a_full_file_system_is_one_sentence_and_the_same_command_goes_on_when_there_is_space(tmp_path):
    disk, source = tmp_path / "disk", tmp_path / "source"
    disk.mkdir()
    make = "from tests.pipeline.killed_ingest import make_files; import sys; from pathlib import Path; "
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = f"{make}make_files(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, env=environment, check=True)
    config = tmp_path / "full.yaml"
    config.write_text(
        f"{{name: full, root: {disk}, boundary: closed, variables: {{t: {{units: K}}}}, "
        f"source: {{path: {source / 'second'}, max_rejected_share: 0.9}}}}"
    )
    mount = ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=4m tmpfs {disk} && exec "$@"', "sh"]
    try:
        allowed = subprocess.run([*mount, "true"], capture_output=True, timeout=30).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        pytest.skip("a small file system cannot be mounted here")
    ingest = [sys.executable, "-c", "from workflows.cli import main; main()", "ingest", "-c", str(config)]
    done = subprocess.run(
        [*mount, "bash", "-c", FULL, str(disk), *ingest],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.stdout.split() == ["full", "1", "free", "0"] * 2, (done.stdout, done.stderr)
    sentences = done.stderr.splitlines()
    assert len(sentences) == 2
    for sentence in sentences:
        assert sentence.startswith("error: ")
        assert "o space left on" in sentence
