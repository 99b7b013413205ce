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
    "m of water equivalent": "m",
    "(0 - 1)": "1",
    "unitless": "1",
    "Numeric": "1",
    "Proportion": "1",
    "Dimensionless": "1",
    "~": "1",
    "gpm": "m",
}


def conversion(found: str, wanted: str, water: bool = False) -> tuple[float, float]:
    """Slope and offset with value_wanted = slope * value_found + offset.

    Args:
        found: Units of the values.
        wanted: Units to convert to.
        water: Whether a depth is one of water, so that 1 mm is 1 kg m-2.

    Raises:
        SourceError: ``Q-UNITS``: a unit is unknown, or one cannot be converted to the other.
    """
    if water:
        return _of_water(found, wanted)
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


def _of_water(found: str, wanted: str) -> tuple[float, float]:
    try:
        return conversion(found, wanted)
    except SourceError as error:
        for factor, density in ((1000.0, "kg m-3"), (0.001, "m3 kg-1")):
            try:
                slope, offset = conversion(f"({_ALIASES.get(found, found)}) {density}", wanted)
            except SourceError:
                continue
            return slope * factor, offset
        raise error


def is_dimensionless(units: str) -> bool:
    """Whether `units` is a plain number, for which CF lets the attribute be left out."""
    try:
        conversion("1", units)
    except SourceError:
        return False
    return True
