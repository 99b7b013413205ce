"""Units of input converted to units of the archive, by pint with CF (UDUNITS) spelling.

slope, offset = conversion("degC", "K")      # 1.0, 273.15
"""

from __future__ import annotations

import numpy as np

from ..errors import SourceError

# spellings that files use and neither CF nor pint knows
_ALIASES = {
    "Kelvin": "K",
    "deg_K": "K",
    "degree_K": "K",
    "deg_C": "degC",
    "degree_C": "degC",
    "deg C": "degC",
    "Celsius": "degC",
    "mb": "millibar",
    "(0 - 1)": "1",
    "unitless": "1",
    "Numeric": "1",
    "Proportion": "1",
    "Dimensionless": "1",
    "~": "1",
    "gpm": "m",
}


def conversion(found: str, wanted: str) -> tuple[float, float]:
    """Slope and offset with value_wanted = slope * value_found + offset.

    Raises:
        SourceError: ``Q-UNITS``: a unit is unknown, or one cannot be converted to the other.
    """
    if _ALIASES.get(found, found) == wanted:
        return 1.0, 0.0
    # pint takes more than a second to import, and most files need no conversion
    from cf_xarray.units import units as registry

    try:
        at_zero, at_one = (
            registry.Quantity(np.array([0.0, 1.0]), registry.Unit(_ALIASES.get(found, found)))
            .to(registry.Unit(_ALIASES.get(wanted, wanted)))
            .magnitude
        )
    except Exception as error:  # pint raises a dozen unrelated types for a string it cannot parse or convert
        raise SourceError(
            "Q-UNITS",
            f"its units {found!r} cannot be converted to {wanted!r}, expected some that can; correct the file or the "
            "configuration",
        ) from error
    return float(at_one - at_zero), float(at_zero)


def is_dimensionless(units: str) -> bool:
    """Whether `units` is a plain number, for which CF lets the attribute be left out."""
    try:
        conversion("1", units)
    except SourceError:
        return False
    return True
