"""Trainings that are killed at random steps by another process, and what it costs; see `test_killed_training`.

    python -m tests.pipeline.training.killed_training FOLDER here   --kills 30   # without Ray: the process
    python -m tests.pipeline.training.killed_training FOLDER rank   --kills 5    # one of two Ray workers
    python -m tests.pipeline.training.killed_training FOLDER ranks  --kills 5    # all of them
    python -m tests.pipeline.training.killed_training FOLDER driver --kills 5    # the command itself
    python -m tests.pipeline.training.killed_training FOLDER head   --kills 5    # Ray's head
    python -m tests.pipeline.training.killed_training FOLDER stop   --kills 2    # SIGSTOP of one of the workers

Several of those with Ray may be given, which take turns: `driver stop --kills 2` is one run with one of each.

One line of JSON for each kill, then one for all: whether the same command came to the same end as a run that nobody
killed (largest deviation of any weight or loss; 0 means the same bits), and the seconds from a kill to the moment when
the training was again as far as it had been.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import minconv
from pipeline import archive
from pipeline.cluster import connect
from pipeline.config import Config, check_config
from pipeline.ingest import ingest
from pipeline.progress import Event
from pipeline.synthetic import generate
from pipeline.training import LocalWorker, TrainingOutcome, pace, prepare, run_loop, train, train_here
from pipeline.training.outcome import outcome_of

RAY_MODES = ("rank", "ranks", "driver", "head", "stop")
EPOCHS = {True: 60, False: 12}  # with Ray, which has to start again after a kill, and without
ENDING = ("here", "driver", "head")  # modes in which the command ends and has to be started again
CHECKPOINT_SECONDS = 0.5
STALL_SECONDS = 15.0
HEARD_SECONDS = 2.0  # after a kill: what workers had said before it
PATIENCE_SECONDS = 400.0  # a child that says nothing for so long hangs
MEASURED = ("seconds", "frames_per_second", "data_wait", "peak_memory_mb")
REPOSITORY = Path(__file__).resolve().parents[3]


def settings(root: Path, ray: bool, epochs: int) -> Config:
    """A model of seconds on advected blobs."""
    return check_config(
        {
            "name": "killed",
            "root": str(root),
            "generate": {"kind": "advection", "samples": 24, "steps": 14, "size": 8, "coarsen": 1},
            "variables": {"tracer": {"units": "1"}},
            "archive": {"chunk_time": 14, "shard_time": 14},
            "window": {"history": 4, "horizon": 4, "stride": 1},
            "model": {"hidden": [8], "patch": 1},
            "training": {
                "epochs": epochs,
                "batch_size": 2,
                "threads": 1,
                "workers": 2 if ray else 0,
                "average": 0.99,
                "max_failures": 1000,
                "checkpoint_seconds": CHECKPOINT_SECONDS if ray else 0.1,
                "stall_seconds": STALL_SECONDS,
            },
        }
    )


def child(config: Config) -> None:
    """Train to the end in this process; a line for every step that is heard of."""

    def say(event: Event) -> None:
        print(json.dumps({"done": event.done, "total": event.total}), flush=True)

    job = prepare(config, archive.head(config.archive_path))
    if config.training.workers == 0:
        pace.LOOK_SECONDS = 0.0  # a line for every step
        train_here(job, "run", say)
        return
    with connect(cpus=2) as cluster:
        train(job, "run", cluster, say)


def end_of(outcome: TrainingOutcome) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Weights and the computed part of the records."""
    tensors = {
        f"{part}/{name}": value
        for part in ("latest", "best", "average")
        for name, value in minconv.load(outcome.checkpoint.parent / part)[0].state_dict().items()
    }
    return tensors, [{key: value for key, value in one.items() if key not in MEASURED} for one in outcome.history]


def deviation(outcome: TrainingOutcome, expected: TrainingOutcome) -> float:
    """The largest of any weight or loss, relative to the largest weight of its tensor."""
    (mine, history), (theirs, their_history) = end_of(outcome), end_of(expected)
    assert [one["epoch"] for one in history] == [one["epoch"] for one in their_history]
    pairs = [(mine[name], value) for name, value in theirs.items()]
    pairs += [
        (torch.tensor(one[key]), torch.tensor(other[key]))
        for one, other in zip(history, their_history, strict=True)
        for key in one
    ]
    return max(float((one - other).abs().max() / other.abs().max().clamp(min=1e-12)) for one, other in pairs)


@dataclass
class Report:
    """What came of some kills."""

    modes: tuple[str, ...]
    seed: int
    kills: int = 0
    starts: int = 0
    lost_seconds: list[float] = field(default_factory=list)
    deviation: float = float("inf")

    def summary(self) -> dict[str, Any]:
        lost = [round(seconds, 2) for seconds in self.lost_seconds]
        return {
            "modes": self.modes,
            "seed": self.seed,
            "kills": self.kills,
            "starts": self.starts,
            "largest_deviation": self.deviation,
            "seconds_lost": lost,
            "median_seconds_lost": statistics.median(lost) if lost else None,
            "most_seconds_lost": max(lost, default=None),
        }


class Child:
    """A training in a process of its own, and the steps it says it has done."""

    def __init__(self, config: Config) -> None:
        words = [str(config.root), "child", "--epochs", str(config.training.epochs)]
        words += ["--without-ray"] if config.training.workers == 0 else []
        command = [sys.executable, "-m", "tests.pipeline.training.killed_training", *words]
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        self.said: list[str] = []
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=self._hear_errors, daemon=True).start()

    def steps(self) -> Iterator[int]:
        """Steps of the run that are done, as they come, until the process ends."""
        while True:
            line = self._lines.get(timeout=PATIENCE_SECONDS)
            if line is None:
                self._lines.put(None)  # for whoever asks again
                return
            if line.startswith('{"done"'):  # Ray says something too, when it loses a worker
                yield int(json.loads(line)["done"])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def descendants(self, title: bytes) -> list[int]:
        """Processes below it that have this in their command line."""
        parents, titles = {}, {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                try:
                    parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                    titles[int(entry.name)] = (entry / "cmdline").read_bytes()
                except OSError:
                    continue
        below, found = {self.process.pid}, set[int]()
        while below:
            below = {pid for pid, parent in parents.items() if parent in below}
            found |= below
        return sorted(pid for pid in found if title in titles.get(pid, b""))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _hear_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)


def strike(mode: str, one: Child, draw: random.Random) -> str:
    """Do it; what was killed."""
    if mode in ("here", "driver"):
        one.kill()
        return "the process"
    if mode == "head":
        victims = one.descendants(b"gcs_server")
    else:
        victims = one.descendants(b"RayTrainWorker")
        if mode != "ranks" and victims:
            victims = [draw.choice(victims)]
    for pid in victims:
        os.kill(pid, signal.SIGSTOP if mode == "stop" else signal.SIGKILL)
    return f"{len(victims)} process(es)" if victims else ""


def killed(config: Config, modes: tuple[str, ...], kills: int, seed: int) -> Report:
    """Kill a training so often, at random steps, and start the same command again where it has ended."""
    draw, report = random.Random(seed), Report(modes, seed)
    assert config.generate is not None
    if not archive.exists(config.archive_path):
        generate(config.generate, config.source_path)
        ingest(config)
    expected = whole(config, config.root / "whole")
    reached, since, total = 0, 0.0, len(expected.history) * int(expected.history[0]["steps"])
    while True:
        one, wait = Child(config), None
        report.starts += 1
        for done in one.steps():
            if since and time.monotonic() - since < HEARD_SECONDS:
                reached = max(reached, done)
            elif since and done >= reached:
                report.lost_seconds.append(time.monotonic() - since)
                since = 0.0
            if wait is None and not since and report.kills < kills:  # so many steps are left to go before a kill
                wait = draw.randint(1, max(1, (total - done) // (2 * (kills - report.kills))))
                wait += done
            if wait is not None and done >= wait:
                time.sleep(draw.uniform(0.0, 0.05))  # anywhere within a step, or a checkpoint
                mode = modes[report.kills % len(modes)]
                what = strike(mode, one, draw)
                if what:
                    report.kills += 1
                    reached, since, wait = done, time.monotonic(), None
                    if mode in ENDING:  # what it had said before it was dead
                        reached = max([done, *one.steps()])
                    print(json.dumps({"kill": report.kills, "what": what, "after step": done, "of": total}), flush=True)
        if one.process.wait() == 0:
            break
        if not since:
            raise RuntimeError(
                f"the training ended with {one.process.returncode} and nobody killed it: {one.said[-9:]}"
            )
    report.deviation = deviation(
        outcome_of("run", LocalWorker(config.work_dir / "training" / "run").checkpoints, 0.0), expected
    )
    return report


def whole(config: Config, folder: Path) -> TrainingOutcome:
    """The same run, killed by nobody: on Ray with its two workers, as the order of sums is part of the bits."""
    job = prepare(config, archive.head(config.archive_path))
    if config.training.workers == 0:
        torch.set_num_threads(1)
        worker = LocalWorker(folder)
        run_loop(job, worker)
        return outcome_of("whole", worker.checkpoints, 0.0)
    with connect(cpus=2) as cluster:
        return train(job, "whole", cluster)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", nargs="+", choices=("here", *RAY_MODES, "child"))
    parser.add_argument("--without-ray", action="store_true", help="of a child")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="of the training; default: 60 on Ray, 12 without")
    given = parser.parse_args()
    ray = "here" not in given.what and not given.without_ray
    config = settings(given.folder, ray, given.epochs or EPOCHS[ray])
    if given.what == ["child"]:
        child(config)
        return
    print(json.dumps(killed(config, tuple(given.what), given.kills, given.seed).summary()))


if __name__ == "__main__":
    main()
