"""The grid of an Archive: `GridSpec`, its axes, boundary and area weights.

What lives here: axes and what follows from them alone. What does not: data on the grid (`archive`), padding at its
edges (`minconv`).

    grid = GridSpec.from_dataset(dataset, boundary="closed")
    grid.shape             # (20, 28)
    grid.area_weights()    # [20, 28], cos(latitude), mean 1
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .errors import ArchiveError, ConfigError

Boundary = Literal["periodic", "cylinder", "closed"]

GEOGRAPHIC_AXES = ("lat", "lon")
PLANE_AXES = ("y", "x")


@dataclass(frozen=True)
class GridSpec:
    """A regular grid: two axes, their names and what happens at the edges.

    Attributes:
        y: Coordinates along the first axis (rows), strictly monotonic; degrees north where `geographic`.
        x: Coordinates along the second axis (columns), strictly monotonic; degrees east where `geographic`.
        y_name: Name of the first axis, ``"lat"`` or ``"y"``.
        x_name: Name of the second axis, ``"lon"`` or ``"x"``.
        geographic: Whether the axes are latitude and longitude.
        boundary: Both axes wrap (periodic), only x wraps (cylinder, a globe), or none (closed).

    Raises:
        ConfigError: An axis is empty, not finite or not strictly monotonic, the latitudes leave -90..90, or the
            boundary is unknown.
    """

    y: tuple[float, ...]
    x: tuple[float, ...]
    y_name: str
    x_name: str
    geographic: bool
    boundary: Boundary

    def __post_init__(self) -> None:
        if self.boundary not in get_args(Boundary):
            valid = ", ".join(get_args(Boundary))
            raise ConfigError(f"boundary must be one of {valid}, got {self.boundary!r}; correct it")
        for name, axis in ((self.y_name, self.y), (self.x_name, self.x)):
            _check_axis(name, np.asarray(axis, dtype=np.float64))
        if self.geographic and max(abs(value) for value in self.y) > 90.0:
            raise ConfigError(
                f"latitudes must lie in -90..90, got {min(self.y):g}..{max(self.y):g}; check that '{self.y_name}' "
                "is the latitude"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return len(self.y), len(self.x)

    def area_weights(self) -> NDArray[np.float64]:
        """Relative area of every grid point, [H, W], mean 1: cos(latitude) where geographic, else ones.

        A point on a pole keeps its tiny positive weight out of rounding; a negative one is clipped to zero.
        """
        if not self.geographic:
            return np.ones(self.shape)
        rows = np.clip(np.cos(np.deg2rad(np.asarray(self.y, dtype=np.float64))), 0.0, None)
        return np.repeat((rows / rows.mean())[:, None], len(self.x), axis=1)

    @classmethod
    def from_dataset(cls, dataset: xr.Dataset, boundary: Boundary | None = None) -> GridSpec:
        """The grid of a dataset with dimensions (lat, lon) or (y, x).

        Args:
            dataset: Anything opened from an Archive.
            boundary: The edges; None takes the dataset's attribute ``boundary``.

        Raises:
            ArchiveError: The dataset has neither pair of axes, or no boundary is known.
            ConfigError: The axes are not those of a regular grid.
        """
        edges = boundary if boundary is not None else dataset.attrs.get("boundary")
        if edges is None:
            raise ArchiveError("the dataset has no attribute 'boundary'; ingest it again, or name the boundary")
        for names in (GEOGRAPHIC_AXES, PLANE_AXES):
            if all(name in dataset.coords for name in names):
                y, x = (tuple(float(value) for value in dataset[name].values) for name in names)
                return cls(y, x, names[0], names[1], names == GEOGRAPHIC_AXES, cast(Boundary, edges))
        found = ", ".join(map(str, dataset.coords)) or "none"
        raise ArchiveError(f"the dataset must have coordinates (lat, lon) or (y, x), got {found}; ingest it again")

    def to_dict(self) -> dict[str, Any]:
        """Plain lists and strings, ready for JSON; `from_dict` reads it back."""
        return {
            "y": list(self.y),
            "x": list(self.x),
            "y_name": self.y_name,
            "x_name": self.x_name,
            "geographic": self.geographic,
            "boundary": self.boundary,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GridSpec:
        """The grid that `to_dict` described."""
        return cls(
            y=tuple(float(value) for value in values["y"]),
            x=tuple(float(value) for value in values["x"]),
            y_name=str(values["y_name"]),
            x_name=str(values["x_name"]),
            geographic=bool(values["geographic"]),
            boundary=values["boundary"],
        )


def _check_axis(name: str, axis: NDArray[np.float64]) -> None:
    if axis.size == 0 or not np.isfinite(axis).all():
        raise ConfigError(f"axis '{name}' must hold finite coordinates, got {axis.tolist()}; check the input")
    steps = np.diff(axis)
    if not ((steps > 0).all() or (steps < 0).all()):
        raise ConfigError(f"axis '{name}' must be strictly monotonic, and it is not; check the input's coordinates")
