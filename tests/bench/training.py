"""What a training costs beyond its arithmetic: Ray, checkpoints, and each option of the step.

    python tests/bench/training.py --case ray          # Ray Train against the same loop under torchrun, two workers
    python tests/bench/training.py --case checkpoints  # seconds of one, as a share of the steps between two
    python tests/bench/training.py --case options      # a step with bf16, compile, an average, in parts, ...
    python tests/bench/training.py --case scaling      # profiles of one and two workers, and the model up to 64
    python tests/bench/training.py --case buckets      # settings of DistributedDataParallel, two workers

The demo's fluid and model, one CPU thread each worker. Contestants take turns in rounds; ratios are medians over the
rounds of one run with their range. Times of steps are those of the last epoch, without start-up and warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

import minconv
from pipeline import archive
from pipeline.cluster import connect
from pipeline.training import LocalWorker, StepProfile, TrainingJob, prepare, profile, profile_here, run_loop, train
from pipeline.training.checkpoints import Checkpoints
from pipeline.training.loop import Training
from pipeline.training.outcome import outcome_of
from tests.bench.buckets import buckets
from tests.bench.fluid import BATCH, archived_fluid
from tests.bench.process_group import ProcessGroup, torchrun

# Of the model of scaling: what a network of a GPU cluster has (400 Gb/s InfiniBand) and what one exchange of it waits.
BANDWIDTH, LATENCY = 50e9, 5e-6


def made(root: Path, samples: int, **training: Any) -> TrainingJob:
    """A job on a few simulations of the demo's fluid."""
    config = archived_fluid(root, samples, **{"epochs": 3, **training})
    return prepare(config, archive.head(config.archive_path))


def step_seconds(history: list[dict[str, Any]] | tuple[dict[str, Any], ...]) -> float:
    """Of the last epoch."""
    return float((history[-1]["seconds"] - history[-2]["seconds"]) / history[-1]["steps"])


def under_torchrun(root: Path, samples: int, folder: Path) -> float:
    """Seconds of a step of the same loop."""
    torchrun(__file__, "--worker", root, "--samples", samples, "--folder", folder)
    return step_seconds(outcome_of("torchrun", Checkpoints(folder), 0.0).history)


def torchrun_worker(root: Path, samples: int, folder: Path) -> None:
    torch.set_num_threads(1)
    minconv.keep_freed_memory()
    run_loop(made(root, samples, workers=2), ProcessGroup(folder))
    torch.distributed.destroy_process_group()


def ray_against_torchrun(root: Path, samples: int, rounds: int) -> None:
    job, ratios = made(root, samples, workers=2), []
    for number in range(rounds):
        with connect(cpus=2) as cluster:
            ours = step_seconds(train(job, f"ray-{number}", cluster).history)
        theirs = under_torchrun(root, samples, root / f"torchrun-{number}")
        ratios.append(ours / theirs)
        print(
            f"round {number + 1}: {1e3 * ours:.1f} ms a step by Ray Train, {1e3 * theirs:.1f} ms by torchrun",
            flush=True,
        )
    print(f"Ray Train against torchrun: {spread(ratios)}")


def checkpoints(root: Path, samples: int, rounds: int) -> None:
    job = made(root, samples, workers=0)
    training = Training(job, LocalWorker(root / "checkpoints"))
    training.run_epoch()
    seconds = []
    for step in range(max(5, rounds)):
        training.state.step = step
        started = time.perf_counter()
        training._keep()
        seconds.append(time.perf_counter() - started)
    every, one = job.config.training.checkpoint_seconds or float("nan"), statistics.median(seconds)
    print(f"a checkpoint: {1e3 * one:.1f} ms ({1e3 * min(seconds):.1f} to {1e3 * max(seconds):.1f})")
    print(f"share of the steps, one every {every:.0f} s: {one / every:.4%}")


OPTIONS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "Muon": {"optimizer": "muon"},
    "in 4 parts": {"accumulate": 4},
    "average of weights": {"average": 0.999},
    "bf16": {"precision": "bf16"},
    "compiled": {"compile": True},
    "layers computed again": {"activation_checkpointing": True},
}


def options(root: Path, samples: int, rounds: int) -> None:
    found: dict[str, list[float]] = {name: [] for name in OPTIONS}
    for _ in range(rounds):
        for name, changed in OPTIONS.items():
            found[name].append(profile_here(made(root, samples, workers=0, **changed)).seconds)
    first = found["as shipped"]
    for name, row in found.items():
        print(
            f"{name}: {1e3 * statistics.median(row):.1f} ms, {spread([a / b for a, b in zip(row, first, strict=True)])}"
        )


def scaling(root: Path, samples: int, rounds: int) -> None:
    def weak(workers: int) -> StepProfile:
        job = made(root, samples, workers=workers, batch_size=BATCH * workers)
        with connect(cpus=2) as cluster:
            return profile(job, cluster)

    def strong(workers: int) -> StepProfile:
        with connect(cpus=2) as cluster:
            return profile(made(root, samples, workers=workers), cluster)

    for name, measured in (("weak", weak), ("strong", strong)):
        ratios = []
        for _ in range(rounds):
            one, two = measured(1), measured(2)
            ratios.append(two.frames_per_second / one.frames_per_second)
            for found in (one, two):
                parts = ", ".join(f"{part} {1e3 * spent:.1f}" for part, spent in found.parts.items())
                print(f"{name}, {found.workers} worker(s): {1e3 * found.seconds:.1f} ms ({parts})", flush=True)
        print(f"{name} scaling, two workers against one: {spread(ratios)}")
        print(f"each of two workers sends {two.sent_bytes / 1e6:.3f} MB a step")
    print(
        f"model of docs/scaling.md, {one.gradient_bytes / 1e6:.3f} MB of gradients, a step of {STEP_MS} ms on one GPU:"
    )
    for workers in (1, 2, 4, 8, 16, 32, 64):
        exchange = exchange_seconds(one.gradient_bytes, workers)
        weakly, strongly = efficiency(STEP_MS / 1e3, exchange), efficiency(STEP_MS / 1e3 / workers, exchange)
        print(f"{workers:3d} workers: exchange {1e6 * exchange:.0f} us, weak {weakly:.1%}, strong {strongly:.1%}")


STEP_MS = 20.0  # assumed, as no GPU was at hand


def exchange_seconds(size: float, workers: int) -> float:
    """A ring: two passes of everybody's part over every link, each of which waits once."""
    return 2 * (workers - 1) * (size / workers / BANDWIDTH + LATENCY)


def efficiency(step: float, exchange: float) -> float:
    """Where the last half of the exchange runs after the backward pass."""
    return step / (step + exchange / 2)


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"


CASES: dict[str, Callable[[Path, int, int], None]] = {
    "ray": ray_against_torchrun,
    "checkpoints": checkpoints,
    "options": options,
    "scaling": scaling,
    "buckets": buckets,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=tuple(CASES), action="append", help="several may be given; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=20, help="simulations to train on")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        torchrun_worker(given.worker, given.samples, given.folder)
        return
    torch.set_num_threads(1)
    print(json.dumps({"torch": torch.__version__, "threads": 1, "load before": os.getloadavg()[0]}))
    for case in given.case or CASES:
        with tempfile.TemporaryDirectory(prefix="minconv-bench-") as folder:
            CASES[case](Path(folder), given.samples, given.rounds)


if __name__ == "__main__":
    main()
