"""What the sections of a configuration are made of: the base class, and numbers that are no flags.

What lives here: the words all sections share. What does not: the sections (`config_sections` and its neighbours).

    class GapConfig(Section):
        frames: Positive = 1
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _no_flag(value: Any) -> Any:
    """Python counts true as 1; in a configuration it is a mistake."""
    if isinstance(value, bool):
        raise ValueError(f"must be a number, got {str(value).lower()}")
    return value


# Strict, so that true is no number and 1 is no flag; a float may be text, as YAML takes 4e-3 for text.
Positive = Annotated[int, Field(ge=1, strict=True)]
Count = Annotated[int, Field(ge=0, strict=True)]
Number = Annotated[float, BeforeValidator(_no_flag)]
Share = Annotated[Number, Field(gt=0.0, lt=1.0)]
Flag = Annotated[bool, Field(strict=True)]


class Section(BaseModel):
    """A part of the configuration: frozen; an unknown key or a number that is not finite is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)
