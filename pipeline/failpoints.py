"""Named points between one change of the disk and the next, at which a crash must do no harm.

What lives here: `reach`, called at such a point, where nothing happens in use; and `handling`, by which a test has the
process killed there, or an error raised. What does not: the points, which stand in the code that writes.

    reach("archive.marker.set")
    with handling(lambda name: os.kill(os.getpid(), signal.SIGKILL)):
        ingest(config)

Names are literals, so that the tests can find all of them in the source and hold them against those they reached.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_handlers: list[Callable[[str], None]] = []


def reach(name: str) -> None:
    """Say that the process is at this point."""
    for handler in _handlers:
        handler(name)


@contextmanager
def handling(handler: Callable[[str], None]) -> Iterator[None]:
    """Call `handler` with the name of each point that this process reaches in the body, in any thread."""
    _handlers.append(handler)
    try:
        yield
    finally:
        _handlers.remove(handler)
