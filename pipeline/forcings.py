"""Forcing fields: what is known in advance at every grid point and time, as input channels of the model.

What lives here: turning names of forcings, a grid and times into dimensionless channels of order one. What does not:
prognostic variables (`windows`).

    fields = ForcingFields(["time_of_day", "latitude"], grid, mask)
    fields.channels      # ("time_of_day_sin", "time_of_day_cos", "latitude_sin")
    fields.at(times)     # float32 [T, 3, H, W]

===============  =====================================================================================================
time_of_day      sin, cos of 2π · (time since 00 UTC) / day. UTC, not solar time: with `longitude` the model can add the
                 two angles and so has the local one
time_of_year     sin, cos of 2π · (time since 1 January) / length of that year
insolation       the sun's radiation at the top of the atmosphere in units of the solar constant; where steps are a day
                 or longer, its mean over the day (see `insolation`)
latitude         sin(latitude), -1 at the south pole, 1 at the north pole
longitude        sin, cos of longitude
position         sin, cos of 2π · (how far down the grid, from 0 to 1), then of how far along: where a point is, which
                 convolutions alone cannot tell, on grids without latitude and longitude
mask             1 where the data are valid, 0 where they never are
===============  =====================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from .config import Forcing
from .errors import ConfigError
from .grid import GridSpec
from .insolation import daily_insolation, insolation
from .tiles import Tile

CHANNELS: dict[Forcing, tuple[str, ...]] = {
    "time_of_day": ("time_of_day_sin", "time_of_day_cos"),
    "time_of_year": ("time_of_year_sin", "time_of_year_cos"),
    "insolation": ("insolation",),
    "latitude": ("latitude_sin",),
    "longitude": ("longitude_sin", "longitude_cos"),
    "position": ("position_y_sin", "position_y_cos", "position_x_sin", "position_x_cos"),
    "mask": ("mask",),
}
TIMED: tuple[Forcing, ...] = ("time_of_day", "time_of_year", "insolation")
GEOGRAPHIC: tuple[Forcing, ...] = ("insolation", "latitude", "longitude")


class ForcingFields:
    """The chosen forcings on one grid.

    Args:
        names: Forcings, in the order of their channels.
        grid: Where.
        mask: Bool [H, W], True where the data are valid.
        daily: Whether a step is a day or longer, so that insolation is its mean over the day.
        statics: Further fields that are constant in time, [H, W] by name; missing values become their mean.

    Attributes:
        names: The forcings.
        channels: Name of every channel, the static fields' last.

    Raises:
        ConfigError: Latitude or longitude is asked for on a grid that has none.
    """

    def __init__(
        self,
        names: Sequence[Forcing],
        grid: GridSpec,
        mask: NDArray[np.bool_],
        statics: Mapping[str, NDArray[np.floating]] | None = None,
        *,
        daily: bool = False,
    ) -> None:
        self.names = tuple(names)
        own = {name: _without_gaps(field) for name, field in (statics or {}).items()}
        self.channels = (*(channel for name in self.names for channel in CHANNELS[name]), *own)
        self._grid, self._daily = grid, daily
        for name in self.names:
            if name in GEOGRAPHIC and not grid.geographic:
                raise ConfigError(
                    f"forcing '{name}' needs a grid of latitude and longitude, got axes ({grid.y_name}, "
                    f"{grid.x_name}); remove it from forcings"
                )
        self._static = {name: self._static_channels(name, grid, mask) for name in self.names if name not in TIMED}
        self._own = np.stack(list(own.values())) if own else np.empty((0, *grid.shape), dtype=np.float32)

    def at(self, times: NDArray[np.generic], tile: Tile | None = None) -> NDArray[np.float32]:
        """The channels at given times, on the whole grid or on a tile of it.

        Args:
            times: datetime64 (UTC) of any shape; where no forcing depends on the time of day or year, any numbers.
            tile: The part of the grid.

        Returns:
            [*times.shape, Cf, H, W] (of a tile [..., h, w]), finite; of order one but for the static fields, which keep
            their units.

        Raises:
            ConfigError: A forcing needs dates and the times are not.
        """
        shape = self._grid.shape if tile is None else tile.shape
        out = np.empty((*times.shape, len(self.channels), *shape), dtype=np.float32)
        channel = 0
        for name in self.names:
            width = len(CHANNELS[name])
            target = out[..., channel : channel + width, :, :]
            target[...] = self._timed(name, times, tile) if name in TIMED else _cut(self._static[name], tile)
            channel += width
        out[..., channel:, :, :] = _cut(self._own, tile)
        return out

    def _timed(self, name: Forcing, times: NDArray[np.generic], tile: Tile | None) -> NDArray[np.float64]:
        """A forcing that depends on the time, [*times.shape, channels, H, W] or with ones for H and W."""
        if not np.issubdtype(times.dtype, np.datetime64):
            raise ConfigError(
                f"forcing '{name}' needs an archive with dates, got time as {times.dtype}; remove it from forcings"
            )
        if name != "insolation":
            return _phases(name, times)[..., None, None]
        lat, lon = np.asarray(self._grid.y), np.asarray(self._grid.x)
        if tile is not None:
            lat, lon = lat[tile.rows.index], lon[tile.columns.index]
        if self._daily:
            return daily_insolation(times, lat)[..., None, :, None]
        return insolation(times, lat, lon)[..., None, :, :]

    @staticmethod
    def _static_channels(name: Forcing, grid: GridSpec, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        lat, lon = np.meshgrid(np.deg2rad(grid.y), np.deg2rad(grid.x), indexing="ij")
        down, along = np.meshgrid(*(2.0 * np.pi * np.arange(side) / side for side in grid.shape), indexing="ij")
        fields = {
            "latitude": [np.sin(lat)],
            "longitude": [np.sin(lon), np.cos(lon)],
            "position": [np.sin(down), np.cos(down), np.sin(along), np.cos(along)],
            "mask": [mask],
        }
        return np.stack([np.asarray(field, dtype=np.float32) for field in fields[name]])


def _cut(fields: NDArray[np.float32], tile: Tile | None) -> NDArray[np.float32]:
    """Fields [..., H, W], or what a tile reads of them."""
    part: NDArray[np.float32] = fields if tile is None else tile.cut(fields)
    return part


def _without_gaps(field: NDArray[np.floating]) -> NDArray[np.float32]:
    gaps = np.isnan(field)
    return np.where(gaps, field[~gaps].mean() if not gaps.all() else 0.0, field).astype(np.float32)


def _phases(name: Forcing, times: NDArray[np.generic]) -> NDArray[np.float64]:
    """Sine and cosine of the phase in the day or the year, [*times.shape, 2]."""
    exact = times.astype("datetime64[ns]")
    unit: str = "D" if name == "time_of_day" else "Y"
    start = exact.astype(f"datetime64[{unit}]")
    begin, end = start.astype("datetime64[ns]"), (start + 1).astype("datetime64[ns]")
    phase = 2.0 * np.pi * ((exact - begin) / (end - begin))
    return np.stack([np.sin(phase), np.cos(phase)], axis=-1)
