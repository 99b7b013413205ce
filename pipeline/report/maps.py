"""Maps of truth, forecast and error over lead time.

figure = field_maps(truth["t2m"], forecast["t2m"])
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..fields import long_name
from ..lead_time import LeadTimes, milestones
from .panels import draw_map, map_bar, map_panels, map_ticks, map_title, panel_shape
from .style import INK, largest
from .unit import Unit

_SEQUENTIAL = (
    ("temperature", "plasma"),
    ("precipitation", "Blues"),
    ("humidity", "YlGnBu"),
    ("radiation", "cividis"),
)
_SIGNED, _ERROR = "RdBu_r", "PuOr_r"


def field_maps(truth: xr.DataArray, forecast: xr.DataArray, *, weights: xr.DataArray | None = None) -> Figure:
    """Truth, forecast and their difference as maps at about five lead times.

    Args:
        truth: (lead_time, lat, lon) or (lead_time, y, x), NaN where masked; optionally with a coordinate `valid_time`.
        forecast: The same.
        weights: Area weights for the RMSE under each difference; none: all points alike.
    """
    shape = panel_shape(truth)
    chosen = list(milestones(LeadTimes.of(truth["lead_time"].values), 5 if shape[0] < 1.7 * shape[1] else 4))
    unit = Unit.of(truth.values, str(truth.attrs.get("units", "1")))
    fields = [unit.scaled(array.isel(lead_time=chosen).values) for array in (truth, forecast)]
    fields.append(fields[1] - fields[0])
    norm, cmap = _field_colours(truth, fields[0])
    reach = largest(np.abs(fields[2]), 99.5)
    error_norm = Normalize(-reach, reach)

    figure, axes = map_panels(len(chosen), *shape)
    for row, values in enumerate(fields):
        for column, ax in enumerate(axes[row]):
            colours = (error_norm, _ERROR) if row == 2 else (norm, cmap)
            draw_map(ax, truth, values[column], *colours)
            map_ticks(ax, truth, left=column == 0, bottom=row == 2)
    for column, ax in enumerate(axes[0]):
        ax.set_title(map_title(truth, chosen[column]), fontsize=9, color=INK, linespacing=1.35)
    for column, ax in enumerate(axes[2]):
        rmse = _rmse(fields[2][column], None if weights is None else weights.values)
        ax.text(
            *(0.03, 0.97),
            f"RMSE {rmse:.3g}",
            transform=ax.transAxes,
            va="top",
            fontsize=7.5,
            color=INK,
            bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1.5},
        )
    for row, name in enumerate(("Truth", "Forecast", "Forecast − truth")):
        axes[row, 0].set_ylabel(name, fontsize=min(10.0, 6.4 * shape[1]), color=INK, fontweight="bold", labelpad=6)
    map_bar(
        figure, axes[:2], ScalarMappable(norm, cmap), fields[0:2], f"{long_name(truth.attrs, truth.name)}{unit.label}"
    )
    map_bar(figure, axes[2:], ScalarMappable(error_norm, _ERROR), fields[2:], f"Difference{unit.label}")
    return figure


def forecast_maps(forecast: xr.DataArray) -> Figure:
    """A forecast whose truth is not known yet, as maps at about five lead times.

    Args:
        forecast: (lead_time, lat, lon) or (lead_time, y, x), NaN where masked; optionally with `valid_time`.
    """
    shape = panel_shape(forecast)
    chosen = list(milestones(LeadTimes.of(forecast["lead_time"].values), 5 if shape[0] < 1.7 * shape[1] else 4))
    unit = Unit.of(forecast.values, str(forecast.attrs.get("units", "1")))
    fields = unit.scaled(forecast.isel(lead_time=chosen).values)
    norm, cmap = _field_colours(forecast, fields)
    figure, axes = map_panels(len(chosen), *shape, rows=1)
    for column, ax in enumerate(axes[0]):
        draw_map(ax, forecast, fields[column], norm, cmap)
        map_ticks(ax, forecast, left=column == 0, bottom=True)
        ax.set_title(map_title(forecast, chosen[column]), fontsize=9, color=INK, linespacing=1.35)
    map_bar(
        figure, axes, ScalarMappable(norm, cmap), [fields], f"{long_name(forecast.attrs, forecast.name)}{unit.label}"
    )
    return figure


def _field_colours(array: xr.DataArray, values: NDArray[Any]) -> tuple[Normalize, str]:
    """Scale from the truth alone, so that a forecast that runs away shows; diverging around 0 for both signs."""
    finite = values[np.isfinite(values)]
    low, high = (float(value) for value in np.percentile(finite, (0.5, 99.5))) if finite.size else (0.0, 1.0)
    if low < 0 < high and min(-low, high) > 0.1 * max(-low, high):
        return Normalize(-max(-low, high), max(-low, high)), _SIGNED
    names = " ".join(str(array.attrs.get(key, "")) for key in ("standard_name", "long_name")).lower()
    cmap = next((cmap for word, cmap in _SEQUENTIAL if word in names), "viridis")
    return Normalize(low, high if high > low else low + 1.0), cmap


def _rmse(error: NDArray[Any], weights: NDArray[Any] | None) -> float:
    valid = np.isfinite(error)
    area = np.where(valid, 1.0 if weights is None else weights, 0.0)
    return float(np.sqrt(np.sum(area * np.where(valid, error, 0.0) ** 2) / area.sum())) if area.sum() > 0 else np.nan
