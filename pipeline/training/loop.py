"""The training loop: a plain function of a job and a worker, which knows neither Ray nor MLflow.

What lives here: epochs, steps, validation, checkpoints, resuming. What does not: the workers (`local`, `ray_train`).

    run_loop(job, LocalWorker(Path("training")))     # `local`: without Ray
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

import minconv

from ..sampler import Balanced, ByShards, Shuffle, at_random
from ..windows import Split, Window, order, windows
from . import checkpoints
from .job import TrainingJob, build_forecaster, open_reader
from .loader import Batch, Loader, TileWeights
from .objective import Objective, learning_rate_factor

MAX_VALIDATION_WINDOWS = 64  # spread evenly over the split; more would cost time and change little
SAY_EVERY_SECONDS = 1.0


class Worker(Protocol):
    """What the loop needs from whoever runs it."""

    rank: int
    world_size: int
    device: torch.device

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module made data-parallel."""

    def total(self, values: Tensor) -> Tensor:
        """Sum over all workers."""

    def latest(self) -> Path | None:
        """Folder of the newest valid checkpoint, if there is one."""

    def report(self, record: dict[str, Any], checkpoint: Path | None) -> None:
        """Finish an epoch: called by all workers; only rank 0 has a checkpoint."""

    def say(self, message: dict[str, Any]) -> None:
        """Tell the user how far it is; may be dropped."""


def run_loop(job: TrainingJob, worker: Worker) -> None:
    """Train to the end, from the newest checkpoint if there is one; every epoch ends in `worker.report`.

    A loss that is not finite ends the run with a record whose ``failure`` says so: repeating it would not help.
    """
    training = _Training(job, worker)
    while not training.finished:
        training.run_epoch()


class _Training:
    """State of a run between epochs."""

    def __init__(self, job: TrainingJob, worker: Worker) -> None:
        self.job, self.worker, self.options = job, worker, job.config.training
        self.reader, self.validation_reader = (
            open_reader(job, job.splits.train),
            open_reader(job, job.splits.validation),
        )
        window = job.config.window
        self.length = window.history + window.horizon
        self.tiling = job.tiling(self.reader.mask)
        self.train_windows = windows(job.splits.train, self.length, window.stride)
        self.validation_windows = _spread(job.splits.validation, self.length, worker)
        forecaster = build_forecaster(job, self.reader)
        weights = torch.as_tensor(job.grid.area_weights(), dtype=torch.float32) * self.reader.mask
        self.objective = Objective(forecaster, weights, self.tiling).to(worker.device)
        tile_weights = None if self.tiling is None else TileWeights(weights, self.tiling)
        self.loader = Loader(self.reader, self.length, worker.device, self.options.prefetch, tile_weights)
        self.validation_loader = Loader(self.validation_reader, self.length, worker.device, self.options.prefetch)
        self.shuffle = self._shuffle()
        self.parallel = worker.wrap(self.objective)
        self.optimizer = torch.optim.AdamW(
            _decay_groups(self.objective, self.options.weight_decay), self.options.learning_rate
        )
        self.epoch, self.seconds, self.history = 0, 0.0, list[dict[str, Any]]()
        self.best: dict[str, Tensor] | None = None
        self._resume()

    @property
    def finished(self) -> bool:
        """No epoch is left: the last one is done, time is up, patience is spent, or the loss is not finite."""
        if not self.history:
            return False
        errors = [record["validation_loss"] for record in self.history]
        since_best = len(errors) - 1 - errors.index(min(errors))
        return (
            self.epoch >= self.options.epochs
            or "failure" in self.history[-1]
            or (self.options.max_seconds is not None and self.seconds >= self.options.max_seconds)
            or (self.options.patience is not None and since_best >= self.options.patience)
        )

    @property
    def cases(self) -> int:
        """Windows of an epoch: of each tile, where there are tiles."""
        return len(self.train_windows) * self.tile_count

    @property
    def tile_count(self) -> int:
        """Tiles of the grid; 1 where it is whole."""
        return 1 if self.tiling is None else len(self.tiling.tiles)

    def case(self, number: int) -> Window:
        """One of them."""
        window, tile = divmod(number, self.tile_count)
        found = self.train_windows[window]
        return found if self.tiling is None else dataclasses.replace(found, tile=self.tiling.tiles[tile])

    def _shuffle(self) -> Shuffle:
        """How the windows are shuffled: the same on all workers, as an epoch is one order that they share."""
        kept = self.worker.total(torch.tensor(float(self.reader.cached), device=self.worker.device))
        everywhere = int(kept) == self.worker.world_size
        by_shards = self.options.shuffle == "shards" or (self.options.shuffle is None and not everywhere)
        blocks = self.reader.blocks
        if by_shards and blocks is not None:
            places = np.array([(window.sample, blocks.number(window.start)) for window in self.train_windows])
            shards = np.unique(places, axis=0, return_inverse=True)[1].reshape(-1, 1)
            of_tiles = shards * self.tile_count + np.arange(self.tile_count)
            return ByShards(of_tiles.reshape(-1), max(1, blocks.count - 1))  # one that the next begins with
        return at_random if self.tiling is None else Balanced(self.tile_count)

    def run_epoch(self) -> None:
        """One pass over the training windows, validation, checkpoint, report."""
        started, waited = time.monotonic(), self.loader.waited
        options, worker = self.options, self.worker
        seed, rank = self.job.config.seed, worker.rank
        steps = order(seed, self.epoch, self.cases, options.batch_size, rank, worker.world_size, self.shuffle)
        total, done, said = torch.zeros((), device=worker.device), 0, 0.0
        reading = self.loader.batches([self.case(number) for number in numbers] for numbers in steps)
        with contextlib.closing(reading):
            for step, batch in enumerate(reading):
                elapsed = self.seconds + time.monotonic() - started
                progress = self._progress(self.epoch + step / len(steps), elapsed)
                if progress >= 1.0:
                    break
                loss = self._step(batch, step, progress)
                total += loss
                done += 1
                if rank == 0 and time.monotonic() - said > SAY_EVERY_SECONDS:
                    said = time.monotonic()
                    worker.say({"epoch": self.epoch, "step": step, "steps": len(steps), "loss": math.sqrt(loss.item())})
        train_seconds = time.monotonic() - started
        train_loss = worker.total(torch.stack((total, torch.tensor(float(done), device=worker.device))))
        self._finish_epoch(
            float(train_loss[0] / train_loss[1].clamp(min=1)),
            train_seconds,
            self.loader.waited - waited,
            len(steps),
            done * options.batch_size,
        )

    def _step(self, batch: Batch, step: int, progress: float) -> Tensor:
        frames, closed = batch.frames, self.options.closed_loop_steps
        noise = None
        if self.options.input_noise:
            seed = mix(self.job.config.seed, self.epoch, step, self.worker.rank)
            generator = torch.Generator().manual_seed(seed)
            shape = (len(frames), self.length - 1 - closed, self.objective.fed_back, *frames.shape[3:])
            noise = self.options.input_noise * torch.randn(shape, generator=generator).to(frames.device)
        rate = self.options.learning_rate * learning_rate_factor(progress, self.options.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss: Tensor = self.parallel(frames, batch.forcing, closed, noise, batch.weights)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.objective.parameters(), self.options.clip_norm)
        self.optimizer.step()
        return loss.detach()

    def _progress(self, epochs: float, elapsed: float) -> float:
        """Share of the run that is done, by epochs or by time, whichever is further; the same on all workers."""
        share = epochs / self.options.epochs
        if self.options.max_seconds is None:
            return share
        clock = torch.tensor(elapsed if self.worker.rank == 0 else 0.0, device=self.worker.device)
        return max(share, float(self.worker.total(clock)) / self.options.max_seconds)

    def _finish_epoch(
        self, train_loss: float, train_seconds: float, waited: float, steps: int, windows_seen: int
    ) -> None:
        started = time.monotonic()
        validation = self._validate()
        clock = torch.tensor([train_seconds, 0.0] if self.worker.rank == 0 else [0.0, 0.0], device=self.worker.device)
        train_seconds = float(self.worker.total(clock)[0])
        waits = float(self.worker.total(torch.tensor(waited, device=self.worker.device))) / self.worker.world_size
        self.seconds += train_seconds
        self.epoch += 1
        record: dict[str, Any] = {
            "epoch": self.epoch,
            "train_loss": math.sqrt(max(train_loss, 0.0)) if math.isfinite(train_loss) else math.inf,
            "validation_loss": validation,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "seconds": self.seconds,
            "frames_per_second": windows_seen * self.length / max(train_seconds, 1e-9),
            "steps": steps,
            "data_wait": waits / max(train_seconds, 1e-9),
            "peak_memory_mb": self._peak_memory(),
        }
        if not (math.isfinite(train_loss) and math.isfinite(validation)):
            record["failure"] = f"the loss is not finite after epoch {self.epoch}"
        elif all(validation < earlier["validation_loss"] for earlier in self.history):
            self.best = {name: value.clone() for name, value in self.objective.forecaster.state_dict().items()}
        self.history.append(record)
        if self.worker.rank == 0 and "failure" not in record:
            with tempfile.TemporaryDirectory(prefix="minconv-checkpoint-") as folder:
                self._save(Path(folder))
                self.worker.report({**record, "validation_seconds": time.monotonic() - started}, Path(folder))
        else:
            self.worker.report(record, None)

    @torch.no_grad()
    def _validate(self) -> float:
        """Closed-loop error over the horizon, in standard deviations, over all workers' validation windows."""
        self.objective.eval()
        sums = torch.zeros(2, device=self.worker.device)
        size = max(1, min(16, 256 // self.length)) if self.tiling is None else 1
        firsts = range(0, len(self.validation_windows), size)
        for batch in self.validation_loader.batches(self.validation_windows[first : first + size] for first in firsts):
            errors = self.objective.closed_loop_error(batch.frames, batch.forcing, self.job.config.window.history)
            sums += torch.stack((errors.mean(dim=1).sum(), torch.tensor(float(len(errors)), device=sums.device)))
        self.objective.train()
        total = self.worker.total(sums)
        return math.sqrt(float(total[0] / total[1]))

    def _peak_memory(self) -> float:
        """Peak resident memory of the largest worker so far, in MB."""
        peaks = torch.zeros(self.worker.world_size, device=self.worker.device)
        unit = 1 if sys.platform == "darwin" else 1024
        peaks[self.worker.rank] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
        return float(self.worker.total(peaks).max())

    def _save(self, folder: Path) -> None:
        forecaster, metadata = self.objective.forecaster, {"snapshot_id": self.job.snapshot_id}
        minconv.save(folder / "latest", forecaster, metadata)
        newest = {name: value.clone() for name, value in forecaster.state_dict().items()}
        forecaster.load_state_dict(self.best if self.best is not None else newest)
        minconv.save(folder / "best", forecaster, metadata)
        forecaster.load_state_dict(newest)
        torch.save(self.optimizer.state_dict(), folder / "optimizer.pt")
        state = {"epoch": self.epoch, "seconds": self.seconds, "history": self.history}
        (folder / "state.json").write_text(json.dumps(state))
        checkpoints.seal(folder)

    def _resume(self) -> None:
        folder = self.worker.latest()
        if folder is None:
            return
        checkpoints.verify(folder)
        best, _ = minconv.load(folder / "best")
        latest, _ = minconv.load(folder / "latest")
        self.best = best.state_dict()
        self.objective.forecaster.load_state_dict(latest.state_dict())
        optimizer = torch.load(folder / "optimizer.pt", weights_only=True, map_location=self.worker.device)
        self.optimizer.load_state_dict(optimizer)
        state = json.loads((folder / "state.json").read_text())
        self.epoch, self.seconds, self.history = state["epoch"], state["seconds"], state["history"]


def _decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for the weights of convolutions; none for biases, norms and damping, whose zero means nothing."""
    parameters = list(module.parameters())
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def mix(*numbers: int) -> int:
    """A seed for a random generator that depends on all `numbers`."""
    mixed = 0
    for number in numbers:
        mixed = (mixed * 1_000_003 + number + 1) % (2**63 - 1)
    return mixed


def _spread(split: Split, length: int, worker: Worker) -> list[Window]:
    """This worker's part of at most `MAX_VALIDATION_WINDOWS` windows, spread evenly over the split."""
    everything = windows(split, length, 1)
    stride = max(1, math.ceil(len(everything) / MAX_VALIDATION_WINDOWS))
    return everything[::stride][worker.rank :: worker.world_size]
