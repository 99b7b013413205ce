"""The cost of one training step: predicted from shapes, and measured by doing a few.

What lives here: seconds and bytes of a step. What does not: whether they suffice (`preflight`).

    cost = measure(job)
    cost.seconds, cost.peak_bytes, cost.predicted_seconds

The steps run in a process of their own, whose peak memory is theirs alone and whose end for lack of memory is an
answer, not the end of this process.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from . import machine
from .own_process import in_own_process
from .progress import Progress, silent
from .training.job import TrainingJob
from .training.local import LocalWorker
from .training.loop import Training

TIMED_STEPS = 3
LONG_STEP_SECONDS = 5.0  # of such a step one is enough
# Measured on a CPU (README, "The scan and the training step"): a step over its convolutions alone.
OVER_CONVOLUTIONS = 1.4
# Values that are alive at the peak for each value that goes into or comes out of a convolution: itself, its gradient
# while it lasts, and what norm, scan and padding keep. Measured: 1.1 to 1.6 over cells, grids and batches.
PLANES_PER_VALUE = 1.4
BYTES_PER_PARAMETER = 16  # weight, gradient and the two moments of AdamW
# Measured on a CPU: what one convolution's share of a closed-loop step takes, whatever its size, forward and backward.
CALL_SECONDS = 8e-4
_PROBED_FRAMES = 64


@dataclass(frozen=True)
class StepCost:
    """What a step of one worker costs.

    Attributes:
        windows: Of its batch.
        parameters: Of the model.
        seconds: Measured; the fastest of a few.
        predicted_seconds: From the model's convolutions and the speed of the largest of them.
        peak_bytes: Measured, the process as a whole (GPU memory where training is on a GPU).
        predicted_bytes: The process before the steps, and what the shapes of the model say on top.
        base_bytes: Of the process before the first step.
        bytes_per_window: Measured, from batches of two sizes.
        tiles: Parts that the grid is cut into; a window of a batch is one of them.
    """

    windows: int
    parameters: int
    seconds: float
    predicted_seconds: float
    peak_bytes: int
    predicted_bytes: int
    base_bytes: int
    bytes_per_window: float
    tiles: int = 1


def measure(job: TrainingJob) -> StepCost:
    """Do a few steps of the job with its model, batch, threads and device; the weights are thrown away.

    Args:
        job: Its training split needs one window, which is read again and again.

    Raises:
        TrainingError: The process was ended, as the system does when memory runs out.
        PipelineError: What the training itself would raise.
    """
    return in_own_process(_measured, (job,), silent, "a single training step")


def _measured(job: TrainingJob, progress: Progress = silent) -> StepCost:
    options = job.config.training
    torch.set_num_threads(options.threads or max(1, torch.get_num_threads() // options.most_workers))
    device = torch.device("cuda" if options.gpu and torch.cuda.is_available() else "cpu")
    training = Training(job, LocalWorker(Path(os.devnull) / "none", device))
    base = machine.peak_bytes(device)
    windows = options.batch_size // options.most_workers
    seconds, peak = _steps(training, windows, device), machine.peak_bytes(device)
    more = 2 * windows
    _steps(training, more, device, timed=0)
    slope = (machine.peak_bytes(device) - peak) / (more - windows)
    frames = windows * (training.length - 1)
    alive = windows * min(options.truncate or training.length, training.length - 1)
    parameters = sum(one.numel() for one in training.objective.parameters())
    values = sum(_values(conv) for conv in _convolutions(training.objective))
    shape = job.grid.shape if training.tiling is None else training.tiling.shape
    points = math.prod(shape) // job.config.model.patch**2
    return StepCost(
        windows=windows,
        parameters=parameters,
        seconds=seconds,
        predicted_seconds=OVER_CONVOLUTIONS * _convolution_seconds(training.objective, job, shape, frames, device)
        + CALL_SECONDS * options.closed_loop_steps * len(_convolutions(training.objective)),
        peak_bytes=peak,
        predicted_bytes=base + parameters * BYTES_PER_PARAMETER + int(4 * PLANES_PER_VALUE * values * points * alive),
        base_bytes=base,
        bytes_per_window=max(slope, 0.0),
        tiles=training.cases.tile_count,
    )


def _steps(training: Training, windows: int, device: torch.device, timed: int = TIMED_STEPS) -> float:
    """Seconds of the fastest of some steps after a first one that is not counted."""
    batch, fastest = training.loader.read([training.cases[0]] * windows), math.inf
    for number in range(1 + timed):
        started = time.perf_counter()
        training.optimization.step(batch, 0, number, 1.0)  # as at the end, where the closed loop is longest
        if device.type == "cuda":
            torch.cuda.synchronize()
        took = time.perf_counter() - started
        if number or timed == 0:
            fastest = min(fastest, took)
            if took > LONG_STEP_SECONDS:
                break
    return fastest


def _convolutions(module: nn.Module) -> list[torch.Tensor]:
    """Weights of all convolutions, [out, in, k, k] each."""
    return [one.detach() for one in module.parameters() if one.ndim == 4]


def _values(weight: torch.Tensor) -> int:
    """Channels that go into and come out of a convolution."""
    return int(weight.shape[0] + weight.shape[1])


def _convolution_seconds(
    module: nn.Module, job: TrainingJob, shape: tuple[int, int], frames: int, device: torch.device
) -> float:
    """Forward and backward of all convolutions, at the measured speed of the one with the most work."""
    weights = _convolutions(module)
    largest = max(weights, key=torch.Tensor.numel)
    height, width = (side // job.config.model.patch for side in shape)
    probed = min(frames, _PROBED_FRAMES)
    x = torch.zeros(probed, largest.shape[1], height, width, device=device, requires_grad=True)
    weight = largest.clone().requires_grad_()
    fastest = math.inf
    for _ in range(1 + TIMED_STEPS):
        started = time.perf_counter()
        F.conv2d(x, weight, padding=weight.shape[-1] // 2).sum().backward()  # type: ignore[no-untyped-call]
        if device.type == "cuda":
            torch.cuda.synchronize()
        fastest = min(fastest, time.perf_counter() - started)
    return fastest * frames / probed * _work(weights) / _work([largest])


def _work(weights: Iterable[torch.Tensor]) -> int:
    return sum(one.numel() for one in weights)
