"""Units as they are printed: real superscripts, and a power of a thousand that keeps numbers short.

unit = Unit.of(values, "kg kg-1")     # 10⁻³ kg kg⁻¹
unit.scaled(values), unit.label       # values × 1000, " (10⁻³ kg kg⁻¹)"
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Unit:
    """A printed unit.

    Attributes:
        exponent: Power of ten that numbers are given in; 0 or a multiple of 3.
        text: The unit with that power, e.g. ``"10⁻³ kg kg⁻¹"``; empty for plain numbers.
    """

    exponent: int
    text: str

    @classmethod
    def of(cls, values: Any, units: str) -> Unit:
        """The unit for printing `values`, which are in `units`; powers from 0.01 below and 100 000 above."""
        finite = np.abs(np.asarray(values, dtype=np.float64))
        size = float(np.max(finite, initial=0.0, where=np.isfinite(finite)))
        exponent = 0 if size == 0 or 0.01 <= size < 1e5 else 3 * int(np.floor(np.log10(size) / 3))
        factor = f"10{str(exponent).translate(_RAISED)} " if exponent else ""
        return cls(exponent, f"{factor}{units_text(units)}".strip())

    @property
    def label(self) -> str:
        """What follows a quantity's name on an axis: the text in brackets, or nothing."""
        return f" ({self.text})" if self.text else ""

    def scaled(self, values: Any) -> NDArray[np.float64]:
        """Values as numbers in this unit."""
        return np.asarray(values, dtype=np.float64) * 10.0**-self.exponent


def units_text(units: str) -> str:
    """Units with real superscripts: ``kg m-2 s-1`` becomes ``kg m⁻² s⁻¹``; Celsius is ``°C``; empty for ``1``."""
    if units.strip() in ("degC", "deg_C", "celsius", "Celsius", "degree_Celsius", "degrees_Celsius", "degrees_C"):
        return "°C"
    raised = re.sub(r"(?<=[A-Za-zµ])\^?(-?\d+)", lambda power: power.group(1).translate(_RAISED), units.strip())
    return "" if raised == "1" else raised
