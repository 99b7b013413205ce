"""How a stage reports progress: it calls a function with an `Event`; who shows it, and how, is not its business."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Event:
    """One step forward of a long stage.

    Attributes:
        stage: Name of the stage, e.g. ``"training"``.
        done: Units finished so far.
        total: Units in all, or None while unknown.
        unit: What is counted, e.g. ``"epochs"``.
        values: Numbers worth showing beside the bar, e.g. ``{"loss": 0.12}``.
        message: A short remark, e.g. the file at hand.
    """

    stage: str
    done: int
    total: int | None
    unit: str
    values: Mapping[str, float] = field(default_factory=dict)
    message: str = ""


Progress = Callable[[Event], None]


def silent(event: Event) -> None:
    """A `Progress` that shows nothing."""
