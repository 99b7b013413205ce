"""One step of the optimizer: forward and backward pass of a batch in parts, gradients of all workers, update.

What lives here: precision, input noise, clipping, learning rate, averaged weights. What does not: which batch (`loop`),
its parts (`parts`), what is minimised (`objective`), which optimizer learns which weights (`optimizers`).

    optimization = Optimization(objective, worker, config.training, seed=0)
    loss = optimization.step(batch, epoch=3, step=12, progress=0.4)
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import minconv

from ..config import TrainingConfig
from ..sampler import share_of
from .average import Average
from .checkpoints import AVERAGE, OPTIMIZER
from .loader import Batch
from .objective import Carry, Objective, closed_loop_length, learning_rate_factor
from .optimizers import optimizers_of
from .parts import parts
from .stopwatch import Unmeasured
from .worker import Worker


class Optimization:
    """The optimizer of one worker, and all that it needs to go on later.

    Args:
        objective: What is minimised, on the worker's device.
        worker: Whose gradients are averaged with those of the others.
        options: The training section of the configuration.
        seed: Of the run.
        stopwatch: Told how long the parts of each step take.

    Attributes:
        parallel: The objective as the worker wrapped it.
    """

    def __init__(
        self,
        objective: Objective,
        worker: Worker,
        options: TrainingConfig,
        seed: int,
        stopwatch: Unmeasured | None = None,
    ) -> None:
        self._objective, self._worker, self._options, self._seed = objective, worker, options, seed
        self._first, last = share_of(options.batch_size, worker.rank, worker.world_size)
        self._weight = (last - self._first) * worker.world_size / options.batch_size
        self._stopwatch = stopwatch or Unmeasured()
        if options.compile:
            objective.forecaster.compile()
        self.parallel = worker.wrap(objective)
        self._optimizers = optimizers_of(objective, options)
        self._average = None if options.average is None else Average(objective.forecaster, options.average)

    @property
    def learning_rate(self) -> float:
        """That of the last step."""
        return float(self._optimizers[0].param_groups[0]["lr"])

    def step(self, batch: Batch, epoch: int, step: int, progress: float, steps: int = 0) -> Tensor:
        """Learn from a batch.

        Args:
            batch: This worker's windows.
            epoch: Finished epochs.
            step: Finished steps of this one.
            progress: Share of the run that is done, for the learning rate and the length of the closed loop.
            steps: Finished steps of the run, for the averaged weights.

        Returns:
            The loss of this worker's windows before the step, a scalar on the device; its mean over the workers is the
            mean over the batch, so a worker with more windows than others has it scaled up.
        """
        factor = learning_rate_factor(progress, self._options.warmup, self._options.schedule)
        rate = self._options.learning_rate * factor
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
        closed = closed_loop_length(progress, self._options.closed_loop_steps, self._options.closed_loop_ramp)
        noise = self._noise(batch, epoch, step, closed)
        *before, last = parts(
            batch, noise, closed, accumulate=self._options.accumulate, truncate=self._options.truncate
        )
        losses: list[Tensor] = []
        carry: Carry | None = None
        for part in (*before, last):
            with contextlib.nullcontext() if part is last else self._alone():
                with self._stopwatch.part("forward"), self._precision():
                    loss, carry = self.parallel(
                        part.frames,
                        part.forcing,
                        part.closed_loop_steps,
                        part.noise,
                        part.weights,
                        None if part.first else carry,
                    )
                    loss = loss * (self._weight * len(part.frames) / len(batch.frames) * part.share)
                with self._stopwatch.part("backward"):
                    loss.backward()
            losses.append(loss.detach())
        with self._stopwatch.part("optimizer"):
            nn.utils.clip_grad_norm_(self._objective.parameters(), self._options.clip_norm)
            for optimizer in self._optimizers:
                optimizer.step()
            if self._average is not None:
                self._average.update(steps)
        return torch.stack(losses).sum()

    def evaluated(self) -> contextlib.AbstractContextManager[None]:
        """In the body the Forecaster has the weights that count: the averaged ones, where there are such."""
        return contextlib.nullcontext() if self._average is None else self._average.in_place()

    def save(self, folder: Path, metadata: dict[str, Any]) -> None:
        """Write optimizer and averaged weights into a checkpoint."""
        torch.save([optimizer.state_dict() for optimizer in self._optimizers], folder / OPTIMIZER)
        if self._average is not None:
            with self._average.in_place():
                minconv.save(folder / AVERAGE, self._objective.forecaster, metadata)

    def load(self, folder: Path) -> None:
        """Go on from those of a checkpoint; the Forecaster's weights are there already."""
        states = torch.load(folder / OPTIMIZER, weights_only=True, map_location=self._worker.device)
        for optimizer, state in zip(self._optimizers, states, strict=True):
            optimizer.load_state_dict(state)
        if self._average is not None:
            averaged, _ = minconv.load(folder / AVERAGE, self._worker.device)
            self._average.load(list(averaged.parameters()))

    def _alone(self) -> contextlib.AbstractContextManager[Any]:
        """In the body gradients add up here and are not exchanged."""
        no_sync = getattr(self.parallel, "no_sync", contextlib.nullcontext)
        found: contextlib.AbstractContextManager[Any] = no_sync()
        return found

    def _precision(self) -> contextlib.AbstractContextManager[Any]:
        kind = self._worker.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=self._options.precision == "bf16")

    def _noise(self, batch: Batch, epoch: int, step: int, closed: int) -> Tensor | None:
        """Noise of the input frames in standard deviations.

        Drawn for each window of the whole batch by its place in it, so that it is the same on any number of workers.
        """
        if not self._options.input_noise:
            return None
        windows, length = batch.frames.shape[:2]
        shape = (length - 1 - closed, self._objective.fed_back, *batch.frames.shape[3:])
        places = range(self._first, self._first + windows)
        seeds = [mix(self._seed, epoch, step, place) for place in places]
        drawn = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return (self._options.input_noise * torch.stack(drawn)).to(batch.frames.device, non_blocking=True)


def mix(*numbers: int) -> int:
    """A seed for a random generator that depends on all `numbers`."""
    mixed = 0
    for number in numbers:
        mixed = (mixed * 1_000_003 + number + 1) % (2**63 - 1)
    return mixed
