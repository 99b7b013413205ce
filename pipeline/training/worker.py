"""What the training loop needs from whoever runs it: this process (`local`), or a worker on a cluster (`ray_train`)."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .checkpoints import Checkpoints


class Worker(Protocol):
    """One of the processes that train together."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def checkpoints(self) -> Checkpoints:
        """Those of the run, in a folder that all workers see."""

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module made data-parallel."""

    def total(self, values: Tensor) -> Tensor:
        """Sum over all workers."""

    def report(self, record: dict[str, Any]) -> None:
        """An epoch is finished and its checkpoint kept, or the run has failed: called by all workers."""

    def say(self, message: dict[str, Any]) -> None:
        """Tell the user how far it is; may be dropped."""
