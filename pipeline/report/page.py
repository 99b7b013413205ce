"""The report: one HTML file that needs nothing else, and its figures as PNG files beside it.

write_report(Path("runs/demo/report/report.html"), content)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..fields import long_name
from ..grid import GridSpec
from ..scorecard import Scorecard, Skill
from ..skill import CONFIDENCE, DRAWS
from .curves import correlation_curves, error_curves, skill_chart, skill_curves, training_curves
from .embedding import NamedFigure, Picture, embed, page_template, replace_file, stylesheet
from .maps import field_maps
from .style import png
from .summary import in_words
from .unit import Unit

_MOST_MAPS = 6
_PIXELS = 1.5  # of a figure per CSS pixel


@dataclass(frozen=True)
class ReportContent:
    """All that a report shows; nothing is looked up elsewhere.

    Attributes:
        title: Heading, e.g. the name of the pipeline.
        scorecard: Scores of the model.
        truth: Example case from the Archive: variables (lead_time, lat, lon) or (lead_time, y, x) with CF attributes,
            NaN where masked, coordinate `lead_time` as timedelta64 and optionally `valid_time` (lead_time).
        forecast: The same from the model.
        case: Name of the example, e.g. ``"init_time 2017-01-28 00:00 UTC"``.
        history: One record per epoch (see `training_curves`); empty: no training figure.
        facts: Tables of what made it, by heading, e.g. ``{"Data": {"snapshot_id": ...}, "Model": {...}}``.
        timings: Seconds by stage.
        config_yaml: The whole configuration.
        created: When, as text.
    """

    title: str
    scorecard: Scorecard
    truth: xr.Dataset
    forecast: xr.Dataset
    case: str
    history: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    config_yaml: str = ""
    created: str = ""


@dataclass(frozen=True)
class WrittenReport:
    """Where a report lies: the page, and its figures by name (``maps_t2m``, ``error``, ``acc``, ``skill``, …)."""

    page: Path
    figures: dict[str, Path]


def write_report(path: Path, content: ReportContent) -> WrittenReport:
    """Draw the figures, write them to `figures/` beside the page, and the page with the figures inside it.

    Every file appears whole or not at all, the page last.

    Args:
        path: The HTML file; its folder is made where missing.
        content: What to show.
    """
    folder = path.parent / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    pictures, files = [], {}
    for name, heading, alt, figure in _figures(content):
        data = png(figure)
        files[name] = folder / f"{name}.png"
        replace_file(files[name], data)
        pictures.append(embed(name, heading, alt, data))
    replace_file(path, render(content, pictures).encode())
    return WrittenReport(path, files)


def render(content: ReportContent, pictures: Sequence[Picture]) -> str:
    """The page as text."""
    template = page_template("page.html.j2")
    scores = content.scorecard.scores
    return template.render(
        style=stylesheet(),
        content=content,
        summary=in_words(content.scorecard),
        groups=[_group(content.scorecard, number) for number in range(len(content.scorecard.variables))],
        maps=[picture for picture in pictures if picture.name.startswith("maps_")],
        others={picture.name: picture for picture in pictures},
        baselines=[name.replace("_", " ") for name in content.scorecard.references],
        excluded=int(scores["excluded"].sum()),
        interval=_interval_note(content.scorecard),
        without_maps=[long_name(content.truth[name].attrs, name) for name in content.truth.data_vars][_MOST_MAPS:],
        total_seconds=sum(content.timings.values()),
    )


def _interval_note(scorecard: Scorecard) -> str:
    """How the intervals were made."""
    blocks = {name: found.block for name, found in scorecard.skill_intervals.items()}
    lengths = ", ".join(f"{block} ({name.replace('_', ' ')})" for name, block in blocks.items())
    if 2 * max(blocks.values()) > scorecard.cases:
        return "The cases are too few for intervals of the skill."
    return (
        f"Bands and small numbers are {100 * CONFIDENCE:g} % intervals of the skill, from a bootstrap of {DRAWS} draws "
        f"in blocks of neighbouring cases: {lengths}. Skill is coloured where its interval excludes zero."
    )


def _figures(content: ReportContent) -> list[NamedFigure]:
    """Name, heading, alternative text and figure, in the order of the page."""
    found = []
    weights = _area_weights(content.truth)
    for name in list(content.truth.data_vars)[:_MOST_MAPS]:
        truth, forecast = content.truth[name], content.forecast[name]
        heading = long_name(truth.attrs, truth.name)
        alt = f"Maps of {heading}: truth, forecast and their difference over lead time, {content.case}"
        figure = field_maps(truth, forecast, weights=weights)
        found.append((f"maps_{_file_name(str(name))}", heading, alt, figure))
    names = ", ".join(content.scorecard.scores["long_name"].values.tolist())
    alt = f"RMSE against lead time of the model and the baselines: {names}. The numbers are in the score table."
    found.append(("error", "Error against lead time", alt, error_curves(content.scorecard)))
    if np.isfinite(content.scorecard.scores["acc"]).any():
        alt = f"Anomaly correlation against lead time of the model and the baselines: {names}"
        found.append(("acc", "Anomaly correlation", alt, correlation_curves(content.scorecard)))
    alt = f"Skill against lead time, with its interval, against each baseline: {names}"
    found.append(("skill_curves", "Skill against lead time", alt, skill_curves(content.scorecard)))
    alt = "Skill of the model in per cent by variable and lead time, against each baseline"
    found.append(("skill", "Skill", alt, skill_chart(content.scorecard)))
    if content.history:
        alt = f"Training and validation error and learning rate over {len(content.history)} epochs"
        found.append(("training", "Training", alt, training_curves(content.history)))
    return found


def _area_weights(dataset: xr.Dataset) -> xr.DataArray | None:
    """Weights for the RMSE written on the maps; None where the axes are no lat and lon."""
    if not {"lat", "lon"} <= set(dataset.coords):
        return None
    return xr.DataArray(GridSpec.from_dataset(dataset, "closed").area_weights(), dims=("lat", "lon"))


def _group(scorecard: Scorecard, number: int) -> dict[str, Any]:
    """One variable's part of the score table: its name, unit with a power of ten, and its rows as text."""
    name = scorecard.variables[number]
    rmse = scorecard.scores["rmse"].isel(variable=number)
    unit = Unit.of(rmse.values, str(rmse["units"].item()))
    decimals = _decimals(unit.scaled(rmse.values))
    rows = []
    for row in (row for row in scorecard.table() if row.variable == name):
        errors = (row.rmse, *row.baselines.values())
        rows.append(
            {
                "lead_time": row.lead_time,
                "errors": [(_number(error, unit, decimals), error == min(errors)) for error in errors],
                "skills": [_skill(skill) for skill in row.skills.values()],
                "acc": f"{row.acc:.2f}".replace("-", "−") if math.isfinite(row.acc) else "–",
                "mae": _number(row.mae, unit, decimals),
                "bias": _number(row.bias, unit, decimals, sign="+"),
            }
        )
    label = str(scorecard.scores["long_name"].values[number])
    return {"label": label, "name": name, "unit": unit.text, "rows": rows}


def _number(value: float, unit: Unit, decimals: int, sign: str = "") -> str:
    if not math.isfinite(value):
        return "–"
    rounded = round(float(unit.scaled(value)), decimals)
    return f"{rounded:{sign}.{decimals}f}".replace("-", "−") if rounded else f"{0:.{decimals}f}"


def _decimals(errors: NDArray[np.float64]) -> int:
    """So many that the smallest error shows two digits and the largest three, within four decimals."""
    positive = errors[np.isfinite(errors) & (errors > 0)]
    if positive.size == 0:
        return 2
    digits = max(1 - math.floor(math.log10(positive.min())), 2 - math.floor(math.log10(positive.max())))
    return min(max(digits, 0), 4)


def _skill(skill: Skill) -> dict[str, str]:
    """A skill in per cent, its interval, and whether that excludes zero."""
    return {
        "text": f"{_percent(skill.value)} %" if math.isfinite(skill.value) else "–",
        "ends": f"{_percent(skill.lower)} to {_percent(skill.upper)}" if math.isfinite(skill.lower) else "",
        "judged": "good" if skill.better else "bad" if skill.worse else "",
    }


def _percent(value: float) -> str:
    return f"{round(100 * value):+d}".replace("-", "−")


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)
