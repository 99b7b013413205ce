"""The section of a configuration that says what is done about input that breaks a rule.

What lives here: the section. What does not: the table of rules (`rules`), the checks (`quality`).

    QualityConfig(rules={"Q-FROZEN": "reject"}).actions["Q-FROZEN"]      # "reject"
"""

from __future__ import annotations

import difflib
from typing import Annotated, Any

from pydantic import Field, field_validator

from .config_sections import Number, Positive, Section
from .rules import RULES, Action


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
    def actions(self) -> dict[str, Action]:
        """What is done about each rule that can be changed."""
        defaults: dict[str, Action] = {
            rule.id: rule.default for rule in RULES.values() if rule.choices and rule.default != "wait"
        }
        return {**defaults, **self.rules}
