"""Interruptions held back while a library runs that would swallow them.

with held_back():
    variable[:] = values       # netCDF4 has bare `except:` clauses in which a KeyboardInterrupt is lost

Not for long work: Ctrl-C waits for the body.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def held_back() -> Iterator[None]:
    """Signals that end a command take effect when the body has ended; threads other than the first have none."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Any] = {}
    came: list[int] = []
    try:
        for number in _NUMBERS:
            if callable(handler := signal.getsignal(number)):  # neither ignored nor the system's own
                before[number] = handler
                signal.signal(number, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
