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

from pipeline import cluster
from pipeline.cluster import Cluster, Mailbox, connect
from pipeline.errors import TrainingError

# What fits


@pytest.mark.parametrize(
    ("have", "workers", "threads", "gpu", "said"),
    [
        (Cluster(4, 0, True), 3, 2, False, "3 training workers of 2 threads need 6 CPUs, the cluster has 4; lower"),
        (Cluster(4, 1, True), 2, 1, True, "training.workers=2 with training.gpu=true needs 2 GPUs, the cluster has 1"),
    ],
)
def test_too_few_resources_are_named(have, workers, threads, gpu, said):
    with pytest.raises(TrainingError) as error:
        have.require(workers, threads, gpu)
    assert said in str(error.value)


def test_what_fits_is_not_refused():
    Cluster(4, 0, True).require(2, 2, False)
    Cluster(4, 2, True).require(2, 2, True)


# Joining


def test_a_cluster_is_not_joined_without_its_token(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for token in (None, tmp_path / "mine"):
        with (
            pytest.raises(TrainingError, match=r"joined with its token only, and .* is missing"),
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
    with pytest.raises(TrainingError) as error, connect(address, tmp_path / "token"):
        pass
    assert said in str(error.value)
    assert dict(os.environ) == environment
    assert time.monotonic() - started < cluster.KNOCK_SECONDS + 5


# Folders of killed processes


@pytest.fixture
def short_tmp(monkeypatch):
    """A folder for temporary files whose path is short enough for Ray's sockets; empty again at the end."""
    with tempfile.TemporaryDirectory(prefix="m", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


def made_folder(parent: Path, name: str, age: float) -> Path:
    folder = parent / f"{cluster.FOLDER_PREFIX}{name}"
    folder.mkdir()
    (folder / "in_use").touch()
    os.utime(folder, (time.time() - age, time.time() - age))
    return folder


def test_the_folder_of_a_killed_process_is_removed_and_no_other(short_tmp):
    left, young, used = (made_folder(short_tmp, name, age) for name, age in (("a", 100), ("b", 1), ("c", 100)))
    strange = short_tmp / f"{cluster.FOLDER_PREFIX}script.py"
    strange.touch()
    with (used / "in_use").open() as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        with cluster._private_folder() as mine:
            assert sorted(short_tmp.iterdir()) == sorted([young, used, strange, mine])
            with cluster._private_folder() as other:
                assert mine.is_dir()
                assert other.is_dir()
    assert not left.exists()
    assert not mine.exists()


# With Ray: the first test connects by itself, the others share the second connection of this process.


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
    end = time.monotonic() + 10
    while started & {int(p.name) for p in Path("/proc").iterdir() if p.name.isdecimal() and not zombie(p)}:
        assert time.monotonic() < end, "processes of Ray are left"
        time.sleep(0.1)
    assert {thread.name for thread in set(threading.enumerate()) - threads if not thread.daemon} == set()


def zombie(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.fixture(scope="module")
def ray_cluster():
    with connect(cpus=2) as found:
        yield found


@pytest.mark.cluster
def test_a_second_connection_of_the_process_has_a_token_of_its_own(ray_cluster):
    assert ray_cluster.cpus == 2
    assert ray_cluster.local


@pytest.mark.cluster
def test_messages_arrive_once_and_in_order(ray_cluster):
    mailbox = Mailbox()
    assert mailbox.take() == []
    for number in range(50):
        mailbox.put({"number": number}, wait=number == 49)
    assert [message["number"] for message in mailbox.take()] == list(range(50))
    assert mailbox.take() == []


@pytest.mark.cluster
def test_workers_write_into_the_mailbox_they_are_handed(ray_cluster):
    import ray

    def send(box, sender):
        for number in range(20):
            box.put({"sender": sender, "number": number}, wait=number == 19)

    mailbox = Mailbox()
    task = ray.remote(num_cpus=1)(send)
    ray.get([task.remote(mailbox, sender) for sender in "ab"])
    messages = mailbox.take()
    for sender in "ab":
        assert [m["number"] for m in messages if m["sender"] == sender] == list(range(20))


@pytest.mark.cluster
def test_a_mailbox_that_is_lost_takes_and_gives_nothing(ray_cluster):
    import ray

    mailbox = Mailbox()
    mailbox.put({"number": 1}, wait=True)
    ray.kill(mailbox._actor)
    mailbox.put({"number": 2}, wait=True)
    assert mailbox.take() == []


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
    print(joined)
"""


def knock(script: str, *arguments: str, **variables: str) -> str:
    """Run a script against the cluster of this process, in an environment that knows nothing of it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= {"RAY_NUM_REDIS_GET_RETRIES": "2", "PYTHONPATH": str(Path(__file__).parents[2]), **variables}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False).stdout


def address() -> str:
    import ray

    return str(ray.get_runtime_context().gcs_address)


@pytest.mark.cluster
def test_who_has_the_token_gets_in_and_leaves_without_ending_the_cluster(ray_cluster):
    own = os.environ["RAY_AUTH_TOKEN_PATH"]
    assert knock(KNOCK, address(), RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=own) == "in\n"
    assert knock(JOIN, address(), own) == f"{Cluster(2, ray_cluster.gpus, local=False)}\n"
    assert Mailbox().take() == []


@pytest.mark.cluster
@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_a_stranger_is_refused(ray_cluster, mode, tmp_path):
    (tmp_path / "token").write_text("0" * 64)
    answer = knock(KNOCK, address(), RAY_AUTH_MODE=mode, RAY_AUTH_TOKEN_PATH=str(tmp_path / "token"))
    assert answer.startswith("refused: ")
    assert Path(os.environ["RAY_AUTH_TOKEN_PATH"]).read_text() not in answer
