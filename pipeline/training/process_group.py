"""How the workers of a training on Ray find each other, and what they exchange gradients by: gloo on CPU, nccl on GPU.

What lives here: the process group of torch, made by the workers themselves. What does not: starting them (`ray_train`).

    join("gloo", timeout=180.0)     # in each worker, of which there is more than one
    leave()

Ray's own `TorchTrainer` has the controller of the workers make it, which for this imports torch before any worker is
started: seconds of every start.
"""

from __future__ import annotations

import datetime
from typing import Any

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # exported, but not by name


def join(backend: str, timeout: float) -> None:
    """Meet the other workers; all of them call this.

    Args:
        backend: Of the exchange.
        timeout: Seconds that one waits for the others, here and in each exchange.
    """
    import ray
    import ray.train
    from ray.train.collective import broadcast_from_rank_zero

    context, limit = ray.train.get_context(), datetime.timedelta(seconds=timeout)
    rank, size = context.get_world_rank(), context.get_world_size()
    host, port, store = ray.util.get_node_ip_address(), 0, None
    if rank == 0:  # at a port that the system chooses
        store = TCPStore(host, 0, size, is_master=True, timeout=limit, wait_for_workers=False)
        port = store.port
    host, port = broadcast_from_rank_zero((host, port))
    store = store or TCPStore(host, port, size, is_master=False, timeout=limit, wait_for_workers=False)
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=limit)


def leave() -> None:
    """After the last exchange; where there was none to join, nothing."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def together() -> Any:
    """What Ray is told of the workers: those of one node see all of its GPUs, so that they exchange through them."""
    from ray.train.backend import Backend, BackendConfig

    class Together(Backend):
        share_cuda_visible_devices = True

    class Workers(BackendConfig):
        backend_cls = property(lambda self: Together)

    return Workers()
