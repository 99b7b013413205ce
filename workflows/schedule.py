"""Nights by the clock, in the foreground: each firing of a cron expression runs `minconv nightly` as its own process.

What lives here: when, one at a time, and a clean end. What does not: what a night is (`nightly`), and being started
with the machine: a timer of the system or of a cluster runs `minconv nightly` by itself and needs nothing of this.

    Schedule(cron_trigger("0 2 * * *", "UTC"), night_command("my.yaml", []), say=print).run()

A firing that comes while a night runs is left out, and of several that were missed, as on a laptop that slept, one is
made up for; the ledger makes sure that no date is done twice. A night that fails is said, and the next one comes in its
time.
"""

from __future__ import annotations

import datetime
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.errors import ConfigError

_END_SECONDS = 60.0  # a night that is told to end cleans up first
_SHOWN = 3  # next times


class Schedule:
    """A schedule at work.

    Args:
        trigger: When a night is due: a trigger of APScheduler.
        command: What a night is; its date is added.
        say: Told what happens, in lines.
    """

    def __init__(self, trigger: Any, command: Sequence[str], say: Callable[[str], None]) -> None:
        self._trigger, self._command, self._say = trigger, command, say
        self._ending, self._turn = threading.Event(), threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def run(self, now: bool = False) -> None:
        """Run nights until interrupted, with `now` one at once; no process of it is left afterwards."""
        from apscheduler.events import EVENT_JOB_MAX_INSTANCES
        from apscheduler.schedulers.background import BackgroundScheduler

        scheduler = BackgroundScheduler(timezone=self._trigger.timezone)
        # Of missed firings one is made up for, however late.
        scheduler.add_job(self.fire, self._trigger, coalesce=True, max_instances=1, misfire_grace_time=None)
        scheduler.add_listener(lambda event: self._say("a night is due, but one is at work"), EVENT_JOB_MAX_INSTANCES)
        try:
            if now:
                self.fire()
            scheduler.start()
            self._say(f"next nights: {', '.join(next_times(self._trigger))}; Ctrl-C ends the schedule")
            self._ending.wait()
        finally:
            self._end()
            if scheduler.running:
                scheduler.shutdown(wait=True)

    def fire(self) -> int | None:
        """Run the night of today's date in the schedule's time zone; its exit code, or None where all is ending."""
        date = datetime.datetime.now(self._trigger.timezone).date().isoformat()
        with self._turn:
            if self._ending.is_set():
                return None
            self._say(f"night of {date}")
            self._child = subprocess.Popen([*self._command, "--date", date])
        code = self._child.wait()
        if code and not self._ending.is_set():
            self._say(f"the night of {date} ended with exit code {code}; 'minconv status' shows where")
        if not self._ending.is_set():
            self._say(f"next night: {next_times(self._trigger, 1)[0]}")
        return code

    def _end(self) -> None:
        """Start nothing more, and end the night that is at work."""
        with self._turn:
            self._ending.set()
            child = self._child
        if child is None or child.poll() is not None:
            return
        child.terminate()
        try:
            child.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def cron_trigger(cron: str, timezone: str) -> Any:
    """The trigger of a cron expression of five fields.

    Raises:
        ConfigError: It is none, or there is no such time zone.
    """
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    from apscheduler.triggers.cron import CronTrigger

    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(f"there is no time zone {timezone!r}; give --timezone as UTC or Europe/Berlin") from error
    try:
        trigger = CronTrigger.from_crontab(cron, zone)
    except ValueError as error:
        raise ConfigError(
            f"{cron!r} is no cron expression ({error}); give --cron minute, hour, day, month and day of the week, e.g. "
            "'0 2 * * *' for two o'clock every night"
        ) from error
    if not next_times(trigger, 1):
        raise ConfigError(f"{cron!r} never comes; correct --cron")
    return trigger


def next_times(trigger: Any, count: int = _SHOWN, after: datetime.datetime | None = None) -> list[str]:
    """When a trigger fires next, as text with its time zone."""
    now = after or datetime.datetime.now(trigger.timezone)
    found, before = list[str](), None
    while len(found) < count:
        before = trigger.get_next_fire_time(before, now)
        if before is None:
            break
        found.append(f"{before:%Y-%m-%d %H:%M:%S %Z}")
        # by way of UTC: the hour that a change of the clock repeats is not the same time twice
        now = (before.astimezone(datetime.UTC) + datetime.timedelta(seconds=1)).astimezone(before.tzinfo)
    return found


def night_command(config: str, settings: Sequence[str], address: str | None = None) -> list[str]:
    """`minconv nightly` with the Python that runs this."""
    command = [sys.executable, "-c", "from workflows.cli import main; main()", "nightly", "-c", config]
    for setting in settings:
        command += ["--set", setting]
    return command if address is None else [*command, "--address", address]
