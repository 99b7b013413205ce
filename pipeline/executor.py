"""Where the heavy part of a stage runs: in this process, or on a cluster (`cluster.RayExecutor`), with equal results.

    for errors in IN_PROCESS.map(partial(open_scorer, model, config), batches):   # in the order of the batches
        ...

What is mapped is made once per process (`make`), because it holds a model and an open archive; so `make` and the items
must be such that they can be sent to another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

DaskScheduler = Literal["threads"] | Callable[..., Any]


class Executor(Protocol):
    """Runs the work of stages."""

    @property
    def dask(self) -> DaskScheduler:
        """What Dask computes with: the argument `scheduler` of ``compute``."""

    def map(self, make: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> Iterator[Result]:
        """The results of ``make()`` called with each item, in order."""

    def run(self, work: Callable[[], Result]) -> Result:
        """The result of one call."""


class InProcess:
    """Runs everything here."""

    @property
    def dask(self) -> DaskScheduler:
        """Threads of this process."""
        return "threads"

    def map(self, make: Callable[[], Callable[[Item], Result]], items: Sequence[Item]) -> Iterator[Result]:
        """One after the other."""
        work = make()
        for item in items:
            yield work(item)

    def run(self, work: Callable[[], Result]) -> Result:
        """A plain call."""
        return work()


IN_PROCESS = InProcess()
