"""`fsck`: a sound pipeline is said to be sound, and each damage, made here, is found and named."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minconv
from pipeline import archive, fsck
from pipeline.config import Config
from pipeline.ingest import ingest
from pipeline.ledger import Ledger, NightKey
from pipeline.registry import Registry
from pipeline.training import checkpoints

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(time_config: Config, scored, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A pipeline with something of everything but models."""
    root = tmp_path_factory.mktemp("whole")
    source = root / "source"
    shutil.copytree(time_config.source_path, source)
    (source / "page.nc").write_text("<html>")
    settings = time_config.source.model_copy(update={"path": source, "max_rejected_share": 0.6})
    config = time_config.model_copy(update={"root": root, "source": settings})
    ingest(config)
    work = config.work_dir
    (work / "scorecards").mkdir()
    (work / "scorecards" / "a.json").write_text(scored(1.0).to_json())
    (work / "forecasts").mkdir()
    with archive.open_dataset(config.archive_path) as dataset:
        dataset.drop_vars("mask").isel(time=slice(0, 3)).to_netcdf(work / "forecasts" / "a.nc")
    for name in ("checkpoint-00001-0000000", "checkpoint-00002-0000000"):
        (work / "training" / "run" / name / "best").mkdir(parents=True)
        (work / "training" / "run" / name / "best" / "weights").write_bytes(b"abc")
        checkpoints.seal(work / "training" / "run" / name)
    with Ledger(ledger(config)).hold(NightKey("weather", "2020-03-11", "c", "d"), seconds=60, patience=0) as tenure:
        tenure.record("ingest", {})
        tenure.finish()
    return config


@pytest.fixture
def config(whole: Config, tmp_path: Path) -> Config:
    """A copy that may be harmed."""
    shutil.copytree(whole.root, tmp_path / "root")
    return whole.model_copy(update={"root": tmp_path / "root"})


@pytest.fixture(scope="module")
def registry(whole: Config, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Two versions, of which the first is champion."""
    place = tmp_path_factory.mktemp("registry")
    sizes = minconv.ForecasterConfig(in_channels=1, out_channels=1, hidden=(2,))
    minconv.save(place / "checkpoint", minconv.Forecaster(sizes), {})
    found = Registry(f"sqlite:///{place / 'mlflow.db'}", place / "mlartifacts", "weather")
    for number in (1, 2):
        tags = {"snapshot_id": archive.head(whole.archive_path)}
        found.register(found.run(str(number), {}), place / "checkpoint", tags, (1, 1, 4, 4))
    return found


def ledger(config: Config) -> Path:
    return config.work_dir / "nights.db"


def found(config: Config, repair: bool = False, registry: Registry | None = None) -> list[fsck.Finding]:
    return list(fsck.examine(config, registry, ledger(config), repair))


def told(findings: list[fsck.Finding], name: str = "") -> list[tuple[str, str, str]]:
    """What is not in order."""
    chosen = [one for one in findings if one.state != "ok" and name in ("", one.name)]
    assert all(one.advice for one in chosen)
    return [(one.name, one.state, one.found) for one in chosen]


def spoil(path: Path, keep: float = 0.5) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def biggest(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda file: file.stat().st_size)


def test_a_sound_pipeline(config, registry):
    findings = found(config, registry=registry)
    assert told(findings) == []
    said = {one.name: one.found for one in findings}
    assert said["archive"].startswith("1 versions; ")
    assert said["quarantine"] == "1 entries, 1 of files still rejected"
    assert said["checkpoints"] == "2, all of them whole"
    assert said["registry"] == "2 versions, all with the files that were registered"
    assert said["champion"] == "version 1"
    assert said["ledger"] == "1 nights"
    assert {said[name] for name in ("ingest reports", "scorecards", "forecasts")} == {"1, all of them whole"}


def test_nothing_there_is_fine_and_stays_so(config):
    empty = config.model_copy(update={"root": config.root / "elsewhere"})
    assert told(found(empty, repair=True)) == []
    assert not empty.root.exists()


# the archive


@pytest.mark.parametrize("harm", [flip, Path.unlink])
def test_a_damaged_or_missing_chunk(config, harm):
    harm(biggest(config.archive_path / "chunks"))
    chunk, count = told(found(config))
    assert chunk[:2] == count[:2] == ("archive", "broken")
    assert "2020-03-01T00:00 to 2020-03-10T23:00, block 0, 0: its " in chunk[2]
    assert count[2].startswith("1 of ")


@pytest.mark.parametrize("folder", ["refs", "snapshots"])
def test_an_archive_that_does_not_open(config, folder):
    shutil.rmtree(config.archive_path / folder)
    assert ("archive", "broken") in {one[:2] for one in told(found(config))}


def test_what_killed_writers_left_is_told_then_swept_up(config):
    path, head = config.archive_path, archive.head(config.archive_path)
    with archive.open_dataset(path) as dataset:
        before = dataset.load()
    biggest(path / "chunks").with_name("00000000000000000000").write_bytes(b"orphan")
    staged, made = path / "chunks" / "11111111111111111111#1", path.with_name(".archive.new")
    staged.write_bytes(b"half")
    made.mkdir()
    marker, partial = path.with_name("archive.unfinished"), config.quarantine_path / ".a.json.partial"
    marker.touch()
    partial.touch()
    ((_, state, text),) = told(found(config))
    assert state == "note"
    assert text.startswith("the marker of a write that did not end, 2 files that no version needs (")
    assert str(made) in text
    assert str(partial) in text
    findings = found(config, repair=True)
    assert told(findings) == []
    assert [one.found for one in findings if one.name == "leftovers"] == [f"swept up: {text}"]
    assert not any(one.exists() for one in (staged, made, marker, partial))
    assert told(found(config)) == []
    assert archive.head(path) == head
    with archive.open_dataset(path) as dataset:
        assert dataset.identical(before)


def test_a_writer_at_work_is_left_alone_and_a_dead_one_does_not_block(config):
    script = (
        "import sys, time; from pathlib import Path; from pipeline import archive\n"
        "with archive.lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", script, str(config.archive_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    config.archive_path.with_name("archive.unfinished").touch()
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            ((name, state, text),) = told(found(config, repair=True))
            assert (name, state) == ("leftovers", "note")
            assert "is locked: another process was still writing" in text
        finally:
            holder.send_signal(signal.SIGKILL)
    assert told(found(config, repair=True)) == []
    assert not config.archive_path.with_name("archive.unfinished").exists()


# files


def test_torn_files_are_named(config):
    work = config.work_dir
    (entry,) = config.quarantine_path.glob("*.json")
    (report,) = config.ingests_path.glob("*.json")
    forecast, scorecard = work / "forecasts" / "a.nc", work / "scorecards" / "a.json"
    for path in (entry, report, forecast, scorecard):
        spoil(path)
    torn = work / "training" / "run" / "checkpoint-00002-0000000"
    (torn / checkpoints.MANIFEST).unlink()
    problems = told(found(config))
    assert [one[:2] for one in problems] == [
        ("quarantine", "broken"),
        ("ingest reports", "note"),
        ("scorecards", "broken"),
        ("forecasts", "broken"),
        ("checkpoints", "note"),
    ]
    for path, (_, _, text) in zip((entry, report, scorecard, forecast, torn), problems, strict=True):
        assert str(path) in text


def test_an_entry_under_the_name_of_another_file(config):
    (entry,) = config.quarantine_path.glob("*.json")
    entry.rename(entry.with_name(f"{'0' * 64}.json"))
    assert [one[:2] for one in told(found(config))] == [("quarantine", "broken")]


# models and nights


def test_a_tampered_model_no_champion_and_a_lost_snapshot(config, registry, tmp_path):
    weights = sorted(Path(registry._artifacts).rglob("weights.safetensors"))
    whole = {path: path.read_bytes() for path in weights}
    registry.remove_alias("champion")
    shutil.rmtree(config.archive_path)
    try:
        flip(weights[0])
        problems = told(found(config, registry=registry))
    finally:
        for path, data in whole.items():
            path.write_bytes(data)
        registry.set_alias("champion", 1)
    tampered = [text for name, state, text in problems if (name, state) == ("registry", "broken")]
    assert len(tampered) == 1
    assert "the stored weights.safetensors is not the registered one" in tampered[0]
    assert ("champion", "broken", "no version is champion") in problems
    lost = [text for name, state, text in problems if (name, state) == ("registry", "note")]
    assert len(lost) == 2
    assert "there is no archive at" in lost[0]


def test_a_registry_that_cannot_be_read(config, registry, monkeypatch):
    broken = config.root / "mlflow.db"
    shutil.copy(registry.tracking_uri.removeprefix("sqlite:///"), broken)
    copied = Registry(f"sqlite:///{broken}", None, "weather")
    copied._client._tracking_client.store.engine.dispose()
    broken.write_bytes(np.random.default_rng(0).bytes(100_000))
    assert [one[:2] for one in told(found(config, registry=copied))] == [("registry", "broken")]


def test_a_lease_of_a_dead_process_is_told(config):
    script = (
        "import os, sys; from pathlib import Path; from pipeline.ledger import Ledger, NightKey\n"
        "Ledger(Path(sys.argv[1])).take(NightKey('weather', '2020-03-12', 'c', 'd'), 3600); os._exit(9)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script, str(ledger(config))], cwd=ROOT, env=environment, check=False)
    ((name, state, text),) = told(found(config))
    assert (name, state) == ("ledger", "note")
    assert "held the lease for the night of 2020-03-12 and did not give it back" in text


def test_a_damaged_ledger(config):
    with sqlite3.connect(ledger(config)) as database:
        (pages,) = database.execute("PRAGMA page_count").fetchone()
    data = bytearray(ledger(config).read_bytes())
    size = len(data) // pages
    for page in range(1, pages):
        data[page * size : page * size + 100] = bytes(100)
    ledger(config).write_bytes(data)
    problems = told(found(config))
    assert problems
    assert {one[:2] for one in problems} == {("ledger", "broken")}
