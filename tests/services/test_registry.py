"""The Registry on a server: MLflow with PostgreSQL for records and an S3-compatible store for files.

apt install postgresql     # its programs; nothing has to run
make test-services
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pipeline.config import Config
from pipeline.errors import RegistryError
from pipeline.lineage import version_tags
from pipeline.model_files import write_model_files
from pipeline.registry import Registry
from pipeline.training import LocalWorker, prepare, run_loop

pytestmark = pytest.mark.services

START_SECONDS = 180.0
USER = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def postgres_programs() -> Path:
    """Folder of initdb and postgres."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = versions[-1] if versions else shutil.which("initdb")
    if found is None:
        pytest.skip("PostgreSQL is not installed (initdb is neither in /usr/lib/postgresql nor on the path)")
    return Path(found).parent


@contextlib.contextmanager
def running(command: list[str], log: Path, ready: Callable[[], bool], **options: object) -> Iterator[None]:
    """A server while the body runs."""
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, **options)  # type: ignore[call-overload]
    try:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    return ready


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL server of our own; its address for SQLAlchemy."""
    programs, port = postgres_programs(), free_port()
    if os.geteuid() == 0 and USER not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    # pytest's own folders can be entered by their owner only; PostgreSQL runs as somebody else where that is root
    folder = Path("/tmp") / f"minconv-postgres-{secrets.token_hex(6)}"
    folder.mkdir(mode=0o700)
    shutil.chown(folder, USER)
    who = {"user": USER} if os.geteuid() == 0 else {}
    password = secrets.token_hex(12)
    (folder / "password").write_text(password)
    shutil.chown(folder / "password", USER)
    make = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "mlflow", "-A", "scram-sha-256"]
    try:
        make += ["--pwfile", str(folder / "password"), "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, timeout=START_SECONDS, cwd="/", **who)  # type: ignore[call-overload]
        serve = [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port), "-k", str(folder)]
        serve += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        check = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
        log = tmp_path_factory.mktemp("postgres") / "log"
        with running(serve, log, lambda: subprocess.run(check, capture_output=True).returncode == 0, cwd="/", **who):
            yield f"postgresql+psycopg2://mlflow:{password}@127.0.0.1:{port}/postgres"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An S3-compatible server with a bucket `mlflow`; the environment of its clients."""
    boto3 = pytest.importorskip("boto3")
    pytest.importorskip("moto.server", reason="moto is not installed: pip install '.[services]'")
    port = free_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    url = environment["MLFLOW_S3_ENDPOINT_URL"]
    with running(command, tmp_path_factory.mktemp("store") / "log", answers(url)):
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        client.create_bucket(Bucket="mlflow")
        yield environment


@pytest.fixture(scope="module")
def server(database: str, store: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow, which keeps its records in the database and hands files on to the store."""
    pytest.importorskip("psycopg2")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", database, "--workers", "1"]
    command += ["--artifacts-destination", "s3://mlflow", "--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("mlflow") / "log"
    with running(command, log, answers(f"{url}/health"), env={**os.environ, **store}):
        yield url


def test_a_version_is_registered_loaded_and_promoted(
    server: str, store: dict[str, str], sample_config: Config, snapshot_of: Callable[..., str], tmp_path: Path
) -> None:
    import boto3

    registry = Registry(server, None, sample_config.name)
    job = prepare(sample_config, snapshot_of(sample_config))
    records: list[dict[str, float]] = []
    run_loop(job, LocalWorker(tmp_path / "training", listener=records.append))
    epochs = [record for record in records if record["kind"] == "epoch"]
    *_, checkpoint = sorted((tmp_path / "training").glob("checkpoint-*/best"))
    versions = []
    for name in ("first", "second"):
        run = registry.run(name, {"seed": 0})
        run.log_metrics({"test/rmse/tracer/mean": 0.5}, step=1)
        (tmp_path / name).mkdir()
        files = write_model_files(tmp_path / name, checkpoint, job, epochs)
        versions.append(registry.register(run, files.checkpoint, version_tags(job, name), files.sizes, files.extra))
        run.finish()
    first, second = versions
    assert (first.aliases, second.aliases) == (("champion",), ("challenger",))

    registry.set_alias("champion", second.version)
    assert registry.resolve().version == second.version
    loaded = registry.load("models:/blobs@champion")
    assert loaded.version.tags["sha256"] == first.tags["sha256"]
    frames = torch.zeros(1, 4, 1, 8, 8)
    assert torch.isfinite(loaded.forecaster(frames)[0]).all()
    assert registry.find(run_name="first") is not None
    assert registry.versions()[0].metrics["test/rmse/tracer/mean"] == 0.5

    client = boto3.client(
        "s3",
        endpoint_url=store["MLFLOW_S3_ENDPOINT_URL"],
        region_name=store["AWS_DEFAULT_REGION"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    held = [one["Key"] for one in client.list_objects_v2(Bucket="mlflow")["Contents"]]
    weights = [key for key in held if key.endswith("weights.safetensors")]
    assert len(weights) == 2

    for key in weights:
        client.put_object(Bucket="mlflow", Key=key, Body=b"other weights")
    with pytest.raises(RegistryError, match="is not the registered one"):
        registry.load("models:/blobs@champion")


def test_a_server_that_is_down_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(RegistryError, match="check MLFLOW_TRACKING_URI"):
        Registry(f"http://127.0.0.1:{free_port()}", None, "blobs")
