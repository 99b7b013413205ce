"""Training in this process: what it leaves, what ends it, and that it goes on where it was."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
import torch

import minconv
from pipeline.errors import TrainingError
from pipeline.training import prepare, train_here
from pipeline.training.checkpoints import Checkpoints, Place


@pytest.fixture
def job_with(sample_config, snapshot_of, tmp_path):
    """A job of the blobs with these options, which writes below a folder of its own."""

    def make(**options):
        training = sample_config.training.model_copy(update={"workers": 0, "threads": 1, **options})
        config = sample_config.model_copy(update={"training": training})
        (tmp_path / config.name).mkdir(exist_ok=True)
        if not (tmp_path / config.name / "archive").exists():
            (tmp_path / config.name / "archive").symlink_to(config.archive_path)
        job = prepare(config, snapshot_of(config))
        return dataclasses.replace(job, config=config.model_copy(update={"root": tmp_path}))

    return make


def test_the_outcome_is_the_best_epoch_and_the_whole_history(job_with):
    events = []
    outcome = train_here(job_with(), "one", events.append)
    minconv.load(outcome.checkpoint)
    assert outcome.run_name == "one"
    assert [record["epoch"] for record in outcome.history] == [1, 2]
    finished = [event for event in events if "validation_loss" in event.values]
    assert [event.message for event in finished] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert (finished[-1].done, finished[-1].total) == (finished[-1].total, finished[-1].total)


def test_a_finished_run_of_the_name_is_not_trained_again(job_with):
    first = train_here(job_with(), "one")
    events = []
    again = train_here(job_with(), "one", events.append)
    assert events == []
    assert again.history == first.history
    assert again.checkpoint == first.checkpoint


def test_a_checkpoint_torn_by_a_kill_is_passed_over(job_with, tmp_path):
    whole = train_here(job_with(), "one")
    newest = whole.checkpoint.parent
    torn = newest.with_name("checkpoint-00003-0000000")
    shutil.copytree(newest, torn)
    (torn / "latest" / "weights.safetensors").write_bytes(b"half")
    kept = Checkpoints(newest.parent)
    assert kept.newest() == Place(2, 0)
    assert train_here(job_with(epochs=3), "one").history[-1]["epoch"] == 3
    assert kept.newest() == Place(3, 0)  # done again, and whole now


def test_a_loss_that_is_not_finite_is_one_sentence(job_with):
    with pytest.raises(
        TrainingError, match=r"^the loss is not finite in epoch 1, step \d+ of \d+; nothing was registered; lower"
    ):
        train_here(job_with(learning_rate=1e30, clip_norm=1e30, warmup=0.0, epochs=1), "diverging")


def test_the_deadline_ends_it_and_the_checkpoint_stays(job_with, tmp_path):
    with pytest.raises(TrainingError, match="deadline_seconds"):
        train_here(job_with(deadline_seconds=1e-9), "late")
    (state,) = tmp_path.glob("*/training/late/checkpoint-*/state.json")
    assert json.loads(state.read_text())["epoch"] == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_asked_for(job_with):
    with pytest.raises(TrainingError, match=r"this machine has none; set training\.gpu=false"):
        train_here(job_with(gpu=True), "gpu")


def test_the_threads_of_the_caller_are_given_back(job_with):
    seen = []
    before = torch.get_num_threads()
    train_here(job_with(threads=3), "threads", lambda event: seen.append(torch.get_num_threads()))
    assert set(seen) == {3}
    assert torch.get_num_threads() == before


STARVED = """
import resource, sys
from pathlib import Path
from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import TrainingError
from pipeline.training import prepare, train_here

config = check_config({**eval(sys.argv[1]), "model": {"hidden": [512], "patch": 1}})
job = prepare(config, archive.head(config.archive_path))
status = Path("/proc/self/statm").read_text().split()
resource.setrlimit(resource.RLIMIT_AS, (int(status[0]) * resource.getpagesize() + 300_000_000,) * 2)
try:
    train_here(job, "starved")
except TrainingError as error:
    print(error)
"""


@pytest.mark.slow
def test_too_little_memory_is_one_sentence(sample_config):
    tree = sample_config.model_dump(mode="json", include={"name", "root", "generate", "variables", "archive", "window"})
    tree["training"] = {"workers": 0, "threads": 1, "batch_size": 20, "cache": "none"}
    done = subprocess.run(
        [sys.executable, "-c", STARVED, repr(tree)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "memory does not suffice for a training step of 20 window(s) of 8 frames over 1 worker(s)" in done.stdout
    assert "training.accumulate larger" in done.stdout
