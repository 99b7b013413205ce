"""`submit` and `jobs` up to the cluster's door, and what is made of a job's log (the rest: `test_two_nodes`)."""

from __future__ import annotations

import types
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cluster import Jobs
from pipeline.errors import ClusterError, ConfigError
from workflows import jobs
from workflows.cli import app
from workflows.context import job_variables


def details(status: str) -> Any:
    return types.SimpleNamespace(
        submission_id="raysubmit_1",
        job_id=None,
        status=types.SimpleNamespace(value=status),
        entrypoint="minconv run",
        message="exit code 1",
        start_time=1_000_000,
        end_time=1_061_000,
    )


class Server:
    """What Ray's client says about one job, one answer after another."""

    def __init__(self, *answers: tuple[str, str]) -> None:
        self.answers = list(answers)

    def get_job_info(self, job_id: str) -> Any:
        return details(self.answers[0][0])

    def get_job_logs(self, job_id: str) -> str:
        return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])[1]


def of(*answers: tuple[str, str]) -> Jobs:
    return Jobs(Server(*answers), "http://head:8265")


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch):
    monkeypatch.setattr("pipeline.cluster.jobs.time.sleep", lambda seconds: None)


def test_a_log_is_followed_in_whole_lines_until_the_job_ends():
    answers = [("PENDING", ""), ("RUNNING", "one\ntw"), ("RUNNING", "one\ntwo\n"), ("SUCCEEDED", "one\ntwo\nthree")]
    assert list(of(*answers).follow("raysubmit_1")) == ["one\n", "two\n", "three"]


class Lines:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def test_a_job_that_succeeds_ends_with_how_long_it_took():
    console = Lines()
    jobs._follow(console, of(("SUCCEEDED", "one\n")), "raysubmit_1", "http://head:8265", show=True)
    assert console.lines == ["one", "job raysubmit_1 succeeded after 1 min 01 s"]


@pytest.mark.parametrize(
    ("status", "log", "said"),
    [
        ("FAILED", "a\nerror: no file; look\nb\n", "job raysubmit_1 failed (no file; look); submitted again"),
        ("FAILED", "a\nKilled\n\n", "job raysubmit_1 failed (Killed); submitted again"),
        ("FAILED", "", "job raysubmit_1 failed (exit code 1); submitted again"),
        ("STOPPED", "error: interrupted\n", "job raysubmit_1 was stopped (interrupted); submitted again"),
    ],
)
def test_a_job_that_does_not_succeed_is_an_error_with_its_own_words(status, log, said):
    console = Lines()
    with pytest.raises(ClusterError) as error:
        jobs._follow(console, of((status, log)), "raysubmit_1", "http://head:8265", show=False)
    assert str(error.value).startswith(said)
    assert console.lines == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9", "there is no Ray Jobs API at http://127.0.0.1:9 ("),
        ("127.0.0.1:8265", "has the form http://HOST:PORT, e.g. http://10.0.0.1:8265, got '127.0.0.1:8265'"),
        ("http://head", "has the form http://HOST:PORT"),
        ("http://head:many", "has the form http://HOST:PORT"),
    ],
)
def test_no_server_is_one_sentence(address, said, tmp_path, monkeypatch):
    (tmp_path / "token").write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    for words in (("submit", "run", "-c", "demo"), ("jobs", "list"), ("jobs", "stop", "raysubmit_1")):
        result = CliRunner().invoke(app, [*words, "--address", address], catch_exceptions=False)
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert said in line


def test_a_job_takes_our_mlflow_along_but_no_password(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert job_variables() == {}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow:5000")
    assert job_variables() == {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow:5000")
    with pytest.raises(ConfigError, match="holds a password") as error:
        job_variables()
    assert "secret" not in str(error.value)
