"""Benchmarks of minconv on a CPU: the scan, a whole training step and its peak memory, as ratios within one run.

    python tests/bench/cpu.py                    # the table of the README, about a quarter of an hour
    python tests/bench/cpu.py --case scan --case step-minconvlstm-16-1-25 --threads 1 --rounds 30

A case is `scan`, or step-CELL-GRID-BATCH-FRAMES: a training step of 4 layers on a grid up to 16 x 16, else of 3, at
about 175 thousand parameters. Contestants take turns in one process (A, B, A, B, …); a ratio is the median over rounds
of the ratio within a round, with a 95 % bootstrap interval. Times are processor time of this process, which other
processes of the machine disturb less than the clock (`--clock wall` for the clock; several threads need it). Each
contestant is compared with float64 before it is timed, and nothing is timed that is wrong. Peak memory is that of a
process of its own for each network, two steps, libraries included. Results: ``cpu.json`` and ``cpu.md``.
"""

from __future__ import annotations

import argparse
import json
import platform
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

from minconv import Forecaster, ForecasterConfig, keep_freed_memory
from minconv.scan import cpu, native, scan
from pipeline.machine import processor_name

CASES = (
    "scan",
    *(f"step-{cell}-16-{batch}-25" for cell in ("minconvgru", "minconvlstm", "minconvexplstm") for batch in (1, 16)),
    *("step-minconvgru-64-2-25", "step-minconvgru-64-8-25", "step-minconvgru-64-2-100"),
)
LEAST_ROUNDS = 3
WIDTHS = {"minconvgru": 49, "minconvlstm": 40, "minconvexplstm": 40, "convgru": 28, "convlstm": 25}


@dataclass
class Case:
    """Contestants by name; the first is ours, and every ratio is theirs over ours."""

    name: str
    contestants: dict[str, Callable[[], object]]
    errors: dict[str, float] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)


def scan_case(shape: tuple[int, ...] = (2, 20, 32, 64, 64)) -> Case:
    """Forward and backward of the scan alone, against the log-domain form and the traffic it cannot avoid."""
    batch, time_, channels, height, width = shape
    pre = torch.randn(batch, time_, 2 * channels, height, width, requires_grad=True)
    bias = torch.randn(2 * channels, requires_grad=True)
    gradient = torch.randn(shape)
    planes = torch.randn(9 * gradient.numel() // 2)  # a copy reads and writes each
    target = torch.empty_like(planes)

    def run(forward: Callable[[], Tensor]) -> Callable[[], tuple[Tensor, ...]]:
        return lambda: torch.autograd.grad(forward(), (pre, bias), gradient)

    def backend(name: str) -> Callable[[], Tensor]:
        return lambda: scan(pre, cell="gru", bias=bias, backend=name)[0]

    def loop() -> Tensor:
        """Frame by frame, as one would write it."""
        k, v = (pre + bias[:, None, None]).chunk(2, dim=2)
        z, g = k.sigmoid(), torch.where(v >= 0, v + 0.5, v.sigmoid())
        h, frames = torch.full_like(z[:, 0], 0.5), []
        for t in range(time_):
            h = torch.lerp(h, g[:, t], z[:, t])
            frames.append(h)
        return torch.stack(frames, dim=1)

    contestants = {name: run(backend(name)) for name in ("cpu", "logspace")}
    contestants["logspace, compiled"] = run(torch.compile(backend("logspace")))
    contestants |= {"loop": run(loop), "loop, compiled": run(torch.compile(loop))}
    double = [tensor.detach().double().requires_grad_() for tensor in (pre, bias)]
    h, _ = scan(double[0], cell="gru", bias=double[1], backend="reference")
    (truth,) = torch.autograd.grad(h, double[:1], gradient.double())
    errors = {name: _relative(one()[0], truth) for name, one in contestants.items()}
    return Case("scan", {**contestants, "copy of 9 planes": lambda: target.copy_(planes)}, errors)


def step_case(cell: str, grid: int, batch: int, frames: int) -> Case:
    """A training step, against its convolutions alone, the log-domain form and the other networks."""
    x = torch.randn(batch, frames, 1, grid, grid)
    contestants: dict[str, Callable[[], object]] = {}
    errors: dict[str, float] = {}
    for name in ("minconv", "logspace", "convlstm", "convgru"):
        model = _network(name, cell, grid)
        contestants[name] = _training_step(model, x)
        errors[name] = _gradient_error(model, x)
    blocks = 3 if cell == "minconvlstm" else 2
    for name, layout in (("convolutions, channels_last", torch.channels_last), ("convolutions, NCHW", None)):
        contestants[name] = _convolutions(batch * frames, WIDTHS[cell], blocks, grid, _layers(grid), layout)
    return Case(f"step-{cell}-{grid}-{batch}-{frames}", contestants, errors)


def _network(name: str, cell: str, grid: int) -> Forecaster:
    """The network of a contestant; "minconv" and "logspace" are the cell of the case."""
    torch.manual_seed(0)
    kind = cell if name in ("minconv", "logspace") else name
    config = ForecasterConfig(in_channels=1, out_channels=1, hidden=(WIDTHS[kind],) * _layers(grid), cell=kind)
    return Forecaster(config, backend="logspace" if name == "logspace" else "auto")


def _layers(grid: int) -> int:
    return 4 if grid <= 16 else 3


def _training_step(model: Forecaster, x: Tensor) -> Callable[[], None]:
    def step() -> None:
        model.zero_grad()
        y, _ = model(x)
        F.mse_loss(y[:, :-1], x[:, 1:]).backward()

    return step


def _gradient_error(model: Forecaster, x: Tensor) -> float:
    """Relative error of a small problem's gradient against float64."""
    small = x[:1, :4]
    truth = Forecaster(model.config, backend="reference").double()
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


def measure(case: Case, rounds: int, seconds: float, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of each contestant in each round, after one that is not counted; fewer rounds where time is up."""
    times: dict[str, list[float]] = {name: [] for name in case.contestants}
    started = time.monotonic()
    for number in range(rounds + 1):
        for name, run in case.contestants.items():
            begin = clock()
            run()
            if number:
                times[name].append(clock() - begin)
        if number >= LEAST_ROUNDS and time.monotonic() - started > seconds:
            break
    return times


def peak_memory(cell: str, grid: int, batch: int, frames: int) -> dict[str, int]:
    """Peak resident MiB of two training steps of each network, in a process of its own."""
    peaks = {}
    for name in ("minconv", "convlstm", "convgru"):
        request = json.dumps([name, cell, grid, batch, frames, torch.get_num_threads()])
        command = [sys.executable, __file__, "--only", request]
        peaks[name] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return peaks


def _run_alone(request: str) -> None:
    """Two training steps of one network; prints the peak of this process in MiB."""
    name, cell, grid, batch, frames, threads = json.loads(request)
    torch.set_num_threads(threads)
    step = _training_step(_network(name, cell, grid), torch.randn(batch, frames, 1, grid, grid))
    for _ in range(2):
        step()
    # Not getrusage: it counts from the parent's size on.
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) // 1024)


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
                "rounds": len(ratio),
                "peak_mib": case.peaks.get(name),
            }
        )
    return rows


def _relative(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected.double()).norm() / expected.double().norm()).item()


def _machine(threads: int, clock: str) -> dict[str, object]:
    revision = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "processor": processor_name(),
        "threads": threads,
        "clock": clock,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "native": native.load(cpu.SOURCE).reason or "yes",
        "commit": revision.stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }


_HEADER = """\
| case | contestant | median ms | least ms | times ours | 95 % | rounds | error | peak MiB |
|---|---|--:|--:|--:|--:|--:|--:|--:|
"""


def _rows(rows: list[dict[str, object]]) -> str:
    lines = []
    for row in rows:
        low, high = row["interval"]
        error = "" if row["error"] is None else f"{row['error']:.1e}"
        lines.append(
            f"| {row['case']} | {row['contestant']} | {row['median_ms']:.1f} | {row['least_ms']:.1f} "
            f"| {row['times_ours']:.2f} | {low:.2f}–{high:.2f} | {row['rounds']} | {error} "
            f"| {row['peak_mib'] or ''} |\n"
        )
    return "".join(lines)


def main() -> None:
    """Run the cases that are named and write their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", help=f"repeatable; default: {' '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=90.0, help=f"of a case, but {LEAST_ROUNDS} rounds at least")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", default="process", choices=("process", "wall"))
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    parser.add_argument("--only", metavar="REQUEST", help=argparse.SUPPRESS)  # a process that measures its memory
    arguments = parser.parse_args()
    keep_freed_memory()
    if arguments.only:
        return _run_alone(arguments.only)
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.clock == "process" else time.perf_counter
    rows: list[dict[str, object]] = []
    for name in arguments.case or CASES:
        torch.manual_seed(0)
        if name == "scan":
            case = scan_case()
        else:
            cell, *sizes = name.split("-")[1:]
            case = step_case(cell, *map(int, sizes))
            case.peaks = peak_memory(cell, *map(int, sizes))
        if any(error > (1e-3 if "logspace" in one else 1e-5) for one, error in case.errors.items()):
            sys.exit(f"{case.name}: wrong before it is fast: {case.errors}")
        found = summarise(case, measure(case, arguments.rounds, arguments.seconds, clock))
        rows += found
        print(_rows(found), flush=True)
    machine = _machine(arguments.threads, arguments.clock)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "cpu.json").write_text(json.dumps({"machine": machine, "rows": rows}, indent=2) + "\n")
    heading = ", ".join(f"{name}: {value}" for name, value in machine.items())
    (arguments.out / "cpu.md").write_text(f"{heading}\n\n{_HEADER}{_rows(rows)}")
    print(heading)
    return None


if __name__ == "__main__":
    main()
