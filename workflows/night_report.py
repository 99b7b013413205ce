"""The page of a night, from what its steps noted.

write_page(config, folder, "2020-03-11", done, scorecard, started_at)
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Config
from pipeline.report import NightContent, write_night
from pipeline.scorecard import Scorecard

from .console import seconds_text


def headline(done: Mapping[str, Any]) -> str:
    """What came of a night, in a few words; ``""`` where its aliases were not settled."""
    if "aliases" not in done:
        return ""
    champion, challenger = done["aliases"]["champion"], done["train"]["challenger"]
    if done["aliases"]["promoted"]:
        return f"version {champion} is the new champion"
    if challenger is None:
        return f"version {champion} stays champion, nothing was trained"
    return f"version {champion} stays champion, version {challenger} was refused"


def notices(done: Mapping[str, Any]) -> list[str]:
    """What someone should look at: files that did not go in, and a champion that somebody else changed."""
    ingested = done.get("ingest", {"rejected": [], "waiting": []})
    found = [f"rejected: {text}" for text in ingested["rejected"]]
    found += [f"waiting: {text}" for text in ingested["waiting"]]
    return found + [text for text in (done.get("aliases", {}).get("note"),) if text]


def write_page(
    config: Config, folder: Path, date: str, done: Mapping[str, Any], champion: Scorecard, started_at: float
) -> Path:
    """Write ``index.html`` into the folder of the night.

    Args:
        config: Of the pipeline.
        folder: The night's, with its ``forecast.nc``.
        date: Of the night.
        done: What its steps noted.
        champion: Scores of the champion after the night.
        started_at: Seconds since 1970.
    """
    columns, rows = _comparison(done["score"], champion)
    content = NightContent(
        title=config.name,
        date=date,
        headline=headline(done),
        reasons=done["verdict"]["reasons"],
        notices=notices(done),
        champion=champion,
        columns=columns,
        comparison=rows,
        forecast=Path(done["forecast"]["file"]),
        facts=_facts(done, started_at),
    )
    return write_night(folder / "index.html", content)


def _comparison(scores: Mapping[str, Any], card: Scorecard) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """RMSE and skill of the champion of before and of the challenger, by variable."""
    there = {role: found for role, found in scores.items() if found is not None}
    columns = [
        f"{label}, {role} (version {found['version']})"
        for label in ("RMSE", "skill on persistence", "skill on climatology")
        for role, found in there.items()
    ]
    keys = ("rmse", "skill_persistence", "skill_climatology")
    rows = []
    for number, name in enumerate(card.variables):
        label = f"{card.scores['long_name'].values[number]} [{card.scores['units'].values[number]}]"
        values = [(key, found[key][name]) for key in keys for found in there.values()]
        rows.append((label, [_text(key, value) for key, value in values]))
    return columns, rows


def _text(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if key == "rmse" else f"{100 * value:+.1f} %".replace("-", "−")


def _facts(done: Mapping[str, Any], started_at: float) -> dict[str, dict[str, str]]:
    ingested, gate = done["ingest"], done["gate"]
    drift = gate["drift"]
    return {
        "Data": {
            "committed": ", ".join(ingested["committed"]) or "nothing",
            "rejected": str(len(ingested["rejected"])),
            "archive": ingested["coverage"],
            "snapshot_id": ingested["snapshot_id"],
        },
        "Training": {
            "decision": " ".join(gate["reasons"]),
            "result": done["train"].get("summary", "nothing was trained"),
        },
        **(
            {}
            if drift is None
            else {
                "Drift from the champion's data": {
                    name: f"mean {shift:+.2f} standard deviations, spread × {drift['spread'][name]:.2f}"
                    for name, shift in drift["shift"].items()
                }
            }
        ),
        "Night": {
            "started": f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime(started_at))} UTC",
            "took": seconds_text(time.time() - started_at),
            "forecast": done["forecast"]["file"],
        },
    }
