"""The quantities that can be made of others, as a table: what each needs, what it is called, how it is computed.

What lives here: the table and its formulas, on plain arrays. What does not: when they are applied and to which
variables (`transforms`), and how a configuration names them (`config_transforms`).

    DERIVATIONS["wind_speed"].function(u, v)
    DERIVATIONS["wind_direction"].inputs        # ("m s-1", "m s-1")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Derivation:
    """One quantity.

    Attributes:
        inputs: Units of what it is made of; with ``{units}`` those that the configuration gives the result.
        units: Units of what the function returns, likewise.
        standard_name: Its CF standard name; None: it follows from that of the input.
        function: Values of the inputs to values of the result, point by point.
        last: Whether it is made of values that were averaged (regridded, coarsened, resampled) before: so it is where
            the result itself must not be averaged. Otherwise it is made first, of the values of the file.
        timed: Whether the function has a last argument, the seconds that each frame stands for.
    """

    inputs: tuple[str, ...]
    units: str
    standard_name: str | None
    function: Callable[..., Values]
    last: bool = False
    timed: bool = False


def _direction(eastward: Values, northward: Values) -> Values:
    """Where the wind comes from, degrees clockwise from north, [0, 360); 0 in a calm."""
    towards = np.degrees(np.arctan2(eastward, northward))
    degrees = np.mod(towards + 180.0, 360.0)
    # the modulo of a tiny negative number rounds to 360 itself
    return np.where((degrees >= 360.0) | ((eastward == 0) & (northward == 0)), 0.0, degrees)


def _eastward(speed: Values, direction: Values) -> Values:
    return -speed * np.sin(np.radians(direction))


def _northward(speed: Values, direction: Values) -> Values:
    return -speed * np.cos(np.radians(direction))


_WIND = ("m s-1", "m s-1")
_POLAR = ("m s-1", "degree")

DERIVATIONS: dict[str, Derivation] = {
    "rate": Derivation(("{units} s",), "{units}", None, np.divide, timed=True),
    "amount": Derivation(("{units} s-1",), "{units}", None, np.multiply, timed=True),
    "eastward_wind": Derivation(_POLAR, "m s-1", "eastward_wind", _eastward),
    "northward_wind": Derivation(_POLAR, "m s-1", "northward_wind", _northward),
    "wind_speed": Derivation(_WIND, "m s-1", "wind_speed", np.hypot, last=True),
    "wind_direction": Derivation(_WIND, "degree", "wind_from_direction", _direction, last=True),
}
