"""Where two models are good: maps of the skill of each and of their difference.

figure = skill_maps(skill_map(maps_a, "climatology")["t2m"], skill_map(maps_b, "climatology")["t2m"], "climatology")
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from ..scorecard import Reference
from .panels import draw_map, map_bar, map_panels, map_ticks, map_title, panel_shape
from .style import INK, largest

_SKILL, _DIFFERENCE = "RdBu", "PuOr"


def skill_maps(a: xr.DataArray, b: xr.DataArray, reference: Reference) -> Figure:
    """Skill of A, of B, and B - A, in per cent, at each lead time; purple where B is better.

    Args:
        a: 1 - RMSE / RMSE of the baseline, (lead_time, lat, lon) or (lead_time, y, x), NaN where masked.
        b: The same.
        reference: The baseline.
    """
    fields = [100 * a.values, 100 * b.values]
    fields.append(fields[1] - fields[0])
    reach = largest(np.abs(fields[2]), 99)
    colours = [(Normalize(-100, 100), _SKILL)] * 2 + [(Normalize(-reach, reach), _DIFFERENCE)]
    shape = panel_shape(a)
    figure, axes = map_panels(a.sizes["lead_time"], *shape)
    for row, values in enumerate(fields):
        for column, ax in enumerate(axes[row]):
            draw_map(ax, a, values[column], *colours[row])
            map_ticks(ax, a, left=column == 0, bottom=row == 2)
    for column, ax in enumerate(axes[0]):
        ax.set_title(map_title(a, column), fontsize=9, color=INK)
    for row, name in enumerate(("A", "B", "B − A")):
        axes[row, 0].set_ylabel(name, fontsize=10, color=INK, fontweight="bold", labelpad=6)
    map_bar(figure, axes[:2], ScalarMappable(*colours[0]), fields[:2], f"Skill against {reference} (%)")
    map_bar(figure, axes[2:], ScalarMappable(*colours[2]), fields[2:], "Difference (%)")
    return figure
