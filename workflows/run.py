"""All stages in order: generate, ingest, train, evaluate, forecast, report; what is done already is not done again.

run_all(Context(load_config("demo"), Console()))
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.scorecard import Scorecard

from . import stages
from .commands import show_scores
from .console import bytes_text, seconds_text
from .context import Context


class _TimeTable:
    """Seconds and outcome of every stage."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self.places: list[tuple[str, str]] = []
        self.seconds: dict[str, float] = {}
        self.peak_bytes = 0.0

    @contextmanager
    def measure(self, name: str) -> Iterator[list[stages.Outcome]]:
        """Time the body, which appends its outcome to the list."""
        started, outcomes = time.monotonic(), list[stages.Outcome]()
        yield outcomes
        took = time.monotonic() - started
        outcome = outcomes[0]
        self.seconds[name] = took
        self.peak_bytes = max(self.peak_bytes, outcome.peak_bytes)
        self.rows.append((name, "done before" if outcome.skipped else seconds_text(took), outcome.summary))
        self.places.append((name, outcome.place))


def run_all(context: Context) -> None:
    """Run every stage of a configuration and show what each did, how long it took and where the results lie."""
    config, console, table = context.config, context.console, _TimeTable()
    started = time.monotonic()
    with context.joined() as joined:
        scorecard = _run_stages(joined, table)
    show_scores(console, scorecard)
    console.table(config.name, ("stage", "time", "what"), table.rows, right=(1,))
    total = seconds_text(time.monotonic() - started)
    console.line(f"total {total}, peak memory {bytes_text(max(table.peak_bytes, _peak_bytes()))} (largest process)\n")
    for name, place in [*table.places, ("mlflow", context.tracking_uri)]:
        console.line(f"{name:<9} {place}")


def _run_stages(context: Context, table: _TimeTable) -> Scorecard:
    config, console = context.config, context.console
    if config.generate is not None and config.source.path is None:
        with table.measure("generate") as done:
            done.append(stages.generate_files(console, config.generate, config.source_path))
    with table.measure("ingest") as done:
        ingested, outcome = stages.ingest_files(context)
        done.append(outcome)
    for label, held in (("rejected", ingested.rejected), ("waiting", ingested.waiting)):
        for one in held:
            console.warn(f"{label}: {one}")
    with table.measure("train") as done:
        version, outcome = stages.train_model(context)
        done.append(outcome)
    with table.measure("evaluate") as done:
        scorecard, outcome = stages.evaluate_model(context, version)
        done.append(outcome)
    with table.measure("forecast") as done:
        done.append(stages.newest_forecast(context, version))
    with table.measure("report") as done:
        from .report import make_report  # brings matplotlib, for which a training need not wait

        done.append(make_report(context, version, scorecard, table.seconds))
    return scorecard


def _peak_bytes() -> int:
    """Peak resident memory of the largest process among this one and its children."""
    usage = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return usage * (1 if sys.platform == "darwin" else 1024)
