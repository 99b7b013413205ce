"""Figures of a proof of concept: skill by lead time, time and memory of a step, error against time of training.

figure = skill_by_lead(found, "persistence")
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ..scorecard import Reference
from ..study.poc import ProofOfConcept
from .curves import LINES, LOWEST_SKILL, lead_locator, variable_panels
from .style import FAINT, INK, dress

# Okabe and Ito's colours, which people with any vision tell apart; cells with a convolution of the state are dashed.
_CELLS: dict[str, dict[str, Any]] = {
    "minconvgru": {"color": "#0072b2"},
    "minconvlstm": {"color": "#009e73"},
    "minconvexplstm": {"color": "#cc79a7"},
    "convgru": {"color": "#d55e00", "linestyle": (0, (5, 2))},
    "convlstm": {"color": "#e69f00", "linestyle": (0, (5, 2))},
}
_PARTS = {
    "data wait": "#c9d1d8",
    "forward": "#7ab0dd",
    "backward": "#0b5cad",
    "all-reduce": "#7a4fa3",
    "optimizer": "#e0a458",
    "other": "#98a2ad",
}
_LEAST_SHOWN = -25.0  # per cent of skill: of a baseline that is far below, as much as shows where it leaves zero


def skill_by_lead(found: ProofOfConcept, reference: Reference) -> Figure:
    """Skill of every cell against one baseline, with its interval, and of the other baselines; a panel per variable."""
    first = found.cells[0].result.scorecard
    leads = first.leads
    figure, axes = variable_panels(len(first.variables))
    marker = "o" if len(leads.values) < 4 else None
    for number, ax in enumerate(axes):
        shown = [np.array([_LEAST_SHOWN, 5.0])]
        for one in found.cells:
            held = one.result.scorecard.skill_intervals[reference]
            skill, low, high = (100 * ends[number] for ends in (held.skill, held.lower, held.upper))
            style, known = _CELLS[one.cell], np.isfinite(low) & np.isfinite(high)
            wide = 2.6 if one.cell == found.chosen else 1.7
            ax.plot(leads.values, skill, label=one.cell, linewidth=wide, marker=marker, markersize=4, zorder=3, **style)
            ax.fill_between(leads.values, low, high, where=known, color=style["color"], alpha=0.11, linewidth=0)
            shown += [skill[np.isfinite(skill)], low[known], high[known]]
        for other in (name for name in first.references if name != reference):
            skill = 100 * first.skill(reference, other).isel(variable=number).values
            ax.plot(
                leads.values, skill, label=other.replace("_", " "), **{**LINES[other], "linewidth": 1.3, "color": FAINT}
            )
        ax.axhline(0.0, color=INK, linewidth=0.9, label=f"{reference.replace('_', ' ')} (zero)")
        low, high = min(values.min(initial=0.0) for values in shown), max(values.max(initial=0.0) for values in shown)
        ax.set_ylim(max(1.05 * low, LOWEST_SKILL), min(1.05 * high, 100.0))
        ax.set_xlim(0, leads.values[-1])
        dress(ax, str(first.scores["long_name"].values[number]), f"lead time ({leads.name})", "skill (%)")
        ax.xaxis.set_major_locator(lead_locator(leads))
    _legend(figure, axes[0], 4)
    return figure


def cost_bars(found: ProofOfConcept) -> Figure:
    """Time of a training step, split into its parts, and peak memory, of every cell."""
    names = [one.cell for one in found.cells]
    figure = Figure(figsize=(11.5, 0.42 * len(names) + 1.5), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.12)
    times, memory = figure.subplots(1, 2, width_ratios=(3, 2), sharey=True)
    left = np.zeros(len(names))
    for part, colour in _PARTS.items():
        values = np.array([_part(one.probe.parts, part) * one.result.step_seconds * 1000 for one in found.cells])
        if values.max() > 0.005 * max(one.result.step_seconds * 1000 for one in found.cells):
            times.barh(names, values, left=left, color=colour, label=part, height=0.62)
        left = left + values
    for row, one in enumerate(found.cells):
        _beside_bar(times, row, one.result.step_seconds * 1000, f"{one.result.step_seconds * 1000:.3g} ms")
    sizes = [one.result.peak_bytes / 1e6 for one in found.cells]
    memory.barh(names, sizes, color="#7ab0dd", height=0.62)
    for row, size in enumerate(sizes):
        _beside_bar(memory, row, size, f"{size:,.0f} MB")
    for ax, title, label in (
        (times, "Training step", "ms, by part"),
        (memory, "Peak memory" + (" of the GPU" if found.hardware.gpu else ", libraries included"), "MB"),
    ):
        dress(ax, title, label, "")
        ax.grid(axis="y", visible=False)
        ax.grid(axis="x", color="#e3e7eb", linewidth=0.6)
        ax.margins(x=0.16)
        ax.set_xlim(left=0)
    times.invert_yaxis()
    _legend(figure, times, 6)
    return figure


def learning_curves(found: ProofOfConcept) -> Figure:
    """Validation error against seconds of training, of every cell; the axis is logarithmic."""
    figure = Figure(figsize=(7.5, 3.8), facecolor="white")
    figure.set_layout_engine("constrained")
    ax = figure.subplots()
    for one in found.cells:
        seconds, errors = np.array(one.result.curve).T
        marker = "o" if len(seconds) <= 40 else None
        ax.plot(seconds, errors, label=one.cell, marker=marker, markersize=3.5, linewidth=1.8, **_CELLS[one.cell])
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set_xlim(0, 1.03 * max(one.result.seconds for one in found.cells))
    dress(ax, "Validation error (standard deviations)", "seconds of training steps", "")
    _legend(figure, ax, 5)
    return figure


def _part(parts: Mapping[str, float], name: str) -> float:
    """Share of a step; the parts were measured on some steps, the step over the whole training."""
    return parts.get(name, 0.0) / (sum(parts.values()) or 1.0)


def _beside_bar(ax: Axes, row: int, value: float, text: str) -> None:
    ax.annotate(text, (value, row), (4, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK)


def _legend(figure: Figure, ax: Axes, columns: int) -> None:
    handles, labels = ax.get_legend_handles_labels()
    kept = {label: handle for handle, label in zip(handles, labels, strict=True)}
    figure.legend(
        list(kept.values()),
        list(kept),
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
