"""Benchmark of the scan and of whole training steps on a GPU.

    python tests/bench/gpu.py --json runs/bench/gpu.json        # on a machine with a CUDA device
    python tests/bench/gpu.py --smoke                           # the same code with tiny shapes on the CPU: no figures

Contestants take turns in one process; a figure is the median over rounds of the ratio within a round, with a 95 %
bootstrap interval (`rounds.py`). Nothing is timed before its results agree with float64. The copy that stands for the
bandwidth of the memory moves exactly the bytes that the scan has to move (pre and h, and in the backward pass their
gradients, once each), so that its time over ours is the share of copy bandwidth that is reached.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from rounds import Figure, Setting, Step, compare, table
from torch import Tensor
from torch.nn import functional as F

from minconv.baselines import ConvGRU, ConvLSTM
from minconv.cells import MinConvGRU
from minconv.layers import convolve
from minconv.scan import BLOCKS, scan, triton_launch

ScanFunction = Callable[[Tensor], Tensor]  # pre -> h

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
# Longer loops take a compiler minutes.
UNROLLED_FRAMES = 24
SMOKE_SHAPES = [(2, 5, 4, 6, 8), (1, 130, 2, 2, 3)]
LIMITS = {torch.float32: (5e-7, 1e-6), torch.bfloat16: (4e-3, 6e-3)}
# Of a float64 check on the device: larger batches are checked with their first sequence.
CHECKED_VALUES = 2**26


def make_pre(shape: tuple[int, ...], cell: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Normal numbers, frames channels_last as the model has them."""
    batch, frames, channels, height, width = shape
    generator = torch.Generator(device).manual_seed(0)
    size = (batch, frames, height, width, BLOCKS[cell] * channels)
    return torch.randn(size, generator=generator, device=device).to(dtype).movedim(-1, 2)


def check(pre: Tensor, cell: str, name: str, function: ScanFunction, ours: bool) -> None:
    """Stop if h or its gradient is farther from float64 than rounding explains; of other forms, if h is far off."""
    piece = pre[:1] if pre.numel() > CHECKED_VALUES else pre
    results = []
    for x, one in ((piece, function), (piece.double(), partial(_scan, cell=cell, backend="reference"))):
        x = x.detach().requires_grad_()
        h = one(x)
        results.append((h.detach(), torch.autograd.grad(h, x, torch.ones_like(h))[0] if ours else h.detach()))
    for found, true, limit in zip(*results, LIMITS[pre.dtype] if ours else (1e-2, 1e-2), strict=True):
        error = float((found.double() - true).norm() / true.norm())
        if not error <= limit:
            raise SystemExit(f"{name} {cell} {pre.dtype} {tuple(pre.shape)}: error {error:.1e} exceeds {limit:.0e}")


def scan_case(shape: tuple[int, ...], cell: str, dtype: torch.dtype, setting: Setting) -> list[Figure]:
    """Forward, backward, then both: ours against copies of as many bytes, other forms, and one walk for chunks."""
    torch.compiler.reset()  # it stops compiling a function after a few shapes
    pre = make_pre(shape, cell, dtype, setting.device)
    ours = partial(_scan, cell=cell, backend=setting.ours)
    others = _other_forms(shape, cell, setting)
    for name, function in (("ours", ours), *others.items()):
        check(pre, cell, name, function, ours=name == "ours")
    gradient = torch.ones_like(ours(pre))
    planes = BLOCKS[cell] + 1  # moved by the forward pass; the backward pass moves twice as many

    def both(function: ScanFunction) -> None:
        x = pre.detach().requires_grad_()
        torch.autograd.grad(function(x), x, gradient)

    def once(function: ScanFunction) -> Step:
        x = pre.detach().requires_grad_()
        h = function(x)
        return lambda: torch.autograd.grad(h, x, gradient, retain_graph=True)

    cases: dict[str, dict[str, Step]] = {
        "forward": {
            "ours": partial(ours, pre),
            "copy of as many bytes": _copy(planes, shape, dtype, setting),
            **{name: partial(function, pre) for name, function in others.items()},
        },
        "backward": {"ours": once(ours), "copy of as many bytes": _copy(2 * planes, shape, dtype, setting)},
        "forward+backward": {
            "ours": partial(both, ours),
            "copy of as many bytes": _copy(3 * planes, shape, dtype, setting),
            **{name: partial(both, function) for name, function in others.items()},
        },
    }
    if triton_launch.chunk_length(math.prod(shape) // shape[1], shape[1]) < shape[1]:
        for contestants in cases.values():
            contestants["ours, one walk"] = partial(_in_one_walk, contestants["ours"])
    about = f"{cell}, {str(dtype).removeprefix('torch.')}, {list(shape)}"
    return [figure for name, each in cases.items() for figure in compare(f"scan {name}, {about}", each, setting)]


def _scan(pre: Tensor, cell: str, backend: str) -> Tensor:
    return scan(pre, cell=cell, backend=backend)[0]  # type: ignore[arg-type]


def _copy(planes: int, shape: tuple[int, ...], dtype: torch.dtype, setting: Setting) -> Step:
    """A copy that reads and writes so many planes together."""
    source = torch.empty(planes * math.prod(shape) // 2, dtype=dtype, device=setting.device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)


def _other_forms(shape: tuple[int, ...], cell: str, setting: Setting) -> dict[str, ScanFunction]:
    """The log-domain form, eager and compiled, and the loop over frames that a compiler unrolls and fuses."""
    forms: dict[str, ScanFunction] = {}
    on_gpu = setting.device.type == "cuda"
    if _fits(shape, setting):
        forms["log-domain"] = partial(_scan, cell=cell, backend="logspace")
        if on_gpu:
            forms["log-domain, compiled"] = torch.compile(forms["log-domain"], dynamic=False)
        if shape[1] <= UNROLLED_FRAMES:
            loop = partial(_loop, cell=cell)
            forms["loop over frames, compiled"] = torch.compile(loop, dynamic=False) if on_gpu else loop
    return forms


def _loop(pre: Tensor, cell: str) -> Tensor:
    *gates, v = pre.float().chunk(BLOCKS[cell], dim=2)
    s = gates[0] if cell == "gru" else F.softplus(-gates[0]) - F.softplus(-gates[1])
    z, g = torch.sigmoid(s), torch.where(v >= 0, v + 0.5, torch.sigmoid(v))
    h, frames = torch.full_like(v[:, 0], 0.5), []
    for z_t, g_t in zip(z.unbind(1), g.unbind(1), strict=True):
        h = torch.lerp(h, g_t, z_t)
        frames.append(h.to(pre.dtype))
    return torch.stack(frames, dim=1)


def _in_one_walk(step: Step) -> object:
    """The step without chunks, where the rule asks for them."""
    rule = triton_launch.chunk_length
    triton_launch.chunk_length = lambda lanes, frames: frames
    try:
        return step()
    finally:
        triton_launch.chunk_length = rule


def _fits(shape: tuple[int, ...], setting: Setting) -> bool:
    """Whether the log-domain scan's forty or so float32 planes fit in half of the memory."""
    if setting.device.type != "cuda":
        return True
    return 40 * 4 * math.prod(shape) < torch.cuda.get_device_properties(setting.device).total_memory / 2


def layer_case(shape: tuple[int, ...], dtype: torch.dtype, setting: Setting) -> list[Figure]:
    """A training step of one layer: MinConvGRU, its convolution alone, the log-domain scan, ConvLSTM, ConvGRU."""
    batch, frames, channels, height, width = shape
    x = torch.randn(batch, frames, height, width, channels, device=setting.device).movedim(-1, 2)
    ours, theirs = (
        MinConvGRU(channels, channels, backend=backend).to(setting.device)  # type: ignore[arg-type]
        for backend in (setting.ours, "logspace")
    )
    lstm, gru = (kind(channels, channels).to(setting.device) for kind in (ConvLSTM, ConvGRU))
    for module in (ours, theirs, lstm, gru):
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
        "ConvGRU": lambda: train(gru),
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
