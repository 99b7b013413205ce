"""The section of a configuration that says what is done about input that breaks a rule.

What lives here: the section. What does not: the table of rules (`rules`), the checks (`quality`).

    QualityConfig(rules={"Q-FROZEN": "reject"}).actions["Q-FROZEN"]      # "reject"
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from .config_sections import Number, Positive, Section
from .rules import RULES, Action


class QualityConfig(Section):
    """What is done about input that breaks a rule."""

    rules: dict[str, Action] = Field(
        {}, description="by the id of a rule: reject the file, warn and take it, or do not look (off)"
    )
    frozen_frames: Annotated[Positive, Field(ge=2)] = Field(
        6, description="so many equal frames in a row break Q-FROZEN; frames of one value throughout do not count"
    )
    max_jump: dict[str, Annotated[Number, Field(gt=0.0)]] = Field(
        {}, description="by variable: largest change of its mean over the grid from frame to frame, in its units"
    )
    max_values: Positive = Field(2**36, description="values of one variable in one file; more break Q-BUDGET")

    @field_validator("rules")
    @classmethod
    def _rules_can_be_changed(cls, rules: dict[str, Action]) -> dict[str, Action]:
        changeable = [rule.id for rule in RULES.values() if rule.choices]
        for rule in rules:
            if rule not in changeable:
                raise ValueError(f"must be among the rules that can be changed ({', '.join(changeable)}), got {rule!r}")
        return rules

    @property
    def actions(self) -> dict[str, Action]:
        """What is done about each rule that can be changed."""
        defaults: dict[str, Action] = {
            rule.id: "warn" if rule.default == "warn" else "reject" for rule in RULES.values() if rule.choices
        }
        return {**defaults, **self.rules}
