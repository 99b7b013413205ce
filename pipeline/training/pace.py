"""When the workers of a run look up from their steps together, and a clock that is the same for all of them.

An exchange in every step would make each wait for the others and, on a GPU, for the device. About once a second is
often enough to say how far it is, to notice a loss that is not finite, and to keep a checkpoint when it is time.

    pace = Pace(worker, state.seconds)
    if pace.step():                          # after every step
        (bad,) = pace.look(float(bad_here))  # sums over all workers
    pace.seconds                             # of training steps, the same on all workers
"""

from __future__ import annotations

import time

import torch

from .worker import Worker

LOOK_SECONDS = 1.0


class Pace:
    """Counts steps between two looks.

    Args:
        worker: Whose process group it uses.
        seconds: Of training steps before this start.
    """

    def __init__(self, worker: Worker, seconds: float) -> None:
        self._worker = worker
        self._agreed, self._rate = seconds, 0.0
        self._since, self._until = 0, 1
        self._own = seconds
        self._running: float | None = None

    @property
    def seconds(self) -> float:
        """Time of training steps, by the first worker's clock: known at the last look, estimated since."""
        return self._agreed + self._rate * self._since

    def start(self) -> None:
        """Steps follow from now on."""
        self._running = time.monotonic()

    def stop(self) -> None:
        """What follows is no step."""
        self._own, self._running = self._now(), None

    def step(self) -> bool:
        """A step was done; whether it is time to look."""
        self._since += 1
        return self._since >= self._until

    def look(self, *values: float) -> list[float]:
        """Sums of these values over all workers; and the clocks are set anew."""
        mine = (self._now(), *values) if self._worker.rank == 0 else (0.0, *values)
        seconds, *sums = self._worker.total(
            torch.tensor(mine, dtype=torch.float64, device=self._worker.device)
        ).tolist()
        if self._since:
            self._rate = max(0.0, seconds - self._agreed) / self._since
            self._until = max(1, int(LOOK_SECONDS / self._rate)) if self._rate else 1
        self._agreed, self._since = seconds, 0
        return sums

    def _now(self) -> float:
        """Time of steps by this worker's clock."""
        return self._own + (0.0 if self._running is None else time.monotonic() - self._running)
