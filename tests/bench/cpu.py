"""Benchmarks of minconv on a CPU: the scan and a whole training step, as ratios within one run.

    python tests/bench/cpu.py --threads 1 --case scan --case step-16-1 --rounds 30 --out runs/bench

Contestants take turns in one process (A, B, A, B, …); a ratio is the median over rounds of the ratio within a round,
with a 95 % bootstrap interval. Times are processor time of this process, which other processes on the machine disturb
less than the clock (``--clock wall`` for the clock; needed to see what several threads gain). Each contestant is
compared with float64 before it is timed, and nothing is timed that is wrong. Results: ``cpu.json`` and ``cpu.md``.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from minconv import Forecaster, ForecasterConfig
from minconv.scan import cpu, native, scan

WIDTHS = {"minconvgru": 49, "minconvlstm": 40, "minconvexplstm": 40, "convgru": 28, "convlstm": 25}


@dataclass
class Case:
    """Contestants by name; the first is ours, and every ratio is theirs over ours."""

    name: str
    contestants: dict[str, Callable[[], object]]
    errors: dict[str, float] = field(default_factory=dict)


def scan_case(shape: tuple[int, ...] = (2, 20, 32, 64, 64)) -> Case:
    """Forward and backward of the scan alone, against the log-domain form and the traffic it cannot avoid."""
    batch, time_, channels, height, width = shape
    pre = torch.randn(batch, time_, 2 * channels, height, width, requires_grad=True)
    bias = torch.randn(2 * channels, requires_grad=True)
    gradient = torch.randn(shape)
    planes = torch.randn(9 * gradient.numel() // 2)  # a copy reads and writes each
    target = torch.empty_like(planes)

    def run(backend: str) -> Callable[[], tuple[Tensor, ...]]:
        def both() -> tuple[Tensor, ...]:
            h, _ = scan(pre, cell="gru", bias=bias, backend=backend)
            return torch.autograd.grad(h, (pre, bias), gradient)

        return both

    contestants = {name: run(name) for name in ("cpu", "reference", "logspace")}
    double = [tensor.detach().double().requires_grad_() for tensor in (pre, bias)]
    h, _ = scan(double[0], cell="gru", bias=double[1], backend="reference")
    (truth,) = torch.autograd.grad(h, double[:1], gradient.double())
    errors = {name: _relative(one()[0], truth) for name, one in contestants.items()}
    return Case("scan", {**contestants, "copy of 9 planes": lambda: target.copy_(planes)}, errors)


def step_case(grid: int, batch: int, layers: int, frames: int = 25, cell: str = "minconvgru") -> Case:
    """A training step, against its convolutions alone, the log-domain form and the other networks."""
    x = torch.randn(batch, frames, 1, grid, grid)
    contestants: dict[str, Callable[[], object]] = {}
    errors: dict[str, float] = {}
    for name, kind, backend in (
        ("minconv", cell, "auto"),
        ("logspace", cell, "logspace"),
        ("convlstm", "convlstm", "auto"),
        ("convgru", "convgru", "auto"),
    ):
        torch.manual_seed(0)
        config = ForecasterConfig(in_channels=1, out_channels=1, hidden=(WIDTHS[kind],) * layers, cell=kind)
        model = Forecaster(config, backend=backend)
        contestants[name] = _training_step(model, x)
        errors[name] = _gradient_error(config, model, x)
    blocks = 3 if cell == "minconvlstm" else 2
    for name, layout in (("convolutions, channels_last", torch.channels_last), ("convolutions, NCHW", None)):
        contestants[name] = _convolutions(batch * frames, WIDTHS[cell], blocks, grid, layers, layout)
    return Case(f"step-{cell}-{grid}-{batch}-{layers}-{frames}", contestants, errors)


def _training_step(model: Forecaster, x: Tensor) -> Callable[[], None]:
    def step() -> None:
        model.zero_grad()
        y, _ = model(x)
        F.mse_loss(y[:, :-1], x[:, 1:]).backward()

    return step


def _gradient_error(config: ForecasterConfig, model: Forecaster, x: Tensor) -> float:
    """Relative error of a small problem's gradient against float64."""
    small = x[:1, :4]
    truth = Forecaster(config, backend="reference").double()
    truth.load_state_dict(model.state_dict())
    gradients = []
    for one, data in ((model, small), (truth, small.double())):
        _training_step(one, data)()
        gradients.append(torch.cat([parameter.grad.double().flatten() for parameter in one.parameters()]))
    return _relative(*gradients)


def _convolutions(
    count: int, width: int, blocks: int, grid: int, layers: int, layout: torch.memory_format | None
) -> Callable[[], None]:
    """Forward and backward of the layers' convolutions, zero-padded: the floor."""
    weights = [torch.randn(blocks * width, width, 3, 3, requires_grad=True) for _ in range(layers)]
    x = torch.randn(count, width, grid, grid).contiguous(memory_format=layout or torch.contiguous_format)
    gradient = torch.randn(count, blocks * width, grid, grid)
    gradient = gradient.contiguous(memory_format=layout or torch.contiguous_format)
    x.requires_grad_()

    def run() -> None:
        outputs = [F.conv2d(x, weight, padding=1) for weight in weights]  # all kept, as a network keeps them
        for output, weight in zip(outputs, weights, strict=True):
            torch.autograd.grad(output, (x, weight), gradient)

    return run


def measure(case: Case, rounds: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each contestant in each round, after one that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in case.contestants}
    for number in range(rounds + 1):
        for name, run in case.contestants.items():
            begin = clock()
            run()
            if number:
                times[name].append(clock() - begin)
    return times


def summarise(case: Case, times: dict[str, list[float]]) -> list[dict[str, object]]:
    """One row for each contestant: median and least time, and its ratio to ours with an interval."""
    random = np.random.default_rng(0)
    ours = np.array(next(iter(times.values())))
    rows: list[dict[str, object]] = []
    floors = [name for name in times if name.startswith("convolutions")]
    if floors:
        times = {**times, "convolutions, faster": min((times[name] for name in floors), key=np.median)}
    for name, seconds in times.items():
        ratio = np.array(seconds) / ours
        draws = np.median(random.choice(ratio, (2000, len(ratio))), axis=1)
        low, high = np.percentile(draws, (2.5, 97.5))
        rows.append(
            {
                "case": case.name,
                "contestant": name,
                "median_ms": 1e3 * float(np.median(seconds)),
                "least_ms": 1e3 * float(np.min(seconds)),
                "times_ours": float(np.median(ratio)),
                "interval": [float(low), float(high)],
                "ratio_of_least": float(np.min(seconds) / ours.min()),
                "error": case.errors.get(name),
            }
        )
    return rows


def _relative(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


def _machine(threads: int, clock: str) -> dict[str, object]:
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.processor(),
        "threads": threads,
        "clock": clock,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "native": native.load(cpu.SOURCE).reason or "yes",
        "commit": revision.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def _markdown(machine: dict[str, object], rows: list[dict[str, object]]) -> str:
    lines = [", ".join(f"{name}: {value}" for name, value in machine.items()), ""]
    lines += [
        "| case | contestant | median ms | least ms | times ours | 95 % | error |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = row["interval"]
        error = "" if row["error"] is None else f"{row['error']:.1e}"
        lines.append(
            f"| {row['case']} | {row['contestant']} | {row['median_ms']:.1f} | {row['least_ms']:.1f} "
            f"| {row['times_ours']:.2f} | {low:.2f}–{high:.2f} | {error} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the cases that are named and write their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", help="scan, or step-<grid>-<batch> (4 layers up to 16, else 3)")
    parser.add_argument("--cell", default="minconvgru", choices=("minconvgru", "minconvlstm", "minconvexplstm"))
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", default="process", choices=("process", "wall"))
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.clock == "process" else time.perf_counter
    rows: list[dict[str, object]] = []
    for name in arguments.case or ["scan", "step-16-1"]:
        torch.manual_seed(0)
        if name == "scan":
            case = scan_case()
        else:
            grid, batch = (int(part) for part in name.split("-")[1:])
            case = step_case(grid, batch, 4 if grid <= 16 else 3, arguments.frames, arguments.cell)
        if any(error > (1e-3 if contestant == "logspace" else 1e-5) for contestant, error in case.errors.items()):
            sys.exit(f"{case.name}: wrong before it is fast: {case.errors}")
        rows += summarise(case, measure(case, arguments.rounds, clock))
    machine = _machine(arguments.threads, arguments.clock)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "cpu.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    text = _markdown(machine, rows)
    (arguments.out / "cpu.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
