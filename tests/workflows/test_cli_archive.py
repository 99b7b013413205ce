"""`minconv archive log|verify|export|gc` and what they print."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from typer.testing import CliRunner

from pipeline import archive
from tests.conftest import made_weather
from workflows.cli import app


@pytest.fixture
def configuration(time_config: Any, tmp_path: Path) -> Path:
    """A configuration whose archive may be harmed."""
    tree = time_config.model_dump(mode="json") | {"root": str(tmp_path / "runs")}
    file = tmp_path / "weather.yaml"
    file.write_text(yaml.safe_dump(tree))
    shutil.copytree(time_config.archive_path, tmp_path / "runs" / "weather" / "archive")
    return file


def invoke(command: str, configuration: Path, *words: object) -> Any:
    arguments = ["archive", command, "-c", str(configuration), *map(str, words)]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_a_sound_archive_and_a_damaged_one(configuration: Path) -> None:
    assert "chunks hold the bytes that were committed" in invoke("verify", configuration).stdout
    chunks = configuration.parent / "runs" / "weather" / "archive" / "chunks"
    max(chunks.iterdir(), key=lambda file: file.stat().st_size).unlink()
    result = invoke("verify", configuration, "--quiet")
    assert result.exit_code == 1
    assert "2020-03-01T00:00 to 2020-03-10T23:00, block 0, 0: its file is missing or cannot be read" in result.stdout
    assert "chunks are damaged; put back its files from a backup" in result.stderr


def test_the_log_says_what_each_version_did(configuration: Path) -> None:
    tree = yaml.safe_load(configuration.read_text())
    source = configuration.parent / "source"
    tree["source"] |= {"path": str(source), "revise": "accept"}
    configuration.write_text(yaml.safe_dump(tree))
    source.mkdir()
    weather = made_weather()
    day = weather.isel(time=slice(24)).assign_coords(time=weather["time"].values[:24] + np.timedelta64(10, "D"))
    weather["t2m"].values[3:5, 0, 0] += 1
    xr.concat([weather, day], "time").to_netcdf(source / "revised.nc")
    result = CliRunner().invoke(app, ["ingest", "-c", str(configuration), "--quiet"], catch_exceptions=False)
    assert "1 file(s), 24 new along time, 2 revised" in result.stdout, result.stderr
    lines = invoke("log", configuration, "--files").stdout.splitlines()
    head = archive.head(configuration.parent / "runs" / "weather" / "archive")
    (row,) = [line for line in lines if line.startswith(f"{head} ")]
    assert row.endswith(
        "ingest 1 file(s): 2020-03-11T00:00 to 2020-03-11T23:00, 24 frames; "
        "revised 2 frames of t2m, 2020-03-01T03:00 to 2020-03-01T04:00"
    )
    short = hashlib.sha256((source / "revised.nc").read_bytes()).hexdigest()[:8]
    assert f"  file     {short} revised.nc" in lines
    assert f"  revised  t2m, 2020-03-01T03:00 to 2020-03-01T04:00, 2 frames, by {short} revised.nc" in lines
    assert len(invoke("log", configuration).stdout.splitlines()) < len(lines)


def test_export(configuration: Path, tmp_path: Path) -> None:
    result = invoke("export", configuration, "-o", tmp_path / "copy.nc")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "copy.nc").stat().st_size > 0


def test_collection_says_what_it_would_do_and_does_it_on_request(configuration: Path) -> None:
    path = configuration.parent / "runs" / "weather" / "archive"
    head = archive.head(path)
    for words, said in [((), "would be dropped; --apply does it"), (("--apply",), "were dropped")]:
        result = invoke("gc", configuration, *words)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.startswith("0 versions older than 30 days and 0 chunks")
        assert said in result.stdout
    assert archive.head(path) == head


def test_statistics_of_versions_that_are_gone_go_with_them(configuration: Path) -> None:
    path = configuration.parent / "runs" / "weather" / "archive"
    kept = path.parent / "statistics"
    kept.mkdir()
    head, files = archive.head(path), []
    for name in (head, "GONE0000000000000000", "GONE1111111111111111"):
        files.append(kept / f"{name}-0a1b2c3d.json")
        files[-1].write_text("{}")
    would = "2 file(s) of statistics of versions that are gone would be removed"
    assert would in invoke("gc", configuration).stdout
    assert all(file.exists() for file in files)
    assert (
        "2 file(s) of statistics of versions that are gone were removed"
        in invoke("gc", configuration, "--apply").stdout
    )
    assert [file.exists() for file in files] == [True, False, False]


def test_gaps_are_told_wherever_the_archive_is(configuration: Path) -> None:
    tree = yaml.safe_load(configuration.read_text())
    source = configuration.parent / "source"
    tree["source"] |= {"path": str(source), "files": ["*.nc"]}
    tree["quality"] = {**tree["quality"], "longest_gap": "6h"}
    configuration.write_text(yaml.safe_dump(tree))
    source.mkdir()
    weather = made_weather().isel(time=slice(24))
    weather.assign_coords(time=weather["time"].values + np.timedelta64(244, "h")).to_netcdf(source / "later.nc")
    ingest = ["ingest", "-c", str(configuration), "--quiet"]
    told = CliRunner().invoke(app, ingest, catch_exceptions=False).stdout
    assert "4 frames from 2020-03-11T00:00 on are missing before its 2020-03-11T04:00, a gap that is allowed" in told
    assert "2020-03-12T03:00, 4 frame(s) in gaps" in invoke("info", configuration).stdout
    weather.isel(time=slice(4)).assign_coords(time=weather["time"].values[:4] + np.timedelta64(240, "h")).to_netcdf(
        source / "late.nc"
    )
    assert "0 new along time, 4 filled in" in CliRunner().invoke(app, ingest, catch_exceptions=False).stdout
    assert "in gaps" not in invoke("info", configuration).stdout
    log = invoke("log", configuration, "--files").stdout
    assert "  filled   t2m, 2020-03-11T00:00 to 2020-03-11T03:00, 4 frames, by " in log
