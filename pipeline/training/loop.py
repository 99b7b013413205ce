"""The training loop: a plain function of a job and a worker, which knows neither Ray nor MLflow.

What lives here: epochs, checkpoints, resuming at the step where a run was stopped. What does not: the step itself
(`optimization`), what it visits (`cases`), validation (`validation`), the workers (`local`, `ray_train`).

    run_loop(job, LocalWorker(Path("training")))     # `local`: without Ray

A run that is killed and started again ends with the bits of one that was not, on a CPU and with one or two workers as
before: order and noise are functions of seed, epoch and step, and everything else that a step depends on is in the
checkpoint (`state`). On more workers, or another number of them, gradients are added up in another order, which rounds
otherwise. Where `training.max_seconds` ends a run, the learning rate follows the clock, and no two runs are alike.
"""

from __future__ import annotations

import contextlib
import math
import resource
import sys
import time
from typing import Any

import torch
from torch import Tensor

import minconv

from ..errors import TrainingError
from .cases import Cases
from .checkpoints import BEST, LATEST, STATE, Place, verify
from .job import TrainingJob, build_forecaster, open_reader
from .loader import Loader, TileWeights
from .objective import Objective
from .optimization import Optimization
from .pace import Pace
from .state import RunState
from .stopwatch import Unmeasured
from .validation import Validation
from .worker import Worker


def run_loop(job: TrainingJob, worker: Worker) -> None:
    """Train to the end, from the newest checkpoint if there is one; every epoch ends in `worker.report`.

    A loss that is not finite ends the run with a record whose ``failure`` says so: repeating it would not help.

    Raises:
        TrainingError: A checkpoint cannot be written, or memory is too small.
    """
    try:
        training = Training(job, worker)
        training.resume()
        while not training.finished:
            training.run_epoch()
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        raise _too_large(job, error) from error


class Training:
    """One worker's part of a run.

    Args:
        job: What to train.
        worker: Who trains.
        stopwatch: Told how long the parts of each step take.
    """

    def __init__(self, job: TrainingJob, worker: Worker, stopwatch: Unmeasured | None = None) -> None:
        self.job, self.worker, self.options = job, worker, job.config.training
        self.reader = open_reader(job, job.splits.train)
        self.length = job.config.window.history + job.config.window.horizon
        self.tiling = job.tiling(self.reader.mask)
        weights = torch.as_tensor(job.grid.area_weights(), dtype=torch.float32) * self.reader.mask
        forecaster = build_forecaster(job, self.reader)
        self.objective = Objective(forecaster, weights, self.tiling, job.loss_weights, self.options.loss)
        self.objective.to(worker.device)
        kept = worker.total(torch.tensor(float(self.reader.cached), device=worker.device))
        self.cases = Cases(job, self.reader, self.tiling, int(kept) == worker.world_size)
        tile_weights = None if self.tiling is None else TileWeights(weights, self.tiling)
        self.loader = Loader(self.reader, self.length, worker.device, self.options.prefetch, tile_weights)
        self.validation = Validation(job, self.objective, worker)
        self.optimization = Optimization(self.objective, worker, self.options, job.config.seed, stopwatch)
        self.state = RunState()
        self.best: dict[str, Tensor] | None = None
        self.pace = Pace(worker, 0.0)
        self._kept_at = 0.0  # by the clock of `pace`, when the newest checkpoint was kept

    @property
    def finished(self) -> bool:
        """No epoch is left: the last one is done, time is up, patience is spent, or the loss is not finite."""
        state, options = self.state, self.options
        if not state.history:
            return False
        errors = [record["validation_loss"] for record in state.history]
        since_best = len(errors) - 1 - errors.index(min(errors))
        steps = sum(record["steps"] for record in state.history)
        return not state.step and (
            state.epoch >= options.epochs
            or "failure" in state.history[-1]
            or (options.max_seconds is not None and state.seconds >= options.max_seconds)
            or (options.max_steps is not None and steps >= options.max_steps)
            or (options.patience is not None and since_best >= options.patience)
        )

    def run_epoch(self) -> None:
        """What is left of an epoch of training windows, validation, checkpoint, report."""
        state, worker = self.state, self.worker
        steps = self.cases.steps(state.epoch, worker)
        loss = torch.tensor(state.loss_of(worker.rank, worker.world_size), device=worker.device)
        first_bad = torch.full((), -1.0, device=worker.device)  # step whose loss was the first that is not finite
        waited = self.loader.waited - state.waited
        reading = self.loader.batches([self.cases[number] for number in numbers] for numbers in steps[state.step :])
        self.pace.start()
        with contextlib.closing(reading):
            for batch in reading:
                progress = self._progress(len(steps))
                if progress >= 1.0:
                    break
                done = state.epoch * len(steps) + state.step
                one = self.optimization.step(batch, state.epoch, state.step, progress, done)
                loss += one
                first_bad = torch.where((first_bad < 0) & ~torch.isfinite(one), float(state.step), first_bad)
                state.step += 1
                state.waited = self.loader.waited - waited
                if self.pace.step() and state.step < len(steps):
                    if not self._exchange(loss, first_bad, steps):
                        return
                    self._look(float(one), len(steps))
        self.pace.stop()
        if self._exchange(loss, first_bad, steps):
            self._finish_epoch(len(steps))

    def _progress(self, steps: int) -> float:
        """Share of the run that is done, by epochs, steps or time, whichever is furthest; the same on all workers."""
        state, options = self.state, self.options
        done = state.epoch * steps + state.step
        share = done / options.total_steps(steps)
        return share if options.max_seconds is None else max(share, self.pace.seconds / options.max_seconds)

    def _exchange(self, loss: Tensor, first_bad: Tensor, steps: list[list[int]]) -> bool:
        """Clock and losses of all workers; False: a loss is not finite, and the run has failed."""
        state, rank, count = self.state, self.worker.rank, self.worker.world_size
        mine = [0.0] * (2 * count)
        mine[rank], mine[count + rank] = float(loss), float(first_bad)
        sums = self.pace.look(*mine)
        state.losses = sums[:count]
        state.epoch_seconds += self.pace.seconds - state.seconds
        state.seconds = self.pace.seconds
        if all(math.isfinite(value) for value in state.losses):
            return True
        self._fail(int(min(step for step in sums[count:] if step >= 0)), steps)
        return False

    def _look(self, loss: float, steps: int) -> None:
        """Between two steps, about once a second: say how far it is, and keep a checkpoint when it is time."""
        state = self.state
        if self.worker.rank == 0:
            place = {"epoch": state.epoch, "step": state.step - 1, "steps": steps, "seconds": state.seconds}
            self.worker.say({**place, "loss": self.objective.as_error(loss)})
        after = self.options.checkpoint_seconds
        if after is not None and state.seconds - self._kept_at >= after:
            self.pace.stop()
            self._keep()
            self.pace.start()

    def _finish_epoch(self, steps: int) -> None:
        started, state, options = time.monotonic(), self.state, self.options
        train_loss = sum(state.losses) / max(1, state.step * self.worker.world_size)
        with self.optimization.evaluated():
            validation = self.validation.error()
            if all(validation < earlier["validation_loss"] for earlier in state.history):
                self.best = {name: value.clone() for name, value in self.objective.forecaster.state_dict().items()}
        waited = float(self.worker.total(torch.tensor(state.waited, device=self.worker.device)))
        seconds = max(state.epoch_seconds, 1e-9)
        record: dict[str, Any] = {
            "epoch": state.epoch + 1,
            "train_loss": self.objective.as_error(train_loss),
            "validation_loss": validation,
            "learning_rate": self.optimization.learning_rate,
            "seconds": state.seconds,
            "frames_per_second": state.step * options.batch_size * self.length / seconds,
            "steps": steps,
            "data_wait": waited / self.worker.world_size / seconds,
            "peak_memory_mb": self._peak_memory(),
            "workers": self.worker.world_size,
        }
        if not math.isfinite(validation):
            self._report_failure(record, f"the validation error is not finite after epoch {state.epoch + 1}")
            return
        state.next_epoch(record)
        self._keep()
        self.worker.report({**record, "validation_seconds": time.monotonic() - started})

    def _fail(self, step: int, steps: list[list[int]]) -> None:
        """A loss was not finite at that step of the epoch: say so, and whether the data were to blame."""
        epoch = self.state.epoch + 1
        failure = f"the loss is not finite in epoch {epoch}, step {step + 1} of {len(steps)}"
        for number in steps[step]:
            batch = self.loader.read([self.cases[number]])
            if not (torch.isfinite(batch.frames).all() and torch.isfinite(batch.forcing).all()):
                window = self.cases[number]
                first = self.reader.times[window.start]
                failure += f": the window of sample {window.sample} that begins at {first} holds values that are not"
                break
        record = {"epoch": epoch, "steps": len(steps), "train_loss": math.inf, "validation_loss": math.inf}
        self._report_failure(record, failure)

    def _report_failure(self, record: dict[str, Any], failure: str) -> None:
        record["failure"] = failure
        self.state.next_epoch(record)
        self.worker.report(record)

    def _peak_memory(self) -> float:
        """Peak resident memory of the largest worker so far, in MB."""
        peaks = torch.zeros(self.worker.world_size, device=self.worker.device)
        unit = 1 if sys.platform == "darwin" else 1024
        peaks[self.worker.rank] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
        return float(self.worker.total(peaks).max())

    def _keep(self) -> None:
        """Keep a checkpoint, in which the state between two steps is whole."""
        self._kept_at = self.state.seconds
        if self.worker.rank:
            return
        forecaster, metadata = self.objective.forecaster, {"snapshot_id": self.job.snapshot_id}
        with self.worker.checkpoints.writing(self.state.place) as folder:
            minconv.save(folder / LATEST, forecaster, metadata)
            if self.best is not None:
                newest = {name: value.clone() for name, value in forecaster.state_dict().items()}
                forecaster.load_state_dict(self.best)
                minconv.save(folder / BEST, forecaster, metadata)
                forecaster.load_state_dict(newest)
            self.optimization.save(folder, metadata)
            (folder / STATE).write_text(self.state.to_json())

    def resume(self) -> None:
        """Go on from the newest checkpoint that is whole, if there is one: the one that the first worker sees."""
        worker = self.worker
        newest = worker.checkpoints.newest() if worker.rank == 0 else None
        seen = torch.tensor([0, 0] if newest is None else [newest.epoch, newest.step + 1], dtype=torch.float64)
        epoch, after = (int(value) for value in worker.total(seen.to(worker.device)))
        if not after:
            return
        folder = worker.checkpoints.path(Place(epoch, after - 1))
        if worker.rank:  # the first has just done so to find it
            verify(folder)
        latest, _ = minconv.load(folder / LATEST)
        self.objective.forecaster.load_state_dict(latest.state_dict())
        if (folder / BEST).is_dir():
            best, _ = minconv.load(folder / BEST, worker.device)
            self.best = best.state_dict()
        self.optimization.load(folder)
        self.state = RunState.from_json((folder / STATE).read_text())
        self.pace, self._kept_at = Pace(worker, self.state.seconds), self.state.seconds


def _too_large(job: TrainingJob, error: BaseException) -> TrainingError:
    """Memory does not suffice for a step of the job: to repeat it would not help."""
    options, window = job.config.training, job.config.window
    cause = " ".join(str(error).split())[:200] or type(error).__name__
    return TrainingError(
        f"memory does not suffice for a training step of {options.batch_size} window(s) of "
        f"{window.history + window.horizon} frames over {options.most_workers} worker(s) ({cause}); make "
        "training.accumulate larger, set training.truncate, training.activation_checkpointing=true or "
        "training.precision=bf16, or make training.batch_size smaller"
    )


def _out_of_memory(error: BaseException) -> bool:
    """Torch has a type of its own only for a GPU's memory; on a CPU its allocator and oneDNN have words of theirs."""
    words = ("can't allocate memory", "not enough memory", "could not create a primitive", "std::bad_alloc")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in str(error) for word in words)
