"""The page of one night: the verdict, the scores it rests on, and the forecast; one HTML file that needs nothing else.

write_night(Path("runs/demo/nights/2020-03-11/index.html"), content)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from ..fields import long_name, time_text
from ..scorecard import Scorecard
from .curves import error_curves
from .embedding import embed, page_template, replace_file, stylesheet
from .maps import forecast_maps
from .style import png
from .summary import in_words

_MOST_MAPS = 6


@dataclass(frozen=True)
class NightContent:
    """All that the page shows.

    Attributes:
        title: Name of the pipeline.
        date: Of the night.
        headline: What came of it, e.g. ``"Version 4 is the new champion"``.
        reasons: The verdict, in sentences.
        notices: What someone should look at, e.g. rejected files.
        champion: Scores of the champion after the night.
        comparison: Rows of (variable, number by column) of the means over lead times; `columns` are their headings.
        columns: See `comparison`.
        forecast: File of the forecast.
        facts: Tables by heading.
    """

    title: str
    date: str
    headline: str
    reasons: Sequence[str]
    notices: Sequence[str]
    champion: Scorecard
    columns: Sequence[str]
    comparison: Sequence[tuple[str, Sequence[str]]]
    forecast: Path
    facts: Mapping[str, Mapping[str, str]]


def write_night(path: Path, content: NightContent) -> Path:
    """Draw the figures and write the page with the figures inside it; it appears whole or not at all.

    Args:
        path: The HTML file; its folder is made where missing.
        content: What to show.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fields, start = _read(content.forecast)
    maps = []
    for name in list(fields.data_vars)[:_MOST_MAPS]:
        heading = long_name(fields[name].attrs, name)
        alt = f"Maps of the forecast of {heading} over lead time, from {start}"
        maps.append(embed(str(name), heading, alt, png(forecast_maps(fields[name]))))
    alt = "RMSE against lead time of the champion, persistence and climatology"
    errors = embed("error", "Error against lead time", alt, png(error_curves(content.champion)))
    page = page_template("night.html.j2").render(
        style=stylesheet(), content=content, start=start, maps=maps, errors=errors, summary=in_words(content.champion)
    )
    replace_file(path, page.encode())
    return path


def _read(path: Path) -> tuple[xr.Dataset, str]:
    """The only case of a forecast's file, and when or of what it starts, as text."""
    with xr.open_dataset(path, decode_timedelta=True) as dataset:
        fields = dataset.load()
    if "init_time" in fields.dims:
        return fields.isel(init_time=0), time_text(fields["init_time"].values[0])
    return fields.isel(sample=0), f"sample {fields['sample'].values[0]}"
