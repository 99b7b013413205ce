"""From the command to the first step of a training: where the time goes.

    python tests/bench/startup.py --rounds 3

Commands as a user types them, on the demo's small fluid: `minconv train` with Ray (into a registry that is not there
yet, then into one that is), without Ray (training.workers=0), and the whole of `minconv run`; beside them `--help` and
`models`. "The first" means that neither byte code of ours nor a native kernel nor a registry is there; libraries and
files are in the page cache, which belongs to everyone. What is written down, and how, is in `startup_trace.py`; the
product knows nothing of it.

Processor time is that of all processes of the command together, from its start to the first step. The clock is that of
a machine that does other work as well, unless it is yours alone: of several rounds the quickest is shown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
MINCONV = [sys.executable, "-c", "from workflows.cli import main; main()"]
TICKS = os.sysconf("SC_CLK_TCK")
SECONDS = 600.0
TREE = """
name: startup
generate: {kind: navier_stokes, samples: 8, steps: 50, size: 32, coarsen: 2}
variables: {vorticity: {units: s-1}}
split: {train: 0.5, validation: 0.25, test: 0.25}
window: {history: 20, horizon: 20, stride: 10}
model: {hidden: [40, 40, 40, 40, 40, 40], patch: 2, norm: channel, tendency: true}
training: {epochs: 1, batch_size: 1, threads: 1}
"""


@dataclass
class Start:
    """What one command wrote down.

    Attributes:
        began: When it was started, by the clock.
        marks: Lines of the trace.
        step: When the first step of an optimizer was done.
        processor: Processor time of all its processes until then.
        processes: How many those were.
        total: Seconds until the command ended.
    """

    began: float
    marks: list[dict[str, Any]] = field(default_factory=list)
    step: float = 0.0
    processor: float = 0.0
    processes: int = 0
    total: float = 0.0

    @property
    def seconds(self) -> float:
        """From the command to the first step."""
        return self.step - self.began


def observe(words: Sequence[str], folder: Path, trace: Path, cold: bool) -> Start:
    """Run a command to its end; `cold`, with code that has no byte code yet and no native kernel that was built."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).with_name("startup_trace.py"), site / "sitecustomize.py")
    trace.unlink(missing_ok=True)
    code, environment = REPOSITORY, os.environ | {"MINCONV_BENCH_TRACE": str(trace)}
    if cold:
        code = folder / f"code-{time.time_ns()}"
        for package in ("minconv", "pipeline", "workflows"):
            shutil.copytree(REPOSITORY / package, code / package, ignore=shutil.ignore_patterns("__pycache__"))
        environment["XDG_CACHE_HOME"] = str(code / "cache")
    environment["PYTHONPATH"] = f"{site}{os.pathsep}{code}"
    start = Start(time.time())
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [*MINCONV, *words], env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None and time.time() < start.began + SECONDS:
            if not start.step and trace.is_file() and '"step"' in trace.read_text(encoding="utf-8"):
                start.step = time.time()
                start.processor, start.processes = below(process.pid)
            time.sleep(0.02)
        process.kill()
    if process.wait() != 0:
        raise RuntimeError((folder / "output").read_text(encoding="utf-8")[-2000:])
    start.total = time.time() - start.began
    start.marks = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    start.step = min((mark["began"] for mark in start.marks if mark["kind"] == "step"), default=start.step)
    return start


def below(pid: int) -> tuple[float, int]:
    """Processor time of a process, of all below it and of those that they waited for; and how many they are."""
    stats: dict[int, list[str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                stats[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
    found, todo = set[int](), [pid]
    while todo:
        one = todo.pop()
        found.add(one)
        todo += [child for child, stat in stats.items() if int(stat[1]) == one and child not in found]
    times = [sum(int(stats[one][place]) for place in (11, 12, 13, 14)) for one in found if one in stats]
    return sum(times) / TICKS, len(times)


def table(start: Start) -> list[tuple[str, float, float]]:
    """Item, seconds by the clock and of the processor, in the order in which they begin.

    Items of one process follow each other or lie within one another; those of several run side by side.
    """
    rows = []
    main = start.marks[0]["pid"]
    steps = {mark["pid"] for mark in start.marks if mark["kind"] == "step"}
    for mark in sorted(start.marks, key=lambda mark: mark["began"]):
        name = LABELS.get(mark["name"])
        if name is None or mark["began"] > start.step:
            continue
        inside = "command" if mark["pid"] == main else "worker" if mark["pid"] in steps else "other"
        if inside == "other" and mark["name"] not in OF_OTHERS:
            continue
        place = "controller" if inside == "other" else inside
        took = min(mark["ended"], start.step) - mark["began"]
        if took >= 0.05:
            rows.append((f"{mark['began'] - start.began:.1f}", f"{place}: {name}", took, mark["cpu"]))
    return [(f"{at} s {what}", took, cpu) for at, what, took, cpu in rows]


LABELS = {
    "workflows.commands": "imports of the command (torch, xarray, icechunk among them)",
    "workflows.run": "imports of the command (torch, xarray, icechunk among them)",
    "torch": "import torch",
    "xarray": "import xarray",
    "mlflow": "import mlflow (in a thread)",
    "load_config": "configuration",
    "Registry.__init__": "connecting to MLflow, its import and a new database included (in a thread)",
    "Registry.find": "asking MLflow for a version of this run (in a thread)",
    "Registry.run": "opening the run in MLflow (in a thread)",
    "prepare": "splits and statistics",
    "ray": "import ray",
    "init": "ray.init",
    "ray.train": "import ray.train",
    "ray.train.torch": "import ray.train.torch",
    "TrainController.__init__": "the controller's own start",
    "WorkerGroup._start": "starting the worker group (the workers' imports are in it)",
    "pipeline.training": "import pipeline.training",
    "init_process_group": "process group",
    "run_loop": "reader, model, optimizer, first batch and step",
    "load": "building or loading the native kernel",
}
OF_OTHERS = ("ray.train", "ray.train.torch", "TrainController.__init__", "WorkerGroup._start")


def show(name: str, starts: Sequence[Start]) -> None:
    """Print the quickest of several starts of a command."""
    best = min(starts, key=lambda start: start.seconds)
    every = ", ".join(f"{start.seconds:.1f}" for start in starts)
    print(f"\n## {name}\n")
    print(
        f"{best.seconds:.1f} s to the first step (rounds: {every}), {best.processor:.1f} s of processor time in "
        f"{best.processes} processes; {best.total:.1f} s to the end\n"
    )
    print("| began, where: what | s | of the processor |\n|---|--:|--:|")
    for what, took, cpu in table(best):
        print(f"| {what} | {took:.1f} | {cpu:.1f} |")


def untraced(words: Sequence[str], folder: Path) -> None:
    """Run a command as a user would."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    subprocess.run([*MINCONV, *words], check=True, capture_output=True, cwd=folder, env=environment)


def quick(words: Sequence[str], folder: Path, rounds: int) -> None:
    """Print how long a command takes that trains nothing."""
    took = []
    for _ in range(rounds):
        before, began = os.times(), time.perf_counter()
        untraced(words, folder)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        took.append((time.perf_counter() - began, spent))
    print(f"| minconv {' '.join(words[:1])} | {min(took)[0]:.2f} | {min(spent for _, spent in took):.2f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", action="append", choices=["ray", "here", "run", "quick"], help="default: all")
    given = parser.parse_args()
    cases = given.case or ["ray", "here", "run", "quick"]
    versions = ", ".join(f"{name} {version(name)}" for name in ("ray", "torch", "mlflow", "xarray"))
    load = os.getloadavg()[0]
    cores, python = len(os.sched_getaffinity(0)), platform.python_version()
    print(f"cores: {cores}, load before: {load:.1f}, python {python}, {versions}")
    with tempfile.TemporaryDirectory(prefix="minconv-startup-") as name:
        folder = Path(name)
        (folder / "startup.yaml").write_text(TREE)
        measure(cases, folder, given.rounds)


def measure(cases: Sequence[str], folder: Path, rounds: int) -> None:
    """Run the cases in a folder, by turns."""
    trace, common = folder / "trace", ["-c", "startup.yaml", "--set"]
    starts: dict[str, list[Start]] = {}

    def one(title: str, command: str, root: str, *settings: str, cold: bool = False) -> None:
        chosen = [word for setting in settings for word in ("--set", setting)]
        words = [command, *common, f"root={folder / root}", *chosen]
        starts.setdefault(title, []).append(observe(words, folder, trace, cold))

    for words in (
        ["generate", "navier-stokes", "-o", str(folder / "made/startup/generated"), "--samples", "8", "--coarsen", "2"],
        ["ingest", *common, f"root={folder / 'made'}"],
    ):
        untraced(words, folder)
    for number in range(rounds):
        if "ray" in cases:
            shutil.copytree(folder / "made", folder / f"ray-{number}")
            one("minconv train, the first", "train", f"ray-{number}", cold=True)
            one("minconv train, again (another seed)", "train", f"ray-{number}", "seed=1")
        if "here" in cases:
            shutil.copytree(folder / "made", folder / f"here-{number}")
            one("minconv train without Ray, the first", "train", f"here-{number}", "training.workers=0", cold=True)
            one("minconv train without Ray, again", "train", f"here-{number}", "training.workers=0", "seed=1")
        if "run" in cases:
            one("minconv run", "run", f"run-{number}")
    for title, found in starts.items():
        show(title, found)
    if "quick" in cases:
        print("\n| command | s | of the processor |\n|---|--:|--:|")
        quick(["--help"], folder, rounds)
        root = "made" if "ray" not in cases else "ray-0"
        quick(["models", *common, f"root={folder / root}"], folder, rounds)


if __name__ == "__main__":
    main()
