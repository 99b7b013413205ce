"""Thirty nights of a stream with everything that happens to one; after each: one champion, one success per date.

The wave turns round, a file is torn, two nights are missed, one is started twice, one is killed, MLflow is down once,
and one challenger is worse. The last night trains on Ray.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from pipeline import archive
from pipeline.config import check_config
from pipeline.errors import RegistryError
from pipeline.ledger import Ledger
from pipeline.registry import CHAMPION
from tests.stream import FRAMES, Stream, configuration
from workflows import stages
from workflows.console import Console
from workflows.context import Context
from workflows.nightly import ledger_path, run_nightly

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FIRST, TURN, LAST = 9, 18, 39  # days; two are missed, so that 29 nights are worked on
TORN, MISSED, TWICE, KILLED, DOWN, WORSE = 12, (15, 16), 20, 23, 26, 33
KILLER = """
import os, signal, sys
from workflows import stages
register = stages.register
def killed(*arguments):
    register(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
stages.register = killed
from workflows.cli import main
main()
"""


class Nights:
    """The stream, its pipeline, and what was acknowledged so far."""

    def __init__(self, folder: Path) -> None:
        self.stream = Stream(folder / "data", TURN)
        self.config = folder / "stream.yaml"
        self.tree = configuration(folder / "runs", self.stream.folder)
        self.config.write_text(yaml.safe_dump(self.tree))
        self.context = Context(check_config(self.tree), Console(quiet=True))
        self.ledger = Ledger(ledger_path(self.context.config))
        self.known: dict[str, dict[str, object]] = {}

    def changed(self, **sections: dict[str, object]) -> Context:
        """The context with some settings of its own."""
        tree = {**self.tree, **{name: {**self.tree[name], **values} for name, values in sections.items()}}
        return dataclasses.replace(self.context, config=check_config(tree))

    def check(self, day: int) -> None:
        """What must hold after every night."""
        registry = self.context.registry
        (champion,) = [version for version in registry.versions() if CHAMPION in version.aliases]
        registry.check(champion)
        finished = [night for night in self.ledger.nights("stream") if night.finished]
        dates = [night.key.date for night in finished]
        assert dates.count(self.stream.date(day)) == 1
        assert len(set(dates)) == len(dates)
        now = {night.key.date: dict(night.steps) for night in finished}
        assert {date: now[date] for date in self.known} == self.known
        assert champion.version == now[self.stream.date(day)]["aliases"]["champion"]
        with archive.open_dataset(self.context.config.archive_path) as dataset:
            assert dataset.sizes["time"] == (day + 1) * FRAMES
        self.known = now

    def skill(self, number: int) -> float:
        """Of a version, on the newest data."""
        version = self.context.registry.resolve(f"models:/stream/{number}")
        return float(stages.evaluate_model(self.context, version)[0].skill("persistence").mean())


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """After 29 nights, each of them checked."""
    nights = Nights(tmp_path_factory.mktemp("nights"))
    for day in range(FIRST):
        nights.stream.write(day)
    for day in range(FIRST, LAST + 1):
        nights.stream.write(day)
        if day in MISSED:
            continue
        HAPPENS.get(day, ordinary)(nights, day)
        nights.check(day)
    return nights


def ordinary(nights: Nights, day: int) -> None:
    run_nightly(nights.context, nights.stream.date(day))


def torn(nights: Nights, day: int) -> None:
    nights.stream.write_torn(900)
    night = run_nightly(nights.context, nights.stream.date(day))
    assert any("day_900.nc" in text for text in night.steps["ingest"]["newly_rejected"])
    assert night.steps["ingest"]["committed"] == [nights.stream.path(day).name]


def twice(nights: Nights, day: int) -> None:
    before, found = len(nights.context.registry.versions()), []
    contexts = [dataclasses.replace(nights.context) for _ in range(2)]
    starts = [
        threading.Thread(target=lambda one=one: found.append(run_nightly(one, nights.stream.date(day))))
        for one in contexts
    ]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    assert found[0] == found[1]
    assert len(nights.context.registry.versions()) == before + 1


def killed(nights: Nights, day: int) -> None:
    """Between the registration of the challenger and the note that it was trained."""
    before, date = len(nights.context.registry.versions()), nights.stream.date(day)
    command = [sys.executable, "-c", KILLER, "nightly", "-c", str(nights.config), "--date", date]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_TRACKING")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=600, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(nights.ledger.nights("stream")[0].steps) == ["ingest", "gate"]
    night = run_nightly(nights.context, date)
    assert night.starts == 2
    assert len(nights.context.registry.versions()) == before + 1


def mlflow_down(nights: Nights, day: int) -> None:
    date = nights.stream.date(day)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(RegistryError):
            run_nightly(dataclasses.replace(nights.context), date)
    kept = nights.ledger.nights("stream")[0].steps["ingest"]
    assert run_nightly(nights.context, date).steps["ingest"] == kept


def worse(nights: Nights, day: int) -> None:
    bad = nights.changed(nightly={"learning_rate": 0.3, "epochs": 1})
    night = run_nightly(bad, nights.stream.date(day))
    assert night.steps["train"]["challenger"] is not None
    assert not night.steps["aliases"]["promoted"]


HAPPENS = {TORN: torn, TWICE: twice, KILLED: killed, DOWN: mlflow_down, WORSE: worse}


def test_the_champion_follows_the_stream_and_the_first_model_does_not(nights):
    champion = nights.context.registry.resolve()
    assert nights.skill(1) < 0 < nights.skill(champion.version)
    assert len(nights.known) == LAST - FIRST + 1 - len(MISSED) == 29


@pytest.mark.cluster
def test_the_last_night_trains_on_ray(nights):
    nights.stream.write(LAST + 1)
    night = run_nightly(nights.changed(training={"workers": 1}), nights.stream.date(LAST + 1))
    assert night.steps["train"]["challenger"] is not None
    nights.check(LAST + 1)
