import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline import health
from pipeline.health import Finding
from workflows import doctor
from workflows.cli import app


@pytest.fixture
def findings(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    found = [Finding("disk", "ok", "9 GB free"), Finding("gpu", "note", "[none]", "install one")]
    monkeypatch.setattr(doctor, "examine", lambda folder: found)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return found


def test_a_note_is_no_failure(findings: list[Finding]) -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "[none]" in result.output
    assert "0 broken, 1 to note, 1 in order" in result.output


def test_something_broken_is(findings: list[Finding]) -> None:
    findings.append(Finding("ray", "broken", "ImportError", "install it anew"))
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    told = json.loads(result.output)
    assert not told["ok"]
    assert told["findings"][-1] == {
        "name": "ray", "state": "broken", "found": "ImportError", "advice": "install it anew"
    }  # fmt: skip


def test_what_the_environment_names_is_tried(
    findings: list[Finding], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    result = CliRunner().invoke(app, ["doctor", "--json"])
    told = {one["name"]: one["state"] for one in json.loads(result.output)["findings"]}
    assert (told["MLflow server"], told["Ray token"]) == ("broken", "note")
    assert result.exit_code == 1


def test_this_machine_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PROBED", ())
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0, result.output


def test_check_shows_and_fails_as_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = [Finding("files", "ok", "1 new")]
    monkeypatch.setattr(doctor, "check", lambda config, progress: iter(found))
    command = ["check", "-c", "demo", "--set", f"root={tmp_path}"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "1 new" in result.output
    found.append(Finding("batch", "broken", "too large", "set training.batch_size=2"))
    result = CliRunner().invoke(app, [*command, "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output)["findings"][1]["advice"] == "set training.batch_size=2"
