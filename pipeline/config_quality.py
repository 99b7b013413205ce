"""The section of a configuration that says what is done about input that breaks a rule.

What lives here: the section. What does not: the table of rules (`rules`), the checks (`quality`).

    QualityConfig(rules={"Q-FROZEN": "reject"}).actions["Q-FROZEN"]      # "reject"
"""

from __future__ import annotations

import datetime
import difflib
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from .config_sections import Number, Positive, Section
from .config_transforms import Duration, seconds_of
from .rules import RULES, Action


def _as_text(value: Any) -> Any:
    """YAML reads 2023-03-01 as a date; how fine it is says how long it lasts."""
    if isinstance(value, datetime.datetime):
        utc = value if value.tzinfo is None else value.astimezone(datetime.UTC)
        return utc.replace(tzinfo=None).isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    return value.removesuffix("Z") if isinstance(value, str) else value


def _in_order(period: tuple[str, str]) -> tuple[str, str]:
    try:
        first, last = np.datetime64(period[0]), np.datetime64(period[1])
    except ValueError as error:
        raise ValueError(f"must be dates like 2023-03-01 or 2023-03-01T06:00 (UTC), got {', '.join(period)}") from error
    if last + 1 <= first:
        raise ValueError(f"must end after it begins, got {period[0]} to {period[1]}")
    return period


Moment = Annotated[str, BeforeValidator(_as_text)]
Period = Annotated[tuple[Moment, Moment], AfterValidator(_in_order)]


class QualityConfig(Section):
    """What is done about input that breaks a rule."""

    rules: dict[str, Action] = Field(
        {}, description="by the id of a rule: reject the file, warn and take it, fix it, or do not look (off)"
    )
    frozen_frames: Annotated[Positive, Field(ge=2)] = Field(
        6, description="so many equal frames in a row break Q-FROZEN; frames of one value throughout do not count"
    )
    max_jump: dict[str, Annotated[Number, Field(gt=0.0)]] = Field(
        {}, description="by variable: largest change of its mean over the grid from frame to frame, in its units"
    )
    tiny_negative: dict[str, Annotated[Number, Field(ge=0.0)]] = Field(
        {},
        description="by variable: how far below zero a value is put to zero (Q-FIX-NEGATIVE); else by standard name",
    )
    longest_gap: Duration | None = Field(
        None,
        description="gaps in time of up to so long (e.g. 6h, 2d) do not stop the archive: their frames are missing, "
        "windows leave them out, and a file that comes late fills them; none: what follows a gap waits",
    )
    allowed_gaps: tuple[Period, ...] = Field(
        (),
        description="periods in which a gap may last however long, e.g. [[2023-03-01, 2023-03-14]]; both ends included",
    )
    max_values: Positive = Field(2**36, description="values of one variable in one file; more break Q-BUDGET")

    @field_validator("rules", mode="before")
    @classmethod
    def _off_is_a_word(cls, rules: Any) -> Any:
        """YAML reads off as false."""
        if not isinstance(rules, dict):
            return rules
        return {rule: "off" if action is False else action for rule, action in rules.items()}

    @field_validator("rules")
    @classmethod
    def _rules_can_be_changed(cls, rules: dict[str, Action]) -> dict[str, Action]:
        for rule, action in rules.items():
            if rule not in RULES:
                near = difflib.get_close_matches(rule.upper(), RULES, n=1)
                hint = f"did you mean {near[0]!r}?" if near else "docs/quality.md lists them"
                raise ValueError(f"there is no rule {rule!r}; {hint}")
            choices = RULES[rule].choices
            if not choices:
                raise ValueError(f"{rule} cannot be changed, such a file cannot be used; remove it")
            if action not in choices:
                raise ValueError(f"{rule} can be {', '.join(choices)}, got {action!r}")
        return rules

    @property
    def longest_gap_seconds(self) -> float:
        """How long a gap may last that is in no allowed period."""
        return 0.0 if self.longest_gap is None else float(seconds_of(self.longest_gap))

    @property
    def actions(self) -> dict[str, Action]:
        """What is done about each rule that can be changed."""
        defaults: dict[str, Action] = {
            rule.id: rule.default for rule in RULES.values() if rule.choices and rule.default != "wait"
        }
        return {**defaults, **self.rules}
