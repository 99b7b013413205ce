"""Training on Ray: a Ray Train worker group around `run_loop`, with DistributedDataParallel (gloo on CPU, nccl on GPU).

What lives here: resources, run name, progress, the outcome. What does not: the loop itself (`loop`).

    with cluster.connect() as ray_cluster:
        outcome = train(job, run_name(config, snapshot_id), ray_cluster, progress)
    outcome.checkpoint     # folder that minconv.load reads
"""

from __future__ import annotations

import functools
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..cluster import Cluster, Mailbox
from ..errors import PipelineError, TrainingError
from ..progress import Event, Progress, silent
from . import checkpoints
from .job import TrainingJob
from .loop import run_loop

CHECKPOINTS_KEPT = 2


@dataclass(frozen=True)
class TrainingOutcome:
    """A finished training run.

    Attributes:
        run_name: Its name.
        checkpoint: Folder of the weights with the lowest validation error, for `minconv.load`.
        history: One record per epoch: train_loss, validation_loss, learning_rate, seconds, frames_per_second.
        seconds: Wall time of this call, start-up included.
    """

    run_name: str
    checkpoint: Path
    history: tuple[dict[str, Any], ...]
    seconds: float


def train(job: TrainingJob, name: str, cluster: Cluster, progress: Progress = silent) -> TrainingOutcome:
    """Train on a cluster; an interrupted run of the same name goes on from its newest valid checkpoint.

    Args:
        job: What to train.
        name: Of the run (`lineage.run_name`).
        cluster: Where.
        progress: Told about steps (message "epoch 3") and finished epochs (values train_loss, validation_loss).

    Raises:
        TrainingError: Too few resources, too many failures, out of time, or a loss that is not finite.
    """
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    options, started = job.config.training, time.monotonic()
    threads = options.threads or max(1, min(os.cpu_count() or 1, cluster.cpus) // options.workers)
    cluster.require(options.workers, threads, options.gpu)
    storage = job.config.work_dir / "training"
    storage.mkdir(parents=True, exist_ok=True)
    resources = {"CPU": threads, "GPU": 1} if options.gpu else {"CPU": threads}
    mailbox = Mailbox()
    trainer = TorchTrainer(
        _ray_worker,
        train_loop_config={
            "job": job,
            "mailbox": mailbox,
            "threads": threads,
            "deadline": time.time() + options.deadline_seconds,
        },
        torch_config=TorchConfig(backend="nccl" if options.gpu else "gloo", timeout_s=600),
        scaling_config=ScalingConfig(num_workers=options.workers, use_gpu=options.gpu, resources_per_worker=resources),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=options.max_failures, controller_failure_limit=3),
            checkpoint_config=CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
        ),
    )
    with _listening(mailbox, job, progress):
        result = _fit(trainer)
    failure = (result.metrics or {}).get("failure")
    if failure is not None:
        raise TrainingError(f"{failure}; nothing was registered; lower training.learning_rate or check the data")
    if result.checkpoint is None:
        raise TrainingError(f"training run {name} ended without a checkpoint; see the logs in {storage / name}")
    return _outcome(name, Path(result.checkpoint.path), time.monotonic() - started)


def _fit(trainer: Any) -> Any:
    try:
        return trainer.fit()
    except Exception as error:
        cause = _root_cause(error)
        if isinstance(cause, PipelineError):
            raise cause from None
        reason = (" ".join(str(cause).split()) or type(cause).__name__)[:500]
        raise TrainingError(
            f"training failed ({reason}); start the same command again to go on from its checkpoint"
        ) from error


def _root_cause(error: BaseException) -> BaseException:
    """The exception a worker raised, if Ray says which; else the error itself."""
    failures = getattr(error, "worker_failures", None)
    inner = next(iter(failures.values()), None) if failures else getattr(error, "cause", None) or error.__cause__
    return _root_cause(inner) if isinstance(inner, BaseException) and inner is not error else error


def _outcome(name: str, folder: Path, seconds: float) -> TrainingOutcome:
    checkpoints.verify(folder)
    history = json.loads((folder / "state.json").read_text())["history"]
    return TrainingOutcome(name, folder / "best", tuple(history), seconds)


def _ray_worker(arguments: dict[str, Any]) -> None:
    """What runs in each worker process."""
    torch.set_num_threads(arguments["threads"])
    run_loop(arguments["job"], _RayWorker(arguments["deadline"], arguments["mailbox"]))


class _RayWorker:
    """A `loop.Worker` inside a Ray Train worker group."""

    def __init__(self, deadline: float, mailbox: Mailbox) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.device: torch.device = ray.train.torch.get_device()
        self._deadline = deadline
        self._mailbox = mailbox

    def wrap(self, module: nn.Module) -> nn.Module:
        """DistributedDataParallel where there is more than one worker."""
        if self.world_size == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(module, device_ids=devices, broadcast_buffers=False)

    def total(self, values: Tensor) -> Tensor:
        """All-reduce."""
        if self.world_size > 1:
            torch.distributed.all_reduce(values)
        return values

    def latest(self) -> Path | None:
        """What Ray Train restores for a run of this name."""
        import ray.train

        checkpoint = ray.train.get_checkpoint()
        return None if checkpoint is None else Path(checkpoint.path)

    def report(self, record: dict[str, Any], checkpoint: Path | None) -> None:
        """Persist the checkpoint, then tell the driver."""
        import ray.train

        kept = None if checkpoint is None else ray.train.Checkpoint.from_directory(str(checkpoint))
        ray.train.report(record, checkpoint=kept)
        if self.rank == 0:
            self._mailbox.put({"kind": "epoch", **record})
        if time.time() > self._deadline:
            raise TrainingError(
                "training ran past training.deadline_seconds; raise it and start the same command again"
            )

    def say(self, message: dict[str, Any]) -> None:
        """Tell the driver."""
        self._mailbox.put({"kind": "step", **message})


@contextmanager
def _listening(mailbox: Mailbox, job: TrainingJob, progress: Progress) -> Iterator[None]:
    """Pass the workers' messages on as events while the body runs."""
    stop = threading.Event()
    tell = functools.partial(_tell, job.config.training.epochs, progress)

    def listen() -> None:
        while not stop.wait(0.5):
            for message in mailbox.take():
                tell(message)

    thread = threading.Thread(target=listen, name="training-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5.0)
    for message in mailbox.take():
        tell(message)


def _tell(epochs: int, progress: Progress, message: dict[str, Any]) -> None:
    if message["kind"] == "epoch":
        values = {key: float(value) for key, value in message.items() if isinstance(value, int | float)}
        progress(Event("training", message["epoch"], epochs, "epochs", values))
    else:
        share = f"epoch {message['epoch'] + 1}, step {message['step'] + 1} of {message['steps']}"
        progress(Event("training", message["epoch"], epochs, "epochs", {"loss": message["loss"]}, share))
