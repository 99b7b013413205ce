"""The schedule: when nights come, one at a time, and a clean end; the nights themselves are other programs here."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from pipeline.errors import ConfigError
from workflows.schedule import Schedule, cron_trigger, next_times, night_command

ROOT = Path(__file__).parents[2]


def at(text: str, zone: str = "UTC") -> datetime.datetime:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def test_nights_come_when_the_expression_says():
    trigger = cron_trigger("0 2 * * *", "UTC")
    assert next_times(trigger, 2, at("2020-03-10T12:00")) == ["2020-03-11 02:00:00 UTC", "2020-03-12 02:00:00 UTC"]
    assert next_times(cron_trigger("30 6 * * mon", "UTC"), 1, at("2020-03-10")) == ["2020-03-16 06:30:00 UTC"]


def test_a_change_of_the_clock_drops_no_date():
    """Where an hour comes twice a night may too; the ledger knows its date."""
    for first, days in (("2020-03-27T12:00", range(28, 31)), ("2020-10-23T12:00", range(24, 27))):
        found = next_times(cron_trigger("30 2 * * *", "Europe/Berlin"), 4, at(first, "Europe/Berlin"))
        assert {int(text[8:10]) for text in found} >= set(days), found


@pytest.mark.parametrize(
    ("cron", "zone", "sentence"),
    [
        ("0 2 * *", "UTC", "'0 2 * *' is no cron expression"),
        ("0 25 * * *", "UTC", "is no cron expression"),
        ("0 2 31 2 *", "UTC", "never comes; correct --cron"),
        ("0 2 * * *", "Mars/Olympus", "there is no time zone 'Mars/Olympus'"),
    ],
)
def test_what_is_no_schedule_is_one_sentence(cron, zone, sentence):
    with pytest.raises(ConfigError, match=sentence.replace("*", r"\*")):
        cron_trigger(cron, zone)


def schedule_of(code: str, said: list[str]) -> Schedule:
    return Schedule(cron_trigger("0 2 * * *", "UTC"), [sys.executable, "-c", code], said.append)


def test_a_firing_runs_the_night_of_today(tmp_path):
    said = []
    out = tmp_path / "arguments"
    code = f"import sys, pathlib; pathlib.Path({str(out)!r}).write_text(' '.join(sys.argv[1:]))"
    before = datetime.datetime.now(datetime.UTC).date().isoformat()
    assert schedule_of(code, said).fire() == 0
    after = datetime.datetime.now(datetime.UTC).date().isoformat()
    assert out.read_text() in (f"--date {before}", f"--date {after}")
    assert [line.split()[0] for line in said] == ["night", "next"]


def test_a_night_that_fails_is_said_and_the_next_one_comes():
    said = []
    assert schedule_of("raise SystemExit(3)", said).fire() == 3
    assert "ended with exit code 3; 'minconv status' shows where" in said[1]
    assert said[2].startswith("next night: ")


def test_the_command_is_the_one_of_this_python():
    command = night_command("my.yaml", ["training.epochs=1"], "10.0.0.1:6379")
    assert command[0] == sys.executable
    assert command[3:] == ["nightly", "-c", "my.yaml", "--set", "training.epochs=1", "--address", "10.0.0.1:6379"]
    help_text = subprocess.run(
        [*command[:4], "--help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    ).stdout
    assert "--date" in help_text
    assert "--set" in help_text


DRIVER = """
import signal, sys
from pathlib import Path
from apscheduler.triggers.interval import IntervalTrigger
from workflows.schedule import Schedule

def terminated(number, frame):
    raise KeyboardInterrupt
signal.signal(signal.SIGTERM, terminated)
night = "import os, sys, time; print('child', os.getpid(), flush=True); time.sleep(float(sys.argv[1]))"
command = [sys.executable, "-c", night, sys.argv[1]]
try:
    Schedule(IntervalTrigger(seconds=2), command, lambda text: print(text, flush=True)).run(sys.argv[2] == "now")
except KeyboardInterrupt:
    print("ended", flush=True)
"""


def driver(seconds: float, now: bool = False) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, str(seconds), "now" if now else "later"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def lines_until(process: subprocess.Popen[str], count: int) -> list[str]:
    """What it says until the start of so many nights."""
    found: list[str] = []
    while sum(line.startswith("child") for line in found) < count:
        line = process.stdout.readline()
        assert line, found
        found.append(line)
    return found


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
def test_nights_of_a_few_seconds_come_one_after_the_other():
    process = driver(0.0)
    lines_until(process, 3)
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=120)
    assert rest.splitlines()[-1] == "ended"
    assert process.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("now", [False, True])
def test_the_end_of_the_schedule_is_the_end_of_its_night(now):
    process = driver(3600.0, now)
    said = lines_until(process, 1)
    child = int(said[-1].split()[1])
    if not now:
        while "one is at work" not in said[-1]:  # the next one is due, and left out
            said.append(process.stdout.readline())
            assert not said[-1].startswith("child")
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=120)
    assert rest.splitlines()[-1] == "ended"
    assert gone(child)
