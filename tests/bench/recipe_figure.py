"""What `recipes.py` draws: RMSE by lead time of each recipe, from its best seed to its worst, beside the baselines.

path.write_bytes(png(lead_curves(rows)))
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from recipe_tables import SOURCES, Row

from pipeline.report.curves import LINES, lead_locator, variable_panels
from pipeline.report.style import FAINT, INK, dress
from pipeline.report.unit import Unit


def lead_curves(rows: Sequence[Row]) -> Figure:
    """A panel for each variable; logarithmic, as the errors of fluids go over two decades."""
    card = rows[0].results[0].scorecard
    leads = card.leads
    colours = colormaps["tab10" if len(rows) <= 10 else "tab20"].colors
    figure, axes = variable_panels(len(card.variables))
    for variable, ax in zip(card.variables, axes, strict=True):
        found = {row.name: np.stack([one.rmse(variable) for one in row.results]) for row in rows}
        baselines = {name: rows[0].results[0].rmse(variable, name) for name in card.references}
        units = str(card.scores["units"].sel(variable=variable).item())
        unit = Unit.of(np.vstack([*found.values(), *baselines.values()]), units)
        for colour, (name, errors) in zip(cycle(colours), found.items(), strict=False):
            ax.plot(leads.values, unit.scaled(errors.mean(axis=0)), label=name, color=colour, lw=1.8)
            best, worst = unit.scaled(errors.min(axis=0)), unit.scaled(errors.max(axis=0))
            ax.fill_between(leads.values, best, worst, color=colour, alpha=0.2)
        for name, errors in baselines.items():
            style = LINES[name]["linestyle"]
            ax.plot(leads.values, unit.scaled(errors), label=SOURCES[name], color=FAINT, lw=1.3, ls=style)
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.set_xlim(0, leads.values[-1])
        title = str(card.scores["long_name"].sel(variable=variable).item())
        dress(ax, title, f"lead time ({leads.name})", f"RMSE{unit.label}")
        ax.xaxis.set_major_locator(lead_locator(leads))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9, labelcolor=INK)
    return figure
