"""What `startup.py` has every process of a command write down: when it began, what it imported, what it called.

As `sitecustomize` on the path of a command this runs in each of its Python processes, those of Ray among them, before
anything else. It knows nothing of the product but the names below, and the product nothing of it.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

FILE = "MINCONV_BENCH_TRACE"
IMPORTS = ("torch", "xarray", "icechunk", "dask", "mlflow", "ray", "ray.train", "pydantic", "pipeline", "workflows")
IMPORTS += ("ray.train.torch", "pipeline.training", "pipeline.registry", "workflows.commands", "workflows.run")
# Module -> functions in it whose calls are written down.
CALLS = {
    "workflows.context": ("load_config",),
    "pipeline.registry.registry": ("Registry.__init__", "Registry.find", "Registry.run", "Registry.register"),
    "pipeline.training.job": ("prepare",),
    "pipeline.training.loop": ("run_loop",),
    "pipeline.training.ray_train": ("train",),
    "pipeline.cluster.resources": ("describe",),
    "pipeline.cluster.mailbox": ("Mailbox.__init__",),
    "ray._private.worker": ("init", "shutdown"),
    "ray.train.v2._internal.execution.controller.controller": ("TrainController.__init__",),
    "ray.train.v2._internal.execution.worker_group.worker_group": ("WorkerGroup._start",),
    "torch.distributed.distributed_c10d": ("init_process_group",),
    "minconv.scan.native": ("load",),
}
_write_lock = threading.Lock()


def note(kind: str, name: str, began: float, ended: float, cpu: float) -> None:
    """Add a line to the trace."""
    line = json.dumps(
        {
            "pid": os.getpid(),
            "thread": threading.current_thread().name,
            "kind": kind,
            "name": name,
            "began": began,
            "ended": ended,
            "cpu": cpu,
        }
    )
    with _write_lock, open(os.environ[FILE], "a", encoding="utf-8") as file:
        file.write(line + "\n")


def timed(kind: str, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which writes down when it was called and how long it took."""

    @functools.wraps(call)
    def calling(*arguments: Any, **options: Any) -> Any:
        began, cpu = time.time(), time.thread_time()
        try:
            return call(*arguments, **options)
        finally:
            note(kind, name, began, time.time(), time.thread_time() - cpu)

    return calling


class Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that are looked at as they are found without it, and has their import written down."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name not in IMPORTS and name not in CALLS and name != "torch.optim.optimizer":
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def executing(module: ModuleType) -> None:
            (timed("import", name, execute) if name in IMPORTS else execute)(module)
            for called in CALLS.get(name, ()):
                *owners, function = called.split(".")
                owner = functools.reduce(getattr, owners, module)
                setattr(owner, function, timed("call", called, getattr(owner, function)))
            if name == "torch.optim.optimizer":
                module.register_optimizer_step_post_hook(functools.partial(_stepped, []))  # type: ignore[attr-defined]

        spec.loader.exec_module = executing  # type: ignore[method-assign]
        return spec


def _stepped(before: list[bool], *_: Any) -> None:
    """Write down the first step of an optimizer."""
    if not before:
        before.append(True)
        note("step", "first step", time.time(), time.time(), time.process_time())


def started() -> float:
    """When this process was started, by the clock."""
    with open("/proc/self/stat", encoding="utf-8") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    with open("/proc/uptime", encoding="utf-8") as file:
        up = float(file.read().split()[0])
    return time.time() - up + ticks / os.sysconf("SC_CLK_TCK")


def what() -> str:
    """The command that this process runs, in short."""
    with open("/proc/self/cmdline", encoding="utf-8") as file:
        return " ".join(file.read().split("\0"))[:200]


if FILE in os.environ:
    note("process", what(), started(), time.time(), time.process_time())
    sys.meta_path.insert(0, Finder())
