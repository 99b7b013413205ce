"""A night: once for each date, resumed where it stopped, one champion whatever happens."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest
import xarray as xr
import yaml
from typer.testing import CliRunner

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import ArchiveError, ConfigError, RegistryError
from pipeline.ledger import Ledger, Tenure
from pipeline.promotion import Verdict, audit_trail
from pipeline.registry import CHAMPION
from tests.stream import Stream, configuration
from workflows.cli import app
from workflows.console import Console
from workflows.context import Context
from workflows.night_steps import STEPS
from workflows.nightly import ledger_path, run_nightly

FIRST = 9  # its night is the first: ten days are there


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Stream and configuration after the first night."""
    folder = tmp_path_factory.mktemp("home")
    stream = Stream(folder / "data")
    for day in range(FIRST + 1):
        stream.write(day)
    tree = configuration(folder / "runs", stream.folder, training={"epochs": 4}, nightly={"epochs": 1})
    (folder / "stream.yaml").write_text(yaml.safe_dump(tree))
    context = Context(check_config(tree), Console(quiet=True))
    run_nightly(context, stream.date(FIRST))
    return folder, stream, context


def champion(context):
    """The only champion, whose files are those that were registered."""
    (only,) = [version for version in context.registry.versions() if CHAMPION in version.aliases]
    context.registry.check(only)
    return only


def invoke(*words):
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


def test_the_first_night_makes_a_champion_a_forecast_and_a_page(home):
    _, stream, context = home
    night = Ledger(ledger_path(context.config)).nights("stream")[-1]
    assert list(night.steps) == list(STEPS)
    assert night.key.date == stream.date(FIRST)
    assert night.steps["verdict"]["reasons"][0].startswith("It is the first version")
    assert [entry.what for entry in audit_trail(context.registry.versions()) if entry.version == 1] == ["promoted"]
    with xr.open_dataset(night.steps["forecast"]["file"], decode_timedelta=True) as forecast:
        assert str(forecast["init_time"].values[0])[:13] == f"{stream.date(FIRST)}T23"
    page = Path(night.steps["report"]["page"]).read_text()
    assert f"Night of {stream.date(FIRST)}" in page
    assert "<script" not in page
    assert "http://" not in page


def test_a_second_start_returns_the_first_ones_result_and_changes_nothing(home, monkeypatch):
    _, stream, context = home
    first = run_nightly(context, stream.date(FIRST))
    for name in STEPS:
        monkeypatch.setitem(STEPS, name, lambda work: pytest.fail("it was done again"))
    assert run_nightly(context, stream.date(FIRST)) == first


def test_a_night_that_is_interrupted_after_every_step_does_each_of_them_once(home, monkeypatch):
    """Killed after the work of a step and before it is noted, the worst place, at each step in turn."""
    _, stream, context = home
    stream.write(FIRST + 1)
    before = len(context.registry.versions())

    class Killed(BaseException):
        pass

    record, hit = Tenure.record, set()

    def killed_once(self, step, result):
        if step not in hit:
            hit.add(step)
            raise Killed
        record(self, step, result)

    monkeypatch.setattr(Tenure, "record", killed_once)
    for _ in STEPS:
        with pytest.raises(Killed):
            run_nightly(context, stream.date(FIRST + 1))
    night = run_nightly(context, stream.date(FIRST + 1))
    assert (night.finished, night.starts) == (True, len(STEPS) + 1)
    assert hit == set(STEPS)
    versions = context.registry.versions()
    assert len(versions) == before + 1
    assert versions[0].tags["run_name"].startswith(f"stream-{stream.date(FIRST + 1)}-")
    assert versions[0].tags["parent"] == "models:/stream/1"
    verdicts = [entry for entry in audit_trail(versions) if entry.version == versions[0].version]
    assert verdicts
    assert champion(context).version == night.steps["aliases"]["champion"]


def test_bad_files_are_said_and_good_ones_land(home):
    folder, stream, context = home
    day = FIRST + 2
    stream.write(day)
    stream.write_torn(FIRST + 40)
    result = invoke("nightly", "-c", folder / "stream.yaml", "--date", stream.date(day), "--quiet")
    assert result.exit_code == 0, result.stderr
    assert "warning: rejected: Q-TRUNCATED: day_049.nc" in result.stderr
    assert f"night of {stream.date(day)}: version" in result.stdout
    night = Ledger(ledger_path(context.config)).nights("stream")[0]
    assert night.steps["ingest"]["committed"] == [f"day_{day:03d}.nc"]
    # half of the new files are bad: too many to train on what came with them
    assert not night.steps["gate"]["train"]
    assert "50 % of the night's new files were rejected" in night.steps["verdict"]["reasons"][0]


def test_a_missed_night_is_left_out_or_done_without_changing_the_champion(home):
    _, stream, context = home
    day = FIRST + 4  # the night before was missed, its file came
    stream.write(day - 1)
    stream.write(day)
    run_nightly(context, stream.date(day))
    before = champion(context).version
    with pytest.raises(ConfigError, match=rf"{stream.date(day - 1)} lies before that of {stream.date(day)}"):
        run_nightly(context, stream.date(day - 1))
    night = run_nightly(context, stream.date(day - 1), backfill=True)
    assert champion(context).version == before
    with xr.open_dataset(night.steps["forecast"]["file"], decode_timedelta=True) as forecast:
        assert str(forecast["init_time"].values[0])[:13] == f"{stream.date(day - 1)}T23"


def test_a_backfill_promotes_nothing_however_good(home, monkeypatch):
    _, stream, context = home
    day = FIRST + 6
    stream.write(day - 1)
    stream.write(day)
    before = champion(context).version
    monkeypatch.setattr("workflows.night_steps.judge", lambda *scores: Verdict(True, ("Better.",)))
    night = run_nightly(context, stream.date(day), backfill=True)
    assert night.steps["train"]["challenger"] is not None
    assert night.steps["verdict"]["reasons"] == ["A backfill changes no champion.", "Better."]
    assert champion(context).version == before


def test_without_mlflow_the_ingest_is_kept_and_the_next_start_goes_on(home, monkeypatch):
    _, stream, context = home
    day = FIRST + 8
    stream.write(day - 1)
    stream.write(day)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    down = dataclasses.replace(context)
    with pytest.raises(RegistryError, match=r"^MLflow at http://127\.0\.0\.1:9 failed"):
        run_nightly(down, stream.date(day))
    ledger = Ledger(ledger_path(context.config))
    stopped = ledger.nights("stream")[0]
    assert list(stopped.steps) == ["ingest"]
    assert "MLflow at" in stopped.error
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    night = run_nightly(context, stream.date(day))
    assert night.finished
    assert night.steps["ingest"] == stopped.steps["ingest"]


def test_of_two_starts_at_once_one_works_and_the_other_has_its_result(home):
    _, stream, context = home
    day = FIRST + 9
    stream.write(day)
    before = len(context.registry.versions())
    nights = []
    other = threading.Thread(target=lambda: nights.append(run_nightly(dataclasses.replace(context), stream.date(day))))
    other.start()
    nights.append(run_nightly(dataclasses.replace(context), stream.date(day)))
    other.join()
    assert nights[0] == nights[1]
    assert nights[0].starts == 1
    assert len(context.registry.versions()) == before + 1


def test_a_revision_of_what_the_models_learned_from_is_a_reason_to_train(home):
    _, stream, context = home
    revised = stream.frames(FIRST)
    revised["t2m"].values[3:5] += 0.5
    revised.to_netcdf(stream.folder / f"day_{FIRST:03d}_v2.nc")
    source = context.config.source.model_copy(update={"revise": "accept"})
    accepting = dataclasses.replace(context, config=context.config.model_copy(update={"source": source}))
    before = len(context.registry.versions())
    night = run_nightly(accepting, stream.date(FIRST + 10))
    assert (night.steps["ingest"]["appended"], night.steps["ingest"]["revised"]) == (0, 2)
    assert night.steps["gate"]["reasons"][0].startswith("There are 2 revised")
    (newest, *older) = context.registry.versions()
    assert len(older) == before
    assert newest.tags["snapshot_id"] == night.steps["ingest"]["snapshot_id"]
    champion(context)


def test_the_status_says_how_it_stands(home):
    folder, _, context = home
    result = invoke("status", "-c", folder / "stream.yaml", "--nights", "3")
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"champion   version {champion(context).version}, ")
    assert "t2m: RMSE" in lines[1]
    assert "at work    nobody" in lines
    assert "next       the next night: minconv nightly" in lines
    assert sum(" done " in line for line in lines) == 3


def test_a_collection_keeps_every_version_of_the_archive_that_a_model_names(home):
    folder, stream, context = home
    path = context.config.archive_path
    for last in (FIRST + 11, FIRST + 12):  # two versions that no model is made of, one of them the newest
        for day in range(last):
            if not stream.path(day).exists():
                stream.write(day)
        assert invoke("ingest", "-c", folder / "stream.yaml", "--quiet").exit_code == 0
    named = {version.tags["snapshot_id"] for version in context.registry.versions()}
    others = {commit.snapshot_id for commit in archive.log(path)} - named - {archive.head(path)}
    result = invoke("archive", "gc", "-c", folder / "stream.yaml", "--set", "archive.keep_days=0", "--apply")
    assert result.exit_code == 0, result.stderr
    assert others
    for snapshot_id in others:
        with pytest.raises(ArchiveError, match="has no version"):
            archive.open_dataset(path, snapshot_id)
    for snapshot_id in named:
        assert archive.verify(path, snapshot_id).damaged == ()


def test_the_status_of_nothing_makes_nothing(tmp_path):
    tree = configuration(tmp_path / "runs", tmp_path / "data")
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(tree))
    result = invoke("status", "-c", tmp_path / "new.yaml")
    assert result.exit_code == 0, result.stderr
    assert "champion   none yet" in result.stdout
    assert "the first night: minconv nightly" in result.stdout
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("date", ["2020-13-01", "yesterday", ""])
def test_what_is_no_date_is_one_sentence(home, date):
    folder, _, _ = home
    result = invoke("nightly", "-c", folder / "stream.yaml", f"--date={date}x")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: the date of a night has the form 2020-03-11, got ")
