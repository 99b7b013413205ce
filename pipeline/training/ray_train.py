"""Training on Ray: a Ray Train worker group around `run_loop`, with DistributedDataParallel.

What lives here: resources, workers, progress. What does not: the loop itself (`loop`), how workers find each other
(`process_group`).

    with cluster.connect() as ray_cluster:
        outcome = train(job, run_name(config, snapshot_id), ray_cluster, progress)
    outcome.checkpoint     # folder that minconv.load reads
"""

from __future__ import annotations

import math
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import minconv

from ..cluster import Cluster, Mailbox, lean_trainer, worker_timeout
from ..config import Config, TrainingConfig, WorkersConfig
from ..errors import PipelineError, TrainingError
from ..progress import Progress, silent
from . import process_group
from .checkpoints import Checkpoints
from .job import TrainingJob
from .loop import run_loop
from .outcome import TrainingOutcome, diverged, event_of, outcome_of, too_late
from .profile import StepProfile, profile_steps
from .worker import Worker

RAYS_OWN_RECORD = "checkpoint_manager_snapshot.json"
LISTEN_EVERY_SECONDS = 0.5
GRACE_SECONDS = 60.0  # for the workers to end by themselves, before the driver gives them up


def train(job: TrainingJob, name: str, cluster: Cluster, progress: Progress = silent) -> TrainingOutcome:
    """Train on a cluster; an interrupted run of the same name goes on from its newest valid checkpoint.

    Args:
        job: What to train.
        name: Of the run (`lineage.run_name`).
        cluster: Where. When this call is interrupted, the run ends with the connection to the cluster.
        progress: Told about steps (message "epoch 3 of 8") and finished epochs (values train_loss, validation_loss, …).

    Raises:
        ClusterError: Too few resources, or others use them.
        TrainingError: Too many failures, out of time, or a loss that is not finite.
        PipelineError: What a worker raised; it is not tried again.
    """
    started = time.monotonic()
    listener = _carry_out(run_loop, job, name, cluster, progress)
    checkpoints = Checkpoints(job.config.work_dir / "training" / name)
    return outcome_of(name, checkpoints, time.monotonic() - started, listener.nodes)


def profile(job: TrainingJob, cluster: Cluster) -> StepProfile:
    """Measure some steps on a cluster, with as many workers as a training would have; nothing is kept.

    Args:
        job: What to train.
        cluster: Where.

    Raises:
        TrainingError: The workers ended without a result.
        PipelineError: What `train` would raise.
    """
    name = f"profile-{uuid.uuid4().hex[:12]}"
    try:
        result = _carry_out(profile_steps, job, name, cluster, silent).result
    finally:
        shutil.rmtree(job.config.work_dir / "training" / name, ignore_errors=True)
    if not isinstance(result, StepProfile):
        raise TrainingError("the workers ended without a profile of their steps; start the same command again")
    return result


def _carry_out(
    task: Callable[[TrainingJob, Worker], Any], job: TrainingJob, name: str, cluster: Cluster, progress: Progress
) -> _Listener:
    """Have all workers do it; what they said meanwhile."""
    options = job.config.training
    threads = options.threads or cluster.threads_for(options.most_workers)
    cluster.require(options.least_workers, threads, options.gpu)
    cluster.wait_for_room(options.least_workers, threads, options.gpu)
    storage = job.config.work_dir / "training"
    storage.mkdir(parents=True, exist_ok=True)
    # Ray writes its record of a run in place, so it may be torn. It says nothing that our checkpoints do not.
    (storage / name / RAYS_OWN_RECORD).unlink(missing_ok=True)
    deadline = time.time() + options.deadline_seconds
    mailbox = Mailbox()
    arguments = {
        "task": task,
        "job": job,
        "folder": storage / name,
        "scratch": cluster.scratch,
        "mailbox": mailbox,
        "threads": threads,
        "deadline": deadline,
    }
    listener = _Listener(mailbox, options, progress, deadline)
    with worker_timeout(options.stall_seconds):
        trainer = _trainer(arguments, job.config, name, storage)
        _fit(lean_trainer(trainer) if cluster.local else trainer, listener)
    return listener


def _trainer(arguments: dict[str, Any], config: Config, name: str, storage: Path) -> Any:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    options = config.training
    wanted = options.workers
    resize_seconds = wanted.resize_seconds if isinstance(wanted, WorkersConfig) else math.inf
    resources = {"CPU": arguments["threads"], **({"GPU": 1} if options.gpu else {})}
    trainer = DataParallelTrainer(
        _start,
        train_loop_config={"arguments": ray.put(arguments)},
        backend_config=process_group.together(),
        scaling_config=ScalingConfig(
            num_workers=(wanted.min, wanted.max) if isinstance(wanted, WorkersConfig) else wanted,
            elastic_resize_monitor_interval_s=resize_seconds,
            use_gpu=options.gpu,
            resources_per_worker=resources,
            placement_strategy=config.compute.placement.upper(),
        ),
        run_config=RunConfig(
            name=name,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=options.max_failures, controller_failure_limit=3),
        ),
    )
    # Ray's own handler would turn Ctrl-C into an end with success.
    trainer._register_sigint_handler = lambda controller: None
    return trainer


def _fit(trainer: Any, listener: _Listener) -> None:
    """Run the trainer while hearing from its workers."""
    try:
        with listener:
            trainer.fit()
    except (Exception, KeyboardInterrupt) as error:
        if listener.error is not None:
            raise listener.error from None
        if isinstance(error, KeyboardInterrupt):
            raise
        reason = (" ".join(str(_root_cause(error)).split()) or type(error).__name__)[:500]
        raise TrainingError(
            f"training failed ({reason}); start the same command again to go on from its checkpoint"
        ) from error
    if listener.error is not None:
        raise listener.error


def _root_cause(error: BaseException) -> BaseException:
    """The exception a worker raised, if Ray says which; else the error itself."""
    failures = getattr(error, "worker_failures", None)
    inner = next(iter(failures.values()), None) if failures else getattr(error, "cause", None) or error.__cause__
    return _root_cause(inner) if isinstance(inner, BaseException) and inner is not error else error


class _Listener:
    """Turns the workers' messages into events while its context lasts, and remembers the first error and the result."""

    def __init__(self, mailbox: Mailbox, options: TrainingConfig, progress: Progress, deadline: float) -> None:
        self.error: PipelineError | None = None
        self.nodes: set[str] = set()
        self.result: Any = None
        self._mailbox, self._options, self._progress = mailbox, options, progress
        self._give_up_at = deadline + GRACE_SECONDS
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="training-progress", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self._stop.set()
        self._thread.join()
        if kind is None:
            self._hear()

    def _listen(self) -> None:
        while not self._stop.wait(LISTEN_EVERY_SECONDS):
            self._hear()
            if time.time() > self._give_up_at:
                self.error = self.error or too_late()
                # out of Ray's waiting for workers that do not end by themselves
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return

    def _hear(self) -> None:
        for message in self._mailbox.take():
            if message["kind"] == "error":
                self.error = self.error or message["error"]
                self._give_up_at = min(self._give_up_at, time.time() + GRACE_SECONDS)
            elif message["kind"] == "worker":
                self.nodes.add(message["node"])
            elif message["kind"] == "result":
                self.result = message["result"]
            else:
                self._progress(event_of(message, self._options))


def _start(packed: dict[str, Any]) -> None:
    """Fetch the arguments, which only workers unpack: the controller would import all that they are made of."""
    import ray

    _ray_worker(ray.get(packed["arguments"]))


def _ray_worker(arguments: dict[str, Any]) -> None:
    """What runs in each worker process."""
    torch.set_num_threads(arguments["threads"])
    minconv.keep_freed_memory()
    tempfile.tempdir = None if arguments["scratch"] is None else str(arguments["scratch"])
    mailbox: Mailbox = arguments["mailbox"]
    try:
        worker = _RayWorker(arguments)
        result = arguments["task"](arguments["job"], worker)
        process_group.leave()
        if result is not None and worker.rank == 0:
            mailbox.put({"kind": "result", "result": result}, wait=True)
    except PipelineError as error:  # raised on, Ray would try again what cannot succeed
        mailbox.put({"kind": "error", "error": error}, wait=True)


class _RayWorker:
    """A `worker.Worker` inside a Ray Train worker group."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.rank: int = context.get_world_rank()
        self.world_size: int = context.get_world_size()
        self.device: torch.device = ray.train.torch.get_device()
        self.checkpoints = Checkpoints(arguments["folder"])
        self._deadline: float = arguments["deadline"]
        self._mailbox: Mailbox = arguments["mailbox"]
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.world_size > 1:
            options: TrainingConfig = arguments["job"].config.training
            process_group.join("nccl" if options.gpu else "gloo", options.stall_seconds)
        self._mailbox.put({"kind": "worker", "node": ray.get_runtime_context().get_node_id()})

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

    def report(self, record: dict[str, Any]) -> None:
        """Tell the driver."""
        if "failure" in record:
            raise diverged(record["failure"])
        if self.rank == 0:
            self._mailbox.put({"kind": "epoch", **record}, wait=True)
        if time.time() > self._deadline:
            raise too_late()

    def say(self, message: dict[str, Any]) -> None:
        """Tell the driver."""
        self._mailbox.put({"kind": "step", **message})
