import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from pipeline import archive, machine, preflight
from pipeline.config import Config, check_config
from pipeline.errors import TrainingError
from pipeline.grid import GridSpec
from pipeline.health import Finding
from pipeline.ingest import ingest
from pipeline.preflight import check, from_sentence, grid_finding, model_findings
from pipeline.registry import RegisteredModel
from pipeline.step_cost import StepCost, measure
from pipeline.training import TrainingJob
from tests.conftest import made_weather

COST = StepCost(4, 100, 0.1, 0.1, 5 * 10**8, 5 * 10**8, 4 * 10**8, 1e6)


def by_name(findings: Any) -> dict[str, Finding]:
    return {one.name: one for one in findings}


def files_below(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def weather(tmp_path: Path) -> Callable[..., Config]:
    """A folder with made weather, not ingested."""

    def make(**changes: Any) -> Config:
        source = tmp_path / "source"
        source.mkdir(exist_ok=True)
        made_weather().to_netcdf(source / "weather.nc")
        tree: dict[str, Any] = {
            "name": "weather",
            "root": str(tmp_path / "runs"),
            "source": {"path": str(source)},
            "variables": {"t2m": {"units": "degC", "valid_range": [-40, 60]}, "q2m": {"units": "kg kg-1"}},
            "boundary": "closed",
            "forcings": ["time_of_day", "mask"],
            "window": {"history": 6, "horizon": 3},
            "model": {"hidden": [4], "patch": 1, "anomaly": True},
            "training": {"epochs": 2, "batch_size": 2, "threads": 1},
        }
        return check_config({**tree, **changes})

    return make


@pytest.fixture
def no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps take seconds; one test below does them."""
    monkeypatch.setattr(preflight, "measure", lambda job: COST)


@pytest.mark.slow
def test_everything_is_looked_at_and_nothing_written(weather: Callable[..., Config], tmp_path: Path) -> None:
    config = weather()
    before = files_below(tmp_path)
    found = by_name(check(config))
    assert files_below(tmp_path) == before
    assert {one.state for one in found.values()} == {"ok"}, found
    assert "degC" in found["variable t2m"].found
    assert "240 frames in steps of 1 h" in found["time axis"].found
    assert "train 135 frames, 127 windows" in found["splits"].found
    assert {"leaks", "disk", "model", "step time", "step memory", "training time", "batch"} <= set(found)


@pytest.mark.slow
def test_what_ends_the_process_of_the_steps_is_an_answer() -> None:
    class Ends:
        def __reduce__(self) -> tuple[Any, ...]:
            return os._exit, (9,)

    with pytest.raises(TrainingError, match="lack of memory; make"):
        measure(cast(TrainingJob, Ends()))


@pytest.mark.usefixtures("no_steps")
def test_bad_files_are_named_with_what_to_do(weather: Callable[..., Config]) -> None:
    config = weather()
    (config.source_path / "error.nc").write_text("<html>404</html>")
    found = by_name(check(config))
    assert found["files"].found == "1 new, 1 rejected"
    assert found["error.nc"].state == "note"
    assert found["error.nc"].found.startswith("Q-NOT-NETCDF")
    assert found["error.nc"].advice


@pytest.mark.usefixtures("no_steps")
def test_only_bad_files_are_broken(weather: Callable[..., Config]) -> None:
    config = weather(variables={"t2m": {"units": "degC", "valid_range": [100, 200]}})
    found = by_name(check(config))
    assert found["files"].state == "broken"
    assert "Q-RANGE" in found["weather.nc"].found
    assert "splits" not in found


@pytest.mark.usefixtures("no_steps")
@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"source": {"path": "/no/such/folder"}}, "does not exist"),
        ({"variables": {"sst": {"units": "K"}}}, "'sst' is in no file"),
        ({"window": {"history": 100, "horizon": 50}}, "split would hold"),
    ],
)
def test_what_stops_a_run_is_said_with_its_fix(
    weather: Callable[..., Config], changes: dict[str, Any], part: str
) -> None:
    problem = by_name(check(weather(**changes)))["problem"]
    assert problem.state == "broken"
    assert part in problem.found
    assert problem.advice


@pytest.mark.usefixtures("no_steps")
def test_a_gap_that_is_too_small_is_noted(weather: Callable[..., Config]) -> None:
    leak = by_name(check(weather(split={"gap": 2})))["leak"]
    assert (leak.state, leak.advice) == ("note", "set split.gap to 9 (history + horizon) or leave it empty")


def test_with_an_archive_the_new_files_are_counted_on_top(
    weather: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "measure", lambda job: COST)
    config = weather()
    ingest(config)
    more = made_weather(480).isel(time=slice(240, 300))
    more.to_netcdf(config.source_path / "more.nc")
    snapshot_id = archive.head(config.archive_path)
    found = by_name(check(config))
    assert found["files"].found == "1 new, 1 in the archive already"
    assert "300 frames" in found["time axis"].found
    assert archive.head(config.archive_path) == snapshot_id


@pytest.mark.usefixtures("no_steps")
def test_what_is_not_simulated_yet_is_looked_at_in_small(tmp_path: Path) -> None:
    request = {"kind": "advection", "samples": 20, "steps": 14, "size": 8, "coarsen": 1}
    tree = {
        "root": str(tmp_path / "runs"),
        "generate": request,
        "variables": {"tracer": {"units": "1"}},
        "window": {"history": 4, "horizon": 4},
        "model": {"hidden": [8], "patch": 1},
    }
    found = by_name(check(check_config(tree)))
    assert found["input"].found.startswith("20 samples that 'run' will simulate")
    assert "train 12 sample(s) of 14 frames" in found["splits"].found
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("east", "boundary", "advice"),
    [(170.0, "closed", "set boundary: cylinder"), (40.0, "cylinder", "set boundary: closed")],
)
def test_a_boundary_that_is_not_the_grids_is_noted(
    weather: Callable[..., Config], east: float, boundary: str, advice: str
) -> None:
    grid = GridSpec((-10.0, 0.0, 10.0), tuple(np.linspace(-180, east, 36)), "lat", "lon", True, boundary)
    assert grid_finding(weather(boundary=boundary), grid).advice == advice
    other = "closed" if boundary == "cylinder" else "cylinder"
    assert grid_finding(weather(boundary=other), grid).state == "ok"


def test_a_models_own_splits_are_clean_and_moved_ones_are_not(time_config: Config, time_model: RegisteredModel) -> None:
    (clean,) = model_findings(time_config, time_model)
    assert clean.state == "ok"
    moved = time_config.model_copy(update={"split": time_config.split.model_copy(update={"train": 0.2, "test": 0.6})})
    assert {one.found[:9] for one in model_findings(moved, time_model)} == {"L-TRAINED"}


@pytest.mark.parametrize(
    ("sentence", "found", "advice"), [("a; b; do c", "a; b", "do c"), ("only that", "only that", "")]
)
def test_the_next_step_is_what_follows_the_last_semicolon(sentence: str, found: str, advice: str) -> None:
    assert from_sentence("x", "note", sentence) == Finding("x", "note", found, advice)


@pytest.mark.usefixtures("no_steps")
def test_tiles_and_where_frames_are_kept_are_told(weather: Callable[..., Config]) -> None:
    found = by_name(check(weather(tiles={"size": 4, "halo": 1})))
    assert (found["tiles"].state, found["tiles"].found) == (
        "ok",
        "4 of 6 x 6 points, halo 1 x 1 included, which is 67% of what is read",
    )
    assert found["cache"].state == "ok"
    assert found["cache"].found.startswith("train 0.0518 MB in each worker's memory; validation ")
    narrow = by_name(check(weather(tiles={"size": 4, "halo": 0}, training={"cache": "disk"})))
    assert narrow["tiles"].state == "note"
    assert "the model reaches 1 points, further than the halo" in narrow["tiles"].found
    assert "leave tiles.halo empty" in narrow["tiles"].advice
    assert "on disk in" in narrow["cache"].found


@pytest.mark.usefixtures("no_steps")
def test_a_cache_that_does_not_fit_on_the_disk_is_broken(
    weather: Callable[..., Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = weather(training={"cache": "disk"})
    monkeypatch.setattr(machine, "free_disk", lambda folder: 10_000)
    found = by_name(check(config))
    assert found["cache"].state == "broken"
    assert "training.cache=none" in found["cache"].advice


@pytest.mark.slow
def test_steps_on_tiles_write_no_cache(weather: Callable[..., Config], tmp_path: Path) -> None:
    config = weather(tiles={"size": 4}, training={"cache": "disk", "batch_size": 2, "threads": 1})
    before = files_below(tmp_path)
    found = by_name(check(config))
    assert files_below(tmp_path) == before
    assert found["step time"].state == "ok"
