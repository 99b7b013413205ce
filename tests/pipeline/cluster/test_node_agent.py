"""What stands in for Ray's agent: it says what Ray's own would, and does not outlive its parent."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from pipeline.cluster import node_agent

NODE_ID = "ab" * 28  # as long as Ray's are


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_it_says_what_rays_own_would(tmp_path):
    from ray import _raylet

    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    node_agent.say_none(str(ours), NODE_ID)
    for port in node_agent.PORTS:
        _raylet.persist_port(str(theirs), NODE_ID, getattr(_raylet, f"{port.upper()}_NAME"), -1)
    assert files(ours) == files(theirs)
    assert len(files(ours)) == 3


def test_it_ends_with_its_parent(tmp_path):
    agent = [sys.executable, "-I", "-S", node_agent.__file__, "python", "agent.py", "--head"]
    agent += [f"--session-dir={tmp_path}", f"--node-id={NODE_ID}"]
    start = f"import subprocess; print(subprocess.Popen({agent!r}).pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        process = Path(f"/proc/{int(parent.stdout.readline())}")
        while len(files(tmp_path)) < 3 or any(name.endswith(".new") for name in files(tmp_path)):
            assert process.exists()
            time.sleep(0.05)
        time.sleep(2 * node_agent.LOOK_EVERY_SECONDS)
        assert process.exists()  # as long as its parent is there
        parent.stdin.write("\n")
    deadline = time.monotonic() + 60
    while process.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
