"""Lineage: what changes the name of a run, and what is stored with a model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import pipeline
from pipeline import lineage
from pipeline.config import VariableConfig
from pipeline.grid import GridSpec
from pipeline.statistics import Statistics
from pipeline.training import prepare


def changed(config, section, **values):
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


@pytest.fixture
def fresh():
    """The code is hashed once a process; tests that change it start anew, and leave it so."""
    lineage.code_hash.cache_clear()
    lineage.git_commit.cache_clear()
    yield
    lineage.code_hash.cache_clear()
    lineage.git_commit.cache_clear()


def test_the_same_inputs_give_the_same_name(time_config):
    name = lineage.run_name(time_config, "A")
    assert name == lineage.run_name(time_config.model_copy(), "A")
    assert re.fullmatch(r"weather-[0-9a-f]{12}", name)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.model_copy(update={"seed": 1}),
        lambda c: c.model_copy(update={"boundary": "cylinder"}),
        lambda c: c.model_copy(update={"forcings": ("latitude",)}),
        lambda c: c.model_copy(update={"variables": {"t2m": VariableConfig(units="K")}}),
        lambda c: changed(c, "split", train=0.7, test=0.1),
        lambda c: changed(c, "window", history=7),
        lambda c: changed(c, "model", damping=True),
        lambda c: changed(c, "model", anomaly=True),
        lambda c: changed(c, "model", tendency_scale="statistics"),
        lambda c: changed(c, "model", memory=500),
        lambda c: changed(c, "training", learning_rate=1e-4),
        lambda c: changed(c, "training", closed_loop_ramp=(0.5, 0.8)),
        lambda c: changed(c, "training", truncate=4),
        lambda c: changed(c, "training", schedule="linear"),
        lambda c: changed(c, "training", loss_weights={"t2m": 2.0}),
    ],
)
def test_what_changes_the_weights_changes_the_name(time_config, change):
    assert lineage.run_name(change(time_config), "A") != lineage.run_name(time_config, "A")


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.model_copy(update={"root": Path("/elsewhere")}),
        lambda c: changed(c, "source", path=Path("/other"), files=("*.zarr",)),
        lambda c: changed(c, "archive", chunk_time=12, shard_time=24),
        lambda c: changed(c, "evaluation", stride=7),
        lambda c: changed(c, "forecast", steps=5),
    ],
)
def test_paths_chunks_and_scores_do_not(time_config, change):
    assert lineage.run_name(change(time_config), "A") == lineage.run_name(time_config, "A")


def test_other_data_and_another_pipeline_have_other_names(time_config):
    assert lineage.run_name(time_config, "B") != lineage.run_name(time_config, "A")
    other = time_config.model_copy(update={"name": "other"})
    assert lineage.run_name(other, "A") == lineage.run_name(time_config, "A").replace("weather", "other")


@pytest.mark.parametrize(
    ("file", "matters"),
    [
        ("minconv/cells.py", True),
        ("minconv/scan/reference.py", True),
        ("pipeline/training/loop.py", True),
        ("pipeline/forcings.py", True),
        ("pipeline/climatology.py", True),
        ("pipeline/forecast/files.py", False),
        ("pipeline/report/maps.py", False),
    ],
)
def test_code_that_decides_the_weights_changes_the_name(fresh, time_config, tmp_path, monkeypatch, file, matters):
    before = lineage.run_name(time_config, "A")
    for package in ("minconv", "pipeline"):
        source = Path(pipeline.__file__).parent.with_name(package)
        shutil.copytree(source, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(lineage, "__file__", str(tmp_path / "pipeline" / "lineage.py"))
    monkeypatch.setattr(lineage.minconv, "__file__", str(tmp_path / "minconv" / "__init__.py"))
    lineage.code_hash.cache_clear()
    assert lineage.run_name(time_config, "A") == before
    with (tmp_path / file).open("a") as code:
        code.write("# changed\n")
    lineage.code_hash.cache_clear()
    assert (lineage.run_name(time_config, "A") != before) == matters


def test_every_named_room_exists():
    home = Path(lineage.__file__).parent
    for room in lineage.OUTCOME_ROOMS:
        assert (home / room).is_dir() or (home / f"{room}.py").is_file(), room


def test_the_version_of_the_code_names_the_commit_and_says_when_files_differ(fresh, tmp_path, monkeypatch):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "lineage.py").write_text("a = 1\n")
    monkeypatch.setattr(lineage, "__file__", str(tmp_path / "pipeline" / "lineage.py"))
    assert re.fullmatch(r"[\w.]+", lineage.code_version())  # no checkout of ours
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout[:12]
    lineage.git_commit.cache_clear()
    assert lineage.code_version().endswith(f" ({commit})")
    (tmp_path / "pipeline" / "lineage.py").write_text("a = 2\n")
    lineage.git_commit.cache_clear()
    assert lineage.code_version().endswith(f" ({commit}+changes)")


def test_without_git_there_is_a_version_all_the_same(fresh, monkeypatch, tmp_path):
    (tmp_path / ".git").mkdir()
    monkeypatch.setattr(lineage, "__file__", str(tmp_path / "pipeline" / "lineage.py"))
    monkeypatch.setenv("PATH", "")
    assert re.fullmatch(r"[\w.]+", lineage.code_version())


def test_metadata_is_plain_json_from_which_everything_comes_back(time_config, snapshot_of):
    job = prepare(time_config, snapshot_of(time_config))
    metadata = lineage.model_metadata(job)
    back = json.loads(json.dumps(metadata, allow_nan=False))
    assert back == metadata
    assert GridSpec.from_dict(back["grid"]) == job.grid
    assert Statistics.from_dict(back["statistics"]).hash() == job.statistics.hash()
    assert back["variables"] == ["t2m", "q2m"]
    assert back["units"] == {"t2m": "K", "q2m": "kg kg-1"}
    assert back["fill"] == pytest.approx(job.statistics.state.mean.tolist())
    assert type(time_config).model_validate(back["config"]) == time_config


def test_tags_are_texts_that_lead_back_to_data_configuration_and_code(time_config, snapshot_of):
    job = prepare(time_config, snapshot_of(time_config))
    tags = lineage.version_tags(job)
    assert all(isinstance(value, str) and value for value in tags.values())
    assert tags["run_name"] == lineage.run_name(time_config, job.snapshot_id)
    assert tags["snapshot_id"] == job.snapshot_id
    assert tags["config_hash"] == time_config.hash()
    assert tags["statistics_hash"] == job.statistics.hash()
    assert tags["code_hash"] == lineage.code_hash()
    assert tags["cell"] == "minconvgru"
