"""One bad input as data: what is wrong, how it is made, the rule that must find it, what must become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import xarray as xr

from tests.pipeline.bad_inputs.good import temperature
from tests.pipeline.bad_inputs.making import Files


@dataclass(frozen=True)
class BadInput:
    """One bad input.

    Attributes:
        name: What is wrong.
        rule: That finds it.
        action: ``reject``, ``fix``, ``warn``, ``wait``: what becomes of the bad input while the good one lands;
            ``refuse``: nothing is looked at.
        make: Writes it into the folder in which the good one lies.
        base: Makes the good fields; None: a table.
        config: Changes of the configuration.
        frames: That the archive holds at the end.
        exact: Whether what was fixed equals the good values bit by bit.
    """

    name: str
    rule: str
    action: str
    make: Files
    base: Callable[[int, int], xr.Dataset] | None = temperature
    config: dict[str, Any] = field(default_factory=dict)
    frames: int | None = None
    exact: bool = True


RAIN = {"t": {"units": "kg m-2 s-1"}}
LEVELS = {"t": {"units": "K", "levels": [850, 500]}}
SOURCE = "source"
