"""The page of a proof of concept: the decision, what it rests on, what it would cost; one file that needs nothing else.

write_poc(Path("runs/demo/poc/report.html"), PocContent(found, config_yaml, code, created))
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cost import time_text
from ..lead_time import milestones
from ..scorecard import Reference
from ..skill import CONFIDENCE
from ..study.poc import MINCONV, CellFound, ProofOfConcept, skill_of
from .embedding import NamedFigure, Picture, page_template, stylesheet, write_page
from .poc_figures import cost_bars, learning_curves, skill_by_lead
from .unit import Unit

_HEADINGS = {"go": "Go", "no-go": "No-go", "undecided": "Undecided"}


@dataclass(frozen=True, eq=False)
class PocContent:
    """All that the page shows.

    Attributes:
        found: By the proof of concept.
        config_yaml: The configuration as written.
        code: Version of the code.
        created: When, as text.
    """

    found: ProofOfConcept
    config_yaml: str
    code: str
    created: str


def write_poc(path: Path, content: PocContent) -> None:
    """Draw the figures and write the page, which appears whole or not at all; its folder is made where missing."""
    write_page(path, _figures(content.found), functools.partial(render, content))


def render(content: PocContent, pictures: Sequence[Picture]) -> str:
    """The page as text."""
    found = content.found
    return page_template("poc.html.j2").render(
        style=stylesheet(),
        content=content,
        found=found,
        heading=_HEADINGS[found.decision.state],
        sentence=found.decision.sentence.partition(": ")[2],
        tone={"go": "good", "no-go": "bad", "undecided": ""}[found.decision.state],
        cards=[_numbers(found, one) for one in found.cells],
        priced=found.terms.price_per_hour is not None,
        baselines=[_spoken(name) for name in _references(found)],
        tables=[_skill_table(found, name) for name in _references(found)],
        rmse=_rmse_rows(found),
        sources=[one.cell for one in found.cells] + [_spoken(name) for name in _references(found)],
        skills=[picture for picture in pictures if picture.name.startswith("skill")],
        costs=[picture for picture in pictures if not picture.name.startswith("skill")],
        budget=[(name, seconds) for name, seconds in found.shares.parts().items() if seconds >= 0.05],
        every=time_text(found.terms.every),
        confidence=f"{100 * CONFIDENCE:g} %",
    )


def _figures(found: ProofOfConcept) -> Iterator[NamedFigure]:
    """Name, heading, alternative text and figure, in the order of the page."""
    if not found.cells:
        return
    for name in _references(found):
        heading = f"Skill against {_spoken(name)}"
        alt = f"{heading} by lead time, with intervals, of {', '.join(one.cell for one in found.cells)}"
        yield f"skill_{name}", heading, alt, skill_by_lead(found, name)
    yield "cost", "Time and memory of a training step", "Bars of step time and memory by cell", cost_bars(found)
    alt = "Validation error against seconds of training by cell"
    yield "curves", "Error against time of training", alt, learning_curves(found)


def _references(found: ProofOfConcept) -> tuple[Reference, ...]:
    return found.cells[0].result.scorecard.references if found.cells else ()


def _numbers(found: ProofOfConcept, one: CellFound) -> dict[str, Any]:
    """One row of the table of cells, as text."""
    result, price = one.result, found.terms.price_per_hour
    return {
        "cell": one.cell,
        "note": "judged" if one.cell == found.chosen else "" if one.cell in MINCONV else "for comparison",
        "size": f"{len(result.hidden)} × {max(result.hidden)}",
        "parameters": f"{result.parameters:,}",
        "step": f"{1000 * result.step_seconds:.3g} ms",
        "memory": f"{result.peak_bytes / 1e6:,.0f} MB",
        "epochs": f"{result.epochs}",
        "validation": f"{result.validation_error:.3g}",
        "skills": [_skill_cell(*skill_of(change)) for change in one.against.values()],
        "retraining": time_text(one.retraining.total),
        "per_day": one.retraining.per_day_text,
        "cost": "" if price is None else f"{one.retraining.cost(price):.3g}",
    }


def _skill_table(found: ProofOfConcept, reference: Reference) -> dict[str, Any]:
    """Skill of every cell against one baseline at a few lead times, as text."""
    card = found.cells[0].result.scorecard
    groups = []
    for number, label in enumerate(card.scores["long_name"].values):
        rows = []
        for lead in milestones(card.leads):
            intervals = [one.result.scorecard.skill_intervals[reference] for one in found.cells]
            cells = [
                _skill_cell(*(float(ends[number, lead]) for ends in (held.skill, held.lower, held.upper)))
                for held in intervals
            ]
            rows.append({"lead_time": card.leads.labels[lead], "cells": cells})
        groups.append({"label": str(label), "name": card.variables[number], "unit": "", "rows": rows})
    return {"title": f"Skill against {_spoken(reference)}", "groups": groups}


def _rmse_rows(found: ProofOfConcept) -> list[dict[str, Any]]:
    """RMSE of cells and baselines by variable at a few lead times, as text."""
    if not found.cells:
        return []
    card, groups = found.cells[0].result.scorecard, []
    for number, name in enumerate(card.variables):
        errors = [one.result.rmse(name) for one in found.cells]
        errors += [found.cells[0].result.rmse(name, source) for source in card.references]
        unit = Unit.of(errors, str(card.scores["units"].values[number]))
        rows = [
            {
                "lead_time": card.leads.labels[lead],
                "cells": [
                    {"text": f"{value:.3g}", "ends": "", "judged": ""}
                    for value in unit.scaled([row[lead] for row in errors])
                ],
            }
            for lead in milestones(card.leads)
        ]
        label = str(card.scores["long_name"].values[number])
        groups.append({"label": label, "name": name, "unit": unit.text, "rows": rows})
    return groups


def _skill_cell(middle: float, low: float, high: float) -> dict[str, str]:
    """Per cent with its interval, and whether that is above or below zero."""
    judged = "good" if low > 0 else "bad" if high < 0 else ""
    known = math.isfinite(low) and math.isfinite(high)
    return {"text": _percent(middle), "ends": f"{_percent(low)} to {_percent(high)}" if known else "", "judged": judged}


def _percent(value: float) -> str:
    return f"{100 * value:+.1f} %".replace("-", "−") if math.isfinite(value) else "–"


def _spoken(name: str) -> str:
    return name.replace("_", " ")
