"""Sums without rounding, which parts can be added to and taken from again: the same bits in any order.

What lives here: count, sum and sum of squares of values as exact fractions. What does not: mean and standard deviation
(`statistics`), which are rounded once, at the end.

    whole = Sums.of(january) + Sums.of(february)
    whole - Sums.of(february) == Sums.of(january)      # True, not only nearly

Floating-point sums depend on the order of their terms, and taking a large part from one leaves the rounding of the
whole. Both would show in models: statistics brought up to date night by night would differ in their last bits from
those computed at once, and a model could not be made again bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Values summed at once: their arrays stay in the processor's cache, and 2**16 values leave 53 - 17 bits per step.
_PIECE = 2**16
# Splits a double of 53 bits into two of 26, whose products are exact (Veltkamp 1968, Dekker 1971).
_SPLITTER = 2.0**27 + 1.0


@dataclass(frozen=True)
class Sums:
    """Of finite values.

    Attributes:
        count: How many they are.
        total: Their sum; `squares`: the sum of their squares.
    """

    count: int = 0
    total: Fraction = Fraction(0)
    squares: Fraction = Fraction(0)

    @classmethod
    def of(cls, values: NDArray[Any], chosen: NDArray[np.bool_] | bool = True) -> Sums:
        """Of those of an array that are finite and `chosen` (broadcast to their shape).

        Squares of single precision are exact, of double precision where none underflows.
        """
        flat = values[np.isfinite(values) & chosen]
        total, squares = Fraction(0), Fraction(0)
        for first in range(0, flat.size, _PIECE):
            piece = flat[first : first + _PIECE].astype(np.float64)
            total += exact_sum(piece)
            squares += _exact_squares(piece, single=flat.dtype == np.float32)
        return cls(int(flat.size), total, squares)

    def __add__(self, other: Sums) -> Sums:
        """Of both sets of values."""
        return Sums(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: Sums) -> Sums:
        """Of what the other set, a part of this one, leaves."""
        return Sums(self.count - other.count, self.total - other.total, self.squares - other.squares)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `from_dict` reads it back."""
        return {"count": self.count, "total": str(self.total), "squares": str(self.squares)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Sums:
        """The sums that `to_dict` described."""
        return cls(int(values["count"]), Fraction(values["total"]), Fraction(values["squares"]))


def exact_sum(values: Floats) -> Fraction:
    """The sum of at most 2**16 finite doubles, without rounding.

    Rump, Ogita and Oishi (2008), "Accurate floating-point summation part I", algorithm 3.2: adding and subtracting a
    large power of two cuts the leading bits off all values at once; these sum without rounding in any order, and the
    rest follows in the same way.
    """
    rest, found = values, Fraction(0)
    while (largest := float(np.abs(rest).max(initial=0.0))) > 0.0:
        power = 2.0 ** (int(np.frexp(largest)[1]) + (rest.size + 2).bit_length())
        leading = (rest + power) - power
        found += Fraction(float(leading.sum()))
        rest = rest - leading
    return found


def _exact_squares(values: Floats, single: bool) -> Fraction:
    if single:
        return exact_sum(np.square(values))
    scaled = _SPLITTER * values
    high = scaled - (scaled - values)
    low = values - high
    found = exact_sum(np.square(high))
    return found + 2 * exact_sum(high * low) + exact_sum(np.square(low)) if low.any() else found
