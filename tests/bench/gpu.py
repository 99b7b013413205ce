"""Benchmark of the scan and of whole training steps on a GPU.

    python tests/bench/gpu.py --json runs/bench/gpu.json        # on a machine with a CUDA device
    python tests/bench/gpu.py --smoke                           # the same code with tiny shapes on the CPU: no figures

Contestants take turns in one process; a figure is the median over rounds of the ratio within a round, with a 95 %
bootstrap interval. Nothing is timed before its results agree with float64. The copy that stands for the bandwidth of
the memory moves exactly the bytes that the scan has to move (pre and h, and in the backward pass their gradients, once
each), so that its time over ours is the share of copy bandwidth that is reached.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch import Tensor

from minconv.baselines import ConvLSTM
from minconv.cells import MinConvGRU
from minconv.layers import convolve
from minconv.scan import BLOCKS, scan

Step = Callable[[], object]

# B, T, C, H, W: anchor, paper-like, geopotential, latency (two), long, odd.
SHAPES = [
    (8, 24, 64, 128, 128),
    (8, 20, 16, 64, 64),
    (16, 50, 16, 64, 64),
    (8, 20, 32, 32, 64),
    (1, 10, 16, 32, 32),
    (4, 10, 20, 4, 4),
    (1, 2000, 16, 16, 16),
    (3, 17, 12, 37, 53),
]
LAYER_SHAPES = [(4, 10, 20, 64, 64), (8, 20, 64, 64, 64)]
SMOKE_SHAPES = [(2, 5, 4, 6, 8), (1, 3, 3, 5, 7)]
LIMITS = {torch.float32: (5e-7, 1e-6), torch.bfloat16: (4e-3, 6e-3)}
# Of a float64 check on the device: larger batches are checked with their first sequence.
CHECKED_VALUES = 2**26


@dataclass(frozen=True)
class Figure:
    """Times of one contestant, and how many times as long as the first contestant it takes."""

    case: str
    contestant: str
    milliseconds: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True)
class Setting:
    """Where and how long to measure."""

    device: torch.device
    ours: str
    rounds: int

    def clock(self, step: Step) -> float:
        """Milliseconds of one step; on a GPU between two events, after the cache has been swept."""
        if self.device.type != "cuda":
            start = time.perf_counter()
            step()
            return 1e3 * (time.perf_counter() - start)
        torch.empty(2**26, device=self.device, dtype=torch.int32).zero_()
        start_event, end_event = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start_event.record()
        step()
        end_event.record()
        end_event.synchronize()
        return float(start_event.elapsed_time(end_event))


def compare(case: str, contestants: dict[str, Step], setting: Setting) -> list[Figure]:
    """Warm up, then rounds in which each contestant has one turn, in an order that changes."""
    for step in contestants.values():
        for _ in range(3):
            step()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    order, shuffle = list(contestants), random.Random(0)
    for _ in range(setting.rounds):
        shuffle.shuffle(order)
        for name in order:
            times[name].append(setting.clock(contestants[name]))
    first = times[next(iter(contestants))]
    figures = []
    for name, own in times.items():
        ratios = [one / other for one, other in zip(own, first, strict=True)]
        low, high = bootstrap(ratios)
        figures.append(Figure(case, name, statistics.median(own), statistics.median(ratios), low, high))
    return figures


def bootstrap(values: list[float], draws: int = 1000) -> tuple[float, float]:
    """95 % interval of the median."""
    generator = random.Random(1)
    medians = sorted(statistics.median(generator.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws) - 1]


def make_pre(shape: tuple[int, ...], cell: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Normal numbers, frames channels_last as the model has them."""
    batch, frames, channels, height, width = shape
    generator = torch.Generator(device).manual_seed(0)
    size = (batch, frames, height, width, BLOCKS[cell] * channels)
    return torch.randn(size, generator=generator, device=device).to(dtype).movedim(-1, 2)


def check(pre: Tensor, cell: str, backend: str) -> None:
    """Stop if h or its gradient is farther from float64 than rounding explains."""
    piece = pre[:1] if pre.numel() > CHECKED_VALUES else pre
    results = []
    for x, name in ((piece, backend), (piece.double(), "reference")):
        x = x.detach().requires_grad_()
        h, _ = scan(x, cell=cell, backend=name)  # type: ignore[arg-type]
        results.append((h.detach(), torch.autograd.grad(h, x, torch.ones_like(h))[0]))
    for found, true, limit in zip(*results, LIMITS[pre.dtype], strict=True):
        error = float((found.double() - true).norm() / true.norm())
        if not error <= limit:
            raise SystemExit(f"{backend} {cell} {pre.dtype} {tuple(pre.shape)}: error {error:.1e} exceeds {limit:.0e}")


def scan_case(shape: tuple[int, ...], cell: str, dtype: torch.dtype, setting: Setting) -> list[Figure]:
    """Forward alone, then forward and backward: ours, copy of as many bytes, log-domain eager and compiled."""
    pre = make_pre(shape, cell, dtype, setting.device)
    check(pre, cell, setting.ours)
    gradient = torch.empty_like(scan(pre, cell=cell, backend=setting.ours)[0]).fill_(1.0)  # type: ignore[arg-type]
    figures = []
    planes = BLOCKS[cell] + 1
    for name, factor in (("forward", 1), ("forward+backward", 3)):
        values = factor * planes * math.prod(shape)
        source = torch.empty(values // 2, dtype=dtype, device=setting.device)
        target = torch.empty_like(source)
        backward = factor == 3

        def step(function: Callable[..., tuple[Tensor, Tensor]], backend: str, backward: bool = backward) -> None:
            x = pre.detach().requires_grad_(backward)
            h, _ = function(x, cell=cell, backend=backend)
            if backward:
                torch.autograd.grad(h, x, gradient)

        contestants: dict[str, Step] = {
            "ours": lambda step=step: step(scan, setting.ours),
            "copy of as many bytes": lambda source=source, target=target: target.copy_(source),
        }
        if _fits(shape, setting):
            contestants["log-domain"] = lambda step=step: step(scan, "logspace")
            if setting.device.type == "cuda":
                compiled = torch.compile(scan, dynamic=False)
                contestants["log-domain, compiled"] = lambda step=step, compiled=compiled: step(compiled, "logspace")
        case = f"scan {name}, {cell}, {str(dtype).removeprefix('torch.')}, {list(shape)}"
        figures += compare(case, contestants, setting)
    return figures


def _fits(shape: tuple[int, ...], setting: Setting) -> bool:
    """Whether the log-domain scan's forty or so float32 planes fit in half of the memory."""
    if setting.device.type != "cuda":
        return True
    return 40 * 4 * math.prod(shape) < torch.cuda.get_device_properties(setting.device).total_memory / 2


def layer_case(shape: tuple[int, ...], dtype: torch.dtype, setting: Setting) -> list[Figure]:
    """A training step of one layer: MinConvGRU, its convolution alone, the log-domain scan, ConvLSTM."""
    batch, frames, channels, height, width = shape
    x = torch.randn(batch, frames, height, width, channels, device=setting.device).movedim(-1, 2)
    ours, theirs = (
        MinConvGRU(channels, channels, backend=backend).to(setting.device)  # type: ignore[arg-type]
        for backend in (setting.ours, "logspace")
    )
    lstm = ConvLSTM(channels, channels).to(setting.device)
    for module in (ours, theirs, lstm):
        module.to(memory_format=torch.channels_last)

    def train(module: torch.nn.Module) -> None:
        with torch.autocast(setting.device.type, dtype=dtype, enabled=dtype != torch.float32):
            h, _ = module(x)
        torch.autograd.grad(h.float().square().mean(), list(module.parameters()))

    def convolution() -> None:
        with torch.autocast(setting.device.type, dtype=dtype, enabled=dtype != torch.float32):
            y = convolve(x.flatten(0, 1), ours.weight, None, "zeros")
        torch.autograd.grad(y.float().square().mean(), ours.weight)

    contestants: dict[str, Step] = {
        "MinConvGRU": lambda: train(ours),
        "its convolution alone": convolution,
        "MinConvGRU, log-domain": lambda: train(theirs),
        "ConvLSTM": lambda: train(lstm),
    }
    case = f"training step of a layer, {str(dtype).removeprefix('torch.')}, {list(shape)}"
    return compare(case, contestants, setting)


def describe(setting: Setting) -> dict[str, object]:
    """Machine, versions, commit and date."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, cwd=Path(__file__).parent)
    on_gpu = setting.device.type == "cuda"
    try:
        import triton

        triton_version = triton.__version__
    except ImportError:
        triton_version = "absent"
    return {
        "device": torch.cuda.get_device_name(setting.device) if on_gpu else platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "triton": triton_version,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version() if on_gpu else None,
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": setting.rounds,
        "ours": setting.ours,
    }


def table(figures: list[Figure]) -> str:
    """Markdown; the ratio is that of the contestant's time to the first one's."""
    lines = ["| case | contestant | ms | time / ours | 95 % |", "|---|---|---|---|---|"]
    lines += [
        f"| {f.case} | {f.contestant} | {f.milliseconds:.3f} | {f.ratio:.3f} | {f.low:.3f}–{f.high:.3f} |"
        for f in figures
    ]
    return "\n".join(lines)


def main() -> int:
    """Measure everything, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, plain torch, CPU")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not arguments.smoke and not torch.cuda.is_available():
        print("there is no CUDA device; --smoke runs the same code on the CPU", file=sys.stderr)
        return 2
    device = torch.device("cpu" if arguments.smoke else "cuda")
    setting = Setting(device, "reference" if arguments.smoke else "triton", 3 if arguments.smoke else arguments.rounds)
    figures: list[Figure] = []
    for shape in SMOKE_SHAPES if arguments.smoke else SHAPES:
        for cell in ("gru", "lstm"):
            for dtype in (torch.bfloat16, torch.float32):
                figures += scan_case(shape, cell, dtype, setting)
    for shape in SMOKE_SHAPES[:1] if arguments.smoke else LAYER_SHAPES:
        for dtype in (torch.bfloat16, torch.float32):
            figures += layer_case(shape, dtype, setting)
    print(table(figures))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        record = {"about": describe(setting), "figures": [asdict(figure) for figure in figures]}
        arguments.json.write_text(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
