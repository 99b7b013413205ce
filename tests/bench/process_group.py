"""Two workers of a training that torchrun has started, where Ray Train would start them.

torchrun(__file__, "--worker", folder)     # in the benchmark
run_loop(job, ProcessGroup(folder))        # in each of the two
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.training.checkpoints import Checkpoints

REPOSITORY = Path(__file__).resolve().parents[2]


def torchrun(script: str, *words: object) -> None:
    """Run a script in two processes that find each other."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script]
    done = subprocess.run([*command, *map(str, words)], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])


class ProcessGroup:
    """A worker of that group; all else is Ray Train's.

    Attributes:
        options: Of DistributedDataParallel, beside those of `pipeline.training.ray_train`.
    """

    def __init__(self, folder: Path) -> None:
        torch.distributed.init_process_group("gloo")
        self.rank, self.world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        self.device, self.checkpoints = torch.device("cpu"), Checkpoints(folder)
        self.options: dict[str, Any] = {}

    def wrap(self, module: nn.Module) -> nn.Module:
        return nn.parallel.DistributedDataParallel(module, broadcast_buffers=False, **self.options)

    def total(self, values: Tensor) -> Tensor:
        torch.distributed.all_reduce(values)
        return values

    def report(self, record: dict[str, Any]) -> None: ...

    def say(self, message: dict[str, Any]) -> None: ...
