"""The connection to Ray: private, closed to strangers, and gone without a trace."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from pipeline.cluster import Mailbox, connect, connection
from pipeline.errors import ClusterError

# Joining


def test_a_cluster_is_not_joined_without_its_token(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for token in (None, tmp_path / "mine"):
        with (
            pytest.raises(ClusterError, match=r"joined with its token only, and .* is missing"),
            connect("h:1", token),
        ):
            pass


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:9", "there is no Ray cluster at 127.0.0.1:9 ("),
        ("127.0.0.1:99999", "there is no Ray cluster at 127.0.0.1:99999 ("),
        ("nowhere.invalid:6379", "there is no Ray cluster at nowhere.invalid:6379 ("),
        ("auto", "has the form HOST:PORT, e.g. 10.0.0.1:6379, got 'auto'"),
        ("ray://head:10001x", "has the form HOST:PORT"),
        (":6379", "has the form HOST:PORT"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_sentence_at_once(address, said, tmp_path):
    (tmp_path / "token").write_text("0" * 64)
    environment, started = dict(os.environ), time.monotonic()
    with pytest.raises(ClusterError) as error, connect(address, tmp_path / "token"):
        pass
    assert said in str(error.value)
    assert dict(os.environ) == environment
    # resolving a name may take long where there is no network
    assert time.monotonic() - started < connection.KNOCK_SECONDS + 90


# Folders of killed processes


@pytest.fixture
def short_tmp(monkeypatch):
    """A folder for temporary files whose path is short enough for Ray's sockets; empty again at the end."""
    with tempfile.TemporaryDirectory(prefix="m", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


def made_folder(parent: Path, name: str, age: float) -> Path:
    folder = parent / f"{connection.FOLDER_PREFIX}{name}"
    folder.mkdir()
    (folder / "in_use").touch()
    os.utime(folder, (time.time() - age, time.time() - age))
    return folder


def test_the_folder_of_a_killed_process_is_removed_and_no_other(short_tmp):
    left, young, used = (made_folder(short_tmp, name, age) for name, age in (("a", 100), ("b", 1), ("c", 100)))
    strange = short_tmp / f"{connection.FOLDER_PREFIX}script.py"
    strange.touch()
    with (used / "in_use").open() as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        with connection._private_folder() as mine:
            assert sorted(short_tmp.iterdir()) == sorted([young, used, strange, mine])
            with connection._private_folder() as other:
                assert mine.is_dir()
                assert other.is_dir()
    assert not left.exists()
    assert not mine.exists()


# With Ray: the first test connects by itself, the others share the second connection of this process (conftest).


def children(pid: int) -> set[int]:
    """All processes below one."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found.update(below)
        todo.extend(below)
    return found


@pytest.mark.cluster
def test_a_connection_leaves_nothing_behind(short_tmp):
    environment, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    processes, threads = children(os.getpid()), set(threading.enumerate())
    with connect(cpus=1) as ray_cluster:
        assert (ray_cluster.cpus, ray_cluster.local) == (1, True)
        assert ray_cluster.scratch.parent == short_tmp
        (ray_cluster.scratch / "left by a killed worker").touch()
        assert signal.getsignal(signal.SIGTERM) == handler
        assert os.environ["RAY_AUTH_MODE"] == "token"
        token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        assert stat.S_IMODE(token.stat().st_mode) == 0o600
        assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700
        assert len(token.read_text()) == 64
        started = children(os.getpid()) - processes
        assert len(started) >= 2
    assert dict(os.environ) == environment
    assert signal.getsignal(signal.SIGTERM) == handler
    assert list(short_tmp.iterdir()) == []
    end = time.monotonic() + 60
    while started & {int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal() and not zombie(p)}:
        assert time.monotonic() < end, "processes of Ray are left"
        time.sleep(0.1)
    assert {thread.name for thread in set(threading.enumerate()) - threads if not thread.daemon} == set()


def zombie(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.cluster
def test_a_node_that_comes_up_too_late_is_one_sentence(short_tmp, monkeypatch):
    import ray

    def late(**arguments):
        raise Exception("The current node timed out during startup.")  # as Ray says it

    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(ClusterError, match=r"this machine \(The current node timed .*workers=0$"), connect():
        pass
    assert list(short_tmp.iterdir()) == []


@pytest.mark.cluster
def test_a_second_connection_of_the_process_has_a_token_of_its_own(ray_cluster):
    assert ray_cluster.cpus == 2
    assert ray_cluster.local


# What a stranger's process does, and what ours does.
KNOCK = """
import ray, sys
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=50)
except BaseException as error:
    print("refused:", " ".join(str(error).split())[:3000])
else:
    print("in")
"""
JOIN = """
import sys
from pathlib import Path
from pipeline.cluster import connect
with connect(sys.argv[1], Path(sys.argv[2])) as joined:
    print(joined.cpus, joined.local)
"""


def knock(script: str, *arguments: str, **variables: str) -> str:
    """Run a script against the cluster of this process, in an environment that knows nothing of it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_NUM_REDIS_GET_RETRIES": "2", "PYTHONPATH": str(Path(__file__).parents[3]), **variables}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False).stdout


def address() -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)


@pytest.mark.cluster
def test_who_has_the_token_gets_in_and_leaves_without_ending_the_cluster(ray_cluster):
    own = os.environ["RAY_AUTH_TOKEN_PATH"]
    assert knock(KNOCK, address(), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=own) == "in\n"
    assert knock(JOIN, address(), own) == "2 False\n"
    assert Mailbox().take() == []


@pytest.mark.cluster
@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_a_stranger_is_refused(ray_cluster, mode, tmp_path):
    (tmp_path / "token").write_text("0" * 64)
    answer = knock(KNOCK, address(), RAY_AUTH_MODE=mode, RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
    assert answer.startswith("refused: ")
    assert Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text() not in answer
