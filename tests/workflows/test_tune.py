"""`minconv tune` as a user starts it, on Ray: killed in the middle, it goes on and ends with one challenger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import mlflow
import pytest
import torch
import yaml

import minconv
from pipeline.registry import Registry

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

EPOCHS = 16  # so that a trial lasts long enough to be killed within it
SPACE = {"training.learning_rate": {"log": ["1e-3", "1e-2"]}, "model.hidden": {"choice": [[8], [12, 12]]}}


class Tuning:
    """A configuration with an archive that is there, a champion, and a space."""

    def __init__(self, folder: Path, config) -> None:
        self.folder, self.root = folder, folder / "runs"
        tree = config.model_dump(mode="json", exclude_unset=True)
        training = {**tree["training"], "batch_size": 1}
        (folder / "config.yaml").write_text(yaml.safe_dump({**tree, "root": str(self.root), "training": training}))
        (folder / "space.yaml").write_text(yaml.safe_dump(SPACE))
        (self.root / "blobs").mkdir(parents=True)
        (self.root / "blobs" / "archive").symlink_to(config.archive_path)
        torch.manual_seed(0)
        minconv.save(
            folder / "champion",
            minconv.Forecaster(minconv.ForecasterConfig(in_channels=1, out_channels=1, hidden=(3,))),
            {},
        )
        run = self.registry.run("before", {})
        self.champion = self.registry.register(run, folder / "champion", {"run_name": "before"}, (1, 1, 8, 8))

    @property
    def registry(self) -> Registry:
        return Registry(f"sqlite:///{self.root}/mlflow.db", self.root / "mlartifacts", "blobs")

    def start(self, temporary: Path) -> subprocess.Popen[str]:
        options = ["--trials", "4", "--max-epochs", str(EPOCHS), "--grace", "2", "--reduction", "2"]
        files = ["-c", str(self.folder / "config.yaml"), "--space", str(self.folder / "space.yaml")]
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(temporary)}
        return subprocess.Popen(
            [sys.executable, "-c", "from workflows.cli import main; main()", "tune", *files, *options],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def studies(self) -> list[Path]:
        return sorted((self.root / "blobs" / "tune").glob("blobs-tune-*"))

    def ended(self) -> dict[Path, int]:
        """Endings that are there, with the time at which they were written."""
        found = (self.root / "blobs" / "tune").glob("*/*/ending.json")
        return {path: path.stat().st_mtime_ns for path in found}

    def at_work(self) -> dict[Path, list[dict]]:
        """The epochs of trials that are between two of them."""
        found: dict[Path, list[dict]] = {}
        for state in sorted((self.root / "blobs" / "tune").glob("*/*/checkpoint-*/state.json")):
            folder = state.parents[1]
            try:
                history = json.loads(state.read_text())["history"]
            except (OSError, ValueError):  # being written, or removed
                continue
            if not (folder / "ending.json").exists() and len(history) < EPOCHS:
                found[folder] = history
        return found


@pytest.fixture
def tuning(tmp_path, sample_config):
    return Tuning(tmp_path, sample_config)


@pytest.fixture
def temporary():
    """Short enough for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="m", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def until_in_the_middle(tuning: Tuning, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not (tuning.ended() and tuning.at_work()):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_a_search_that_was_killed_goes_on_and_ends_with_one_challenger(tuning, temporary):
    with tuning.start(temporary) as process:
        until_in_the_middle(tuning, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before, begun = tuning.ended(), tuning.at_work()
    assert 0 < len(before) < 4
    with tuning.start(temporary) as process:
        stdout, stderr = process.communicate(timeout=400)
    assert process.returncode == 0, stderr
    assert "Traceback" not in stderr

    after = tuning.ended()
    assert len(after) == 4
    assert {path: after[path] for path in before} == before  # not run again
    for folder, history in begun.items():  # the seconds of an epoch tell that it is that very epoch
        assert json.loads((folder / "ending.json").read_text())["history"][: len(history)] == history
    (study,) = tuning.studies()
    result = json.loads((study / "study.json").read_text())
    assert result["trials"] == 4
    assert "finished" in result["ended"]
    assert sorted(path.name for path in study.iterdir() if path.is_file() and path.suffix != ".lock") == [
        "best.yaml",
        "importance.png",
        "study.json",
    ]

    check_mlflow(tuning, study, result)
    newest, oldest = tuning.registry.versions()
    assert (oldest.version, oldest.aliases, oldest.tags) == (1, ("champion",), tuning.champion.tags)
    assert (newest.version, newest.aliases) == (2, ("challenger",))
    best = min(error for error, state in zip(result["errors"], result["ended"], strict=True) if state == "finished")
    assert result["errors"][result["best"]] == best
    model = tuning.registry.load("models:/blobs@challenger")
    config = model.metadata["config"]
    assert config["training"]["learning_rate"] == result["settings"][result["best"]]["training.learning_rate"]
    assert list(model.forecaster.config.hidden) == result["settings"][result["best"]]["model.hidden"]
    assert "blobs version 2 (challenger)" in stdout
    assert "minconv compare champion challenger" in stdout
    assert len(list(temporary.iterdir())) <= 1  # what the killed one left; nothing of the other

    written = {path: path.stat().st_mtime_ns for path in study.rglob("*") if path.suffix != ".lock"}
    with tuning.start(temporary) as process:  # there is nothing left to do, so Ray is not started
        again, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert again.splitlines()[-5:] == stdout.splitlines()[-5:]
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*") if path.suffix != ".lock"} == written
    assert len(tuning.registry.versions()) == 2


def check_mlflow(tuning: Tuning, study: Path, result: dict) -> None:
    """One run for the study, one for each trial below it, every epoch once."""
    client = mlflow.MlflowClient(f"sqlite:///{tuning.root}/mlflow.db")
    runs = [run for run in client.search_runs([tuning.registry.experiment_id()]) if run.info.run_name != "before"]
    assert Counter(run.info.run_name for run in runs) == Counter(
        [study.name, *(f"{study.name}-{number:03d}" for number in range(4))]
    )
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = (run for run in runs if run.info.run_name == study.name)
    assert parent.data.metrics["tune/trials"] == 4
    assert "space.model.hidden" in parent.data.params
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {"best.yaml", "importance.png"}
    for run in runs:
        if run is parent:
            continue
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        number = int(run.data.tags["trial"])
        assert set(run.data.params) == set(SPACE)
        assert float(run.data.params["training.learning_rate"]) == result["settings"][number]["training.learning_rate"]
        epochs = [one.step for one in client.get_metric_history(run.info.run_id, "training/validation_loss")]
        assert sorted(epochs) == list(range(1, len(epochs) + 1))
        assert run.data.tags["ended"].startswith(result["ended"][number])
