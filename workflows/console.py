"""What the user sees: progress bars in a terminal, plain lines elsewhere, tables, and errors as one sentence.

console = Console(quiet=False)
with console.stage("training") as progress:
    train(job, cluster, progress)
console.line("registered demo/1 as champion")
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import rich.box
import rich.console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table
from rich.text import Text

from pipeline.progress import Event
from pipeline.progress import Progress as Report

PLAIN_LINE_EVERY_SECONDS = 10.0
PLAIN_WIDTH = 10_000  # a pipe or file has no width of its own: no table is folded there
RATE_OVER_SECONDS = 120.0


class Console:
    """Output of the commands.

    Args:
        quiet: Results only, no progress.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        terminal = sys.stdout.isatty()
        # Said outright: variables such as FORCE_COLOR would otherwise make a terminal of a pipe.
        self.out = rich.console.Console(
            highlight=False, width=None if terminal else PLAIN_WIDTH, force_terminal=None if terminal else False
        )
        self.err = rich.console.Console(stderr=True, highlight=False)

    @property
    def live(self) -> bool:
        """Whether bars can be drawn."""
        return self.out.is_terminal and not self.quiet

    def line(self, text: str) -> None:
        """One line of result, shown in every mode."""
        self.out.print(text, markup=False, soft_wrap=True)

    def error(self, text: str) -> None:
        """The one sentence of a failure."""
        self.err.print(f"error: {text}", markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Something the user should know, on the error stream."""
        self.err.print(f"warning: {text}", markup=False, soft_wrap=True)

    def table(
        self, title: str, header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()
    ) -> None:
        """A table; columns in `right` are numbers."""
        table = Table(title=title, title_justify="left", show_edge=False, pad_edge=False, box=rich.box.SIMPLE_HEAD)
        for number, name in enumerate(header):
            table.add_column(name, justify="right" if number in right else "left", overflow="fold", no_wrap=number == 0)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))  # as text: "[kg kg-1]" is no markup
        self.out.print(table)

    @contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        """Show the events of one stage while the body runs."""
        if self.live:
            with _bar(self.out) as progress:
                yield _BarReport(progress, name)
        else:
            yield _LineReport(self, name)


def _bar(console: rich.console.Console) -> Progress:
    # The last column takes what is left and is cut there; the others are always whole.
    remarks = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28 if console.width >= 110 else 12),
        TextColumn("{task.fields[count]}"),
        _RateColumn(),
        TimeElapsedColumn(),
        _EtaColumn(),
        TextColumn("{task.fields[values]}", style="cyan", table_column=remarks),
        console=console,
        speed_estimate_period=RATE_OVER_SECONDS,
        transient=True,
        expand=True,
    )


class _RateColumn(ProgressColumn):
    """Units per second, of the last two minutes."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:.3g}/s")


class _EtaColumn(TimeRemainingColumn):
    """Time left, once it can be known."""

    def render(self, task: Task) -> Text:
        return Text("") if task.speed is None or task.finished else Text("eta ") + super().render(task)


class _BarReport:
    """Events as a bar with rate, ETA and numbers."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=None, count="working", values="")
        self._unit: str | None = None

    def __call__(self, event: Event) -> None:
        if self._unit not in (None, event.unit):  # files checked say nothing about the rate of writing MB
            self._progress.reset(self._task, completed=event.done)
        self._unit = event.unit
        self._progress.update(
            self._task,
            completed=event.done,
            total=event.total,
            count=_count(event),
            values=_values(event),
        )


class _LineReport:
    """Events as lines, at most one in ten seconds; an event with another message or unit does not count as news."""

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name = console, name
        self._started = self._said = time.monotonic()

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        if self._console.quiet or now - self._said < PLAIN_LINE_EVERY_SECONDS:
            return
        self._said = now
        self._console.line(f"{self._name}: {_count(event)} {_values(event)} ({now - self._started:.0f} s)")


def _count(event: Event) -> str:
    return f"{event.done} {event.unit}" if event.total is None else f"{event.done}/{event.total} {event.unit}"


def _values(event: Event) -> str:
    shown = [f"{name.replace('_', ' ')} {value:.3g}" for name, value in event.values.items() if name in SHOWN_VALUES]
    return ", ".join([*shown, event.message] if event.message else shown)


SHOWN_VALUES = ("loss", "train_loss", "validation_loss")


def seconds_text(seconds: float) -> str:
    """A duration for people: ``4.2 s``, ``3 min 05 s``, ``2 h 10 min``, ``3 d 04 h``."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24:02d} h"


def bytes_text(size: float) -> str:
    """A size for people: ``3.4 MB``, to three digits."""
    value, units = float(size), ["B", "kB", "MB", "GB"]
    while value >= 999.5 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} {units[0]}" if value >= 99.95 else f"{value:.3g} {units[0]}"
