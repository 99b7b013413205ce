"""Doing something in a process of its own: its memory is given back, and its end is an answer, not ours.

result = in_own_process(work, (1, 2), progress)      # work(1, 2, progress) over there
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from .errors import PipelineError, TrainingError
from .progress import Event, Progress

T = TypeVar("T")
_STOP_SECONDS = 10.0


def in_own_process(work: Callable[..., T], arguments: tuple[Any, ...], progress: Progress, what: str = "a trial") -> T:
    """Call a function of a module, the last of whose arguments is a `Progress`; what it returns or raises comes back.

    The process ends with this one, however this one ends, and with any exception that comes up here meanwhile.

    Args:
        work: Of a module, as the process imports it.
        arguments: All but the last.
        progress: Told here what the function tells its last argument.
        what: The process is for, for the sentence that says that it was ended.

    Raises:
        TrainingError: The process was ended, as the system does when memory runs out.
        PipelineError: What the function raised.
    """
    context = multiprocessing.get_context("spawn")
    told, telling = context.Pipe(duplex=False)
    watched, held = context.Pipe(duplex=False)  # held by us alone: closed when we end
    process = context.Process(target=_serve, args=(work, arguments, telling, watched))
    process.start()
    telling.close()
    watched.close()
    try:
        found: T = _follow(process, told, progress, what)
        process.join(_STOP_SECONDS)
        return found
    finally:
        held.close()
        process.join(_STOP_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        told.close()


def _follow(process: Any, told: Connection, progress: Progress, what: str) -> Any:
    while True:
        try:
            kind, value = told.recv()
        except EOFError:
            process.join()
            raise TrainingError(
                f"the process of {what} was ended (exit code {process.exitcode}), most likely for lack of memory; "
                "make training.batch_size, window.history + window.horizon or model.hidden smaller"
            ) from None
        if kind == "event":
            progress(value)
        elif kind == "error":
            raise value
        else:
            return value


def _serve(work: Callable[..., Any], arguments: tuple[Any, ...], telling: Connection, watched: Connection) -> None:
    """In the process: do it, and tell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the other process ends this one
    threading.Thread(target=_end_with, args=(watched,), daemon=True).start()

    def tell(event: Event) -> None:
        telling.send(("event", event))

    with contextlib.suppress(BrokenPipeError):
        try:
            telling.send(("result", work(*arguments, tell)))
        except PipelineError as error:
            telling.send(("error", error))


def _end_with(watched: Connection) -> None:
    """End this process as soon as the other one is gone: nobody waits for what it does."""
    with contextlib.suppress(EOFError, OSError):
        watched.recv_bytes()
    os._exit(1)
