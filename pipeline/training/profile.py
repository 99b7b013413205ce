"""Where the time of a training step goes: waiting for data, forward and backward pass, exchange of gradients, update.

What lives here: measuring some steps of a real run. What does not: how it is shown (`workflows`).

    profile = profile_steps(job, worker)
    profile.parts["forward"]         # seconds of a step

On a GPU the device is waited for between the parts, so a step takes a little longer than in a training. The exchange of
gradients runs beside the backward pass; what is shown as its own part is the time by which it outlasts that
(PyTorch Distributed, Li et al., VLDB 2020, section 3.2.3), as torch itself measures it.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from ..windows import Window
from .job import TrainingJob
from .loop import Training
from .stopwatch import Stopwatch
from .worker import Worker

WARM_STEPS = 3
STEPS = 20


@dataclass(frozen=True)
class StepProfile:
    """A training step, as the first worker measured it.

    Attributes:
        steps: That were measured; times are means over them.
        workers: That trained together.
        windows: Of a batch, over all workers.
        seconds: Of a step.
        parts: Seconds of each part; "other" is the rest.
        exchange_seconds: From the first to the last byte of gradients exchanged, most of it beside the backward pass.
        gradient_bytes: Of one copy of the gradients.
        frames_per_second: Over all workers.
    """

    steps: int
    workers: int
    windows: int
    seconds: float
    parts: Mapping[str, float]
    exchange_seconds: float
    gradient_bytes: int
    frames_per_second: float

    @property
    def sent_bytes(self) -> float:
        """Bytes that each worker sends in a step: twice the gradients, but for its own part (ring all-reduce)."""
        return 2 * self.gradient_bytes * (self.workers - 1) / self.workers


def profile_steps(job: TrainingJob, worker: Worker, steps: int = STEPS) -> StepProfile:
    """Do some steps of a run on its first windows and measure their parts; nothing is written.

    Args:
        job: What to train.
        worker: One of those that train together; all of them call this.
        steps: After `WARM_STEPS` that are not counted.

    Raises:
        ConfigError: There are fewer windows than one step needs.
    """
    stopwatch = Stopwatch(worker.device)
    return profile_training(Training(job, worker, stopwatch), stopwatch, steps)


def profile_training(training: Training, stopwatch: Stopwatch, steps: int, seconds: float = math.inf) -> StepProfile:
    """Do some steps of a training that has not begun and measure their parts; its weights change.

    Args:
        training: Made with the stopwatch.
        stopwatch: Of its parts.
        steps: At most, after `WARM_STEPS` that are not counted.
        seconds: After which no further step is measured; one is.
    """
    if isinstance(training.optimization.parallel, nn.parallel.DistributedDataParallel):
        training.optimization.parallel._set_ddp_runtime_logging_sample_rate(1)  # type: ignore[no-untyped-call]
    batches = training.loader.batches(_cases(training))
    started = waited = 0.0
    for step, batch in enumerate(itertools.islice(batches, WARM_STEPS + steps)):
        if step == WARM_STEPS:
            stopwatch.seconds.clear()
            started, waited = time.perf_counter(), training.loader.waited
        training.optimization.step(batch, 0, step, 1.0)  # as at the end, where the closed loop is longest
        if step >= WARM_STEPS and time.perf_counter() - started > seconds:
            break
    batches.close()
    done = step - WARM_STEPS + 1
    each = (time.perf_counter() - started) / done
    parts = {"data wait": (training.loader.waited - waited) / done}
    parts |= {name: spent / done for name, spent in stopwatch.seconds.items()}
    exchange, outlasting = _exchange(training.optimization.parallel)
    parts["backward"] -= outlasting
    order = {"data wait": 0.0, "forward": 0.0, "backward": 0.0, "all-reduce": outlasting, "optimizer": 0.0}
    parts = {**order, **parts}
    parts["other"] = max(0.0, each - sum(parts.values()))
    windows = training.options.batch_size
    return StepProfile(
        steps=done,
        workers=training.worker.world_size,
        windows=windows,
        seconds=each,
        parts=parts,
        exchange_seconds=exchange,
        gradient_bytes=sum(4 * one.numel() for one in training.objective.parameters()),
        frames_per_second=windows * training.length / each,
    )


def _cases(training: Training) -> Iterator[list[Window]]:
    """The windows of step after step, epoch after epoch."""
    for epoch in itertools.count():
        for numbers in training.cases.steps(epoch, training.worker):
            yield [training.cases[number] for number in numbers]


def _exchange(module: nn.Module) -> tuple[float, float]:
    """Seconds of the exchange of gradients in a step, and those by which it outlasts the backward pass."""
    if not isinstance(module, nn.parallel.DistributedDataParallel):
        return 0.0, 0.0
    measured = module._get_ddp_logging_data()  # type: ignore[no-untyped-call]
    whole = measured["avg_backward_comm_time"]
    return whole / 1e9, max(0, whole - measured["avg_backward_compute_comm_overlap_time"]) / 1e9
