"""Scorecards as Markdown, every skill with its interval, for docs/scorecards.md; not a test.

minconv run -c ersst --data DIR
python tests/bench/scorecards.py runs/ersst/scorecards/*.json
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.scorecard import Scorecard, Skill


def markdown(scorecard: Scorecard, leads: int = 5) -> str:
    """One table: RMSE of the model and the baselines, skill [95 % interval], ACC; bold where zero is excluded."""
    names = [name.replace("_", " ") for name in scorecard.table(leads)[0].baselines]
    lines = [
        f"{scorecard.cases} test cases; climatology: {scorecard.attrs['climatology']}.",
        "",
        f"| variable | lead time | model | {' | '.join(names)} | {' | '.join(f'skill on {n}' for n in names)} | ACC |",
        f"|---|---|{'--:|' * (1 + len(names))}{'---|' * len(names)}--:|",
    ]
    for row in scorecard.table(leads):
        scores = " | ".join(f"{value:.4g}" for value in (row.rmse, *row.baselines.values()))
        skills = " | ".join(_skill(skill) for skill in row.skills.values())
        lines.append(f"| {row.variable}, {row.units} | {row.lead_time} | {scores} | {skills} | {row.acc:.2f} |")
    return "\n".join(lines)


def _skill(skill: Skill) -> str:
    text = f"{skill.value:+.2f} [{skill.lower:+.2f}, {skill.upper:+.2f}]"
    return f"**{text}**" if skill.better or skill.worse else text


def main(paths: list[str]) -> None:
    """Print one table for each file."""
    for path in paths:
        print(markdown(Scorecard.from_json(Path(path).read_text())), end="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
