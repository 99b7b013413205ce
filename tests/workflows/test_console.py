"""What reaches the screen: numbers for people, tables that stay whole in a pipe, plain lines, silence, bars."""

from __future__ import annotations

import io
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import workflows.console
from pipeline.progress import Event
from workflows.console import Console, bytes_text, seconds_text

FORMS = {
    r"[1-5]?\d\.\d s": 0.1,
    r"[1-5]?\d min [0-5]\d s": 1,
    r"[1-4]?\d h [0-5]\d min": 60,
    r"\d+ d [0-2]\d h": 3600,
}
UNITS = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}


@pytest.fixture
def clock(monkeypatch):
    """The console's clock, moved by hand."""
    now = [1000.0]
    monkeypatch.setattr(workflows.console.time, "monotonic", lambda: now[0])
    return now


def seconds_of(text: str) -> float:
    factor = {"s": 1, "min": 60, "h": 3600, "d": 86400}
    return sum(float(number) * factor[unit] for number, unit in re.findall(r"([\d.]+) (s|min|h|d)", text))


@given(st.floats(min_value=0, max_value=1e7))
def test_a_duration_says_what_it_is_to_its_last_digit(seconds):
    text = seconds_text(seconds)
    (resolution,) = (step for form, step in FORMS.items() if re.fullmatch(form, text))
    assert abs(seconds_of(text) - seconds) <= resolution


@given(st.floats(min_value=0, max_value=1e6), st.floats(min_value=0, max_value=1e6))
def test_a_longer_duration_never_reads_shorter(one, other):
    short, long = sorted((one, other))
    assert seconds_of(seconds_text(short)) <= seconds_of(seconds_text(long))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.21, "4.2 s"),
        (59.96, "1 min 00 s"),
        (185, "3 min 05 s"),
        (3599.7, "1 h 00 min"),
        (7800, "2 h 10 min"),
        (172800, "2 d 00 h"),
        (273600, "3 d 04 h"),
    ],
)
def test_durations(seconds, text):
    assert seconds_text(seconds) == text


@given(st.integers(min_value=0, max_value=10**15))
def test_a_size_says_what_it_is_to_three_digits(size):
    number, unit = bytes_text(size).split()
    assert float(number) * UNITS[unit] == pytest.approx(size, rel=0.5e-2, abs=0.5)
    assert "e" not in number
    assert float(number) < 1000 or unit == "GB"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (3.4e6, "3.4 MB"),
        (999_999, "1 MB"),
        (2.56e9, "2.56 GB"),
        (7e12, "7000 GB"),
    ],
)
def test_sizes(size, text):
    assert bytes_text(size) == text


def test_a_table_is_not_folded_in_a_pipe(capsys):
    wide = "/".join(["folder"] * 100)
    Console().table("title", ("name", "place", "count"), [("first", wide, "1"), ("second", "x", "22")], right=(2,))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[3:]] == [["first", wide, "1"], ["second", "x", "22"]]
    assert len(lines[3]) == len(lines[4])


def test_nothing_in_a_pipe_is_coloured_whatever_the_environment_says(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    console = Console()
    assert not console.live
    console.line("result [bold]as it is[/bold] 12.5")
    console.table("title", ("a",), [("1",)])
    assert "\x1b" not in (out := capsys.readouterr().out)
    assert out.startswith("result [bold]as it is[/bold] 12.5\n")


def test_errors_and_warnings_go_to_the_error_stream_on_one_line(capsys):
    text = "sentence " * 60
    Console().error(text)
    Console(quiet=True).warn(text)
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err == f"error: {text}\nwarning: {text}\n"


def event(done: int, **values: float) -> Event:
    return Event("training", done, 20, "steps", values, "epoch 1 of 2")


def test_plain_lines_come_at_most_every_ten_seconds(capsys, clock):
    with Console().stage("training") as progress:
        for second in range(26):
            clock[0] = 1000.0 + second
            progress(event(second % 20, loss=0.12345, learning_rate=1e-3))
    assert capsys.readouterr().out.splitlines() == [
        "training: 10/20 steps loss 0.123, epoch 1 of 2 (10 s)",
        "training: 0/20 steps loss 0.123, epoch 1 of 2 (20 s)",
    ]


def test_quiet_is_silent_until_the_result(capsys, clock):
    console = Console(quiet=True)
    with console.stage("training") as progress:
        clock[0] += 100
        progress(event(3))
    console.line("the result")
    assert capsys.readouterr().out == "the result\n"


def test_a_line_without_a_total(capsys, clock):
    with Console().stage("ingest") as progress:
        clock[0] += 11
        progress(Event("ingest", 3, None, "files"))
    assert capsys.readouterr().out.split() == ["ingest:", "3", "files", "(11", "s)"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Opens a terminal; called in the test's body, as pytest puts its own stream there after the fixtures."""

    def start(width: int = 100) -> Terminal:
        stream = Terminal()
        monkeypatch.setattr("sys.stdout", stream)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", str(width))
        for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        return stream

    return start


@pytest.mark.parametrize("width", [80, 140])
def test_a_bar_shows_count_rate_eta_and_loss_on_one_line(terminal, width):
    screen = terminal(width)
    console = Console()
    assert console.live
    with console.stage("training") as progress:
        for done in (3, 4, 6):
            time.sleep(0.15)
            progress(event(done, loss=0.12345, frames_per_second=99.0))
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen.getvalue())
    last = [line for line in re.split(r"[\r\n]+", text) if "6/20 steps" in line][-1]
    assert re.search(r"training .* 6/20 steps \d[\d.]*/s 0:00:00 eta 0:00:\d\d loss 0\.1", last), last
    assert len(last) <= width
    assert "frames per second" not in text


def test_a_terminal_told_to_be_quiet_has_no_bar(terminal):
    screen = terminal()
    console = Console(quiet=True)
    assert not console.live
    with console.stage("training") as progress:
        progress(event(3))
    assert screen.getvalue() == ""


def test_a_bar_leaves_nothing_behind(terminal):
    screen = terminal()
    console = Console()
    with console.stage("ingest") as progress:
        progress(Event("ingest", 3, 4, "files", message="a.nc"))
        progress(Event("ingest", 10, 400, "MB", message="writing"))
    assert screen.getvalue().endswith("\x1b[2K")


def test_units_in_brackets_stay_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table("scores", ("variable", "lead"), [("q2m [kg kg-1]", "+1 h"), ("wind [m s-1]", "+6 h")])
    out = capsys.readouterr().out
    assert "q2m [kg kg-1]" in out
    assert "wind [m s-1]" in out
