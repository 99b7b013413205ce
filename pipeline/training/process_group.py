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
    host, store = ray.util.get_node_ip_address(), None
    if rank == 0:  # at a port that the system chooses
        store = torch.distributed.TCPStore(host, 0, size, is_master=True, timeout=limit, wait_for_workers=False)
    place = broadcast_from_rank_zero(None if store is None else (host, store.port))
    if store is None:
        store = torch.distributed.TCPStore(*place, size, is_master=False, timeout=limit, wait_for_workers=False)
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
