"""What the commands do and print, and that doing it again does nothing; training runs in this process, without Ray.

With Ray, and interrupted: `test_run`. What a user can get wrong before there is a model: `test_cli`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml
from typer.testing import CliRunner

import workflows.context
import workflows.stages
from pipeline import archive
from pipeline.config import Config
from pipeline.errors import RegistryError, TrainingError
from pipeline.progress import Event
from pipeline.registry import Run
from pipeline.training import LocalWorker, TrainingOutcome, run_loop
from workflows.cli import app

HOUR = np.timedelta64(1, "h")


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def done(*words: object) -> str:
    result = invoke(*words)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def the_sentence(result) -> str:
    assert result.exit_code == 1, (result.exit_code, result.stdout, result.stderr)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder with the sha256 of its bytes and its time: what may not change."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(p): f"{hashlib.sha256(p.read_bytes()).hexdigest()} {p.stat().st_mtime_ns}" for p in found}


def train_here(job: Any, name: str, cluster: Any, progress: Any) -> TrainingOutcome:
    """Training as the stage calls it, in this process."""
    folder = job.config.work_dir / "training" / name
    records: list[dict[str, Any]] = []

    def listen(message: dict[str, Any]) -> None:
        if message.pop("kind") == "epoch":
            records.append(message)
            progress(Event("training", message["epoch"], job.config.training.epochs, "epochs", message))

    run_loop(job, LocalWorker(folder, listener=listen))
    *_, newest = sorted(folder.glob("checkpoint-*"))
    return TrainingOutcome(
        name, newest / "best", tuple(json.loads((newest / "state.json").read_text())["history"]), 1.0
    )


@pytest.fixture(scope="module", autouse=True)
def without_ray():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workflows.context, "connect", lambda *arguments: contextlib.nullcontext())
        patch.setattr(workflows.stages, "train", train_here)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield


@pytest.fixture(scope="module")
def home(time_config, tmp_path_factory) -> Path:
    """Folder of a configuration and of all that `minconv run` makes of it."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(time_config.source_path, folder / "data")
    tree = time_config.model_dump(mode="json")
    tree |= {"root": str(folder / "runs"), "source": {"path": str(folder / "data")}}
    (folder / "weather.yaml").write_text(yaml.safe_dump(tree))
    (folder / "first").write_text(done("run", "-c", folder / "weather.yaml"))
    return folder


@pytest.fixture
def config(home) -> Path:
    return home / "weather.yaml"


@pytest.fixture
def another(home, tmp_path) -> Path:
    """A configuration of its own, with the same files and nothing made of them."""
    tree = yaml.safe_load((home / "weather.yaml").read_text())
    shutil.copytree(home / "data", tmp_path / "data")
    tree |= {"root": str(tmp_path / "runs"), "source": {"path": str(tmp_path / "data")}}
    (tmp_path / "weather.yaml").write_text(yaml.safe_dump(tree))
    return tmp_path / "weather.yaml"


# run


def test_run_prints_scores_times_and_places(home):
    text = (home / "first").read_text()
    skill = r"[+-]\d\.\d\d +[+-]\d\.\d\d to [+-]\d\.\d\d +(persistence|climatology|damped)"
    assert re.search(rf"^t2m \[K\] +\+1 h( +[\d.]+){{4}} +{skill} +-?[01]\.\d\d$", text, re.MULTILINE)
    table = text[text.index("stage ") :]
    for stage in ("ingest", "train", "evaluate", "forecast", "report"):
        assert re.search(rf"^{stage} +\d+\.\d s   \S", table, re.MULTILINE), stage
    assert re.search(r"^total [\d.]+ (s|min).*, peak memory [\d.]+ (MB|GB) \(largest process\)$", text, re.MULTILINE)
    places = dict(re.findall(r"^(evaluate|forecast|report) +(/\S+)$", text, re.MULTILINE))
    assert all(Path(place).is_file() for place in places.values())
    assert len(places) == 3
    assert f"mlflow    sqlite:///{home}/runs/mlflow.db" in text


def test_run_again_does_nothing_again(home, config):
    before = contents(home / "runs")
    text = done("run", "-c", config)
    assert contents(home / "runs") == before
    table = text[text.index("stage ") :]
    assert len(re.findall(r"^\w+ +done before ", table, re.MULTILINE)) == 5


def test_every_stage_by_itself_finds_its_work_done(home, config):
    before = contents(home / "runs")
    assert "nothing new in 1 file(s)" in done("ingest", "-c", config)
    assert "trained from the same data, configuration and code" in done("train", "-c", config)
    assert "scored before" in done("evaluate", "-c", config)
    assert contents(home / "runs") == before


def test_new_input_makes_a_challenger_and_leaves_the_champion(another):
    done("run", "-c", another)
    folder = another.parent
    with xr.open_dataset(folder / "data" / "weather.nc") as old:
        later = old.isel(time=slice(-48, None)).load()
    later = later.assign_coords(time=later["time"] + 48 * HOUR)
    later.to_netcdf(folder / "data" / "weather_2.nc")
    log = done("archive", "log", "-c", another)
    text = done("run", "-c", another)
    assert "1 file(s), 48 new along time" in text
    assert "weather version 2 (challenger)" in text
    assert len(done("archive", "log", "-c", another).splitlines()) == len(log.splitlines()) + 1
    rows = [line.split()[:2] for line in done("models", "-c", another).splitlines()[3:]]
    assert rows == [["2", "challenger"], ["1", "champion"]]
    newest = archive.head(folder / "runs" / "weather" / "archive")
    assert f" {newest} " in done("models", "-c", another).splitlines()[3]
    assert len(list((folder / "runs" / "weather" / "forecasts").iterdir())) == 2
    assert "done before" in done("run", "-c", another)
    assert [line.split()[:2] for line in done("models", "-c", another).splitlines()[3:]] == rows


def test_run_warns_of_files_that_are_rejected_or_wait(another):
    add_later_and_broken(another.parent / "data")
    result = invoke("run", "-c", another)
    assert result.exit_code == 0
    (rejected,) = [line for line in result.stderr.splitlines() if line.startswith("warning: rejected: ")]
    (waiting,) = [line for line in result.stderr.splitlines() if line.startswith("warning: waiting: ")]
    assert "Q-TRUNCATED: zbroken.nc: " in rejected
    assert "Q-GAP: later.nc: " in waiting


def add_later_and_broken(data: Path) -> None:
    """A file that starts ten hours after the others, one that is cut in half, and one of something else."""
    with xr.open_dataset(data / "weather.nc") as dataset:
        later = dataset.isel(time=slice(-24, None)).load()
    later.assign_coords(time=later["time"] + 34 * HOUR).to_netcdf(data / "later.nc")
    (data / "zbroken.nc").write_bytes((data / "weather.nc").read_bytes()[:20_000])
    xr.Dataset({"land": (("lat", "lon"), np.ones((6, 8)))}).to_netcdf(data / "land.nc")


# the single commands


def test_ingest_says_what_became_of_every_file(another):
    data = another.parent / "data"
    add_later_and_broken(data)
    text = done("ingest", "-c", another)
    assert text.splitlines()[0].endswith(": 1 file(s), 240 new along time")
    assert archive.head(another.parent / "runs" / "weather" / "archive") in text.splitlines()[0]
    assert "coverage    2020-03-01T00:00 to 2020-03-10T23:00, 240 frames" in text
    found = dict(
        re.findall(rf"^(committed|skipped|ignored|waiting|rejected) +{data}/(\S+?):?(?: |$)", text, re.MULTILINE)
    )
    assert found == {"committed": "weather.nc", "ignored": "land.nc", "waiting": "later.nc", "rejected": "zbroken.nc"}
    again = done("ingest", "-c", another)
    assert f"skipped     {data}/weather.nc" in again
    assert f"waiting     {data}/later.nc: " in again
    assert len(done("archive", "log", "-c", another).splitlines()) == 3  # header, rule, one commit


def test_generate_says_where_and_whether_it_was_there(tmp_path):
    words = ("generate", "advection", "-o", tmp_path / "made", "--samples", 3, "--steps", 4, "--size", 8)
    assert done(*words) == f"3 samples in 1 file(s): {tmp_path}/made\n"
    before = contents(tmp_path)
    assert done(*words) == f"3 samples in 1 file(s), made before: {tmp_path}/made\n"
    assert contents(tmp_path) == before
    with xr.open_dataset(tmp_path / "made" / "advection_0000.nc", decode_times=False) as dataset:
        assert dict(dataset.sizes) == {"sample": 3, "time": 4, "y": 8, "x": 8}


def test_archive_info_and_log(home, config):
    head = archive.head(home / "runs" / "weather" / "archive")
    info = dict(line.split(maxsplit=1) for line in done("archive", "info", "-c", config).splitlines())
    assert info["snapshot_id"] == f"{head} (of 1 commits)"
    assert info["dimensions"] == "time 240, lat 6, lon 8"
    assert sorted(info["variables"].split(", ")) == ["q2m [kg kg-1]", "t2m [K]"]
    assert info["times"] == "2020-03-01T00:00 to 2020-03-10T23:00"
    log = done("archive", "log", "-c", config).splitlines()
    assert [line.split()[0] for line in log] == ["snapshot_id", log[1], head]


def test_models_lists_versions_with_scores_and_age(config):
    header, _, row = done("models", "-c", config).splitlines()[1:]
    assert header.split()[:3] == ["version", "aliases", "verdict"]
    assert re.match(r" +1 +champion +- +minconvgru +\d+\.\d+ +-?\d\.\d+ +\w{20} +(\d+ min )?[\d.]+ s", row)


def test_evaluate_prints_the_scores_of_any_version(config):
    text = done("evaluate", "-c", config, "--model", "models:/weather/1")
    assert text == done("evaluate", "-c", config)
    assert text.startswith("RMSE on 8 test cases")


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_forecast_writes_what_was_asked_for(config, tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    text = done("forecast", "-c", config, "--init-time", "2020-03-09T12", "--steps", 5, "-o", out)
    assert text == f"{out}: 5 lead times by weather version 1 (champion)\n"
    opened = xr.open_dataset(out) if suffix == "nc" else xr.open_zarr(out, consolidated=False)
    with opened as dataset:
        assert dataset["init_time"].values == [np.datetime64("2020-03-09T12")]
        assert dataset["lead_time"].values.tolist() == (np.arange(1, 6) * HOUR).astype("m8[ns]").tolist()
        assert dataset.attrs["model_version"] == "1"
        assert np.isnan(dataset["t2m"].values[0, 0, 4:, :3]).all()
        assert np.isfinite(dataset["t2m"].values[0, 0, :4]).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--model models:/weather@best", "there is no model models:/weather@best"),
        ("--model models:/weather/7", "(versions of weather: weather/1)"),
        ("--model models:/climate@champion", "there is no model models:/climate@champion"),
        ("--model demo/1", "there is no model models:/demo/1"),
        ("--model models:/champion", "must have the form models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("--init-time yesterday", "'yesterday' is no ISO 8601 time; write it like 2017-01-30T00"),
        ("--init-time 2031-01-01", "init_time 2031-01-01T00:00 cannot be started from"),
        ("--init-time 2020-03-01T01", "init_time 2020-03-01T01:00 cannot be started from"),
        ("--init-time NaT", "init_time"),
        ("--sample 3", "give --init-time instead of --sample"),
        ("--steps 0", "--steps must be at least 1, got 0"),
        ("--steps -3", "--steps must be at least 1, got -3"),
    ],
)
def test_a_forecast_that_cannot_be_given(home, config, tmp_path, words, said):
    before = contents(home / "runs")
    assert said in the_sentence(invoke("forecast", "-c", config, "-o", tmp_path / "out.nc", *words.split()))
    assert not list(tmp_path.iterdir())
    assert contents(home / "runs") == before


@pytest.mark.parametrize("name", ["out.txt", "out", "out.nc.gz"])
def test_a_forecast_into_a_file_of_another_kind(config, tmp_path, name):
    assert "must end in .nc (NetCDF) or .zarr" in the_sentence(invoke("forecast", "-c", config, "-o", tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_evaluate_of_an_unknown_model(home, config):
    before = contents(home / "runs")
    said = the_sentence(invoke("evaluate", "-c", config, "--model", "models:/weather@best"))
    assert "there is no model models:/weather@best" in said
    assert contents(home / "runs") == before


@pytest.mark.slow
def test_a_full_disk_while_forecasting(home, config, tmp_path):
    """A file system of 8 kB, mounted for the command alone."""
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    script = 'mount -t tmpfs -o size=8k tmpfs "$1" && cp "$1/../old" "$1/out.nc"; at="$1"; shift; "$@"; code=$?; '
    script += 'cat "$at/out.nc" > "$at/../kept"; ls -A "$at" > "$at/../listing"; exit $code'
    probe = [*namespace, "mount -t tmpfs tmpfs /mnt"]
    if not shutil.which("unshare") or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("this system lets no one mount a file system of their own")
    small = tmp_path / "small"
    small.mkdir()
    (tmp_path / "old").write_text("an older forecast")
    before = contents(home / "runs")
    minconv = [sys.executable, "-c", "from workflows.cli import main; main()"]
    words = ["forecast", "-c", str(config), "--steps", "200", "-o", str(small / "out.nc")]
    result = subprocess.run(
        [*namespace, script, "sh", str(small), *minconv, *words],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr.count("\n")) == (1, 1), result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: forecast {small}/out.nc cannot be written (")
    assert line.endswith("free some space or choose another place")
    assert (tmp_path / "listing").read_text().split() == ["out.nc"]
    assert (tmp_path / "kept").read_text() == "an older forecast"
    assert contents(home / "runs") == before


def test_a_simulation_is_forecast_by_sample(sample_config: Config, tmp_path):
    tree = sample_config.model_dump(mode="json")
    (tmp_path / "blobs.yaml").write_text(yaml.safe_dump({**tree, "root": str(tmp_path / "runs")}))
    assert "done before" not in done("run", "-c", tmp_path / "blobs.yaml")
    done("forecast", "-c", tmp_path / "blobs.yaml", "--sample", 9, "-o", tmp_path / "out.nc")
    with xr.open_dataset(tmp_path / "out.nc", decode_timedelta=False, decode_times=False) as dataset:
        assert dataset["sample"].values.tolist() == [9]
    out = tmp_path / "none.nc"
    said = the_sentence(invoke("forecast", "-c", tmp_path / "blobs.yaml", "--sample", 10, "-o", out))
    assert "sample 10 is not in the archive, which has samples 0 to 9" in said
    said = the_sentence(invoke("forecast", "-c", tmp_path / "blobs.yaml", "--init-time", "2020-01-01", "-o", out))
    assert "give --sample instead of --init-time" in said


# training that fails


def test_a_training_that_fails_registers_nothing_and_can_be_repeated(another, monkeypatch):
    done("ingest", "-c", another)

    def fail(*arguments):
        raise TrainingError("the loss is not finite after epoch 1")

    with monkeypatch.context() as patch:
        patch.setattr(workflows.stages, "train", fail)
        for _ in range(2):
            assert the_sentence(invoke("train", "-c", another)) == "error: the loss is not finite after epoch 1"
            assert "no version of weather is registered" in done("models", "-c", another)
        # a registry that fails as well does not hide what ended the training
        patch.setattr(Run, "finish", fail_to_finish)
        assert the_sentence(invoke("train", "-c", another)) == "error: the loss is not finite after epoch 1"
    assert "weather version 1 (champion)" in done("train", "-c", another)


def fail_to_finish(run: Run, status: str) -> None:
    raise RegistryError("the disk is full")
