"""`minconv train` while MLflow is down: it trains, keeps what it learned, and registers it later."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from pipeline.registry import Journal, Registry
from tests.faulty_mlflow import FaultyMlflow, faulty_mlflow

pytestmark = pytest.mark.slow

SECONDS = 240.0


@pytest.fixture
def server(tmp_path):
    (tmp_path / "server").mkdir()
    with faulty_mlflow(tmp_path / "server") as found:
        Registry(found.uri, None, "warm").run("up", {})
        yield found


class Training:
    """A configuration that trains in the process of the command, on an archive that is there."""

    def __init__(self, folder: Path, config, server: FaultyMlflow, **training) -> None:
        self.root, self.server = folder / "runs", server
        tree = config.model_dump(mode="json", exclude_unset=True)
        tree |= {"root": str(self.root), "training": {**tree["training"], "workers": 0, "threads": 1, **training}}
        self.file = folder / "config.yaml"
        self.file.write_text(yaml.safe_dump(tree))
        (self.root / "blobs").mkdir(parents=True)
        (self.root / "blobs" / "archive").symlink_to(config.archive_path)

    def start(self) -> subprocess.Popen[str]:
        quick = {"MAX_RETRIES": "1", "BACKOFF_FACTOR": "0", "BACKOFF_JITTER": "0", "TIMEOUT": "3"}
        environment = os.environ | {f"MLFLOW_HTTP_REQUEST_{key}": value for key, value in quick.items()}
        environment |= {"MLFLOW_TRACKING_URI": self.server.uri, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", "from workflows.cli import main; main()", "train", "-c", str(self.file)]
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.root
        )

    def run(self) -> tuple[int, str, str]:
        with self.start() as process:
            stdout, stderr = process.communicate(timeout=SECONDS)
        return process.returncode, stdout, stderr

    def journal(self) -> list[int]:
        """Epochs that are written down."""
        found = list((self.root / "blobs" / "training").glob("*/metrics.jsonl"))
        return [one.epoch for one in Journal(found[0]).entries] if found else []

    def checkpoints(self) -> dict[str, int]:
        files = (self.root / "blobs" / "training").glob("*/checkpoint-*/**/*.safetensors")
        return {str(path): path.stat().st_mtime_ns for path in files}

    def metrics(self) -> Counter[tuple[str, int]]:
        """How often MLflow has each metric and step of the only version."""
        registry = Registry(self.server.uri, None, "blobs")
        (version,) = registry.versions()
        names = registry._client.get_run(version.run_id).data.metrics
        return Counter(
            (name, one.step) for name in names for one in registry._client.get_metric_history(version.run_id, name)
        )


def test_a_server_that_is_down_from_first_to_last_costs_no_training(server, sample_config, tmp_path):
    training = Training(tmp_path, sample_config, server, epochs=3)
    server.stop()
    code, _, stderr = training.run()
    assert code == 1
    assert "the training goes on" in stderr
    sentence = stderr.strip().splitlines()[-1]
    assert sentence.startswith("error: MLflow at http://127.0.0.1")
    assert "registers them without training again" in sentence
    assert "Traceback" not in stderr
    assert training.journal() == [1, 2, 3]
    made = training.checkpoints()
    assert made
    server.start()
    code, stdout, stderr = training.run()
    assert code == 0, stderr
    assert "blobs version 1 (champion): 3 epochs" in stdout
    assert training.checkpoints() == made
    metrics = training.metrics()
    assert {step for name, step in metrics if name == "training/validation_loss"} == {1, 2, 3}
    assert set(metrics.values()) == {1}
    code, stdout, _ = training.run()
    assert code == 0
    assert "was trained from the same data" in stdout
    assert training.metrics() == metrics


def test_killed_between_journal_and_server_every_epoch_arrives_once(server, sample_config, tmp_path):
    training = Training(tmp_path, sample_config, server, epochs=10)
    with training.start() as process:
        try:
            end = time.monotonic() + SECONDS
            while len(training.journal()) < 2:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < end
                time.sleep(0.02)
            server.mode = "late"  # what it is sent now it takes, and does not say so
            reached = training.journal()[-1]
            while training.journal()[-1] < reached + 2:
                assert process.poll() is None, process.communicate()
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
    server.mode = "well"
    written = training.journal()[-1]
    assert written < 10
    code, stdout, stderr = training.run()
    assert code == 0, stderr
    assert "10 epochs" in stdout
    metrics = training.metrics()
    assert {step for name, step in metrics if name == "training/validation_loss"} == set(range(1, 11))
    assert set(metrics.values()) == {1}
