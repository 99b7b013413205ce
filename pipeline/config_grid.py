"""A regular grid of latitudes and longitudes in a configuration: what a file is regridded to, or readings gridded on.

GridAxes(lat=(50, 60, 0.5), lon=(-8, 2, 0.5)).shape      # (21, 21)
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator

from .config_base import Number, Section

Axis = tuple[Number, Number, Annotated[Number, Field(gt=0.0)]]


class GridAxes(Section):
    """The axes of a grid."""

    lat: Axis = Field(description="[southernmost, northernmost, spacing] of the grid in degrees")
    lon: Axis = Field(description="[westernmost, easternmost, spacing] of the grid in degrees, going east")

    @field_validator("lat", "lon")
    @classmethod
    def _axis_has_points(cls, axis: tuple[float, float, float]) -> tuple[float, float, float]:
        first, last, spacing = axis
        if last - first < spacing:
            raise ValueError(f"must be [first, last, spacing] with two points or more, got {list(axis)}")
        return axis

    @field_validator("lat")
    @classmethod
    def _lat_is_on_earth(cls, axis: tuple[float, float, float]) -> tuple[float, float, float]:
        if axis[0] < -90.0 or axis[1] > 90.0:
            raise ValueError(f"must be within -90 and 90, got {list(axis)}")
        return axis

    @field_validator("lon")
    @classmethod
    def _lon_goes_around_once_at_most(cls, axis: tuple[float, float, float]) -> tuple[float, float, float]:
        first, last, spacing = axis
        points = int((last - first) / spacing + 1e-6) + 1
        if first < -180.0 or points * spacing > 360.0 + 1e-6:
            raise ValueError(f"must start at -180 or east of it and go around once at most, got {list(axis)}")
        return axis

    def points(self, dim: Literal["lat", "lon"]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Coordinates along an axis."""
        first, last, spacing = self.lat if dim == "lat" else self.lon
        # not beyond the last by more than rounding; six decimals as everywhere for degrees
        return np.round(first + spacing * np.arange(int((last - first) / spacing + 1e-6) + 1), 6)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return len(self.points("lat")), len(self.points("lon"))

    @property
    def goes_around(self) -> bool:
        """Whether the points lie on the whole circle of longitudes."""
        return abs(self.shape[1] * self.lon[2] - 360.0) < 1e-6
