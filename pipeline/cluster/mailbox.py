"""Small messages from workers to the driver.

mailbox = Mailbox()              # on the driver, handed to the workers
mailbox.put({"epoch": 3})        # in a worker
mailbox.take()                   # on the driver: [{"epoch": 3}]
"""

from __future__ import annotations

import contextlib
from typing import Any

MAILBOX_SECONDS = 30.0  # a mailbox that does not answer for so long is given up


class Mailbox:
    """Small messages from workers to the driver, over one actor on its node; made by the driver, handed to the workers.

    Messages of one sender arrive in order. A mailbox whose node is lost takes and gives nothing; it never raises.
    """

    def __init__(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._actor = ray.remote(num_cpus=0, scheduling_strategy=here)(_Messages).remote()

    def put(self, message: dict[str, Any], wait: bool = False) -> None:
        """Send; `wait` until it has arrived, which a process that is about to end must."""
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            sent = self._actor.put.remote(message)
            if wait:
                ray.get(sent, timeout=MAILBOX_SECONDS)

    def take(self) -> list[dict[str, Any]]:
        """All messages since the last call, oldest first."""
        import ray

        try:
            messages: list[dict[str, Any]] = ray.get(self._actor.take.remote(), timeout=MAILBOX_SECONDS)
        except ray.exceptions.RayError:
            return []
        return messages


class _Messages:
    def __init__(self) -> None:
        self._messages: list[dict[str, Any]] = []

    def put(self, message: dict[str, Any]) -> None:
        self._messages.append(message)

    def take(self) -> list[dict[str, Any]]:
        taken, self._messages = self._messages, []
        return taken
