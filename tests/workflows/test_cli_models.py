"""Listing, comparing, promoting and rolling back as a user types it; and MLflow's pages, which leave no process."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from workflows.cli import app

ROOT = Path(__file__).resolve().parents[2]


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def done(*words: object) -> str:
    result = invoke(*words)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(*words: object) -> str:
    result = invoke(*words)
    assert result.exit_code == 1, result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.fixture(scope="module")
def trained(time_config, tmp_path_factory) -> Path:
    """A configuration with two versions: the champion, and a challenger that learned next to nothing."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(time_config.source_path, folder / "data")
    tree = time_config.model_dump(mode="json")
    tree |= {"root": str(folder / "runs"), "source": {"path": str(folder / "data")}}
    tree["training"] |= {"workers": 0}
    tree["evaluation"] |= {"stride": 3}
    (folder / "weather.yaml").write_text(yaml.safe_dump(tree))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        config = folder / "weather.yaml"
        done("ingest", "-q", "-c", config)
        done("train", "-q", "-c", config)
        done("train", "-q", "-c", config, "--set", "training.learning_rate=1e-9", "--set", "model.cell=convgru")
        yield folder


# compare


def test_a_comparison_is_a_table_of_errors_and_of_what_differs(trained):
    text = done("compare", "champion", "weather@challenger", "-c", trained / "weather.yaml")
    assert text.startswith("A = weather version 1 (champion), B = weather version 2 (challenger)\n")
    percent = r"[+-]\d+\.\d %"
    rows = re.findall(rf"^(t2m \[K\]|q2m \[kg kg-1\]) +\+\d h(?: +[\d.e-]+){{5}} +{percent} +", text, re.MULTILINE)
    assert len(rows) == 6
    assert re.search(r"^primary metric.* RMSE of B is [\d.]+ % higher \(95 % interval: .* cases\)$", text, re.MULTILINE)
    assert re.search(r"^  A against persistence: ", text, re.MULTILINE)
    assert re.search(r"^configuration +model\.cell +minconvgru +convgru$", text, re.MULTILINE)


def test_mlflow_has_the_comparison_and_curves_over_lead_time(trained):
    import mlflow

    done("compare", "1", "2", "-c", trained / "weather.yaml")
    client = mlflow.MlflowClient(f"sqlite:///{trained / 'runs' / 'mlflow.db'}")
    version = client.get_model_version("weather", "2")
    assert version.description.startswith("convgru: Over ")
    metrics = client.get_run(version.run_id).data.metrics
    assert metrics["against weather 1/primary change percent"] > 0
    for name in ("rmse change percent against weather 1 by lead time/t2m", "skill vs persistence by lead time/q2m"):
        assert [entry.step for entry in client.get_metric_history(version.run_id, name)] == [1, 2, 3]
    (file,) = client.list_artifacts(version.run_id, "comparisons")
    assert file.path == "comparisons/against_weather_1.json"


def test_a_comparison_as_json_has_everything(trained, tmp_path):
    file = tmp_path / "comparison.json"
    done("compare", "weather/1", "models:/weather/2", "-c", trained / "weather.yaml", "--json", file)
    tree = json.loads(file.read_text())
    assert (tree["a"]["model_version"], tree["b"]["model_version"]) == ("1", "2")
    assert tree["primary"]["lower"] > 0
    assert len(tree["table"]["change"]) == len(tree["variable"]) == 2
    assert {"what": "configuration", "name": "model.cell", "a": "minconvgru", "b": "convgru"} in tree["differences"]


def test_a_comparison_as_a_page_has_maps(trained, tmp_path):
    page = tmp_path / "comparison.html"
    text = done("compare", "1", "2", "-c", trained / "weather.yaml", "--html", page, "-q")
    assert text.endswith(f"html  {page}\n")
    assert page.read_text().count("<img") == 4


def test_a_version_is_not_compared_with_itself(trained):
    sentence = refused("compare", "champion", "1", "-c", trained / "weather.yaml")
    assert "champion and 1 are the same version, models:/weather/1; name two" in sentence
    assert "there is no model models:/weather/9" in refused("compare", "9", "1", "-c", trained / "weather.yaml")


# promote, roll back, list


def test_a_worse_challenger_is_refused_and_by_force_promoted_and_taken_back(trained):
    config = trained / "weather.yaml"
    sentence = refused("promote", "challenger", "-c", config)
    assert "models:/weather/2 was not promoted: " in sentence
    assert "It is worse than the champion: its RMSE is" in sentence
    assert re.search(r"^ +2 +challenger +refuse ", done("models", "-c", config), re.MULTILINE)
    assert "--force needs a reason" in refused("promote", "2", "-c", config, "--force")
    text = done("promote", "2", "-c", config, "--force", "--why", "a drill")
    assert text.startswith("models:/weather/2 is champion, before: version 1\n")
    assert "Promoted by hand against this verdict." in text
    assert done("promote", "2", "-c", config) == "models:/weather/2 is champion already\n"
    assert done("rollback", "-c", config, "--why", "the drill is over") == "models:/weather/1 is champion again\n"
    assert "no champion before version 1" in refused("rollback", "-c", config)
    log = done("models", "-c", config, "--log").splitlines()[3:]
    assert [re.search(r"Z +(\d) +(\w+)", line).groups() for line in log] == [
        ("2", "refused"),
        ("2", "promoted"),
        ("2", "rolled"),
    ]
    assert "a drill" in log[1]
    assert "the drill is over" in log[2]
    assert all("@" in line for line in log)


def test_a_better_challenger_is_promoted(trained):
    config = trained / "weather.yaml"
    done("promote", "2", "-c", config, "--force", "--why", "to have a worse champion")
    text = done("promote", "1", "-c", config)
    assert text.startswith("models:/weather/1 is champion, before: version 2\n")
    assert "It is better than the champion: its RMSE is" in text


def test_without_a_registry_nothing_is_made(trained, tmp_path):
    for words in (("rollback",), ("promote", "1"), ("compare", "1", "2"), ("ui",)):
        sentence = refused(*words, "-c", trained / "weather.yaml", "--set", f"root={tmp_path / 'none'}")
        assert "minconv" in sentence
    assert not (tmp_path / "none").exists()
    log = done("models", "--log", "-c", trained / "weather.yaml", "--set", f"root={tmp_path / 'none'}")
    assert log == "no version of weather was promoted, refused or rolled back\n"


# ui


def test_a_port_that_is_taken_is_a_sentence(trained):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} of 127.0.0.1 cannot be used" in refused(
            "ui", "-c", trained / "weather.yaml", "--port", port
        )


def test_a_server_has_pages_of_its_own(trained, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://models.example:5000")
    text = done("ui", "-c", trained / "weather.yaml")
    assert text == "MLFLOW_TRACKING_URI names a server, which has its own pages: http://models.example:5000\n"


@pytest.mark.slow
def test_the_pages_are_served_on_loopback_and_end_with_ctrl_c(trained):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from workflows.cli import main; main()"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    process = subprocess.Popen(
        [*command, "ui", "-c", str(trained / "weather.yaml"), "--port", str(port)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert f"at http://127.0.0.1:{port}; Ctrl-C ends it" in process.stdout.readline()
        assert re.match(rf"charts +http://127.0.0.1:{port}/#/experiments/\d+/runs\?", process.stdout.readline())
        assert f"http://127.0.0.1:{port}/#/models/weather?" in process.stdout.readline()
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=30) as page:
            assert b"MLflow" in page.read()
        servers = of_port(port)
        assert servers
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "ended\n", "")
    assert of_port(port) == []


def of_port(port: int) -> list[int]:
    """Processes whose command line names the port of the server."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"mlflow" in b" ".join(words) and any(str(port).encode() in word for word in words):
            found.append(int(path.parent.name))
    return found
