"""What a cell costs is measured once, and read from then on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline import archive
from pipeline.progress import Event, silent
from pipeline.study import probe as room
from pipeline.study.contenders import timed
from pipeline.study.probe import run_probe
from pipeline.training import prepare
from pipeline.windows import windows


def here(work: Any, arguments: tuple[Any, ...], progress: Any) -> Any:
    return work(*arguments, progress)


def test_a_probe_is_measured_once(sample_config, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "in_own_process", here)
    trial, snapshot_id = timed("minconvgru", sample_config), archive.head(sample_config.archive_path)
    events = list[Event]()
    found = run_probe(trial, snapshot_id, tmp_path, progress=events.append)
    assert found.cell == "minconvgru"
    assert sum(found.parts.values()) == pytest.approx(found.step_seconds, rel=1e-6)
    assert all(seconds >= 0 for seconds in found.parts.values())
    assert found.steps == len(windows(prepare(sample_config, snapshot_id).splits.train, 8, stride=2)) // 2
    assert min(found.validation_seconds, found.scoring_seconds) > 0
    assert found.seconds >= found.start_seconds >= 0
    assert [event.done for event in events] == [1, 2]
    monkeypatch.setattr(room, "in_own_process", None)  # nothing is started
    assert run_probe(trial, snapshot_id, tmp_path) == found
    assert len(list(Path(tmp_path).iterdir())) == 1


def test_a_limit_of_time_still_measures_one_step(sample_config, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "in_own_process", here)
    monkeypatch.setattr(room, "_scoring_seconds", lambda forecaster, job: 1.0)
    trial, snapshot_id = timed("convgru", sample_config), archive.head(sample_config.archive_path)
    assert run_probe(trial, snapshot_id, tmp_path, 0.0, silent).step_seconds > 0
