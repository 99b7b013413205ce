"""What Ray costs and gives: two workers against one, and a whole run on a cluster of two nodes against one here.

    python tests/bench/cluster.py --rounds 3

Workers: the demo's model and grid, one CPU thread each, the same batch of windows shared out; frames per second of the
last epoch, so that neither start-up nor warm-up counts; one and two workers take turns. Runs: `minconv run` of a tiny
pipeline, as its user starts it, on two nodes of one CPU each and in this machine's own private Ray; start-up counts.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import yaml

from pipeline import archive
from pipeline.cluster import connect
from pipeline.config import Config
from pipeline.training import prepare, train
from tests.bench.fluid import archived_fluid
from tests.workflows.test_two_nodes import two_nodes
from workflows.context import quiet_libraries


def throughput(config: Config, workers: int, name: str) -> float:
    """Frames per second of the last epoch on a private Ray."""
    options = config.training.model_copy(update={"workers": workers})
    job = prepare(config.model_copy(update={"training": options}), archive.head(config.archive_path))
    with connect(cpus=2) as cluster:
        return float(train(job, name, cluster).history[-1]["frames_per_second"])


def two_workers(rounds: int, samples: int, epochs: int) -> None:
    """Print the median ratio of two workers to one."""
    with tempfile.TemporaryDirectory(prefix="minconv-workers-") as folder:
        config = archived_fluid(Path(folder), samples, epochs=epochs)
        ratios = []
        for number in range(rounds):
            one, two = (throughput(config, workers, f"{number}-{workers}") for workers in (1, 2))
            ratios.append(two / one)
            print(f"round {number + 1}: {one:.0f} and {two:.0f} frames/s with one and two workers", flush=True)
    print(f"two workers against one: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def runs(rounds: int) -> None:
    """Print how long a tiny run takes on two nodes and here."""
    tree = {
        "generate": {"kind": "advection", "samples": 10, "steps": 14, "size": 8, "coarsen": 1},
        "variables": {"tracer": {"units": "1"}},
        "window": {"history": 4, "horizon": 4, "stride": 2},
        "model": {"hidden": [8], "patch": 1},
        "training": {"batch_size": 2, "threads": 1, "epochs": 2, "workers": 2},
    }
    times: dict[str, list[float]] = {"on two nodes": [], "here": []}
    for number in range(rounds):
        with two_nodes() as nodes:
            for place in times:
                path = nodes.folder / f"{place.replace(' ', '_')}.yaml"
                path.write_text(yaml.safe_dump({**tree, "name": path.stem, "root": str(nodes.folder / "runs")}))
                where = ("--address", nodes.address) if place != "here" else ()
                began = time.monotonic()
                nodes.done("run", "-c", path, *where)
                times[place].append(time.monotonic() - began)
        print(
            f"round {number + 1}: " + ", ".join(f"{place} {row[-1]:.0f} s" for place, row in times.items()), flush=True
        )
    print("a tiny run: " + ", ".join(f"{place} {statistics.median(row):.0f} s" for place, row in times.items()))


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=20, help="simulations to train on")
    parser.add_argument("--epochs", type=int, default=2)
    options = parser.parse_args()
    quiet_libraries()
    two_workers(options.rounds, options.samples, options.epochs)
    runs(options.rounds)


if __name__ == "__main__":
    main()
