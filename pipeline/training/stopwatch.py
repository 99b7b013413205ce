"""The stopwatch by which the parts of a training step are measured.

stopwatch = Stopwatch(device)
with stopwatch.part("forward"):
    loss = model(frames)
stopwatch.seconds["forward"]
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Iterator

import torch


class Unmeasured:
    """Measures nothing and costs nothing: what a training has unless it is asked for more."""

    def part(self, name: str) -> contextlib.AbstractContextManager[None]:
        """The body is this part of the step."""
        return contextlib.nullcontext()


class Stopwatch(Unmeasured):
    """Seconds by part; on a GPU it waits for the device at both ends of each.

    Args:
        device: Where the parts are computed.

    Attributes:
        seconds: Of each part, added up.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Add the time of the body."""
        self._wait()
        started = time.perf_counter()
        yield
        self._wait()
        self.seconds[name] += time.perf_counter() - started

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
