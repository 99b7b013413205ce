"""Curves and charts of scores and of training.

figure = error_curves(scorecard)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ..lead_time import LeadTimes, milestones
from ..scorecard import Scorecard
from .style import FAINT, INK, dress, dress_bar
from .unit import Unit

LINES: dict[str, dict[str, Any]] = {
    "model": {"color": "#0b5cad", "linewidth": 2.4, "zorder": 4},
    "persistence": {"color": "#c4501b", "linewidth": 1.6, "linestyle": (0, (5, 2))},
    "climatology": {"color": "#66727f", "linewidth": 1.6, "linestyle": (0, (1.5, 1.5))},
    "damped_persistence": {"color": "#7a4fa3", "linewidth": 1.6, "linestyle": (0, (6, 2, 1.5, 2))},
}
_SKILL = "RdBu"
LOWEST_SKILL = -150.0  # per cent; below, a curve is cut so that the others can be read


def error_curves(scorecard: Scorecard) -> Figure:
    """RMSE against lead time for each variable, with the baselines."""
    return _curves(scorecard, "rmse", ("model", *scorecard.references))


def correlation_curves(scorecard: Scorecard) -> Figure:
    """Anomaly correlation against lead time for each variable, with the baselines; the climatology has none."""
    return _curves(scorecard, "acc", ("model", *(name for name in scorecard.references if name != "climatology")))


def _curves(scorecard: Scorecard, score: Literal["rmse", "acc"], sources: Sequence[str]) -> Figure:
    """One score against lead time: a panel for each variable, a line for each source."""
    leads = scorecard.leads
    figure, axes = variable_panels(len(scorecard.variables))
    for number, ax in enumerate(axes):
        table = scorecard.scores[score].isel(variable=number).sel(source=list(sources))
        unit = Unit.of(table.values, str(table["units"].item())) if score == "rmse" else Unit.of(table.values, "1")
        for source in sources:
            values = unit.scaled(table.sel(source=source).values)
            marker = "o" if len(leads.values) < 4 else None
            ax.plot(
                leads.values,
                values,
                label=source.replace("_", " "),
                marker=marker,
                markersize=4,
                clip_on=False,
                **LINES[source],
            )
        if score == "acc":
            ax.axhline(0.0, color=FAINT, linewidth=0.8)
            ax.set_ylim(min(0.0, float(np.nanmin(table.values, initial=0.0))), 1.0)
        else:
            ax.set_ylim(bottom=0)
        ax.set_xlim(0, leads.values[-1])
        label = f"RMSE{unit.label}" if score == "rmse" else "anomaly correlation"
        dress(ax, str(scorecard.scores["long_name"].values[number]), f"lead time ({leads.name})", label)
        ax.xaxis.set_major_locator(lead_locator(leads))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=4, frameon=False, fontsize=9.5, labelcolor=INK)
    return figure


def skill_curves(scorecard: Scorecard) -> Figure:
    """Skill in per cent against lead time with its interval, against each baseline; above zero the model is better."""
    leads = scorecard.leads
    figure, axes = variable_panels(len(scorecard.variables))
    marker = "o" if len(leads.values) < 4 else None
    for number, ax in enumerate(axes):
        ax.axhline(0.0, color=INK, linewidth=0.9)
        shown = [np.array([-5.0, 5.0])]
        for reference, found in scorecard.skill_intervals.items():
            skill, low, high = (100 * ends[number] for ends in (found.skill, found.lower, found.upper))
            line = {**LINES[reference], "linewidth": 2.0}
            ax.plot(
                leads.values, skill, label=f"against {reference.replace('_', ' ')}", marker=marker, markersize=4, **line
            )
            known = np.isfinite(low) & np.isfinite(high)
            ax.fill_between(leads.values, low, high, where=known, color=line["color"], alpha=0.18, linewidth=0)
            shown += [skill[np.isfinite(skill)], low[known], high[known]]
        low, high = min(values.min(initial=0.0) for values in shown), max(values.max(initial=0.0) for values in shown)
        ax.set_ylim(max(1.05 * low, LOWEST_SKILL), min(1.05 * high, 100.0))
        ax.set_xlim(0, leads.values[-1])
        dress(ax, str(scorecard.scores["long_name"].values[number]), f"lead time ({leads.name})", "skill (%)")
        ax.xaxis.set_major_locator(lead_locator(leads))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=9.5, labelcolor=INK)
    return figure


def variable_panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, at most three in a row."""
    columns = min(3, count)
    rows = -(-count // columns)
    size = (11.5, 2.75 * rows + 0.6) if columns > 1 else (7.5, 3.8)
    figure = Figure(figsize=size, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.08)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]


def skill_chart(scorecard: Scorecard) -> Figure:
    """Skill of the model in per cent by variable and lead time, against each baseline; blue where it is better."""
    leads, count = scorecard.leads, len(scorecard.variables)
    figure = Figure(figsize=(11.5, len(scorecard.references) * (0.34 * count + 0.75) + 0.35), facecolor="white")
    figure.set_layout_engine("constrained", h_pad=0.08)
    axes = figure.subplots(len(scorecard.references), 1)
    norm = Normalize(-100, 100)
    for ax, reference in zip(axes, scorecard.references, strict=True):
        percent = 100 * scorecard.skill(reference).values
        ax.imshow(percent, cmap=_SKILL, norm=norm, aspect="auto", interpolation="nearest")
        dress(ax, f"Skill against {reference.replace('_', ' ')}", "", "", grid=False)
        ax.set_yticks(range(count), [str(name) for name in scorecard.scores["long_name"].values], fontsize=9)
        shown = range(len(leads.values)) if len(leads.values) <= 31 else milestones(leads, 10)
        ax.set_xticks(list(shown), [f"{leads.values[lead]:g}" for lead in shown])
        ax.tick_params(length=0)
        ax.set_xticks(np.arange(0.5, len(leads.values) - 1), minor=True)
        ax.set_yticks(np.arange(0.5, count - 1), minor=True)
        ax.grid(which="minor", color="white", linewidth=1.2)
        ax.tick_params(which="minor", length=0)
        for (row, column), value in np.ndenumerate(percent):
            if np.isfinite(value) and len(leads.values) <= 31:
                colour = "white" if abs(value) > 55 else INK
                ax.text(column, row, _whole(value), ha="center", va="center", fontsize=7.5, color=colour)
    axes[-1].set_xlabel(f"lead time ({leads.name})", fontsize=9, color=FAINT)
    bar = figure.colorbar(ScalarMappable(norm, _SKILL), ax=axes, aspect=32, pad=0.01, extend="min")
    dress_bar(bar, "1 − RMSE / RMSE of the baseline (%)", room=0.8 * figure.get_figheight())
    return figure


def training_curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss of training and validation, and the learning rate, by epoch.

    Args:
        history: One record per epoch with `epoch`, `train_loss`, `validation_loss`, `learning_rate`.
    """
    epochs = [record["epoch"] for record in history]
    figure = Figure(figsize=(11.5, 3.4), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1)
    losses, rates = figure.subplots(1, 2, width_ratios=(2, 1))
    marker = "o" if len(epochs) <= 40 else None
    for key, label, style in (
        ("train_loss", "training", {**LINES["climatology"], "linestyle": "-"}),
        ("validation_loss", "validation, closed loop over the horizon", LINES["model"]),
    ):
        values = [float(record.get(key, np.nan)) for record in history]
        losses.plot(epochs, values, label=label, marker=marker, markersize=3.5, **style)
    best = min(history, key=lambda record: float(record["validation_loss"]))
    losses.plot(best["epoch"], best["validation_loss"], "o", markersize=9, mfc="none", mec=INK, zorder=5, label="best")
    losses.set_yscale("log")
    losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    losses.yaxis.set_major_formatter("{x:g}")
    losses.yaxis.set_minor_locator(NullLocator())
    dress(losses, "Error by epoch (standard deviations)", "epoch", "")
    losses.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    rates.plot(epochs, [record["learning_rate"] for record in history], marker=marker, markersize=3.5, color=FAINT)
    rates.set_ylim(bottom=0)
    dress(rates, "Learning rate at the end of the epoch", "epoch", "")
    for ax in (losses, rates):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _whole(value: float) -> str:
    return f"{round(value)}".replace("-", "−")


def lead_locator(leads: LeadTimes) -> MaxNLocator:
    """Ticks at numbers that are round for the unit: 6, 12, 18 h."""
    steps = [1, 1.2, 2.4, 3, 6, 10] if leads.symbol in ("h", "mo") else [1, 2, 2.5, 5, 10]
    return MaxNLocator(nbins=6, steps=steps, integer=all(value == int(value) for value in leads.values))
