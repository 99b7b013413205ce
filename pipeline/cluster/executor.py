"""The executor of stages that run on a cluster: actors for what is mapped, Dask on Ray for what is computed.

executor = RayExecutor(cluster, workers=2, threads=1)
for result in executor.map(make, items):
    ...
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..errors import ClusterError, PipelineError
from ..executor import DaskScheduler, Item, Result
from .resources import Cluster

TRIES_AGAIN = 2  # of an item whose process or node was lost; the work of stages may be done twice


class RayExecutor:
    """Runs the work of stages on a cluster.

    Args:
        cluster: Connected to.
        workers: Processes, spread over the nodes.
        threads: CPUs of each.
    """

    def __init__(self, cluster: Cluster, workers: int, threads: int) -> None:
        self._cluster, self._workers, self._threads = cluster, workers, threads

    @property
    def dask(self) -> DaskScheduler:
        """Dask on Ray: every task of a graph is one of the cluster."""
        import ray
        from ray.util.dask import ray_dask_get

        def get(graph: Any, keys: Any, **options: Any) -> Any:
            try:
                return ray_dask_get(graph, keys, **options)
            except ray.exceptions.RayTaskError:  # what the work raised
                raise
            except ray.exceptions.RayError as error:
                raise ClusterError(
                    "a process of Dask on Ray was lost again and again, most often for want of memory; see the "
                    "cluster's logs, then run the command again"
                ) from error

        return get

    def map(self, make: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> Iterator[Result]:
        """The results of ``make()``, which each process calls once, with each item, in order.

        Raises:
            PipelineError: What the work raised.
            ClusterError: Too few resources, or the processes were lost again and again.
        """
        import ray
        from ray.util import ActorPool

        count = min(self._workers, len(items))
        self._cluster.require(count, self._threads)
        self._cluster.wait_for_room(count, self._threads)
        options: dict[str, Any] = {"num_cpus": self._threads, "scheduling_strategy": "SPREAD"}
        retries = {"max_restarts": TRIES_AGAIN, "max_task_retries": TRIES_AGAIN}
        actor = ray.remote(**options, **retries)(_Process)
        processes = [actor.remote() for _ in range(count)]
        made = [ray.put(make)]  # in a list it travels as a reference, which each process follows once
        try:
            yield from ActorPool(processes).map(lambda process, item: process.work.remote(made, item), items)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, PipelineError):
                raise error.cause from None
            raise
        except ray.exceptions.RayActorError as error:
            raise ClusterError(
                "a process on the cluster was lost again and again, most often for want of memory; lower "
                "training.workers or evaluation.batch_size, or see the cluster's logs"
            ) from error
        finally:
            for process in processes:
                ray.kill(process)

    def run(self, work: Callable[[], Result]) -> Result:
        """The result of one call; errors as of `map`."""
        results: list[Result] = list(self.map(_caller, [work]))
        return results[0]


def _caller() -> Callable[[Callable[[], Any]], Any]:
    return operator.call


class _Process:
    """An actor that keeps what was made."""

    def __init__(self) -> None:
        self._work: Callable[[Any], Any] | None = None

    def work(self, made: list[Any], item: Any) -> Any:
        if self._work is None:
            import ray

            self._work = ray.get(made[0])()
        return self._work(item)
