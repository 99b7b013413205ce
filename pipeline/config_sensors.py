"""The section of a configuration about tables of sensor readings.

SensorConfig(lat=(49, 59, 0.5), lon=(-8, 2, 0.5)).method      # "inverse_distance"
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .config_grid import GridAxes
from .config_sections import Number, Positive, Share

GriddingMethod = Literal["nearest", "inverse_distance", "bin_mean"]


class SensorConfig(GridAxes):
    """Tables of readings (station, time, lat, lon, values), and the grid they are brought to."""

    method: GriddingMethod = Field("inverse_distance", description="how values at grid points are made of readings")
    step_hours: Annotated[Number, Field(gt=0.0)] = Field(
        1.0, description="a frame holds the readings from its time on for so many hours"
    )
    clock_seconds: Annotated[Number, Field(ge=0.0)] = Field(
        60.0, description="a reading up to so long before the time of a frame counts as made at that time"
    )
    keep_hours: Annotated[Number, Field(ge=0.0)] = Field(
        0.0, description="a station that is silent counts with its last reading for so many hours more"
    )
    neighbours: Positive = Field(8, description="stations that inverse_distance takes into account")
    power: Annotated[Number, Field(gt=0.0)] = Field(2.0, description="of the distance, for inverse_distance")
    min_stations: Positive = Field(3, description="frames with fewer at either end of a table are left out")
    max_faulty_share: Share = Field(0.5, description="a table with more faulty readings than this is rejected")
    stations: Path | None = Field(
        None, description="CSV list of the stations (station, lat, lon, named as in the tables); others are left out"
    )
    max_moved_km: Annotated[Number, Field(gt=0.0)] = Field(
        1.0, description="readings farther from the place of their station are left out"
    )
    stuck_hours: Annotated[Number, Field(gt=0.0)] = Field(
        12.0, description="a value other than zero that lasts so long without a change is left out"
    )
    max_spike: dict[str, Annotated[Number, Field(gt=0.0)]] = Field(
        default_factory=dict,
        description="by column, in units of the archive: readings farther from both neighbours in time are left out",
    )
    units: dict[str, str] = Field(default_factory=dict, description="units by column; else those of the archive")
    columns: dict[Literal["station", "time", "lat", "lon"], str] = Field(
        default_factory=dict, description="names of columns where they differ: station, time, lat, lon"
    )

    @model_validator(mode="after")
    def _clocks_are_nearer_than_frames(self) -> SensorConfig:
        if self.clock_seconds > 900.0 * self.step_hours:
            raise ValueError(
                f"clock_seconds must be at most a quarter of step_hours ({900.0 * self.step_hours:g} s), got "
                f"{self.clock_seconds:g}; a clock that is off more belongs to a station to look at"
            )
        return self
