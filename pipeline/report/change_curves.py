"""Curves of a comparison: the errors of both models, and the change from one to the other with its interval.

figure = change_curves(comparison)
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ..comparison import Comparison
from .curves import lead_locator, variable_panels
from .style import FAINT, INK, dress
from .unit import Unit

_A, _B = "#8a5a00", "#0b5cad"
_BASELINES = {"persistence": (0, (5, 2)), "climatology": (0, (1.5, 1.5)), "damped_persistence": (0, (6, 2, 1.5, 2))}


def rmse_curves(found: Comparison) -> Figure:
    """RMSE against lead time of A, B and the baselines, a panel for each variable."""
    table, leads = found.table, found.leads
    figure, axes = variable_panels(table.sizes["variable"])
    for number, ax in enumerate(axes):
        here = table.isel(variable=number)
        unit = Unit.of(
            [here[f"rmse_{name}"].values for name in ("a", "b", *found.references)], str(here["units"].item())
        )
        for name, colour in (("a", _A), ("b", _B)):
            ax.plot(leads.values, unit.scaled(here[f"rmse_{name}"].values), label=name.upper(), color=colour, lw=2.2)
        for name in found.references:
            values = unit.scaled(here[f"rmse_{name}"].values)
            ax.plot(leads.values, values, label=name.replace("_", " "), color=FAINT, lw=1.3, ls=_BASELINES[name])
        ax.set_ylim(bottom=0)
        ax.set_xlim(0, leads.values[-1])
        dress(ax, str(here["long_name"].item()), f"lead time ({leads.name})", f"RMSE{unit.label}")
        ax.xaxis.set_major_locator(lead_locator(leads))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=5, frameon=False, fontsize=9.5, labelcolor=INK)
    return figure


def change_curves(found: Comparison) -> Figure:
    """Change of RMSE from A to B in per cent against lead time with its interval; below zero B is better."""
    table, leads = found.table, found.leads
    figure, axes = variable_panels(table.sizes["variable"])
    for number, ax in enumerate(axes):
        here = table.isel(variable=number)
        change, low, high = (100 * np.expm1(here[name].values) for name in ("change", "lower", "upper"))
        ax.axhline(0, color=INK, linewidth=0.9)
        marker = "o" if len(leads.values) < 4 else None
        ax.plot(leads.values, change, color=_B, linewidth=2.2, marker=marker, markersize=4)
        known = np.isfinite(low) & np.isfinite(high)
        ax.fill_between(leads.values, low, high, where=known, color=_B, alpha=0.18, linewidth=0)
        ax.set_xlim(leads.values[0] if len(leads.values) > 1 else 0, leads.values[-1])
        shown = np.concatenate((change[np.isfinite(change)], low[known], high[known]))
        ax.set_ylim(1.05 * shown.min(initial=-1.0), 1.05 * shown.max(initial=1.0))
        dress(ax, str(here["long_name"].item()), f"lead time ({leads.name})", "RMSE of B against A (%)")
        ax.xaxis.set_major_locator(lead_locator(leads))
    return figure
