"""The page of a comparison: two versions side by side in one HTML file that needs nothing else.

write_comparison(Path("comparison.html"), ComparisonContent("demo", "demo version 1", "demo version 2", found, …))
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from ..comparison import Comparison, Interval
from ..difference import Difference
from ..error_maps import skill_map
from ..fields import long_name
from ..lead_time import milestones
from ..scorecard import REFERENCES, Reference
from .change_curves import change_curves, rmse_curves
from .embedding import NamedFigure, Picture, page_template, stylesheet, write_page
from .skill_maps import skill_maps
from .unit import Unit


@dataclass(frozen=True)
class ComparisonContent:
    """All that the page shows.

    Attributes:
        title: Heading, e.g. the name of the pipeline.
        a: Name of the first version, for people.
        b: Name of the second.
        found: The comparison.
        differences: What made them differ.
        maps_a: Errors of the first by point, of `error_maps`.
        maps_b: Errors of the second.
        created: When, as text.
    """

    title: str
    a: str
    b: str
    found: Comparison
    differences: Sequence[Difference]
    maps_a: xr.Dataset
    maps_b: xr.Dataset
    created: str = ""


def write_comparison(path: Path, content: ComparisonContent) -> None:
    """Draw the figures and write the page, which appears whole or not at all; its folder is made where missing."""
    write_page(path, _figures(content), functools.partial(render, content))


def render(content: ComparisonContent, pictures: Sequence[Picture]) -> str:
    """The page as text."""
    found = content.found
    return page_template("comparison.html.j2").render(
        style=stylesheet(),
        content=content,
        found=found,
        summary=_summary(found),
        primary=[("B against A", found.in_words(found.primary), _judged(found.primary))]
        + [
            (f"{model.upper()} against {name.replace('_', ' ')}", found.in_words(change), _judged(change))
            for (model, name), change in found.against.items()
        ],
        baselines=[name.replace("_", " ") for name in found.references],
        groups=[_group(found, number) for number in range(found.table.sizes["variable"])],
        curves=[picture for picture in pictures if not picture.name.startswith("maps_")],
        maps=[picture for picture in pictures if picture.name.startswith("maps_")],
    )


def _figures(content: ComparisonContent) -> Iterator[NamedFigure]:
    """Name, heading, alternative text and figure, in the order of the page."""
    names = ", ".join(str(name) for name in content.found.table["long_name"].values)
    yield "change", "Change of RMSE from A to B", f"Change of RMSE with interval: {names}", change_curves(content.found)
    yield "rmse", "RMSE of both", f"RMSE of A, B and the baselines by lead time: {names}", rmse_curves(content.found)
    for name in content.maps_a.data_vars:
        heading = long_name(content.maps_a[name].attrs, name)
        reference = better_baseline(content.maps_a[name])
        a, b = (skill_map(maps, reference)[name] for maps in (content.maps_a, content.maps_b))
        alt = f"Maps of the skill of A, of B and of their difference: {heading}"
        yield f"maps_{name}", heading, alt, skill_maps(a, b, reference)


def better_baseline(maps: xr.DataArray) -> Reference:
    """The baseline with the smaller error over all points and lead times shown: the one that is harder to beat."""
    errors = {name: float(maps.sel(source=name).mean()) for name in REFERENCES if name in maps["source"].values}
    return min(errors, key=lambda name: errors[name])


def _summary(found: Comparison) -> str:
    sure = {"good": "better than", "bad": "worse than", "": "not certainly other than"}[_judged(found.primary)]
    variables, leads = found.table["change"].shape
    better, worse = int((found.table["upper"] < 0).sum()), int((found.table["lower"] > 0).sum())
    return (
        f"B is {sure} A: on average over variables and lead times its RMSE is {found.in_words(found.primary)}. Of "
        f"{variables} × {leads} combinations of variable and lead time B is better at {better} and worse at {worse} "
        "with an interval that excludes zero."
    )


def _judged(change: Interval) -> str:
    return "good" if change.better else "bad" if change.worse else ""


def _group(found: Comparison, number: int) -> dict[str, Any]:
    """One variable's part of the table, as text."""
    here = found.table.isel(variable=number)
    errors = [here[f"rmse_{name}"].values for name in ("a", "b", *found.references)]
    unit = Unit.of(errors, str(here["units"].item()))
    rows = []
    for lead in milestones(found.leads, 7):
        change = Interval(*(float(here[name][lead]) for name in ("change", "lower", "upper")))
        middle, low, high = (_percent(value) for value in change.percent)
        rows.append(
            {
                "lead_time": found.leads.labels[lead],
                "errors": [f"{value:.3g}" for value in unit.scaled([row[lead] for row in errors])],
                "change": middle,
                "ends": f"{low} to {high}",
                "judged": _judged(change),
            }
        )
    name = str(here["variable"].item())
    return {"label": str(here["long_name"].item()), "name": name, "unit": unit.text, "rows": rows}


def _percent(value: float) -> str:
    return f"{value:+.1f} %".replace("-", "−") if math.isfinite(value) else "–"
