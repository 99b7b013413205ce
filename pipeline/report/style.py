"""The look that all figures share: inks, axes, colour bars, PNG bytes. No global matplotlib state is touched."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

INK, FAINT, RULE, MASKED = "#1f2933", "#66727f", "#c9d1d8", "#ccd1d6"
_DPI = 144


def png(figure: Figure) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, dpi=_DPI, format="png", metadata={"Software": None})
    return buffer.getvalue()


def largest(values: NDArray[Any], percentile: float) -> float:
    """A percentile of the finite values; 1 where there are none or all are zero, so that scales stay valid."""
    finite = values[np.isfinite(values)]
    found = float(np.percentile(finite, percentile)) if finite.size else 0.0
    return found if found > 0 else 1.0


def dress(ax: Axes, title: str, x_label: str, y_label: str, *, grid: bool = True) -> None:
    """Title, axis labels and quiet rules; without `grid` no lines at all."""
    ax.set_title(title, loc="left", fontsize=min(10.0, 340 / max(len(title), 1)), color=INK, fontweight="bold")
    ax.set_xlabel(x_label, fontsize=9, color=FAINT)
    ax.set_ylabel(y_label, fontsize=9, color=FAINT)
    ax.tick_params(labelsize=8.5, colors=FAINT, labelcolor=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_visible(grid)
    ax.spines[["left", "bottom"]].set_color(RULE)
    if grid:
        ax.grid(axis="y", color=RULE, linewidth=0.6)
        ax.set_axisbelow(True)


def dress_bar(bar: Colorbar, label: str, room: float = 5.0) -> None:
    """Label and ticks of a colour bar; a label longer than `room` inches is set smaller."""
    bar.set_label(label, fontsize=min(8.5, 120 * room / max(len(label), 1)), color=INK)
    bar.ax.tick_params(labelsize=8, colors=FAINT, labelcolor=INK)
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(5)
    bar.update_ticks()
