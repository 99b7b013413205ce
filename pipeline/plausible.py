"""Plausible values of quantities by their CF standard name, for variables without a `valid_range` of their own.

Wide on purpose: they are to find wrong units, wrong signs and fill values, not odd weather. Bounds of temperature, wind
and pressure lie beyond the records of the World Meteorological Organization's archive of extremes.

    plausible_range("air_temperature", "degC")      # (-173.15, 86.85)
"""

from __future__ import annotations

from .errors import SourceError
from .sources.units import conversion

# standard name -> lowest, highest, units
BOUNDS: dict[str, tuple[float, float, str]] = {
    "air_temperature": (100.0, 360.0, "K"),
    "dew_point_temperature": (100.0, 340.0, "K"),
    "surface_temperature": (100.0, 380.0, "K"),
    "sea_surface_temperature": (265.0, 320.0, "K"),
    "sea_surface_salinity": (0.0, 60.0, "g kg-1"),
    "air_pressure_at_mean_sea_level": (80_000.0, 115_000.0, "Pa"),
    "surface_air_pressure": (30_000.0, 115_000.0, "Pa"),
    "specific_humidity": (-0.001, 0.1, "kg kg-1"),
    "relative_humidity": (-0.05, 2.0, "1"),
    "wind_speed": (0.0, 200.0, "m s-1"),
    "eastward_wind": (-200.0, 200.0, "m s-1"),
    "northward_wind": (-200.0, 200.0, "m s-1"),
    "precipitation_flux": (0.0, 1.0, "kg m-2 s-1"),
    "rainfall_flux": (0.0, 1.0, "kg m-2 s-1"),
    "snowfall_flux": (0.0, 1.0, "kg m-2 s-1"),
    "precipitation_amount": (0.0, 5_000.0, "kg m-2"),
    "lwe_thickness_of_precipitation_amount": (0.0, 5.0, "m"),
    "surface_downwelling_shortwave_flux_in_air": (-10.0, 1_700.0, "W m-2"),
    "surface_downwelling_longwave_flux_in_air": (0.0, 900.0, "W m-2"),
    "cloud_area_fraction": (-0.01, 1.01, "1"),
    "geopotential_height": (-2_000.0, 100_000.0, "m"),
}

# standard name -> what negative values may be by packing and rounding, units
TINY_NEGATIVE: dict[str, tuple[float, str]] = {
    "precipitation_flux": (1e-6, "kg m-2 s-1"),
    "convective_precipitation_flux": (1e-6, "kg m-2 s-1"),
    "rainfall_flux": (1e-6, "kg m-2 s-1"),
    "snowfall_flux": (1e-6, "kg m-2 s-1"),
    "precipitation_amount": (1e-3, "kg m-2"),
    "rainfall_amount": (1e-3, "kg m-2"),
    "snowfall_amount": (1e-3, "kg m-2"),
    "lwe_thickness_of_precipitation_amount": (1e-6, "m"),
    "lwe_precipitation_rate": (1e-9, "m s-1"),
    "rainfall_rate": (1e-9, "m s-1"),
}

# words in standard names of what is zero over whole areas by nature
_OFTEN_ZERO = ("precipitation", "rain", "snow", "sea_ice", "cloud", "shortwave", "solar", "lightning", "runoff", "flag")


def is_often_zero(standard_name: str) -> bool:
    """Whether a quantity is zero over whole areas by nature, as rain is, or sunshine at night."""
    return any(word in standard_name for word in _OFTEN_ZERO)


def tiny_negative(standard_name: str, units: str) -> float:
    """How far below zero a value that cannot be negative may lie by rounding, in `units`; 0 where nothing is known."""
    if standard_name not in TINY_NEGATIVE:
        return 0.0
    size, own = TINY_NEGATIVE[standard_name]
    try:
        return size * conversion(own, units)[0]
    except SourceError:
        return 0.0


def plausible_range(standard_name: str, units: str) -> tuple[float, float] | None:
    """The bounds in `units`; None where the name is not in the table, or the units measure something else."""
    if standard_name not in BOUNDS:
        return None
    low, high, own = BOUNDS[standard_name]
    try:
        slope, offset = conversion(own, units)
    except SourceError:
        return None
    first, second = sorted((low * slope + offset, high * slope + offset))
    return first, second
