"""Ingests, collections and exports that are killed, or whose disk fails, at every failpoint and at any time; see
`test_crash`.

python -m tests.pipeline.killed_ingest FOLDER points [--scenario NAME ...]     # kill -9 at each failpoint
python -m tests.pipeline.killed_ingest FOLDER errors [--scenario NAME ...]     # no space, or an I/O error, at each
python -m tests.pipeline.killed_ingest FOLDER random --kills 60 --seed 0       # kill -9 by another process at any time
python -m tests.pipeline.killed_ingest FOLDER record                           # which failpoints are reached

Several may be given: what they start from is made once. One line of JSON for each case, then a table. This process
imports what all need, opens nothing, and forks a child for every piece of work: each is a process of its own (Icechunk
must not be open when a process forks).
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import json
import os
import shutil
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from pipeline import archive
from pipeline.archive import writing
from pipeline.config import Config, check_config
from pipeline.errors import ArchiveError
from pipeline.failpoints import handling
from pipeline.ingest import ingest
from pipeline.presence import present
from pipeline.quarantine import entries
from pipeline.sources.units import conversion

VALUES = np.random.default_rng(3).normal(285, 3, (60, 8, 8)).astype("float32")
RERUN_SECONDS = 60.0  # an ingest of these files takes a second
ERRORS = (errno.ENOSPC, errno.EIO)


def fields(first: int, last: int) -> xr.Dataset:
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(first, last) * np.timedelta64(1, "h")
    attrs = {"units": "K", "standard_name": "air_temperature"}
    return xr.Dataset(
        {"t": (("time", "lat", "lon"), VALUES[first:last], attrs)},
        coords={"time": times, "lat": np.arange(8.0), "lon": np.arange(8.0)},
    )


def settings(folder: Path, root: Path) -> Config:
    return check_config(
        {
            "name": "killed",
            "root": str(root),
            "boundary": "closed",
            "variables": {"t": {"units": "K"}},
            "source": {"path": str(folder / "input"), "max_rejected_share": 0.9},
            "quality": {"longest_gap": "6h"},
            "archive": {"chunk_time": 6, "shard_time": 12, "chunk_space": 8, "shard_space": 8},
        }
    )


# Scenarios: what is there, and what is done to it


@dataclass(frozen=True)
class Scenario:
    """What is done to a copy of `start`; `frames` are the lengths that a reader may find while it goes on."""

    name: str
    start: str
    source: str
    act: Callable[[Config], None]
    frames: tuple[int, ...]
    fails_at: str = ""

    def finish(self, config: Config) -> None:
        """Do it without any kill, until doing it again would change nothing."""
        self.act(config)
        if self.act is collected:  # the first spares the version that was the newest when it began
            self.act(config)


def take_in(config: Config) -> None:
    ingest(config)


def collected(config: Config, apply: bool = True) -> None:
    keep = json.loads((config.root / "pinned.json").read_text())
    archive.collect(config.archive_path, keep, keep_days=0, apply=apply)


def rehearsed(config: Config) -> None:
    collected(config, apply=False)


def export(config: Config) -> None:
    for name in ("out.nc", "out.zarr"):
        if not (config.root / name).exists():
            archive.export(config.archive_path, config.root / name)


SCENARIOS = {
    one.name: one
    for one in (
        Scenario("create", "nothing", "first", take_in, (0, 18)),
        Scenario("append", "created", "second", take_in, (18, 60)),
        Scenario("append after a kill", "torn", "second", take_in, (18, 60)),
        Scenario("append that fails", "created", "second", take_in, (18, 60), fails_at="archive.slab.written"),
        Scenario("create that fails", "nothing", "first", take_in, (0, 18), fails_at="archive.slab.written"),
        Scenario("append after a gap", "created", "gap", take_in, (18, 24)),
        Scenario("fill a gap, and append", "gapped", "filled", take_in, (24, 26)),
        Scenario("gc", "grown", "second", collected, (60,)),
        Scenario("gc, rehearsed", "grown", "second", rehearsed, (60,)),
        Scenario("export", "grown", "second", export, (60,)),
    )
}


@dataclass
class Place:
    """The folders that the cases start from, made once."""

    folder: Path
    sound: dict[str, Any] = field(default_factory=dict)
    reached: dict[str, list[str]] = field(default_factory=dict)

    def serve(self, source: str) -> None:
        """Let the input folder hold these files."""
        link = self.folder / "input"
        link.unlink(missing_ok=True)
        link.symlink_to(self.folder / "source" / source)

    def fresh(self, scenario: Scenario, name: str) -> Config:
        """A copy of what the scenario starts from, and its input."""
        self.serve(scenario.source)
        config = settings(self.folder, self.folder / "cases" / name)
        shutil.rmtree(config.root, ignore_errors=True)
        shutil.copytree(self.folder / "start" / scenario.start, config.root)
        return config


def make_files(folder: Path) -> None:
    """The inputs: at first one good file and one that is cut off; then two more, and the cut one fetched again; or one
    after a gap.
    """
    sources = {
        "first": {"a": (0, 18)},
        "second": {"a": (0, 18), "b": (18, 42), "c": (42, 60)},
        "gap": {"a": (0, 18), "e": (22, 24)},
        "filled": {"a": (0, 18), "b": (18, 26)},
    }
    for name, files in sources.items():
        source = folder / "source" / name
        source.mkdir(parents=True)
        for file, (first, last) in files.items():
            fields(first, last).to_netcdf(source / f"{file}.nc", engine="netcdf4")
    whole = (folder / "source" / "second" / "c.nc").read_bytes()
    (folder / "source" / "first" / "c.nc").write_bytes(whole[: len(whole) // 2])
    (folder / "source" / "second" / "d.nc").write_bytes(b"<html>not found</html>")


def make_start(place: Place, name: str) -> None:
    """What a scenario starts from."""
    config = settings(place.folder, place.folder / "start" / name)
    config.root.mkdir(parents=True)
    if name == "nothing":
        return
    place.serve("first")
    ingest(config)
    place.serve("gap" if name == "gapped" else "second")
    if name == "gapped":
        ingest(config)
    elif name == "torn":
        with handling(Killer("archive.commit.before", 1)):
            ingest(config)
    elif name == "grown":
        path = config.archive_path
        oldest = archive.head(path)
        ingest(config, only=[config.source_path / "b.nc"])
        kept_once = archive.head(path)
        archive.collect(path, [oldest, kept_once], keep_days=0, apply=True)
        ingest(config)
        (config.root / "pinned.json").write_text(json.dumps([oldest, archive.head(path)]))


class Killer:
    """A handler that kills this process when it reaches a point for the nth time; `point` empty: any point."""

    def __init__(self, point: str, nth: int, error: int = 0, fails_at: str = "") -> None:
        self.point, self.left, self.error, self.fails_at = point, nth, error, fails_at
        self.reached: list[str] = []

    def __call__(self, name: str) -> None:
        self.reached.append(name)
        if name == self.fails_at and self.reached.count(name) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.point in ("", name):
            self.left -= 1
            if self.left == 0:
                if self.error:
                    raise OSError(self.error, os.strerror(self.error))
                os.kill(os.getpid(), signal.SIGKILL)


# Processes


def started(work: Callable[[], Any], answer: Path) -> int:
    """Run it in a child, whose answer is a file of JSON; its process id."""
    answer.unlink(missing_ok=True)
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    os.setsid()  # so that whatever it starts can be found by its group
    try:
        found = {"value": work()}
    except BaseException as error:
        found = {"error": f"{type(error).__name__}: {error}", "kind": [one.__name__ for one in type(error).__mro__]}
    answer.write_text(json.dumps(found))
    os._exit(0)


def ended(child: int, answer: Path, seconds: float = 120.0) -> dict[str, Any]:
    """Wait for a child; what it answered, or by which signal it ended."""
    end = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return {"error": f"no end within {seconds:g} s", "kind": ["Hung"]}
        time.sleep(0.002)
    found = {"signal": os.WTERMSIG(status)} if os.WIFSIGNALED(status) else json.loads(answer.read_text())
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        return found
    return {**found, "orphans": True}


def done(work: Callable[[], Any], folder: Path) -> dict[str, Any]:
    answer = folder / "answer.json"
    return ended(started(work, answer), answer)


# What must hold


def acknowledged(config: Config) -> dict[str, int]:
    """The versions that are there, and how many frames each has."""
    if not archive.exists(config.archive_path):
        return {}
    return {one.snapshot_id: length_of(config, one.snapshot_id) for one in archive.log(config.archive_path)}


def length_of(config: Config, snapshot_id: str | None = None) -> int:
    """Frames of a version, whose values are those of the input."""
    if not archive.exists(config.archive_path):
        return 0
    with archive.open_dataset(config.archive_path, snapshot_id) as dataset:
        found, there = dataset["t"].values, present(dataset)
    if not np.array_equal(found[there], VALUES[: len(found)][there]) or not np.isnan(found[~there]).all():
        raise ValueError("a version holds other values than were ingested")
    return len(found)


def state(config: Config) -> dict[str, Any]:
    """All that two runs must agree about, whatever happened in one of them."""
    path, found = config.archive_path, dict[str, Any]()
    if archive.exists(path):
        verified = archive.verify(path)
        found["damaged"] = [str(one) for one in verified.damaged]
        found["frames"] = length_of(config)
        found["missing"] = archive.info(path).missing
        found["messages"] = [one.message for one in archive.log(path)]
        found["files"] = sorted(one["name"] for one in archive.log(path)[0].metadata.get("files", []))
        sums = zarr.open_group(archive.open_arrays(path, ["t"])["t"].store, mode="r")["checksums"]
        found["checksums"] = {name: bytes(np.asarray(array[:])).hex() for name, array in sorted(sums.arrays())}
    found["quarantine"] = [(Path(one.path).name, one.rule, one.state) for one in entries(config.quarantine_path)]
    found["census"] = census(config)
    for name in ("out.nc", "out.zarr"):
        if (config.root / name).exists():
            options = {"engine": "zarr", "consolidated": False} if name.endswith("zarr") else {}
            with xr.open_dataset(config.root / name, **options) as copy:
                found[name] = bool(np.array_equal(copy["t"].values, VALUES[: copy.sizes["time"]]))
    return found


def census(config: Config) -> dict[str, int]:
    """How many files there are in each folder; reports do not count, of which each ingest leaves one."""
    files = [file.relative_to(config.root) for file in config.root.rglob("*") if file.is_file()]
    kept = [file for file in files if file.parent.name != "ingests" or file.name.startswith(".")]
    return dict(sorted(Counter(str(file.parent) for file in kept if "out.zarr" not in file.parts).items()))


def looked_at(config: Config, before: dict[str, int], frames: tuple[int, ...], gone: bool) -> list[str]:
    """What is wrong after the kill, before anything is done about it."""
    wrong = []
    length = length_of(config)
    if length not in frames:
        wrong.append(f"a reader finds {length} frames")
    for snapshot_id, expected in before.items():
        try:
            if length_of(config, snapshot_id) != expected:
                wrong.append(f"version {snapshot_id} has another length")
        except ArchiveError as error:
            if not gone:
                wrong.append(f"version {snapshot_id} is lost: {error}")
    if archive.exists(config.archive_path) and (damage := archive.verify(config.archive_path).damaged):
        wrong.append(f"damaged: {damage[0]}")
    return wrong


def judged(place: Place, scenario: Scenario, config: Config) -> list[str]:
    """What is wrong after the kill and after the same command, run again."""

    def look() -> list[str]:
        before = json.loads((place.folder / "start" / f"{scenario.start}.json").read_text())
        keep = set(json.loads((config.root / "pinned.json").read_text())) if scenario.start == "grown" else set()
        required = {name: length for name, length in before.items() if not keep or name in keep}
        return looked_at(config, required, scenario.frames, gone=False)

    def rerun() -> dict[str, Any]:
        began = time.monotonic()
        scenario.finish(config)
        if time.monotonic() - began > RERUN_SECONDS:
            raise TimeoutError("the same command takes too long")
        return state(config)

    seen, again = done(look, config.root.parent), done(rerun, config.root.parent)
    wrong = list(seen.get("value", [f"looking failed: {seen}"]))
    if "value" not in again:
        return [*wrong, f"the same command failed: {again}"]
    expected, found = place.sound[scenario.name], again["value"]
    wrong += [
        f"{key}: {found.get(key)} instead of {expected.get(key)}"
        for key in {**expected, **found}
        if found.get(key) != expected.get(key)
    ]
    return wrong + ["a process was left behind"] * bool(seen.get("orphans") or again.get("orphans"))


# Cases


def prepare(folder: Path, names: list[str]) -> Place:
    """Make what the cases start from, and what each command leaves where nothing disturbs it."""
    place = Place(folder)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "cases").mkdir(parents=True)
    require(done(lambda: make_files(folder), folder))
    import_all(require(done(lambda: modules_of_an_ingest(place), folder)))
    for start in dict.fromkeys(SCENARIOS[name].start for name in names):
        found = done(lambda start=start: make_start(place, start), folder)
        if start != "torn":
            require(found)
        config = settings(folder, folder / "start" / start)
        known = require(done(lambda config=config: acknowledged(config), folder))
        (folder / "start" / f"{start}.json").write_text(json.dumps(known))
    for name in names:
        scenario = SCENARIOS[name]
        config = place.fresh(scenario, "sound")
        require(done(lambda scenario=scenario, config=config: scenario.finish(config), folder))
        place.sound[name] = require(done(lambda config=config: state(config), folder))
    return place


def modules_of_an_ingest(place: Place) -> list[str]:
    place.serve("first")
    config = settings(place.folder, place.folder / "cases" / "imports")
    ingest(config)
    state(config)
    return sorted(sys.modules)


def import_all(names: list[str]) -> None:
    """What libraries import only when they are used would otherwise take each child seconds."""
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    conversion("K", "K")  # makes the table of units


def require(found: dict[str, Any]) -> Any:
    if "value" not in found:
        raise RuntimeError(f"without any kill: {found}")
    return found["value"]


def recorded(place: Place, scenario: Scenario) -> list[str]:
    """The points that a scenario reaches, in order."""
    if scenario.name in place.reached:
        return place.reached[scenario.name]
    config = place.fresh(scenario, "recorded")

    def work() -> list[str]:
        killer = Killer("nowhere", 1, fails_at=scenario.fails_at)
        with handling(killer):
            try:
                scenario.act(config)
            except ArchiveError:
                if not scenario.fails_at:
                    raise
        return killer.reached

    place.reached[scenario.name] = list(require(done(work, place.folder)))
    return place.reached[scenario.name]


def occurrences(reached: list[str]) -> Iterator[tuple[str, int]]:
    counts = Counter[str]()
    for name in reached:
        counts[name] += 1
        yield name, counts[name]


def at_points(
    place: Place, scenario: Scenario, errors: Sequence[int] = (0,), ends: bool = False
) -> Iterator[dict[str, Any]]:
    """Kill, or fail (with one of the errors, by turns), at each occurrence of each point, or at its first and last."""
    reached = recorded(place, scenario)
    times = [(name, nth) for name, nth in occurrences(reached) if not ends or nth in (1, reached.count(name))]
    for number, (point, nth) in enumerate(times):
        if point == scenario.fails_at and nth == 1:
            continue
        config, error = place.fresh(scenario, "case"), errors[number % len(errors)]

        def work(config: Config = config, point: str = point, nth: int = nth, error: int = error) -> None:
            with handling(Killer(point, nth, error, scenario.fails_at)):
                scenario.act(config)

        found = done(work, place.folder)
        case = {"scenario": scenario.name, "point": point, "nth": nth}
        if error:
            case |= {"error": os.strerror(error), "said": found.get("error", "")}
            wrong = said_wrong(found)
        else:
            wrong = [] if found.get("signal") == signal.SIGKILL else [f"it was not killed: {found}"]
        yield {**case, "wrong": wrong + judged(place, scenario, config)}


def said_wrong(found: dict[str, Any]) -> list[str]:
    """An error ends in the operating system's own, or in one sentence of ours, or does not matter."""
    if "value" in found or {"ArchiveError", "OSError"} & set(found.get("kind", ())):
        return [] if "\n" not in found.get("error", "") else ["more than one sentence"]
    return [f"it ended otherwise: {found}"]


def at_any_time(place: Place, names: list[str], kills: int, seed: int) -> Iterator[dict[str, Any]]:
    """Kill from here after a random time, while a reader looks on, until so many were killed."""
    random, spent, number = np.random.default_rng(seed), dict[str, float](), 0
    for name in names:
        config = place.fresh(SCENARIOS[name], "timed")
        began = time.monotonic()
        require(done(lambda name=name, config=config: SCENARIOS[name].act(config), place.folder))
        spent[name] = time.monotonic() - began
    while number < kills:
        scenario = SCENARIOS[names[number % len(names)]]
        config = place.fresh(scenario, "case")
        wait = float(random.uniform(0.0, spent[scenario.name]))
        stop = config.root.parent / "stop"
        stop.unlink(missing_ok=True)

        def look_on(config: Config = config, scenario: Scenario = scenario, stop: Path = stop) -> int:
            looks = 0
            while not stop.exists():
                length = length_of(config)
                if length not in scenario.frames:
                    raise ValueError(f"a reader found {length} frames")
                looks += 1
            return looks

        answers = [config.root.parent / f"{name}.json" for name in ("reader", "writer")]
        reader = started(look_on, answers[0])
        writer = started(lambda config=config, scenario=scenario: scenario.act(config), answers[1])
        time.sleep(wait)
        os.kill(writer, signal.SIGKILL)
        found = ended(writer, answers[1])
        stop.touch()
        seen = ended(reader, answers[0])
        if "value" in found:  # it had ended before
            continue
        number += 1
        wrong = [] if "value" in seen else [f"the reader: {seen}"]
        wrong += ["a process was left behind"] * bool(found.get("orphans") or seen.get("orphans"))
        case = {"scenario": scenario.name, "after_s": round(wait, 4), "looks": seen.get("value", 0)}
        yield {**case, "wrong": wrong + judged(place, scenario, config)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("how", nargs="+", choices=["record", "points", "errors", "random"])
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS))
    parser.add_argument("--by-turns", action="store_true", help="one of the errors at each point, not both")
    parser.add_argument("--ends", action="store_true", help="errors the first and last time a point is reached only")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    warnings.simplefilter("ignore")
    writing.SLAB_BYTES = 1  # a slab for every shard
    place = prepare(chosen.folder.absolute(), chosen.scenario or list(SCENARIOS))
    tried, survived, began = Counter[tuple[str, str]](), Counter[tuple[str, str]](), time.monotonic()
    for how in chosen.how:
        for case in cases(place, how, chosen):
            print(json.dumps({"how": how, **case}), flush=True)
            tried[how, case["scenario"]] += 1
            survived[how, case["scenario"]] += not case["wrong"]
    for key, count in tried.items():
        print(f"{key[0]:<8}{key[1]:<24} survived {survived[key]} of {count}", file=sys.stderr)
    seconds = time.monotonic() - began
    print(f"{'all':<32} survived {survived.total()} of {tried.total()}, {seconds:.0f} s", file=sys.stderr)
    sys.exit(survived.total() < tried.total())


def cases(place: Place, how: str, chosen: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What was tried in one of the ways."""
    if how == "random":
        yield from at_any_time(place, [name for name in place.sound if "fails" not in name], chosen.kills, chosen.seed)
        return
    each: list[Sequence[int]] = [ERRORS] if chosen.by_turns else [(error,) for error in ERRORS]
    for name in place.sound:
        if how == "record":
            yield {"scenario": name, "reached": recorded(place, SCENARIOS[name]), "wrong": []}
        for errors in {"points": [(0,)], "errors": each}.get(how, []):
            yield from at_points(place, SCENARIOS[name], errors, chosen.ends and how == "errors")


if __name__ == "__main__":
    main()
