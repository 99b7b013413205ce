"""Rows of maps in panels of exact size: the ground that all maps of the report share.

What lives here: the panels, one map, its ticks, title and colour bar. What does not: what is drawn (`maps`,
`skill_maps`).

figure, axes = map_panels(columns=4, *panel_shape(array))
draw_map(axes[0, 0], array, values, Normalize(0, 1), "viridis")
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, MultipleLocator
from numpy.typing import NDArray

from ..lead_time import LeadTimes
from .style import FAINT, MASKED, RULE, dress_bar


def panel_shape(array: xr.DataArray) -> tuple[float, float]:
    """Width and height of one map in inches, true to scale (at the middle latitude where geographic)."""
    (top, bottom), (left, right) = (_edges(array[str(array.dims[axis])].values) for axis in (1, 2))
    tall, wide = abs(bottom - top), abs(right - left)
    if _geographic(array):
        wide *= max(np.cos(np.deg2rad((top + bottom) / 2)), 0.2)
    ratio = float(np.clip(tall / wide, 0.4, 1.8))
    width = min(2.0 if ratio > 0.59 else 2.5, 2.6 / ratio)
    return width, width * ratio


def map_panels(columns: int, width: float, height: float, rows: int = 3) -> tuple[Figure, NDArray[Any]]:
    """Rows of panels of exactly this size in inches, with room for labels, titles and colour bars."""
    left, right, top, bottom, gap = 0.75, 1.05, 0.5, 0.35, 0.11
    full_width = left + columns * width + (columns - 1) * gap + right
    full_height = top + rows * height + (rows - 1) * gap + bottom
    figure = Figure(figsize=(full_width, full_height), facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False)
    figure.subplots_adjust(
        left=left / full_width,
        right=1 - right / full_width,
        top=1 - top / full_height,
        bottom=bottom / full_height,
        wspace=gap / width,
        hspace=gap / height,
    )
    return figure, axes


def draw_map(ax: Axes, array: xr.DataArray, values: NDArray[Any], norm: Normalize, cmap: str) -> None:
    """Values [y, x] as a map on the grid of `array`; grey where masked."""
    y, x = (array[str(array.dims[axis])].values for axis in (1, 2))
    ax.set_facecolor(MASKED)
    (first, last), (left, right) = _edges(y), _edges(x)
    if _even(y) and _even(x):
        ax.imshow(
            np.ma.masked_invalid(values),
            cmap=cmap,
            norm=norm,
            extent=(left, right, first, last),
            origin="lower",
            interpolation="nearest",
            aspect="auto",
        )
    else:
        ax.pcolormesh(x, y, np.ma.masked_invalid(values), cmap=cmap, norm=norm, shading="nearest")
    ax.set_xlim(min(left, right), max(left, right))
    ax.set_ylim(min(first, last), max(first, last))
    for spine in ax.spines.values():
        spine.set_color(RULE)


def map_ticks(ax: Axes, array: xr.DataArray, *, left: bool, bottom: bool) -> None:
    """Degrees at the outer panels where geographic, else none."""
    ax.tick_params(labelsize=7, colors=FAINT, length=2, labelleft=left, labelbottom=bottom)
    if not _geographic(array):
        ax.set_xticks([])
        ax.set_yticks([])
        return
    for axis, letters in ((ax.xaxis, "EW"), (ax.yaxis, "NS")):
        reach = abs(float(np.subtract(*axis.get_view_interval())))
        axis.set_major_locator(MultipleLocator(60) if reach > 120 else MaxNLocator(4, steps=[1, 2, 3, 5, 6, 10]))
        axis.set_major_formatter(partial(_degrees, letters))


def _degrees(letters: str, value: float, _position: int | None = None) -> str:
    """``30°W``, also where longitudes go on beyond the date line."""
    near = (value + 180.0) % 360.0 - 180.0 if letters == "EW" else value
    letter = "" if near in (0.0, -180.0) else letters[0] if near > 0 else letters[1]
    return f"{abs(near):g}°{letter}"


def map_title(array: xr.DataArray, lead: int) -> str:
    """The lead time and, where it is a date, the valid time."""
    leads = LeadTimes.of(array["lead_time"].values)
    title = leads.labels[lead]
    valid = np.asarray(array.coords["valid_time"].values).reshape(-1) if "valid_time" in array.coords else np.array([])
    if not np.issubdtype(valid.dtype, np.datetime64):
        return title
    if leads.name == "months":
        return f"{title}\n{np.datetime_as_string(valid[lead], unit='M')}"
    day, _, hour = str(np.datetime_as_string(valid[lead], unit="m")).partition("T")
    return f"{title}\n{day} {hour} UTC"


def map_bar(
    figure: Figure, axes: NDArray[Any], colours: ScalarMappable, fields: list[NDArray[Any]], label: str
) -> None:
    """A colour bar as tall as its rows; pointed where values lie beyond the scale."""
    upper, lower = axes[0, -1].get_position(), axes[-1, -1].get_position()
    width = figure.get_size_inches()[0]
    place = figure.add_axes((upper.x1 + 0.12 / width, lower.y0, 0.14 / width, upper.y1 - lower.y0))
    low, high = (float(np.nanmin(fields)), float(np.nanmax(fields))) if np.isfinite(fields).any() else (0.0, 0.0)
    limits = colours.get_clim()
    slack = 1e-6 * (limits[1] - limits[0])
    below, above = low < limits[0] - slack, high > limits[1] + slack
    extend = {(True, True): "both", (True, False): "min", (False, True): "max", (False, False): "neither"}[below, above]
    bar = figure.colorbar(colours, cax=place, extend=extend, extendfrac=0.03)
    dress_bar(bar, label, room=(upper.y1 - lower.y0) * figure.get_size_inches()[1])


def _geographic(array: xr.DataArray) -> bool:
    return array.dims[1:] == ("lat", "lon")


def _even(axis: NDArray[Any]) -> bool:
    steps = np.diff(axis)
    return len(axis) < 3 or bool(np.allclose(steps, steps[0], rtol=1e-3))


def _edges(axis: NDArray[Any]) -> tuple[float, float]:
    """Outer edges of the first and the last cell."""
    half = (axis[1] - axis[0]) / 2, (axis[-1] - axis[-2]) / 2
    return float(axis[0] - half[0]), float(axis[-1] + half[1])
