"""Accuracy of the scan: gradients against float64, and whether training in bfloat16 follows training in float32.

    python tests/bench/accuracy.py                     # T = 20, 200, 2000, about two minutes; Markdown
    python tests/bench/accuracy.py --frames 20 --steps 10

Contestants: `ours` is the kernel of the device (Triton on a GPU, the native one on a CPU), `reference` plain torch,
`logspace` the paper's prefix sum of logarithms, in float32 arithmetic or, as where a whole model is cast, in bfloat16.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from datetime import UTC, datetime

import torch
from torch import Tensor
from torch.nn import functional as F

from minconv.scan import BLOCKS, logspace, scan

Scan = Callable[[Tensor, str], Tensor]  # (pre, cell) -> h
CONTESTANTS: dict[str, tuple[torch.dtype, Scan]] = {
    "ours, fp32": (torch.float32, lambda pre, cell: scan(pre, cell=cell)[0]),
    "reference, fp32": (torch.float32, lambda pre, cell: scan(pre, cell=cell, backend="reference")[0]),
    "logspace, fp32": (torch.float32, lambda pre, cell: scan(pre, cell=cell, backend="logspace")[0]),
    "ours, bf16": (torch.bfloat16, lambda pre, cell: scan(pre, cell=cell)[0]),
    "logspace, bf16": (torch.bfloat16, lambda pre, cell: logspace.scan_in(torch.bfloat16, pre, None, cell, None)[0]),
}
# Steps at which the table shows the loss.
SHOWN = (1, 10, 20, 50, 100, 150)


def gradient_error(name: str, cell: str, frames: int, device: str = "cpu") -> float:
    """Relative L2 error of the gradient of sum(h²) by the input, ~ N(0, 2²) in the contestant's type, to float64."""
    dtype, contestant = CONTESTANTS[name]
    generator = torch.Generator().manual_seed(frames)
    pre = 2 * torch.randn(1, frames, 4 * BLOCKS[cell], 4, 4, generator=generator)
    x = pre.to(device, dtype).requires_grad_()
    truth = x.detach().double().requires_grad_()
    (found,) = torch.autograd.grad(contestant(x, cell).double().square().sum(), x)
    (expected,) = torch.autograd.grad(scan(truth, cell=cell, backend="reference")[0].square().sum(), truth)
    return ((found.double() - expected).norm() / expected.norm()).item()


def losses(name: str, frames: int = 200, steps: int = 150, device: str = "cpu") -> list[float]:
    """Loss of each step of a small MinConvGRU that learns an exponential mean over about fifty frames of noise.

    Weights, their update, the read-out and the loss are float32; the scan's input and h have the contestant's type.
    """
    dtype, contestant = CONTESTANTS[name]
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(4, frames, 1, 4, 4, generator=generator) + 1.0
    target, mean = [], torch.zeros(4, 1, 4, 4)
    for frame in noise.unbind(1):
        mean = mean + 0.02 * (frame - mean)
        target.append(mean)
    x, y = noise.to(device), torch.stack(target, 1).to(device)
    weight, bias = 0.5 * torch.randn(16, 1, 1, 1, generator=generator), torch.zeros(16)
    out_weight, out_bias = 0.3 * torch.randn(1, 8, 1, 1, generator=generator), torch.zeros(1)
    parameters = [tensor.to(device).requires_grad_() for tensor in (weight, bias, out_weight, out_bias)]
    optimizer = torch.optim.Adam(parameters, lr=0.03)
    found = []
    for _ in range(steps):
        pre = F.conv2d(x.flatten(0, 1), *parameters[:2]).unflatten(0, x.shape[:2])
        h = contestant(pre.to(dtype), "gru").float()
        prediction = F.conv2d(h.flatten(0, 1), *parameters[2:]).unflatten(0, x.shape[:2])
        loss = F.mse_loss(prediction, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[20, 200, 2000])
    parser.add_argument("--steps", type=int, default=150)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(f"torch {torch.__version__}, {device}, {platform.machine()}, {datetime.now(UTC):%Y-%m-%d}\n")
    print("Relative L2 error of the gradient by the input, to float64\n")
    print(f"| cell | T | {' | '.join(CONTESTANTS)} |\n|{'---|' * (2 + len(CONTESTANTS))}")
    for cell in BLOCKS:
        for frames in arguments.frames:
            errors = [f"{gradient_error(name, cell, frames, device):.1e}" for name in CONTESTANTS]
            print(f"| {cell} | {frames} | {' | '.join(errors)} |")
    shown = [step for step in SHOWN if step <= arguments.steps]
    print("\nLoss while training, T = 200\n")
    print(f"| step | {' | '.join(map(str, shown))} |\n|{'---|' * (1 + len(shown))}")
    for name in CONTESTANTS:
        found = losses(name, steps=arguments.steps, device=device)
        print(f"| {name} | {' | '.join(f'{found[step - 1]:.2e}' for step in shown)} |")


if __name__ == "__main__":
    main()
