"""What `recipes.py` prints: errors with what they cost, skill, and each recipe against another one.

table(rows, "vorticity")
against(rows, "conv")
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.comparison import compare
from pipeline.errors import ComparisonError
from pipeline.lead_time import milestones
from pipeline.study import TrialResult

SOURCES = {"persistence": "persistence", "climatology": "climatology", "damped_persistence": "damped persistence"}
MILESTONES = 4  # lead times of the table of skill


@dataclass(frozen=True)
class Row:
    """The trials of one name, one per seed.

    Attributes:
        name: Of the recipe.
        results: Of its trials.
        step_seconds: Of a training step on an idle machine; None: as the trials had it.
    """

    name: str
    results: tuple[TrialResult, ...]
    step_seconds: float | None = None

    def rmse(self, variable: str) -> list[float]:
        """Mean over lead times, of each seed."""
        return [float(one.rmse(variable).mean()) for one in self.results]

    def last(self, variable: str) -> list[float]:
        """At the last lead time."""
        return [float(one.rmse(variable)[-1]) for one in self.results]

    def line(self, variable: str) -> str:
        """Of a table; numbers are means over the seeds, with their range."""
        first = self.results[0]
        steps, frames, bytes_ = (
            statistics.mean(float(getattr(one, name)) for one in self.results)
            for name in ("steps", "frames", "peak_bytes")
        )
        step = self.step_seconds or statistics.mean(one.step_seconds for one in self.results)
        cells = [
            self.name,
            f"{len(first.hidden)} x {first.hidden[0]}",
            f"{first.parameters:,}",
            f"{steps * step:.0f}",
            f"{frames / 1000:,.0f}",
            f"{step * 1000:.1f}",
            f"{bytes_ / 2**20:,.0f}",
            spread(self.rmse(variable)),
            spread(self.last(variable)),
        ]
        return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float]) -> str:
    """``0.0312 (0.0305-0.0320)``."""
    middle = f"{statistics.mean(values):.4f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.4f}-{max(values):.4f})"


def table(rows: Sequence[Row], variable: str) -> str:
    """Markdown, baselines below."""
    card = rows[0].results[0].scorecard
    leads = len(card.scores["lead_time"])
    lines = [
        f"| {variable} | layers | parameters | s | 1000 frames | ms a step | peak MiB | RMSE, mean of {leads} leads | "
        f"RMSE, lead {leads} |",
        "|---|---|--:|--:|--:|--:|--:|---|---|",
    ]
    lines += [row.line(variable) for row in rows]
    for source in card.references:
        values = rows[0].results[0].rmse(variable, source)
        lines.append(f"| {SOURCES[source]} | | | | | | | {values.mean():.4f} | {values[-1]:.4f} |")
    return "\n".join(lines)


def skill_table(rows: Sequence[Row]) -> str:
    """Markdown: skill against the better of persistence and climatology at some lead times.

    Means over the seeds; ``+`` where the interval of every seed lies above zero, ``-`` where it lies below.
    """
    card = rows[0].results[0].scorecard
    leads = milestones(card.leads, MILESTONES)
    labels = " / ".join(card.leads.labels[lead] for lead in leads)
    lines = [f"| skill at {labels} | {' | '.join(card.variables)} |", f"|---|{'---|' * len(card.variables)}"]
    for row in rows:
        cells = [" / ".join(_skill(row, number, lead) for lead in leads) for number in range(len(card.variables))]
        lines.append(f"| {row.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _skill(row: Row, variable: int, lead: int) -> str:
    found = []
    for result in row.results:
        intervals = [result.scorecard.skill_intervals[name] for name in ("persistence", "climatology")]
        against = min(intervals, key=lambda one: float(one.skill[variable, lead]))  # the better baseline
        found.append([float(values[variable, lead]) for values in (against.skill, against.lower, against.upper)])
    sign = "+" if all(one[1] > 0 for one in found) else "-" if all(one[2] < 0 for one in found) else ""
    return f"{statistics.mean(one[0] for one in found):.3f}{sign}"


def against(rows: Sequence[Row], base: str) -> str:
    """Markdown: RMSE of each row against that of one of them, in per cent, and the ends of its interval.

    Trials of one seed are compared, over the same cases; the mean over the seeds, and of the 95 % intervals the
    lowest end and the highest.
    """
    of_base = {result.seed: result.scorecard for row in rows if row.name == base for result in row.results}
    lines = [f"| RMSE against {base} | mean | intervals of the seeds, together | seeds |", "|---|--:|---|--:|"]
    for row in rows:
        pairs = [(of_base[one.seed], one.scorecard) for one in row.results if one.seed in of_base]
        if row.name == base or not pairs:
            continue
        try:
            found = [compare(*pair).primary.percent for pair in pairs]
        except ComparisonError:  # with another history forecasts begin elsewhere
            lines.append(f"| {row.name} | scored on other cases | | {len(pairs)} |")
            continue
        means, lower, upper = zip(*found, strict=True)
        ends = f"{min(lower):+.1f} % to {max(upper):+.1f} %"
        lines.append(f"| {row.name} | {statistics.mean(means):+.1f} % | {ends} | {len(pairs)} |")
    return "\n".join(lines)
