"""`minconv fsck` and what it prints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from workflows.cli import app


@pytest.fixture
def configuration(time_config: Any, tmp_path: Path) -> Path:
    """A configuration whose archive may be harmed."""
    tree = time_config.model_dump(mode="json") | {"root": str(tmp_path / "runs")}
    file = tmp_path / "weather.yaml"
    file.write_text(yaml.safe_dump(tree))
    shutil.copytree(time_config.archive_path, tmp_path / "runs" / "weather" / "archive")
    return file


def fsck(configuration: Path, *words: str) -> Any:
    return CliRunner().invoke(app, ["fsck", "-c", str(configuration), *words], catch_exceptions=False)


def test_a_sound_pipeline_and_a_damaged_one(configuration: Path) -> None:
    sound = fsck(configuration, "--quiet")
    assert sound.exit_code == 0, sound.stderr
    assert "0 broken, 0 to note" in sound.stdout
    assert not (configuration.parent / "runs" / "mlflow.db").exists()
    chunks = configuration.parent / "runs" / "weather" / "archive" / "chunks"
    max(chunks.iterdir(), key=lambda file: file.stat().st_size).unlink()
    damaged = fsck(configuration, "--json")
    assert damaged.exit_code == 1
    tree = json.loads(damaged.stdout)
    assert tree["ok"] is False
    broken = [one for one in tree["findings"] if one["state"] == "broken"]
    assert "its file is missing or cannot be read" in broken[0]["found"]
    assert "put back its files from a backup" in broken[0]["advice"]


def test_leftovers_are_told_and_swept_up_on_request(configuration: Path) -> None:
    marker = configuration.parent / "runs" / "weather" / "archive.unfinished"
    marker.touch()
    told = fsck(configuration, "--quiet")
    assert told.exit_code == 0
    assert "the marker of a write that did not end" in told.stdout
    assert marker.exists()
    swept = fsck(configuration, "--quiet", "--repair")
    assert swept.exit_code == 0
    assert "swept up: the marker of a write that did not end" in swept.stdout
    assert not marker.exists()
