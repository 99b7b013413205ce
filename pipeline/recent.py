"""The most recent of what takes long to make, kept while they are few: for readers in several threads.

recent = Recent(make=decode, count=8)
recent.get((sample, block))     # decoded once, however many threads ask at the same time
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """Values by key, made when first asked for.

    Args:
        make: The value of a key.
        count: How many are kept.
    """

    def __init__(self, make: Callable[[Key], Value], count: int) -> None:
        self._make, self._count = make, count
        self._lock = threading.Lock()
        self._held: OrderedDict[Key, Future[Value]] = OrderedDict()

    def get(self, key: Key) -> Value:
        """The value; a second thread that wants it while it is made waits."""
        with self._lock:
            known = self._held.get(key)
            mine = known is None
            if known is None:
                known = self._held[key] = Future()
                while len(self._held) > self._count:
                    self._held.popitem(last=False)
            else:
                self._held.move_to_end(key)
        if mine:
            try:
                known.set_result(self._make(key))
            except BaseException as error:
                with self._lock:
                    self._held.pop(key, None)  # to be tried again
                known.set_exception(error)
        return known.result()
