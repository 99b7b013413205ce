"""MLflow's part in a training, on a thread of its own: a server that is down, slow or failing does not touch it.

What lives here: connecting, asking, and sending what the journal holds, again and again until it is done. What does
not: the journal (`journal`), the calls (`registry`, `runs`), the version that is made in the end (`Registry.register`).

    with Tracking(connect, "demo-1f0c…", journal) as tracking:
        known = tracking.known()                # the version that this very run made before
        tracking.open(lambda registry: registry.run("demo-1f0c…", parameters))
        tracking.add({"epoch": 1, "train_loss": 0.4})
        run = tracking.complete(history)        # RegistryError: MLflow is down; the journal is kept

What leaves the body by an error marks the run in MLflow as failed or killed, where MLflow answers at once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import RegistryError
from .journal import Journal
from .registry import Registry
from .runs import Run
from .versions import ModelVersion

ANSWER_SECONDS = 60.0  # for the first answer: MLflow's library takes seconds to load, a new database some more
COMPLETE_SECONDS = 180.0  # for all that is still unsent after a training
LEAVE_SECONDS = 5.0  # for the mark of a training that failed
RETRY_SECONDS = 15.0
TRIES = 2  # after a training


class Tracking:
    """One training in MLflow.

    Args:
        connect: Makes the registry; called on the thread, and again where it failed.
        name: Of the run.
        journal: What there is to send.
    """

    def __init__(self, connect: Callable[[], Registry], name: str, journal: Journal) -> None:
        self._connect, self._name, self._journal = connect, name, journal
        self._registry: Registry | None = None
        self._known: list[ModelVersion | None] = []  # one, once MLflow has said it
        self._opening: Callable[[Registry], Run] | None = None
        self._run: Run | None = None
        self._sent = 0
        self._status: str | None = None  # to end the run with
        self._failures, self._failure = 0, RegistryError("MLflow was not asked yet")
        self._changed = threading.Condition()
        self._news = threading.Event()
        self._ended = False
        # A daemon: the end of the process does not wait for a server that hangs.
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)

    def __enter__(self) -> Tracking:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None and self._run is not None:
            self._status = "KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED"
            self._news.set()
            with self._changed:
                self._changed.wait_for(lambda: self._status is None, LEAVE_SECONDS)
        self._ended = True
        self._news.set()
        self._thread.join(LEAVE_SECONDS)

    @property
    def folder(self) -> Path:
        """Where the journal lies, and the training keeps its checkpoints."""
        return self._journal.path.parent

    def known(self) -> ModelVersion | None:
        """The version that the run of this name made before; None: there is none.

        Raises:
            RegistryError: MLflow does not say.
        """
        self._await(lambda: bool(self._known), ANSWER_SECONDS, failures=1, since=0)
        return self._known[0]

    def open(self, opening: Callable[[Registry], Run]) -> None:
        """Have a run opened, and sent what the journal holds; what fails is tried again."""
        self._opening = opening
        self._news.set()

    def add(self, record: Mapping[str, float]) -> None:
        """Write down the numbers of an epoch and have them sent; what the disk does not take now, `complete` adds."""
        with contextlib.suppress(OSError):
            self._journal.add(record)
        self._news.set()

    def complete(self, history: Iterable[Mapping[str, Any]]) -> Run:
        """The run, once MLflow has all epochs.

        Raises:
            RegistryError: It does not take them.
        """
        for record in history:
            self._journal.add(record)
        since = self._failures
        self._news.set()
        whole = len(self._journal.entries)
        self._await(lambda: self._sent >= whole and self._run is not None, COMPLETE_SECONDS, TRIES, since)
        if self._run is None:  # it was awaited
            raise self._failure
        return self._run

    def _await(self, there: Callable[[], bool], seconds: float, failures: int, since: int) -> None:
        """Wait for something that the thread does.

        Raises:
            RegistryError: So many tries failed, or the time is over.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: there() or self._failures - since >= failures, seconds):
                raise RegistryError(
                    f"MLflow did not answer within {seconds:.0f} s; check MLFLOW_TRACKING_URI, and that the server is "
                    "well or nobody holds its database"
                )
        if not there():
            raise self._failure

    def _work(self) -> None:
        while True:
            self._news.clear()  # before anything is looked at, so that no news is missed
            if self._ended:
                return
            try:
                self._catch_up()
                pause = None
            except Exception as error:  # of whatever kind, the training does not end for it
                pause = RETRY_SECONDS
                self._failure = error if isinstance(error, RegistryError) else _unknown(error)
            with self._changed:
                self._failures += pause is not None
                self._changed.notify_all()
            self._news.wait(pause)

    def _catch_up(self) -> None:
        """Do all that there is to do."""
        if self._registry is None:
            self._registry = self._connect()
        if not self._known:
            self._known = [self._registry.find(run_name=self._name)]
            with self._changed:
                self._changed.notify_all()
        if self._opening is None:
            return
        if self._run is None:
            self._run = self._opening(self._registry)
        entries = self._journal.entries[self._sent :]
        self._run.log_entries(entries)
        self._sent += len(entries)
        if self._status is not None:
            self._run.finish(self._status)
            self._status = None


def _unknown(error: Exception) -> RegistryError:
    return RegistryError(
        f"MLflow failed in an unforeseen way ({type(error).__name__}: {' '.join(str(error).split())[:300]}); check "
        "MLFLOW_TRACKING_URI and the versions of client and server"
    )
