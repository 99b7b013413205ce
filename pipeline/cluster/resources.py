"""What a cluster has, and whether a group of workers fits into it.

cluster = describe(local=False)
cluster.require(workers=4, threads=2, gpu=False)       # ClusterError when it can never fit
cluster.wait_for_room(workers=4, threads=2, gpu=False) # ClusterError when others keep it busy
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import ClusterError

ROOM_SECONDS = 45.0  # to wait for resources that others use


@dataclass(frozen=True)
class Node:
    """A machine of a cluster: Ray's id of it, its address, and what it may be asked for."""

    node_id: str
    address: str
    cpus: int
    gpus: int = 0


@dataclass(frozen=True)
class Cluster:
    """A running Ray cluster.

    Attributes:
        nodes: Its machines.
        local: It is private to this process and ends with it.
        scratch: Folder for temporary files of workers that may be killed; it ends with the cluster. None: the default.
    """

    nodes: tuple[Node, ...]
    local: bool
    scratch: Path | None = None

    @property
    def cpus(self) -> int:
        """CPUs in all."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> int:
        """GPUs in all."""
        return sum(node.gpus for node in self.nodes)

    def threads_for(self, workers: int) -> int:
        """The most threads that each of so many workers can have; 1 where they do not fit at all."""
        most = max((node.cpus for node in self.nodes), default=1)
        return next((threads for threads in range(most, 1, -1) if self._fitting(threads, False) >= workers), 1)

    def require(self, workers: int, threads: int, gpu: bool = False) -> None:
        """Check that a group of workers fits when nothing else runs; a worker is never spread over two nodes.

        Raises:
            ClusterError: It does not; says what is missing.
        """
        if gpu and self.gpus < workers:
            raise ClusterError(
                f"training.workers={workers} with training.gpu=true needs {workers} GPUs, the cluster has {self.gpus}; "
                "lower training.workers or set training.gpu=false"
            )
        if self.cpus < workers * threads:
            raise ClusterError(
                f"{workers} workers of {threads} threads need {workers * threads} CPUs, the cluster has {self.cpus}; "
                "lower training.workers or training.threads"
            )
        if self._fitting(threads, gpu) < workers:
            nodes = ", ".join(f"{node.cpus} CPUs and {node.gpus} GPUs" for node in self.nodes)
            raise ClusterError(
                f"{workers} workers of {threads} threads{' and a GPU' if gpu else ''} do not fit the cluster's nodes "
                f"({nodes}), as a worker needs its resources on one node; lower training.workers or training.threads"
            )

    def wait_for_room(self, workers: int, threads: int, gpu: bool = False) -> None:
        """Wait until a group of workers could start now.

        Raises:
            ClusterError: Others keep the resources for `ROOM_SECONDS`.
        """
        if self.local:
            return
        from ray.util.placement_group import placement_group, remove_placement_group

        wanted = placement_group([{"CPU": threads, **({"GPU": 1} if gpu else {})}] * workers, strategy="SPREAD")
        try:
            if not wanted.wait(ROOM_SECONDS):
                raise ClusterError(
                    f"{workers} workers of {threads} threads{' and a GPU' if gpu else ''} fit the cluster, but other "
                    f"work held its resources for {ROOM_SECONDS:.0f} s; wait for that work to end, or lower "
                    "training.workers or training.threads"
                )
        finally:
            remove_placement_group(wanted)

    def _fitting(self, threads: int, gpu: bool) -> int:
        """How many workers fit."""
        return sum(min(node.cpus // threads, node.gpus if gpu else node.cpus) for node in self.nodes)


def describe(local: bool, scratch: Path | None = None) -> Cluster:
    """The cluster that this process is connected to."""
    import ray

    nodes = [
        Node(
            str(node["NodeID"]),
            str(node["NodeManagerAddress"]),
            int(node["Resources"].get("CPU", 0)),
            int(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]
    return Cluster(tuple(sorted(nodes, key=lambda node: (node.address, node.node_id))), local, scratch)
