"""How a bad input is tried: a good one and the bad one through the real `ingest`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import check_config
from pipeline.errors import ConfigError, SourceError
from pipeline.ingest import IngestResult, ingest
from tests.pipeline.bad_inputs.case import BadInput
from tests.pipeline.bad_inputs.good import HOURS, stations
from tests.pipeline.bad_inputs.making import save


@dataclass(frozen=True)
class Outcome:
    """What became of a bad input: action and rule by the name of the input, and what was said."""

    found: frozenset[tuple[str, str, str]]
    said: tuple[str, ...]
    result: IngestResult | None


def settings(case: BadInput, folder: Path) -> dict[str, Any]:
    """The configuration of a case as a plain tree."""
    tree: dict[str, Any] = {
        "name": "test",
        "root": str(folder.parent / "runs"),
        "boundary": "closed",
        "source": {"path": str(folder), "max_rejected_share": 1.0, "files": ["*.nc", "*.zarr"]},
        "variables": {"t": {"units": "K"}},
    }
    if case.base is None:
        tree["source"]["files"] = ["*.csv", "*.parquet"]
        tree["sensors"] = {"lat": [50.5, 53.5, 1], "lon": [-3.5, -0.5, 1], "units": {"temp": "degC"}, "min_stations": 5}
        tree["variables"] = {"t": {"units": "K", "source_name": "temp", "valid_range": [200, 600]}}
    for section, change in case.config.items():
        tree[section] = change if section == "variables" else {**tree.get(section, {}), **change}
    if tree.get("sensors", {}).get("stations"):
        tree["sensors"]["stations"] = str(folder.parent / "stations.csv")
    return tree


def tried(case: BadInput, root: Path) -> Outcome:
    """A good input and the bad one through `ingest`."""
    folder = root / "input"
    folder.mkdir()
    if case.base is None:
        stations(0).to_csv(folder / "a.csv", index=False)
    else:
        save(folder / "a.nc", case.base(0, HOURS))
    for path in folder.iterdir():
        os.utime(path, (1.6e9, 1.6e9))
    case.make(folder)
    try:
        result = ingest(check_config(settings(case, folder)))
    except (SourceError, ConfigError) as error:
        return Outcome(frozenset(), (str(error),), None)
    told = {"reject": result.rejected, "fix": result.fixed, "warn": result.warned, "wait": result.waiting}
    found = {(action, one.rule, one.path.name) for action, all_ in told.items() for one in all_}
    said = tuple(map(str, [*result.rejected, *result.fixed, *result.warned, *result.waiting]))
    return Outcome(frozenset(found), said, result)


def is_caught(case: BadInput, outcome: Outcome) -> bool:
    """Whether the rule was found in the bad input, and what was to become of it did."""
    if case.action == "refuse":
        return outcome.result is None and case.rule in outcome.said[0]
    return any((action, rule, name[:2]) == (case.action, case.rule, "b.") for action, rule, name in outcome.found)
