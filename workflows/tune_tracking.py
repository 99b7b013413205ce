"""A search in MLflow: one run for the study, below it one for each trial.

What lives here: the names of the runs, epochs sent while trials train, and all of it once more at the end. What does
not: the search (`tune`), the calls (`pipeline.registry`).

    runs = StudyRuns(context, plan, name, parameters)
    with runs.live() as watcher:             # MLflow may be down: nothing waits for it
        search(plan, ray, watcher)
    runs.send(endings)                       # RegistryError: it is

A run is found by its name, and an epoch by the time in the trial's journal, so that what is sent twice is there once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from pipeline.errors import RegistryError
from pipeline.registry import Journal, Registry, Run, Tracking
from pipeline.study import Ending, Plan

from .context import Context


class StudyRuns:
    """The runs of one study.

    Args:
        context: Names MLflow.
        plan: The trials.
        name: Of the study.
        parameters: Of the study's run; those of a trial are its settings.
    """

    def __init__(self, context: Context, plan: Plan, name: str, parameters: Mapping[str, Any]) -> None:
        self._context, self._plan, self._name, self._parameters = context, plan, name, parameters
        self._lock = threading.Lock()
        self._study: Run | None = None

    @contextmanager
    def live(self) -> Iterator[Live]:
        """A watcher that sends the epochs of trials; what ends the body early marks their runs so."""
        live = Live(self)
        try:
            yield live
        except BaseException as error:
            live.leave(type(error))
            if self._study is not None:
                with suppress(RegistryError):
                    self._study.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        live.leave(None)

    def send(self, endings: Mapping[int, Ending]) -> None:
        """All that is known of trials that ended.

        Raises:
            RegistryError: MLflow does not take it.
        """
        for number, ending in endings.items():
            run, journal = self.trial(self._context.registry, number), self.journal(number)
            for record in ending.history:
                journal.add(record)
            run.log_entries(journal.entries)
            run.set_tags({"study": self._name, "trial": f"{number:03d}", "ended": f"{ending.status} {ending.reason}"})
            run.finish("FAILED" if ending.status == "failed" else "FINISHED")

    def study(self, registry: Registry) -> Run:
        """The run of the study; threads that ask at once make one."""
        with self._lock:
            if self._study is None:
                self._study = registry.run(self._name, self._parameters)
                self._study.set_tags({"study": self._name})
            return self._study

    def trial(self, registry: Registry, number: int) -> Run:
        """The run of a trial."""
        return registry.run(self.trial_name(number), self._plan.trials[number].settings, self.study(registry))

    def trial_name(self, number: int) -> str:
        """As MLflow's pages show it."""
        return f"{self._name}-{number:03d}"

    def journal(self, number: int) -> Journal:
        """What a trial has to tell."""
        return Journal(self._plan.folder_of(number) / "metrics.jsonl")

    def tracking(self, number: int) -> Tracking:
        """The trial's part of MLflow while it trains."""
        return Tracking(lambda: self._context.registry, self.trial_name(number), self.journal(number))


class Live:
    """The trials that train now, each with a thread that speaks to MLflow."""

    def __init__(self, runs: StudyRuns) -> None:
        self._runs = runs
        self._open: dict[int, Tracking] = {}

    def started(self, number: int) -> None:
        """A trial has a process."""
        if number not in self._open:
            self._open[number] = self._runs.tracking(number).__enter__()
            self._open[number].open(lambda registry: self._runs.trial(registry, number))

    def epoch(self, number: int, record: dict[str, Any]) -> None:
        """A trial finished an epoch."""
        self._open[number].add(record)

    def ended(self, number: int, ending: Ending) -> None:
        """A trial ended."""
        if number in self._open:
            self._open.pop(number).__exit__(None)

    def leave(self, kind: type[BaseException] | None) -> None:
        """The search ended, or was ended, with these trials still at it."""
        for number in list(self._open):
            self._open.pop(number).__exit__(kind)


def kept(error: RegistryError, folder: object) -> RegistryError:
    """What to do when MLflow did not take the result."""
    return RegistryError(
        f"{error}; all trials are kept in {folder}: run the same command again when MLflow answers, and it registers "
        "the best without training again"
    )
