"""A training on as many workers as there is room for, while a node leaves the cluster and another joins it."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pipeline import archive
from pipeline.config import read_config
from pipeline.synthetic import generate
from pipeline.training import LocalWorker, prepare, run_loop
from pipeline.training.checkpoints import Checkpoints
from tests.workflows.test_two_nodes import MINCONV, TwoNodes, two_nodes

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.skipif("MINCONV_ELASTIC" not in os.environ, reason="takes minutes on idle cores: MINCONV_ELASTIC=1"),
]

WAIT_SECONDS = 240.0


@pytest.fixture
def nodes() -> Iterator[TwoNodes]:
    with two_nodes() as started:
        yield started


def history(folder: Path) -> list[dict[str, Any]]:
    """Records of the epochs of the only run below a folder."""
    for checkpoints in map(Checkpoints, folder.glob("*")):
        newest = checkpoints.newest()
        if newest is not None:
            try:
                state = (checkpoints.path(newest) / "state.json").read_text()
            except OSError:  # removed in between
                continue
            found: list[dict[str, Any]] = json.loads(state)["history"]
            return found
    return []


def wait_for(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.5)


def test_a_node_leaves_and_another_joins(nodes: TwoNodes, tmp_path: Path) -> None:
    path = nodes.folder / "elastic.yaml"
    tree = {
        "name": "elastic",
        "root": str(nodes.folder / "runs"),
        "generate": {"kind": "advection", "samples": 10, "steps": 14, "size": 8, "coarsen": 1},
        "variables": {"tracer": {"units": "1"}},
        "archive": {"chunk_time": 14, "shard_time": 14},
        "window": {"history": 4, "horizon": 4, "stride": 2},
        "model": {"hidden": [8], "patch": 1},
        "training": {
            "epochs": 100_000,
            "batch_size": 3,  # one worker of two has more windows than the other
            "learning_rate": 1e-4,
            "threads": 1,
            "workers": {"min": 1, "max": 2, "resize_seconds": 5},
            "checkpoint_seconds": 1,
        },
    }
    path.write_text(yaml.safe_dump(tree))
    config = read_config(path)
    assert config.generate is not None
    generate(config.generate, config.source_path)
    nodes.done("ingest", "-c", path)
    folder = nodes.folder / "runs" / "elastic" / "training"

    def workers() -> list[int]:
        """How many trained, each change of it."""
        counts = [record["workers"] for record in history(folder)]
        return [count for number, count in enumerate(counts) if not number or counts[number - 1] != count]

    training = nodes.begin(*MINCONV, "train", "-c", path, "--address", nodes.address)
    try:
        wait_for("two workers", lambda: workers() == [2])
        nodes.leave("worker")
        wait_for("one worker", lambda: workers() == [2, 1])
        nodes.join("another")
        wait_for("two workers again", lambda: workers() == [2, 1, 2])
    finally:
        training.send_signal(signal.SIGINT)
        training.communicate(timeout=WAIT_SECONDS)
    assert training.returncode == 130

    # The same as one worker all the time: neither windows nor learning rate depend on how many there are.
    records, done = history(folder), len(history(folder))

    class Stopped(Exception):
        pass

    def stop(message: dict[str, Any]) -> None:
        if message["kind"] == "epoch" and message["epoch"] == done:
            raise Stopped

    torch.set_num_threads(1)
    with pytest.raises(Stopped):
        run_loop(prepare(config, archive.head(config.archive_path)), LocalWorker(tmp_path / "alone", listener=stop))
    alone = history(tmp_path)
    assert [record["epoch"] for record in records] == [record["epoch"] for record in alone]
    for record, expected in zip(records, alone, strict=True):
        for key in ("train_loss", "validation_loss", "learning_rate"):
            assert record[key] == pytest.approx(expected[key], rel=1e-3), (key, record["epoch"])
