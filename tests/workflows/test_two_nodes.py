"""Everything on a cluster of two nodes, started on this machine with a token, in a network of its own where possible.

The second node sees one folder differently, so that it is found out that this folder is not shared.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import xarray as xr
import yaml

from pipeline import archive
from pipeline.config import Config
from pipeline.training import LocalWorker, prepare, run_loop

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
START_SECONDS = 240.0
COMMAND_SECONDS = 600.0


class TwoNodes:
    """Two nodes of one CPU each.

    Attributes:
        address: Of the head node.
        dashboard: Of its Jobs API.
        token: Their token file.
        private: A folder of which the second node sees another one; None where that cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.token = folder, folder / "token"
        self.token.touch(mode=0o600)
        self.token.write_text("4" * 64)
        self._processes: list[subprocess.Popen[bytes]] = []
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}
        self._prefix = self._own_network()
        self.private = self._made_private()
        port, dashboard, client = free_ports(3)
        self.address, self.dashboard = f"127.0.0.1:{port}", f"http://127.0.0.1:{dashboard}"
        head = [f"--port={port}", f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1"]
        head += [f"--ray-client-server-port={client}", f"--temp-dir={folder / 'r'}"]
        self._start("head", ["--head", *head])
        self.join("worker")

    def join(self, name: str) -> None:
        """One more node."""
        self._start(name, [f"--address={self.address}"])

    def leave(self, name: str) -> None:
        """The node is shut down."""
        node = self._nodes.pop(name)
        node.terminate()
        node.wait(timeout=60)

    def _own_network(self) -> list[str]:
        """What to put before a command so that it runs where nobody else can connect; empty: that is not possible."""
        script = "ip link set lo up && echo up && exec sleep 100000"
        try:
            holder = subprocess.Popen(
                ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script], stdout=subprocess.PIPE
            )
        except OSError:
            return []
        assert holder.stdout is not None
        prefix = ["nsenter", "--preserve-credentials", "--user", "--net", f"--target={holder.pid}"]
        if holder.stdout.readline() != b"up\n" or not works([*prefix, "true"]):
            holder.kill()
            holder.wait()
            return []
        self._processes.append(holder)
        return prefix

    def _made_private(self) -> Path | None:
        private = self.folder / "private"
        private.mkdir()
        return private if self._prefix and works([*self._prefix, *elsewhere(private), "true"]) else None

    def _start(self, name: str, options: list[str]) -> None:
        around = elsewhere(self.private) if name == "worker" and self.private else []
        log = self.folder / f"{name}.log"
        common = ["--block", "--node-ip-address=127.0.0.1", "--num-cpus=1", "--object-store-memory=100000000"]
        names = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port")
        common += [f"--{name}={port}" for name, port in zip(names, free_ports(2), strict=True)]
        with log.open("wb") as out:
            node = subprocess.Popen(
                [*self._prefix, *around, sys.executable, "-m", "ray.scripts.scripts", "start", *common, *options],
                env=self._environment(
                    RAY_AUTH_MODE="token", PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}"
                ),
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
        self._processes.append(node)
        self._nodes[name] = node
        end = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text(errors="replace"):
            assert node.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < end, log.read_text(errors="replace")
            time.sleep(0.2)

    def _environment(self, **variables: str) -> dict[str, str]:
        known = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        settings = {"RAY_AUTH_TOKEN_PATH": str(self.token), "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
        settings["RAY_worker_niceness"] = "0"  # other tests run beside these
        return {**known, **settings, **variables}

    def begin(self, *command: object, **variables: str) -> subprocess.Popen[str]:
        """Start a command on the cluster's network."""
        return subprocess.Popen(
            [*self._prefix, sys.executable, *map(str, command)],
            env=self._environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def python(self, script: str, *arguments: object, **variables: str) -> str:
        """Run a script to its end; what it printed."""
        with self.begin("-c", script, *arguments, **variables) as process:
            stdout, stderr = process.communicate(timeout=COMMAND_SECONDS)
        assert process.returncode == 0, stderr
        return stdout

    def minconv(self, *words: object, **variables: str) -> tuple[int, str, str]:
        """Run the command; exit code, output, and the lines of errors that are ours."""
        with self.begin(*MINCONV, *words, **variables) as process:
            stdout, stderr = process.communicate(timeout=COMMAND_SECONDS)
        assert "Traceback" not in stderr, stderr
        ours = [line for line in stderr.splitlines() if line.startswith(("error: ", "warning: "))]
        return process.returncode, stdout, "\n".join(ours)

    def done(self, *words: object) -> str:
        """Run a command that succeeds; its output."""
        code, stdout, errors = self.minconv(*words)
        assert code == 0, errors
        return stdout

    def end(self) -> None:
        """Stop the nodes and leave the network."""
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


MINCONV = ("-c", "from workflows.cli import main; main()")


def works(command: list[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def elsewhere(folder: Path) -> list[str]:
    """What to put before a command so that it sees an empty folder of its own."""
    return ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs "$0" && exec "$@"', str(folder)]


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens at now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Both nodes in a folder of their own, stopped and removed after the body."""
    folder = Path(tempfile.mkdtemp(prefix="m", dir="/tmp"))  # short enough for Ray's sockets
    started: TwoNodes | None = None
    try:
        started = TwoNodes(folder)
        yield started
    finally:
        if started is not None:
            started.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    with two_nodes() as started:
        yield started


@pytest.fixture(scope="module")
def blobs(nodes) -> Path:
    """A configuration that uses both nodes."""
    tree = {
        "name": "blobs",
        "root": str(nodes.folder / "runs"),
        "generate": {"kind": "advection", "samples": 10, "steps": 14, "size": 8, "coarsen": 1},
        "variables": {"tracer": {"units": "1"}},
        "archive": {"chunk_time": 14, "shard_time": 14},
        "window": {"history": 4, "horizon": 4, "stride": 2},
        "model": {"hidden": [8], "patch": 1},
        "training": {"batch_size": 2, "threads": 1, "epochs": 2, "workers": 2},
        "evaluation": {"batch_size": 4},
        "compute": {"dask": "ray"},
    }
    path = nodes.folder / "blobs.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


TRAIN = """
import json, sys
from pathlib import Path
from pipeline import archive
from pipeline.cluster import connect
from pipeline.config import read_config
from pipeline.training import prepare, train
config = read_config(Path(sys.argv[1]))
job = prepare(config, archive.head(config.archive_path))
with connect(sys.argv[2], Path(sys.argv[3])) as cluster:
    outcome = train(job, "two", cluster)
nodes = [node.node_id for node in cluster.nodes]
print(json.dumps({"nodes": nodes, "used": outcome.nodes, "checkpoint": str(outcome.checkpoint.parent)}))
"""


def two_steps(config: Config, root: Path, workers: int) -> Config:
    """A training of two optimizer steps on all windows: Adam's first moments are sums of the two gradients.

    The model starts with an output of zero, so that only its last layer has a gradient in the first step.
    """
    options = {"epochs": 2, "batch_size": 24, "workers": workers, "threads": 1, "input_noise": 0.0, "clip_norm": 1e9}
    training = config.training.model_copy(update=options)
    (root / config.name).mkdir(parents=True)
    (root / config.name / "archive").symlink_to(config.archive_path)
    return config.model_copy(update={"training": training, "root": root})


def state_of(checkpoint: Path) -> tuple[list[torch.Tensor], list[dict[str, Any]]]:
    """First moments of the optimizer, and the records of the epochs."""
    (optimizer,) = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    records = json.loads((checkpoint / "state.json").read_text())["history"]
    return [moments["exp_avg"] for _, moments in sorted(optimizer["state"].items())], records


def test_two_workers_on_two_nodes_have_the_gradients_and_losses_of_one(nodes, sample_config, tmp_path):
    config = two_steps(sample_config, nodes.folder / "step", workers=2)
    (nodes.folder / "step.yaml").write_text(config.to_yaml())
    found = json.loads(nodes.python(TRAIN, nodes.folder / "step.yaml", nodes.address, nodes.token).splitlines()[-1])
    assert len(set(found["nodes"])) == 2
    assert sorted(found["used"]) == sorted(found["nodes"])

    alone = two_steps(sample_config, tmp_path / "alone", workers=1)
    run_loop(prepare(alone, archive.head(alone.archive_path)), LocalWorker(tmp_path / "run"))
    *_, checkpoint = sorted((tmp_path / "run").glob("checkpoint-*"))
    expected, records = state_of(checkpoint)
    gradients, on_two = state_of(Path(found["checkpoint"]))
    assert sum(bool(gradient.any()) for gradient in expected) > len(expected) // 2
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()))
    for one, two in zip(records, on_two, strict=True):
        assert one["steps"] == two["steps"] == 1
        for key in ("train_loss", "validation_loss"):
            assert two[key] == pytest.approx(one[key], rel=1e-5), key


def test_all_stages_as_a_job_give_what_they_give_here(nodes, blobs):
    stdout = nodes.done("submit", "run", "-c", blobs, "--address", nodes.dashboard)
    job_id = stdout.splitlines()[0].removeprefix("submitted ")
    assert f"job {job_id} succeeded after " in stdout.splitlines()[-1]
    for stage in ("generate", "ingest", "train", "evaluate", "forecast", "report"):
        assert any(line.startswith(stage) for line in stdout.splitlines()), stage
    assert f"{job_id}   SUCCEEDED" in nodes.done("jobs", "list", "--address", nodes.dashboard)
    assert "blobs version 1 (champion): 2 epochs" in nodes.done("jobs", "logs", job_id, "--address", nodes.dashboard)

    folder = nodes.folder / "runs" / "blobs"
    (scorecard,) = (folder / "scorecards").iterdir()
    on_cluster = scorecard.read_bytes()
    scorecard.unlink()
    nodes.done("evaluate", "-c", blobs)  # in its own process, without Ray
    assert scorecard.read_bytes() == on_cluster
    (written,) = (folder / "forecasts").glob("*.nc")
    nodes.done("forecast", "-c", blobs, "-o", nodes.folder / "here.nc")
    with xr.open_dataset(written) as there, xr.open_dataset(nodes.folder / "here.nc") as here:
        xr.testing.assert_identical(there.load(), here.load())

    again = nodes.done("run", "-c", blobs, "--address", nodes.address)  # as a driver beside the cluster
    for stage in ("generate", "ingest", "train", "evaluate", "forecast"):
        assert any(line.split()[:3] == [stage, "done", "before"] for line in again.splitlines()), stage

    code, _, error = nodes.minconv(
        "train",
        "-c",
        blobs,
        "--address",
        nodes.address,
        "--set",
        "training.workers=3",
        "--set",
        "training.batch_size=3",
    )
    assert (code, error) == (
        1,
        "error: 3 workers of 1 threads need 3 CPUs, the cluster has 2; lower training.workers or training.threads",
    )


def test_a_job_that_fails_ends_with_its_own_sentence(nodes, blobs):
    code, _, error = nodes.minconv(
        "submit", "run", "-c", blobs, "--address", nodes.dashboard, "--data", "/nowhere", "--set", "name=bad", "-q"
    )
    assert code == 1
    assert error.startswith("error: job raysubmit_")
    assert "failed (Q-NO-FOLDER: input folder /nowhere does not exist; set source.path" in error


def test_ctrl_c_leaves_a_job_running_until_it_is_stopped(nodes, blobs):
    slow = ("--set", "name=slow", "--set", "training.epochs=100000")
    with nodes.begin(*MINCONV, "submit", "run", "-c", blobs, "--address", nodes.dashboard, *slow) as process:
        assert process.stdout is not None
        job_id = process.stdout.readline().strip().removeprefix("submitted ")
        assert "Running entrypoint" in process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=COMMAND_SECONDS)
    assert process.returncode == 130
    assert f"warning: job {job_id} goes on; 'minconv jobs logs {job_id} --follow" in stderr
    assert "status     RUNNING" in nodes.done("jobs", "status", job_id, "--address", nodes.dashboard)
    stopped = nodes.done("jobs", "stop", job_id, "--address", nodes.dashboard)
    assert stopped.strip() == f"job {job_id} has ended: STOPPED"


STRANGER = """
import sys, urllib.error, urllib.request
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=50)
    print("in")
except BaseException as error:
    print("refused")
try:
    urllib.request.urlopen(sys.argv[2] + "/api/jobs/", timeout=60)
    print("in")
except urllib.error.HTTPError as error:
    print("refused" if error.code in (401, 403) else error.code)
"""


def test_who_has_no_token_or_another_is_refused(nodes, tmp_path):
    (tmp_path / "token").write_text("5" * 64)
    for mode in ("token", "disabled"):
        variables = {"RAY_AUTH_MODE": mode, "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
        answer = nodes.python(STRANGER, nodes.address, nodes.dashboard, RAY_NUM_REDIS_GET_RETRIES="2", **variables)
        assert answer == "refused\nrefused\n"
    code, _, error = nodes.minconv(
        "jobs", "list", "--address", nodes.dashboard, RAY_AUTH_TOKEN_PATH=str(tmp_path / "token")
    )
    assert code == 1
    assert error.startswith(f"error: the Ray cluster at {nodes.dashboard} refuses our token; copy the head node's")


def test_an_unknown_job_is_one_sentence(nodes):
    code, _, error = nodes.minconv("jobs", "stop", "nobody", "--address", nodes.dashboard)
    assert (code, error) == (
        1,
        f"error: there is no job nobody on the cluster at {nodes.dashboard}; 'minconv jobs list' shows those it has",
    )


def test_a_folder_that_one_node_does_not_see_is_found_out_before_anything_starts(nodes, blobs):
    if nodes.private is None:
        pytest.skip("a node with a folder of its own needs user namespaces, which are not allowed here")
    root = nodes.private / "runs"
    code, stdout, error = nodes.minconv("run", "-c", blobs, "--address", nodes.address, "--set", f"root={root}")
    assert (code, stdout) == (1, "")
    assert f"node 127.0.0.1 cannot work on this: {root / 'blobs'} is not the folder it is here (No such file" in error
    assert "name shared storage in 'root'" in error
    assert list((root / "blobs").iterdir()) == []
