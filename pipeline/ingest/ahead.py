"""One step of the next item on a thread of its own, while the caller works on this one.

    for path, digest in ahead(sha256, paths):
        digest.result()                       # or raises what the step raised

For steps that leave Python's lock to others: hashing does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(step: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Future[Result]]]:
    """Each item in order with what becomes of it; that of the next one is begun before an item is handed out."""
    with ThreadPoolExecutor(1) as thread:
        before: tuple[Item, Future[Result]] | None = None
        for item in items:
            begun = item, thread.submit(step, item)
            if before is not None:
                yield before
            before = begun
        if before is not None:
            yield before
