"""The figure of a search: how much of the error each setting explains, and the error of every trial over each setting.

figure = search_figure(settings, errors, states, importance)
path.write_bytes(png(figure))
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ..study.importance import Importance, features, is_number
from .style import FAINT, INK, dress

_MOST_PANELS = 9
_COLUMNS = 3
_STATES = {  # how a trial ended: ink, mark
    "finished": ("#1668a8", "o"),
    "stopped": ("#c9812b", "v"),
    "failed": ("#b3261e", "x"),
}
_FEW = 4  # values that are drawn side by side, at equal distances
_WIDE = 20.0  # a setting whose largest value is so many times its smallest is drawn on a logarithmic axis


def search_figure(
    settings: Sequence[Mapping[str, Any]],
    errors: Sequence[float],
    states: Sequence[str],
    importance: Importance | None,
) -> Figure:
    """Importances as bars with the level of chance, above the trials' errors over each setting, the telling ones first.

    Args:
        settings: Of each trial, the same keys.
        errors: Lowest validation error of each trial; infinite where it failed, which is drawn at the top.
        states: ``finished``, ``stopped`` or ``failed``, of each trial.
        importance: None: too few trials to tell.
    """
    columns = {name: column for name, column in features(settings).items() if len({str(one) for one in column}) > 1}
    order = [*(importance.shares if importance else ()), *columns]
    names = [name for name in dict.fromkeys(order) if name in columns][:_MOST_PANELS]
    rows = max(1, math.ceil(len(names) / _COLUMNS))
    bars = 0.9 + 0.3 * len(importance.shares) if importance else 0.01
    figure = Figure(figsize=(11.5, bars + 2.9 * rows), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    upper, lower = figure.subfigures(2, 1, height_ratios=(bars, 2.9 * rows), squeeze=False).flat
    if importance:
        _bars(upper.subplots(), importance)
    axes = lower.subplots(rows, _COLUMNS, squeeze=False).flat
    for number, ax in enumerate(axes):
        if number < len(names):
            _scatter(ax, names[number], columns[names[number]], errors, states)
        else:
            ax.set_axis_off()
    if names:
        axes[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    return figure


def _bars(ax: Axes, importance: Importance) -> None:
    names = list(importance.shares)[::-1]
    colours = ["#1668a8" if importance.told(name) else "#c9d1d8" for name in names]
    ax.barh(names, [importance.shares[name] for name in names], color=colours, height=0.62)
    ax.axvline(importance.chance, color=INK, linewidth=1, linestyle="--")
    told = f"adjusted R² of the ranks of {importance.trials} trials, of each setting alone; "
    dress(ax, "What explained the validation error", f"{told}left of the dashed line it may be chance", "")
    ax.grid(visible=False)
    ax.set_xlim(0, max(1.0, 1.02 * importance.chance))


def _scatter(ax: Axes, name: str, column: Sequence[Any], errors: Sequence[float], states: Sequence[str]) -> None:
    numbers = all(map(is_number, column)) and len(set(column)) > _FEW
    ordered = sorted(column) if all(map(is_number, column)) else sorted(column, key=json.dumps)
    labels = list(dict.fromkeys(map(_label, ordered)))
    places = [float(one) if numbers else float(labels.index(_label(one))) for one in column]
    known = [error for error in errors if math.isfinite(error)]
    top = 1.15 * max(known, default=1.0)
    for state, (ink, mark) in _STATES.items():
        chosen = [number for number, found in enumerate(states) if found == state]
        heights = [errors[number] if math.isfinite(errors[number]) else top for number in chosen]
        if chosen:
            ax.scatter([places[number] for number in chosen], heights, s=26, color=ink, marker=mark, label=state)
    if known:
        best = errors.index(min(known))
        ax.scatter(places[best], errors[best], s=110, facecolor="none", edgecolor=INK, linewidth=1.1)
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(NullLocator())
    if numbers and min(places) > 0 and max(places) / min(places) >= _WIDE:
        ax.set_xscale("log")
    elif not numbers:
        ax.set_xticks(range(len(labels)), labels)
    dress(ax, name, "", "validation error")
    ax.tick_params(axis="x", colors=FAINT, labelcolor=INK)


def _label(value: Any) -> str:
    return f"{value:g}" if is_number(value) else value if isinstance(value, str) else json.dumps(value)
